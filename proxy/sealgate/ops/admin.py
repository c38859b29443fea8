"""The HTTP listener for operators and machines: /metrics /livez /readyz /healthz and a page at /.

It only answers GET (and HEAD): nothing can be changed over it. It carries no authentication and belongs on
loopback or a closed network. aiohttp is imported when it starts: a sidecar without it does not pay.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry

from sealgate.ops.health import Health, Report
from sealgate.ops.metrics import exposition
from sealgate.ops.status import Facts, render
from sealgate.session.records import Tally

if TYPE_CHECKING:
    from aiohttp.web import AppRunner, Request, Response

#: Seconds that open requests get when the listener closes.
CLOSE_SECONDS_MAX: Final = 1.0
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def split_address(address: str) -> tuple[str, int]:
    """("127.0.0.1", 9672) from "127.0.0.1:9672", ("::1", 9672) from "[::1]:9672".

    Raises `ValueError` when it is not host:port.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{address!r} is not host:port")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    if ":" in host:
        raise ValueError(f"{address!r}: an IPv6 address goes in brackets")
    return host, int(port)


class Admin:
    """Serves `registry`, `health` and the page of `tally` at `address` (host:port; port 0 takes any)."""

    def __init__(
        self,
        address: str,
        registry: CollectorRegistry,
        health: Health,
        tally: Tally,
        about: Mapping[str, str],
        clock: Callable[[], float] = time.time,
        refresh: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`refresh` is awaited before each answer, where what is shown comes from elsewhere."""
        self._host, self._port = split_address(address)
        self._registry = registry
        self._health = health
        self._tally = tally
        self._about = about
        self._clock = clock
        self._refresh = refresh
        self._started_at = clock()
        self._runner: AppRunner | None = None

    @property
    def port(self) -> int:
        """The port it listens on; the configured one before `start`."""
        if self._runner is None or not self._runner.addresses:
            return self._port
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Listen. Raises `OSError` when the address can not be had."""
        from aiohttp import web

        application = web.Application()
        application.router.add_get("/", self._page)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/livez", self._live)
        application.router.add_get("/healthz", self._live)
        application.router.add_get("/readyz", self._ready)
        self._runner = web.AppRunner(
            application, handle_signals=False, access_log=None, shutdown_timeout=CLOSE_SECONDS_MAX
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host or None, self._port).start()
        except OSError:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening; open requests get a moment."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _look(self) -> None:
        if self._refresh is not None:
            await self._refresh()

    async def _page(self, _: Request) -> Response:
        await self._look()
        facts = Facts(self._about, self._started_at, self._clock())
        page = render(facts, self._health.live(), self._health.ready(), self._tally)
        return _answer(200, page.encode(), "text/html; charset=utf-8")

    async def _metrics(self, request: Request) -> Response:
        await self._look()
        body, content_type = exposition(self._registry, request.headers.get("Accept", ""))
        return _answer(200, body, content_type)

    async def _live(self, request: Request) -> Response:
        await self._look()
        return _answer_report(self._health.live(), request)

    async def _ready(self, request: Request) -> Response:
        await self._look()
        return _answer_report(self._health.ready(), request)


def _answer_report(report: Report, request: Request) -> Response:
    text = report.text("verbose" in request.query)
    return _answer(200 if report.ok else 503, text.encode(), "text/plain; charset=utf-8")


def _answer(status: int, body: bytes, content_type: str) -> Response:
    from aiohttp.web import Response

    return Response(status=status, body=body, headers={**_HEADERS, "Content-Type": content_type})
