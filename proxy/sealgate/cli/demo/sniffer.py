"""A wire that somebody listens on: between the producer's sidecar and the gateway, copying what is sealed."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable
from typing import Final

from pamqp import commands

from sealgate.cli.demo.forge import Forged
from sealgate.wire.constants import FRAME_BODY, FRAME_HEADER, FRAME_METHOD
from sealgate.wire.frames import Frame
from sealgate.wire.properties import CORRELATION_ID, scan_content_header
from sealgate.wire.splitter import FrameSplitter

_CHUNK_BYTES: Final = 65536
_FRAME_BYTES_MAX: Final = 131_072
_PROTOCOL_HEADER_BYTES: Final = 8
_METHOD_ID: Final = struct.Struct(">I")
_NO_NAMES: Final[frozenset[str]] = frozenset()
#: Captured messages kept; later ones replace none.
_CAPTURED_MAX: Final = 1000


class Sniffer:
    """Relays TCP to `port` and keeps what is published to `exchange`. It changes nothing."""

    def __init__(self, port: int, exchange: str) -> None:
        self._upstream_port: Final = port
        self._exchange: Final = exchange
        self._captured: Final[asyncio.Queue[Forged]] = asyncio.Queue(_CAPTURED_MAX)
        self._server: asyncio.Server | None = None
        self._relays: Final[set[asyncio.Task[None]]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for relay in list(self._relays):
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def next(self, seconds: float) -> Forged:
        """A captured message that was not given out before. Raises TimeoutError."""
        return await asyncio.wait_for(self._captured.get(), seconds)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        task.add_done_callback(self._relays.discard)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._upstream_port)
            copies = [_copy(reader, back, _Reader(self._keep).feed), _copy(there, writer, _ignore)]
            try:
                await asyncio.gather(*copies)
            finally:
                back.close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _keep(self, message: Forged) -> None:
        if message.exchange == self._exchange:
            with contextlib.suppress(asyncio.QueueFull):
                self._captured.put_nowait(message)


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, see: Callable[[bytes], None]
) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        see(data)
        writer.write(data)
        await writer.drain()
    writer.close()


def _ignore(data: bytes) -> None:
    """The way back is of no interest."""


class _Reader:
    """Puts the publishes of one connection together, frame by frame."""

    def __init__(self, found: Callable[[Forged], None]) -> None:
        self._found: Final = found
        self._splitter: Final = FrameSplitter(_FRAME_BYTES_MAX)
        self._to_skip = _PROTOCOL_HEADER_BYTES
        self._publishes: Final[dict[int, list[Frame]]] = {}

    def feed(self, data: bytes) -> None:
        skipped = min(self._to_skip, len(data))
        self._to_skip -= skipped
        self._splitter.feed(data[skipped:])
        while frame := self._splitter.next():
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        if frame.type == FRAME_METHOD:
            if _METHOD_ID.unpack_from(frame.payload)[0] == commands.Basic.Publish.index:
                self._publishes[frame.channel] = [frame]
            return
        frames = self._publishes.get(frame.channel)
        if frames is None or frame.type not in (FRAME_HEADER, FRAME_BODY):
            return
        frames.append(frame)
        size = struct.unpack_from(">Q", frames[1].payload, 4)[0]
        body = b"".join(part.payload for part in frames[2:])
        if len(body) >= size:
            del self._publishes[frame.channel]
            self._found(_publish(frames[0].payload, frames[1].payload, body))


def _publish(method: bytes, header: bytes, body: bytes) -> Forged:
    publish = commands.Basic.Publish()
    publish.unmarshal(method[_METHOD_ID.size :])
    mark = scan_content_header(header, _NO_NAMES, _NO_NAMES).text(CORRELATION_ID) or ""
    return Forged(publish.exchange, publish.routing_key, header, body, mark)
