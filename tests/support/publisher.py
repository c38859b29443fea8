"""A confirming publisher that never gives up: what gets no confirm is published again after reconnecting.

It keeps the log a careful producer would keep: how often each message was sent, and which were confirmed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from pamqp import commands, frame, heartbeat

RECONNECT_PAUSE_S = 0.1
READ_BYTES = 65_536
REFUSALS_MAX = 100


class Publisher:
    """Publishes messages 0..`count`-1; `frames(n)` are the frames of message n on channel 1."""

    def __init__(
        self,
        port: int,
        vhost: str,
        count: int,
        frames: Callable[[int], bytes],
        window: int = 100,
        rate: float = 0,
        on_refused: Callable[[int], None] = lambda number: None,
    ) -> None:
        """`on_refused` is told of each message that is nacked, before it is published again."""
        self._port = port
        self._vhost = vhost
        self._count = count
        self._frames = frames
        self._on_refused = on_refused
        self._window = window
        self._pause_s = window / rate if rate else 0.0
        self._todo: deque[int] = deque(range(count))
        self._unconfirmed: dict[int, int] = {}
        self._next_tag = 1
        self.sent: Counter[int] = Counter()
        self.confirmed: set[int] = set()
        self.refused: Counter[int] = Counter()
        #: For each connection that ended, what was unconfirmed then.
        self.cuts: list[frozenset[int]] = []
        #: Whether it has read all there was to read, and sent all it may.
        self.idle = False

    @property
    def in_doubt(self) -> set[int]:
        """Messages that were sent again because a connection died before their confirm came."""
        return {number for number, times in self.sent.items() if times > 1}

    async def run(self) -> None:
        """Until every message is confirmed."""
        while len(self.confirmed) < self._count:
            with contextlib.suppress(OSError):
                await self._connection()
            self.cuts.append(frozenset(self._unconfirmed.values()))
            self._todo.extendleft(sorted(self._unconfirmed.values(), reverse=True))
            self._unconfirmed.clear()
            await asyncio.sleep(RECONNECT_PAUSE_S)

    async def _connection(self) -> None:
        incoming, writer = await connect(self._port, self._vhost)
        try:
            self._next_tag = 1
            await self._publish(writer, incoming)
        finally:
            await close(writer)

    async def _publish(self, writer: asyncio.StreamWriter, incoming: Incoming) -> None:
        while len(self.confirmed) < self._count:
            batch: list[bytes] = []
            while self._todo and len(self._unconfirmed) < self._window:
                number = self._todo.popleft()
                self._unconfirmed[self._next_tag] = number
                self._next_tag += 1
                self.sent[number] += 1
                batch.append(self._frames(number))
            if batch:
                writer.write(b"".join(batch))
                await writer.drain()
                if self._pause_s:
                    await asyncio.sleep(self._pause_s)
            self.idle = True
            parts = await incoming.some()
            self.idle = False
            for part in parts:
                self._take(part, writer)

    def _take(self, part: Any, writer: asyncio.StreamWriter) -> None:
        if part.name in ("Basic.Ack", "Basic.Nack"):
            tags = [part.delivery_tag]
            if part.multiple:
                tags = [tag for tag in self._unconfirmed if tag <= part.delivery_tag]
            for tag in tags:
                number = self._unconfirmed.pop(tag)
                if part.name == "Basic.Ack":
                    self.confirmed.add(number)
                else:
                    self.refused[number] += 1
                    assert self.refused[number] < REFUSALS_MAX, f"message {number} is refused for good"
                    self._on_refused(number)
                    self._todo.append(number)
        elif part.name == "Connection.Close":
            writer.write(_frames(0, commands.Connection.CloseOk()))
            raise ConnectionResetError(part.reply_text)
        elif not isinstance(part, heartbeat.Heartbeat):
            raise AssertionError(f"unexpected {part.name}")


class Incoming:
    """Frames as they arrive."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._buffer = b""

    async def some(self) -> list[Any]:
        """At least one frame. Raises ConnectionResetError at the end of the stream."""
        parts: list[Any] = []
        while not parts:
            data = await self._reader.read(READ_BYTES)
            if not data:
                raise ConnectionResetError("end of stream")
            self._buffer += data
            while len(self._buffer) >= 7:
                size = 8 + int.from_bytes(self._buffer[3:7], "big")
                if len(self._buffer) < size:
                    break
                parts.append(frame.unmarshal(self._buffer[:size])[2])
                self._buffer = self._buffer[size:]
        return parts

    async def expect(self, name: str) -> Any:
        """The next frame of that name; those before it are passed over."""
        while True:
            for part in await self.some():
                if part.name == name:
                    return part


async def connect(port: int, vhost: str) -> tuple[Incoming, asyncio.StreamWriter]:
    """An open connection with channel 1 in confirm mode. Raises OSError or ConnectionResetError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        incoming = Incoming(reader)
        writer.write(b"AMQP\x00\x00\x09\x01")
        await incoming.expect("Connection.Start")
        properties = {"product": "careful publisher", "capabilities": {"publisher_confirms": True}}
        login = commands.Connection.StartOk(
            client_properties=properties, response="\x00guest\x00guest", locale="en_US"
        )
        writer.write(_frames(0, login))
        tune = await incoming.expect("Connection.Tune")
        tuned = commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0)
        writer.write(_frames(0, tuned, commands.Connection.Open(vhost)))
        await incoming.expect("Connection.OpenOk")
        writer.write(_frames(1, commands.Channel.Open(), commands.Confirm.Select()))
        await incoming.expect("Confirm.SelectOk")
    except BaseException:
        await close(writer)
        raise
    return incoming, writer


async def close(writer: asyncio.StreamWriter) -> None:
    """Close the socket, and see it closed."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def answers(port: int, vhost: str, messages: list[bytes]) -> list[str]:
    """Publish each message with confirms; the answer to each."""
    incoming, writer = await connect(port, vhost)
    told: list[str] = []
    for message in messages:
        writer.write(message)
        answered = False
        while not answered:
            for part in await incoming.some():
                told.append(part.name)
                answered = True
    await close(writer)
    return told


def _frames(channel: int, *parts: Any) -> bytes:
    return b"".join(frame.marshal(part, channel) for part in parts)


def arrivals(port: int, vhost: str, queue: str, limit: int) -> Sequence[str]:
    """The correlation ids of every message in `queue`, in order, read and acknowledged directly."""
    return [properties.correlation_id for properties in arrived(port, vhost, queue, limit)]


def arrived(port: int, vhost: str, queue: str, limit: int) -> Sequence[Any]:
    """The properties of every message in `queue`, likewise."""
    import pika

    parameters = pika.ConnectionParameters("127.0.0.1", port, vhost)
    found: list[Any] = []
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=1000)
        for method, properties, _ in channel.consume(queue, inactivity_timeout=2):
            if method is None:
                break
            found.append(properties)
            channel.basic_ack(method.delivery_tag)
            if len(found) >= limit:
                break
        channel.cancel()
    return found
