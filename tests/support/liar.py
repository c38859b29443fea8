"""A TCP relay before a real server that can alter or repeat what the server answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Liar:
    """`stale_once` sends the next answer a second time, before the one after it: every later reply is one
    late. `replace` is applied to answers; `dumb` swallows them."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.connections = 0
        self.stale_once = False
        self.dumb = False
        self.replace: tuple[bytes, bytes] = (b"", b"")
        self._upstream_port = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        forth = asyncio.create_task(self._forth(reader, up_writer))
        back = asyncio.create_task(self._back(up_reader, writer))
        self._tasks |= {forth, back}
        try:
            await asyncio.wait({forth, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            forth.cancel()
            back.cancel()
            await asyncio.gather(forth, back, return_exceptions=True)
            for each in (writer, up_writer):
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    async def _forth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stale = b""
        while data := await reader.read(65536):
            if self.dumb:
                continue
            if self.replace[0]:
                data = data.replace(*self.replace)
            writer.write(stale + data)
            stale = b""
            if self.stale_once:
                self.stale_once = False
                stale = data
            await writer.drain()


@contextlib.asynccontextmanager
async def liar_before(port: int) -> AsyncIterator[Liar]:
    liar = Liar(port)
    server = await asyncio.start_server(liar.serve, "127.0.0.1", 0)
    liar.port = server.sockets[0].getsockname()[1]
    try:
        yield liar
    finally:
        server.close()
