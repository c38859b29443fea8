"""The report of what observing rules would have refused: fed, shown, and carried over a restart.

A gate that has workers beside it hands its counts to their supervisor, which alone has the page and the file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sealgate.control.observed import MINUTES, Observed, Row, restore, save
from sealgate.ops.tables import Table
from sealgate.session.records import RefusalRecord
from sealgate.verify.policy import Policy

if TYPE_CHECKING:
    from sealgate.config.settings import Rule

log: Final = logging.getLogger("sealgate.app")

PAGE: Final = "/observed"
DEFAULT_RULE: Final = "mode.default"
#: How often the file is written, where something was counted. A process that is killed loses so much.
SAVE_S: Final = 5.0
_COLUMNS: Final = ("count", "rule", "reason", "task", "key", "first seen", "last seen")


def rule_names(rules: Iterable[Rule]) -> list[str]:
    """What each rule is called: its place, and what it matches on that is not everything."""
    names = []
    for place, rule in enumerate(rules):
        parts = [f"{name}={value}" for name, value in rule.match.model_dump().items() if value != "*"]
        names.append(" ".join([f"rule[{place}]", *parts]))
    return names


class Observing:
    """`counts` is the report. `state` is `control.state`; None keeps it in memory alone."""

    def __init__(self, state: str | None, rules: list[str]) -> None:
        self.counts: Final = Observed()
        self._rules: Final = rules
        self._file: Final = None if state is None else Path(state + ".observed")
        if self._file is not None:
            trouble = restore(self.counts, self._file)
            if trouble:
                extra = {"event": "observed.lost", "file": str(self._file), "error": trouble}
                log.warning("the report of the last hour can not be read", extra=extra)

    def note(self, record: RefusalRecord, policy: Policy) -> None:
        """Count a record of a message that passed because a rule only observes."""
        place = policy.rule_of(record.vhost, record.exchange, record.task, record.user)
        rule = DEFAULT_RULE if place is None else self._rules[place]
        self.counts.note(rule, record.reason.value, record.task, record.kid, record.at)

    def take(self) -> list[Row]:
        """What was counted since the last time, for a supervisor."""
        return self.counts.take()

    def add(self, rows: Iterable[Row]) -> None:
        """What a worker has taken."""
        for row in rows:
            self.counts.add(row)

    async def keep(self) -> None:
        """Write the file, now and then, until cancelled."""
        while self._file is not None:
            await asyncio.sleep(SAVE_S)
            if self.counts.changed:
                await asyncio.to_thread(self._save, self._file, self._dumped())

    def close(self) -> None:
        """Write it for the last time."""
        if self._file is not None and self.counts.changed:
            self._save(self._file, self._dumped())

    def _dumped(self) -> bytes:
        self.counts.changed = False
        return self.counts.dump()

    def _save(self, file: Path, data: bytes) -> None:
        try:
            save(file, data)
        except OSError as error:
            self.counts.changed = True
            extra = {"event": "observed.not_saved", "file": str(file), "error": error.strerror or str(error)}
            log.warning("the report of the last hour is not kept", extra=extra)

    def table(self) -> Table:
        """The page."""
        rows = self.counts.rows()
        total = sum(row.times for row in rows)
        since = self.counts.since
        text = f"Since {_time(since)} (UTC, {MINUTES} minutes at most): {total} would have been refused."
        cells = [
            (str(row.times), row.rule, row.reason, row.task, row.kid, _time(row.first), _time(row.last))
            for row in rows
        ]
        data = {
            "since": since,
            "minutes": MINUTES,
            "total": total,
            "rows": [
                {
                    "count": row.times,
                    "rule": row.rule,
                    "reason": row.reason,
                    "task": row.task,
                    "key": row.kid,
                    "first_seen": row.first,
                    "last_seen": row.last,
                }
                for row in rows
            ],
        }
        return Table("Observed", text, _COLUMNS, cells, data)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
