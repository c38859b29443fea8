"""The HTTP listener for operators and machines, by as little as its pages take.

Reading takes no login, so it belongs on loopback or a closed network; what may be changed, and by whom, is in
`changes`. One request for each connection: GET or HEAD without a body, and POST where there is something to
change. aiohttp in its place would be 12 MB of memory and a quarter of the time that a gateway takes to start.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Final

from sealgate.ops.address import split_address
from sealgate.ops.answers import Answer
from sealgate.ops.changes import BODY_BYTES_MAX
from sealgate.ops.pages import HEADERS, Pages

#: Of a request line and its headers: what browsers and scrapers send is a tenth of it.
HEAD_BYTES_MAX: Final = 16_384
#: For the request to be there, and again for all of its answer to be taken.
REQUEST_S: Final = 5.0
#: Connections at once: this address is for a few machines. Who comes then takes the place of whoever has kept
#: us waiting longest, or probes would fail for who holds connections and says nothing, or reads nothing.
CONNECTIONS_MAX: Final = 64
#: What a client sent too much is read for so long, or closing would reset what it was answered.
LINGER_S: Final = 0.5

log: Final = logging.getLogger("sealgate.ops")

_METHODS: Final = ("GET", "HEAD")
_POST: Final = "POST"
_CHANGE_HEADERS: Final = ("authorization", "content-type")
#: Of a length: more digits are no number of octets that anybody sends.
_DIGITS_MAX: Final = 10


class Admin:
    """Serves `pages` at `address` (host:port; port 0 takes any)."""

    def __init__(self, address: str, pages: Pages) -> None:
        self._host, self._port = split_address(address)
        self._pages: Final = pages
        self._server: asyncio.Server | None = None
        self._serving: Final[set[asyncio.Task[None]]] = set()
        #: Those who are to send their request, or to take their answer; who has done neither longest first.
        self._waiting: Final[dict[asyncio.StreamWriter, None]] = {}

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
            last = next(iter(self._waiting), writer)
            last.transport.abort()
            if last is writer:
                return
            del self._waiting[last]
        self._waiting[writer] = None
        serving = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_body_bytes(head))
            self._waiting.pop(writer, None)
            answer, with_body = await self._answer_safely(head, body, _client(writer))
            self._waiting[writer] = None
            # To be drained is to be taken: what the transport kept would wait for its reader for ever.
            writer.transport.set_write_buffer_limits(high=0)
            writer.write(_written(answer, with_body))
            async with asyncio.timeout(REQUEST_S):
                await writer.drain()
                writer.write_eof()
            async with asyncio.timeout(LINGER_S):
                await reader.read(HEAD_BYTES_MAX)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._waiting.pop(writer, None)
            writer.transport.abort()

    async def _answer_safely(self, head: bytes, body: bytes, client: str) -> tuple[Answer, bool]:
        try:
            return await self._answer(head, body, client)
        except Exception:
            log.exception("no answer", extra={"event": "admin.error", "client": client})
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR), True

    async def _answer(self, head: bytes, body: bytes, client: str) -> tuple[Answer, bool]:
        """The answer, and whether its body goes with it."""
        lines = head.decode("latin-1").split("\r\n")
        method, _, rest = lines[0].partition(" ")
        target, _, protocol = rest.partition(" ")
        if not protocol.startswith("HTTP/1."):
            return _error(HTTPStatus.BAD_REQUEST), True
        path, _, query = target.partition("?")
        if method == _POST and path in self._pages.changes:
            if _declared(lines[1:]) > BODY_BYTES_MAX:
                return _error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE), True
            authorization, content_type = (_header(lines[1:], name) for name in _CHANGE_HEADERS)
            return await self._pages.changes[path].answer(authorization, content_type, body, client), True
        if method not in _METHODS:
            return _error(HTTPStatus.METHOD_NOT_ALLOWED), True
        with_body = method == "GET"
        if path not in self._pages.paths:
            return _error(HTTPStatus.NOT_FOUND), with_body
        names = [part.partition("=")[0] for part in query.split("&")]
        return await self._pages.answer(path, "verbose" in names, _header(lines[1:], "accept")), with_body


def _header(lines: list[str], name: str) -> str:
    """All values of a header; of one that is there twice a list, which is no token and no type."""
    values = [line.partition(":")[2].strip() for line in lines if line.lower().startswith(name + ":")]
    return ", ".join(values)


def _declared(lines: list[str]) -> int:
    """The length of the body, 0 where it is not told as one number."""
    length = _header(lines, "content-length")
    return int(length) if length.isascii() and length.isdigit() and len(length) < _DIGITS_MAX else 0


def _body_bytes(head: bytes) -> int:
    """What is to be read behind `head`: nothing of a body that is too long to be looked at."""
    if not head.startswith(_POST.encode()):
        return 0
    declared = _declared(head.decode("latin-1").split("\r\n")[1:])
    return declared if declared <= BODY_BYTES_MAX else 0


def _client(writer: asyncio.StreamWriter) -> str:
    peer = writer.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) and peer else ""


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
