"""The admin address of a supervisor: the pages of `Admin`, served by as little as that takes.

aiohttp alone would be a third of a supervisor's memory. One request for each connection, GET or HEAD, and
no body.
"""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import Final

from sealgate.ops.address import split_address
from sealgate.ops.pages import HEADERS, Answer, Pages

#: Of a request line and its headers: what browsers and scrapers send is a tenth of it.
HEAD_BYTES_MAX: Final = 16_384
#: For the request to be there, and again for its answer to be taken.
REQUEST_S: Final = 5.0
#: Connections at once. Whoever comes then is hung up on: this address is for a few machines.
CONNECTIONS_MAX: Final = 64
#: What a client sent too much is read for so long, or closing would reset what it was answered.
LINGER_S: Final = 0.5

_METHODS: Final = ("GET", "HEAD")


class PlainAdmin:
    """Serves `pages` at `address` (host:port; port 0 takes any)."""

    def __init__(self, address: str, pages: Pages) -> None:
        self._host, self._port = split_address(address)
        self._pages: Final = pages
        self._server: asyncio.Server | None = None
        self._serving: Final[set[asyncio.Task[None]]] = set()

    @property
    def port(self) -> int:
        """The port it listens on; the configured one before `start`."""
        if self._server is None or not self._server.sockets:
            return self._port
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen. Raises `OSError` when the address can not be had."""
        self._server = await asyncio.start_server(
            self._connected, self._host or None, self._port, limit=HEAD_BYTES_MAX
        )

    async def close(self) -> None:
        """Stop listening, and hang up."""
        if self._server is None:
            return
        self._server.close()
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self._server = None

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._serving) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        serving = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
            answer, with_body = await self._answer(head)
            writer.write(_written(answer, with_body))
            async with asyncio.timeout(REQUEST_S):
                await writer.drain()
                writer.write_eof()
            async with asyncio.timeout(LINGER_S):
                await reader.read(HEAD_BYTES_MAX)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            with contextlib.suppress(OSError):
                writer.close()

    async def _answer(self, head: bytes) -> tuple[Answer, bool]:
        """The answer, and whether its body goes with it."""
        lines = head.decode("latin-1").split("\r\n")
        method, _, rest = lines[0].partition(" ")
        target, _, protocol = rest.partition(" ")
        if not protocol.startswith("HTTP/1."):
            return _error(HTTPStatus.BAD_REQUEST), True
        if method not in _METHODS:
            return _error(HTTPStatus.METHOD_NOT_ALLOWED), True
        path, _, query = target.partition("?")
        with_body = method == "GET"
        if path not in self._pages.paths:
            return _error(HTTPStatus.NOT_FOUND), with_body
        names = [part.partition("=")[0] for part in query.split("&")]
        return await self._pages.answer(path, "verbose" in names, _accept(lines[1:])), with_body


def _accept(lines: list[str]) -> str:
    values = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("accept:")]
    return ", ".join(values)


def _error(status: HTTPStatus) -> Answer:
    return Answer(status, f"{status.value}: {status.phrase}".encode(), "text/plain; charset=utf-8")


def _written(answer: Answer, with_body: bool) -> bytes:
    status = HTTPStatus(answer.status)
    headers = {
        **HEADERS,
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        "Connection": "close",
    }
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_METHODS)
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        *[f"{name}: {value}" for name, value in headers.items()],
    ]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head + answer.body if with_body else head
