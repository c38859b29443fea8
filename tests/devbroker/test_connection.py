"""Handshake, frames, heartbeats and closing of the built-in broker, octet by octet where it matters."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator

import aio_pika
import amqp
import pika
import pika.exceptions
import pytest
from pamqp import base, body, commands, frame, header, heartbeat

from support.builtin_broker import BuiltinBroker, builtin_broker
from support.processes import wait_until

PROTOCOL = b"AMQP\x00\x00\x09\x01"
Part = base.Frame | header.ContentHeader | body.ContentBody | heartbeat.Heartbeat


class Raw:
    """A connection spoken by hand."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._buffer = b""

    def send(self, *parts: Part, channel: int = 0) -> None:
        self.socket.sendall(b"".join(frame.marshal(part, channel) for part in parts))

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._buffer += data
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def hear(self) -> tuple[int, object]:
        head = self.read(7)
        rest = self.read(struct.unpack_from(">I", head, 3)[0] + 1)
        _, channel, part = frame.unmarshal(head + rest)
        return channel, part

    def ended(self) -> bool:
        try:
            self.read(1)
        except (EOFError, ConnectionError):
            return True
        return False

    def shake_hands(self, frame_max: int = 131072, beat: int = 0, vhost: str = "/") -> None:
        self.socket.sendall(PROTOCOL)
        assert isinstance(self.hear()[1], commands.Connection.Start)
        self.send(commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest"))
        assert isinstance(self.hear()[1], commands.Connection.Tune)
        self.send(commands.Connection.TuneOk(2047, frame_max, beat), commands.Connection.Open(vhost))

    def opened(self, **options: int) -> Raw:
        self.shake_hands(**options)  # type: ignore[arg-type]
        assert isinstance(self.hear()[1], commands.Connection.OpenOk)
        self.send(commands.Channel.Open(), channel=1)
        assert isinstance(self.hear()[1], commands.Channel.OpenOk)
        return self

    def expect_close(self, code: int, text: str) -> None:
        part = self.hear()[1]
        assert isinstance(part, commands.Connection.Close), part
        assert part.reply_code == code
        assert text in part.reply_text
        self.send(commands.Connection.CloseOk())
        assert self.ended()


@pytest.fixture
def raw(broker: BuiltinBroker) -> Iterator[Raw]:
    opened = Raw(broker.port)
    yield opened
    opened.socket.close()


@pytest.mark.parametrize("method", ["PLAIN", "AMQPLAIN"])
def test_py_amqp_logs_in_either_way(broker: BuiltinBroker, method: str) -> None:
    with amqp.Connection(f"127.0.0.1:{broker.port}", login_method=method, confirm_publish=True) as connection:
        channel = connection.channel()
        channel.queue_declare("q")
        channel.basic_publish_confirm(amqp.Message("x", application_headers={"f": 0.1}), routing_key="q")
        got = channel.basic_get("q", no_ack=True)
        assert (got.body, got.headers) == ("x", {"f": 0.1})
        users = broker.ask(lambda b: {open_one.user for open_one in b.connections})
    assert users == {"guest"}
    assert connection.server_properties["product"] == "sealgate-devbroker"


@pytest.mark.asyncio
async def test_aio_pika_publishes_consumes_and_gets_replies(broker: BuiltinBroker) -> None:
    connection = await aio_pika.connect_robust(broker.url)
    async with connection:
        channel = await connection.channel(on_return_raises=True)
        queue = await channel.declare_queue("q", durable=True)
        exchange = await channel.declare_exchange("x", aio_pika.ExchangeType.TOPIC)
        await queue.bind(exchange, "a.#")
        message = aio_pika.Message(b"hello", headers={"n": 1}, expiration=60, message_id="m")
        await exchange.publish(message, "a.b.c")
        arrived: asyncio.Future[aio_pika.abc.AbstractIncomingMessage] = asyncio.Future()

        async def on_message(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            arrived.set_result(message)

        await queue.consume(on_message)
        got = await asyncio.wait_for(arrived, 10)
        await got.ack()
        assert (got.body, got.headers, got.message_id, got.routing_key) == (b"hello", {"n": 1}, "m", "a.b.c")
        with pytest.raises(aio_pika.exceptions.DeliveryError):
            await channel.default_exchange.publish(aio_pika.Message(b"lost"), "nowhere")
    assert broker.depth("q") == 0


@pytest.mark.parametrize(
    "start", [b"GET / HTTP/1.1\r\n\r\n", b"AMQP\x00\x01\x00\x00", b"AMQP\x01\x01\x08\x00"]
)
def test_other_protocol_is_told_which_is_spoken(raw: Raw, start: bytes) -> None:
    raw.socket.sendall(start)
    assert raw.read(8) == PROTOCOL
    assert raw.ended()


def test_octets_may_come_one_by_one(raw: Raw) -> None:
    for octet in PROTOCOL:
        raw.socket.sendall(bytes((octet,)))
    assert isinstance(raw.hear()[1], commands.Connection.Start)


def test_unknown_vhost_is_not_found(raw: Raw) -> None:
    raw.shake_hands(vhost="other")
    raw.expect_close(530, "NOT_ALLOWED - vhost other not found")


def test_heartbeats_are_sent_and_silence_ends_it(raw: Raw) -> None:
    raw.opened(beat=1)
    assert isinstance(raw.hear()[1], heartbeat.Heartbeat)
    while True:
        try:
            assert isinstance(raw.hear()[1], heartbeat.Heartbeat)
        except (EOFError, ConnectionError):
            break


def test_message_is_cut_to_the_clients_frame_size(raw: Raw) -> None:
    raw.opened(frame_max=4096)
    raw.send(commands.Queue.Declare(queue="q"), channel=1)
    assert isinstance(raw.hear()[1], commands.Queue.DeclareOk)
    raw.send(
        commands.Basic.Publish(routing_key="q"),
        header.ContentHeader(body_size=10_000),
        *[body.ContentBody(bytes(2500))] * 4,
        commands.Basic.Get(queue="q", no_ack=True),
        channel=1,
    )
    assert isinstance(raw.hear()[1], commands.Basic.GetOk)
    assert isinstance(raw.hear()[1], header.ContentHeader)
    sizes = [len(part.value) for _ in range(3) if isinstance(part := raw.hear()[1], body.ContentBody)]
    assert sizes == [4088, 4088, 1824]


def test_broken_frame_closes_the_connection(raw: Raw) -> None:
    raw.opened()
    raw.socket.sendall(b"\x01\x00\x01\x00\x00\x00\x04abcd!")
    raw.expect_close(501, "FRAME_ERROR")


@pytest.mark.parametrize(
    ("parts", "code", "text"),
    [
        ([commands.Channel.Open()], 504, "second 'channel.open' seen"),
        ([commands.Basic.Publish(immediate=True)], 540, "immediate=true"),
        ([header.ContentHeader(body_size=1)], 505, "UNEXPECTED_FRAME"),
        ([body.ContentBody(b"x")], 505, "UNEXPECTED_FRAME"),
        ([commands.Basic.Publish(), commands.Basic.Publish()], 505, "expected content header or body"),
        (
            [commands.Basic.Publish(), header.ContentHeader(body_size=1), body.ContentBody(b"xy")],
            505,
            "longer than the 1 octets declared",
        ),
        ([commands.Tx.Select()], 540, "Tx.Select is not in the built-in broker"),
        ([commands.Channel.Flow(False)], 540, "active=false"),
        ([commands.Basic.Recover(False)], 540, "requeue=false"),
        ([commands.Connection.OpenOk()], 540, "not in the built-in broker"),
    ],
)
def test_wrong_frame_closes_the_connection(raw: Raw, parts: list[Part], code: int, text: str) -> None:
    raw.opened()
    raw.send(*parts, channel=1)
    raw.expect_close(code, text)


def test_broken_headers_close_the_connection(raw: Raw) -> None:
    raw.opened()
    raw.send(commands.Basic.Publish(routing_key="q"), channel=1)
    table = b"\x01nZ"
    payload = struct.pack(">HHQHI", 60, 0, 0, 0x2000, len(table)) + table
    raw.socket.sendall(struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce")
    raw.expect_close(541, "INTERNAL_ERROR")


def test_unknown_method_closes_the_connection(raw: Raw) -> None:
    raw.opened()
    raw.socket.sendall(struct.pack(">BHIHH", 1, 1, 4, 60, 999) + b"\xce")
    raw.expect_close(503, "COMMAND_INVALID")


def test_method_on_a_closed_channel_closes_the_connection(raw: Raw) -> None:
    raw.opened()
    raw.send(commands.Queue.Declare(queue="q"), channel=2)
    raw.expect_close(504, "expected 'channel.open'")


def test_channel_in_error_swallows_what_follows_and_opens_again(raw: Raw) -> None:
    raw.opened()
    raw.send(commands.Queue.Declare(queue="missing", passive=True), channel=1)
    raw.send(
        commands.Basic.Publish(routing_key="q"),
        header.ContentHeader(body_size=1),
        body.ContentBody(b"x"),
        commands.Channel.CloseOk(),
        commands.Channel.Open(),
        channel=1,
    )
    closed, opened = raw.hear()[1], raw.hear()[1]
    assert isinstance(closed, commands.Channel.Close)
    assert (closed.reply_code, closed.class_id, closed.method_id) == (404, 50, 10)
    assert isinstance(opened, commands.Channel.OpenOk)


def test_closing_the_broker_tells_its_clients() -> None:
    with builtin_broker() as broker:
        raw = Raw(broker.port).opened()
        other = Raw(broker.port)
        wait_until(lambda: broker.ask(lambda b: len(b.connections)) == 2, 5, "both to be accepted")
    part = raw.hear()[1]
    assert isinstance(part, commands.Connection.Close)
    assert part.reply_code == 320
    assert raw.ended()
    assert other.ended()
    raw.socket.close()
    other.socket.close()


def test_pika_sees_a_clean_close(broker: BuiltinBroker) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    connection.channel()
    connection.close()
    assert broker.ask(lambda b: len(b.connections)) == 0
