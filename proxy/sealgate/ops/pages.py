"""What the admin address answers: /metrics /livez /readyz /healthz, a page at /, and tables."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry

from sealgate.ops.answers import Answer
from sealgate.ops.changes import Changes
from sealgate.ops.health import Health, Report
from sealgate.ops.metrics import exposition
from sealgate.ops.status import Facts, render
from sealgate.ops.tables import Table, as_json
from sealgate.ops.tables import render as render_table
from sealgate.session.records import Tally

PATHS: Final = ("/", "/metrics", "/livez", "/healthz", "/readyz")
_HTML: Final = "text/html; charset=utf-8"
#: Of every answer.
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class Pages:
    """Shows `registry`, `health` and `tally`. `refresh` is awaited first, where they come from elsewhere."""

    def __init__(
        self,
        registry: CollectorRegistry,
        health: Health,
        tally: Tally,
        about: Mapping[str, str],
        clock: Callable[[], float] = time.time,
        refresh: Callable[[], Awaitable[None]] | None = None,
        tables: Mapping[str, Callable[[], Table]] | None = None,
        changes: Mapping[str, Changes] | None = None,
    ) -> None:
        """`changes` are taken at these paths, which have a table, too."""
        self._registry: Final = registry
        self._health: Final = health
        self._tally: Final = tally
        self._about: Final = about
        self._clock: Final = clock
        self._refresh: Final = refresh
        self._tables: Final = tables or {}
        self.changes: Final = changes or {}
        self._started_at: Final = clock()

    @property
    def paths(self) -> tuple[str, ...]:
        """Where there is something to see."""
        return (*PATHS, *self._tables)

    async def answer(self, path: str, verbose: bool, accept: str) -> Answer:
        """The page at one of `paths`; `accept` is the header of that name.

        A table is JSON for whoever does not say that HTML is wanted.
        """
        if self._refresh is not None:
            await self._refresh()
        if path in self._tables:
            table = self._tables[path]()
            if "text/html" in accept:
                return Answer(200, render_table(table).encode(), _HTML)
            return Answer(200, as_json(table), "application/json")
        if path == "/metrics":
            return Answer(200, *exposition(self._registry, accept))
        if path == "/":
            facts = Facts(self._about, self._started_at, self._clock())
            page = render(facts, self._health.live(), self._health.ready(), self._tally, self._tables)
            return Answer(200, page.encode(), _HTML)
        return _told(self._health.ready() if path == "/readyz" else self._health.live(), verbose)


def _told(report: Report, verbose: bool) -> Answer:
    return Answer(200 if report.ok else 503, report.text(verbose).encode(), "text/plain; charset=utf-8")
