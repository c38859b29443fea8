"""AMQP peers on one event loop: clients, and a broker that does only what a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pamqp import commands, frame, heartbeat

from support.talk import SERVER_PROPERTIES, on

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
#: Far above what any answer takes, far below a test's own deadline.
ANSWER_S_MAX = 20.0
READ_BYTES = 65_536
GUEST = "\x00guest\x00guest"

Part = TypeVar("Part")


async def eventually(condition: Callable[[], bool], what: str, seconds: float = ANSWER_S_MAX) -> None:
    """Wait until `condition` holds; `AssertionError` naming `what` when `seconds` have passed."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        await asyncio.sleep(0.01)


async def at_rest(count: Callable[[], int], seconds: float = 0.3) -> int:
    """Wait until `count` has not changed for `seconds`, and return it."""
    newest, since = count(), asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() - since < seconds:
        await asyncio.sleep(0.02)
        if count() != newest:
            newest, since = count(), asyncio.get_running_loop().time()
    return newest


class Peer:
    """One end of an AMQP connection. Every read has a deadline."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def say(self, channel: int, *parts: Any) -> None:
        self.send(on(channel, *parts))

    async def read(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises IncompleteReadError at the end of the stream."""
        while len(self._buffer) < size:
            data = await self.some()
            if not data:
                raise asyncio.IncompleteReadError(self._buffer, size)
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    async def some(self) -> bytes:
        """The next bytes, however many."""
        async with asyncio.timeout(ANSWER_S_MAX):
            return await self._reader.read(READ_BYTES)

    async def next(self) -> Any:
        """The next method, content header or body; heartbeats are passed over."""
        while True:
            start = await self.read(7)
            rest = await self.read(int.from_bytes(start[3:7], "big") + 1)
            part = frame.unmarshal(start + rest)[2]
            if not isinstance(part, heartbeat.Heartbeat):
                return part

    async def expect(self, kind: type[Part]) -> Part:
        """The next part, which must be of this kind."""
        part = await self.next()
        assert isinstance(part, kind), f"{part.name} where {kind.__name__} was wanted"
        return part

    async def wait_for_end(self) -> bytes:
        """Everything that still comes, up to the end of the stream."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            async with asyncio.timeout(ANSWER_S_MAX):
                while data := await self._reader.read(READ_BYTES):
                    self._buffer += data
        data, self._buffer = self._buffer, b""
        return data

    def stop_reading(self) -> None:
        """Read nothing more from the socket, beyond what the stream's own buffer takes."""
        self.writer.transport.pause_reading()

    def resume_reading(self) -> None:
        self.writer.transport.resume_reading()

    def abort(self) -> None:
        """Vanish."""
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class Client(Peer):
    """A client that shakes hands as a decent one does."""

    async def shake_hands(self, heartbeat_s: int = 0, vhost: str = "/", product: str = "test") -> Client:
        opened = await self.open(heartbeat_s, vhost, product)
        assert isinstance(opened, commands.Connection.OpenOk), opened.name
        return self

    async def open(self, heartbeat_s: int = 0, vhost: str = "/", product: str = "test") -> Any:
        """The handshake, up to the answer to `connection.open`."""
        self.send(PROTOCOL_HEADER)
        await self.expect(commands.Connection.Start)
        properties = {"product": product, "capabilities": {"publisher_confirms": True}}
        self.say(0, commands.Connection.StartOk(properties, "PLAIN", GUEST, "en_US"))
        tune = await self.expect(commands.Connection.Tune)
        self.say(0, commands.Connection.TuneOk(tune.channel_max, tune.frame_max, heartbeat_s))
        self.say(0, commands.Connection.Open(vhost))
        return await self.next()

    async def open_channel(self, number: int = 1, confirms: bool = False) -> Client:
        self.say(number, commands.Channel.Open())
        await self.expect(commands.Channel.OpenOk)
        if confirms:
            self.say(number, commands.Confirm.Select())
            await self.expect(commands.Confirm.SelectOk)
        return self


class Upstream(Peer):
    """The broker's end of one connection."""

    async def shake_hands(self, heartbeat_s: int = 0) -> Upstream:
        await self.answer_up_to_open(heartbeat_s)
        self.say(0, commands.Connection.OpenOk())
        return self

    async def answer_up_to_open(self, heartbeat_s: int = 0) -> None:
        """The handshake but for its last word."""
        assert await self.read(8) == PROTOCOL_HEADER
        self.say(0, commands.Connection.Start(server_properties=dict(SERVER_PROPERTIES)))
        await self.expect(commands.Connection.StartOk)
        self.say(0, commands.Connection.Tune(2047, 131_072, heartbeat_s))
        await self.expect(commands.Connection.TuneOk)
        await self.expect(commands.Connection.Open)

    async def open_channel(self, number: int = 1, confirms: bool = False) -> Upstream:
        await self.expect(commands.Channel.Open)
        self.say(number, commands.Channel.OpenOk())
        if confirms:
            await self.expect(commands.Confirm.Select)
            self.say(number, commands.Confirm.SelectOk())
        return self

    async def answer_close(self) -> None:
        """Wait for `connection.close`, and answer it."""
        await self.expect(commands.Connection.Close)
        self.say(0, commands.Connection.CloseOk())


class ScriptedBroker:
    """Accepts connections and leaves all else to the test. Use as a context."""

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0, host: str = "127.0.0.1") -> None:
        self._tls = tls
        self._host = host
        self.port = port
        self.accepted = 0
        self._waiting: asyncio.Queue[Upstream] = asyncio.Queue()
        self._all: list[Upstream] = []

    async def __aenter__(self) -> ScriptedBroker:
        self._server = await asyncio.start_server(
            self._take, self._host, self.port, ssl=self._tls, limit=READ_BYTES
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.forget()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = Upstream(reader, writer)
        self.accepted += 1
        self._all.append(upstream)
        self._waiting.put_nowait(upstream)

    def stop(self) -> None:
        """Take no more connections; those there are stay."""
        self._server.close()

    def forget(self) -> None:
        """Cut every connection so far."""
        for upstream in self._all:
            upstream.abort()
        self._all.clear()
        while not self._waiting.empty():
            self._waiting.get_nowait()

    async def accept(self) -> Upstream:
        """The next connection."""
        async with asyncio.timeout(ANSWER_S_MAX):
            return await self._waiting.get()

    async def accept_and_shake_hands(self) -> Upstream:
        return await (await self.accept()).shake_hands()


@contextmanager
def unanswering(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port whose backlog is full: connecting to it neither succeeds nor fails."""
    with socket.socket() as full:
        full.bind((host, port))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            yield full.getsockname()[1]


async def connect(
    port: int, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", name: str | None = "localhost"
) -> Client:
    """A client that has said nothing yet. With `tls` it asks for the server `name`, or for none."""
    asked = (name or "") if tls is not None else None
    return Client(
        *await asyncio.open_connection(host, port, ssl=tls, server_hostname=asked, limit=READ_BYTES)
    )


async def meet(
    port: int,
    broker: ScriptedBroker,
    heartbeat_s: int = 0,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> tuple[Client, Upstream]:
    """A client and the broker's end of it, through the gateway at `port`, with hands shaken."""
    client = await connect(port, tls, host)
    upstream_hands = asyncio.ensure_future(_shake(broker, heartbeat_s))
    await client.shake_hands(heartbeat_s)
    return client, await upstream_hands


async def _shake(broker: ScriptedBroker, heartbeat_s: int) -> Upstream:
    upstream = await broker.accept()
    # A probe connects and says nothing.
    while True:
        try:
            return await upstream.shake_hands(heartbeat_s)
        except asyncio.IncompleteReadError:
            upstream = await broker.accept()


async def open_channels(client: Client, upstream: Upstream, confirms: bool = False, number: int = 1) -> None:
    """The same channel on both ends."""
    await asyncio.gather(client.open_channel(number, confirms), upstream.open_channel(number, confirms))
