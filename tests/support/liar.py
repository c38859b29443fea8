"""A TCP relay before a real server that can alter or repeat what the server answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Liar:
    """`stale_once` sends the next answer a second time, before the one after it: every later reply is one
    late. `instead_once` is sent in the place of the next answer. `replace` is applied to answers; `dumb`
    swallows them; `bytes_at_once`, when not 0, cuts them into pieces."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.connections = 0
        self.stale_once = False
        self.instead_once = b""
        self.bytes_at_once = 0
        self.dumb = False
        self.replace: tuple[bytes, bytes] = (b"", b"")
        self._upstream_port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writer = writer
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
            if self.instead_once:
                data, self.instead_once = self.instead_once, b""
            if self.bytes_at_once:
                await self._in_pieces(writer, data)
                continue
            writer.write(stale + data)
            stale = b""
            if self.stale_once:
                self.stale_once = False
                stale = data
            await writer.drain()

    async def _in_pieces(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        for at in range(0, len(data), self.bytes_at_once):
            writer.write(data[at : at + self.bytes_at_once])
            await writer.drain()
            await asyncio.sleep(0)

    async def say(self, data: bytes) -> None:
        """Tell the client of the newest connection something."""
        assert self._writer is not None
        self._writer.write(data)
        await self._writer.drain()


@contextlib.asynccontextmanager
async def liar_before(port: int) -> AsyncIterator[Liar]:
    liar = Liar(port)
    server = await asyncio.start_server(liar.serve, "127.0.0.1", 0)
    liar.port = server.sockets[0].getsockname()[1]
    try:
        yield liar
    finally:
        server.close()
