"""The HTTP listener for operators and machines.

Reading takes no login, so it belongs on loopback or a closed network; what may be changed, and by whom, is in
`changes`. aiohttp is imported when it starts: a sidecar without it does not pay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sealgate.ops.address import split_address
from sealgate.ops.changes import BODY_BYTES_MAX
from sealgate.ops.pages import HEADERS, Pages

if TYPE_CHECKING:
    from aiohttp.web import AppRunner, Request, Response

#: Seconds that open requests get when the listener closes.
CLOSE_SECONDS_MAX: Final = 1.0


class Admin:
    """Serves `pages` at `address` (host:port; port 0 takes any)."""

    def __init__(self, address: str, pages: Pages) -> None:
        self._host, self._port = split_address(address)
        self._pages: Final = pages
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

        application = web.Application(client_max_size=BODY_BYTES_MAX)
        for path in self._pages.paths:
            application.router.add_get(path, self._answer)
        for path in self._pages.changes:
            application.router.add_post(path, self._change)
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

    async def _answer(self, request: Request) -> Response:
        from aiohttp.web import Response

        accept = request.headers.get("Accept", "")
        answer = await self._pages.answer(request.path, "verbose" in request.query, accept)
        headers = {**HEADERS, "Content-Type": answer.content_type}
        return Response(status=answer.status, body=answer.body, headers=headers)

    async def _change(self, request: Request) -> Response:
        from aiohttp.web import Response

        answer = await self._pages.changes[request.path].answer(
            request.headers.get("Authorization", ""),
            request.headers.get("Content-Type", ""),
            await request.read(),
            request.remote or "",
        )
        headers = {**HEADERS, "Content-Type": answer.content_type}
        return Response(status=answer.status, body=answer.body, headers=headers)
