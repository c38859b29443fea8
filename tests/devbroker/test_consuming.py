"""Consumers, prefetch and acknowledgements on the built-in broker, with pika."""

from __future__ import annotations

import socket

import amqp
import pika
import pika.exceptions
import pytest
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from support.builtin_broker import BuiltinBroker


def collect(channel: BlockingChannel, queue: str, **options: bool) -> list[tuple[int, bytes, bool]]:
    """A list that fills with (tag, body, redelivered) while the connection is served."""
    got: list[tuple[int, bytes, bool]] = []
    channel.basic_consume(
        queue, lambda _c, m, _p, body: got.append((m.delivery_tag, body, m.redelivered)), **options
    )
    return got


def serve(channel: BlockingChannel) -> None:
    """Take what is on its way: an answer to a question comes after everything sent before it."""
    channel.queue_declare("anything")
    channel.connection.process_data_events(time_limit=0)


def fill(channel: BlockingChannel, queue: str, count: int) -> None:
    for number in range(count):
        channel.basic_publish("", queue, b"%d" % number)


def test_messages_are_delivered_in_order(channel: BlockingChannel) -> None:
    channel.queue_declare("q")
    fill(channel, "q", 50)
    got = collect(channel, "q", auto_ack=True)
    serve(channel)
    assert [body for _, body, _ in got] == [b"%d" % n for n in range(50)]


@pytest.mark.parametrize("together", [False, True])
def test_prefetch_holds_back_until_acknowledged(channel: BlockingChannel, together: bool) -> None:
    channel.queue_declare("q")
    fill(channel, "q", 5)
    channel.basic_qos(prefetch_count=2, global_qos=together)
    got = collect(channel, "q")
    serve(channel)
    assert [tag for tag, _, _ in got] == [1, 2]
    channel.basic_ack(1)
    serve(channel)
    assert [tag for tag, _, _ in got] == [1, 2, 3]
    channel.basic_ack(3, multiple=True)
    serve(channel)
    assert [tag for tag, _, _ in got] == [1, 2, 3, 4, 5]


def test_prefetch_is_each_consumers_own_and_global_is_shared(channel: BlockingChannel) -> None:
    channel.queue_declare("a")
    channel.queue_declare("b")
    fill(channel, "a", 5)
    fill(channel, "b", 5)
    channel.basic_qos(prefetch_count=2)
    channel.basic_qos(prefetch_count=3, global_qos=True)
    first, second = collect(channel, "a"), collect(channel, "b")
    serve(channel)
    assert (len(first), len(second)) == (2, 1)


def test_changed_prefetch_counts_for_consumers_that_are_there(channel: BlockingChannel) -> None:
    channel.queue_declare("q")
    fill(channel, "q", 5)
    channel.basic_qos(prefetch_count=1)
    got = collect(channel, "q")
    serve(channel)
    assert len(got) == 1
    channel.basic_qos(prefetch_count=4)
    serve(channel)
    assert len(got) == 4


def test_two_consumers_take_turns(connection: BlockingConnection) -> None:
    first, second = connection.channel(), connection.channel()
    first.queue_declare("q")
    one, two = collect(first, "q"), collect(second, "q")
    fill(first, "q", 10)
    serve(first)
    serve(second)
    assert (len(one), len(two)) == (5, 5)


def test_rejected_message_comes_back_where_it_was(channel: BlockingChannel) -> None:
    channel.queue_declare("q")
    fill(channel, "q", 3)
    tags = [channel.basic_get("q")[0].delivery_tag for _ in range(2)]
    for tag in tags:
        channel.basic_nack(tag, requeue=True)
    again = [channel.basic_get("q", auto_ack=True) for _ in range(3)]
    assert [(body, method.redelivered) for method, _, body in again] == [
        (b"0", True),
        (b"1", True),
        (b"2", False),
    ]


def test_recover_gives_everything_again(channel: BlockingChannel) -> None:
    channel.queue_declare("q")
    fill(channel, "q", 3)
    got = collect(channel, "q")
    serve(channel)
    channel.basic_recover(requeue=True)
    serve(channel)
    assert [(body, again) for _, body, again in got[3:]] == [(b"0", True), (b"1", True), (b"2", True)]


def test_unknown_delivery_tag_closes_the_channel(channel: BlockingChannel) -> None:
    channel.queue_declare("q")
    channel.basic_ack(7)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="unknown delivery tag 7") as caught:
        channel.queue_declare("q", passive=True)
    assert caught.value.reply_code == 406


def test_cancelled_consumer_gets_nothing_more_and_keeps_what_it_has(
    broker: BuiltinBroker, channel: BlockingChannel
) -> None:
    channel.queue_declare("q")
    fill(channel, "q", 1)
    channel.basic_qos(prefetch_count=1)
    got: list[int] = []
    tag = channel.basic_consume("q", lambda _c, m, _p, _b: got.append(m.delivery_tag))
    serve(channel)
    channel.basic_cancel(tag)
    fill(channel, "q", 1)
    channel.basic_ack(got[0])
    serve(channel)
    assert (got, broker.depth("q")) == ([1], 1)


def test_what_a_lost_connection_held_is_delivered_to_another(
    broker: BuiltinBroker, channel: BlockingChannel
) -> None:
    channel.queue_declare("q")
    fill(channel, "q", 3)
    holder = amqp.Connection(f"127.0.0.1:{broker.port}")
    holder.connect()
    other = holder.channel()
    for _ in range(3):
        other.basic_get("q")
    got = collect(channel, "q", auto_ack=True)
    serve(channel)
    assert got == []
    holder.transport.sock.shutdown(socket.SHUT_RDWR)
    holder.collect()
    while len(got) < 3:
        channel.connection.process_data_events(time_limit=0.1)
    assert [(body, again) for _, body, again in got] == [(b"0", True), (b"1", True), (b"2", True)]


def test_deleted_queue_cancels_its_consumers(
    channel: BlockingChannel, connection: BlockingConnection
) -> None:
    channel.queue_declare("q")
    told: list[str] = []
    channel.add_on_cancel_callback(lambda frame: told.append(frame.method.consumer_tag))
    tag = channel.basic_consume("q", lambda *_: None)
    connection.channel().queue_delete("q")
    serve(channel)
    assert told == [tag]


def test_exclusive_consumer_keeps_others_away(connection: BlockingConnection) -> None:
    first, second = connection.channel(), connection.channel()
    first.queue_declare("q")
    collect(first, "q", exclusive=True)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="in exclusive use") as caught:
        collect(second, "q")
    assert caught.value.reply_code == 403


def test_direct_reply_reaches_the_asking_channel(connection: BlockingConnection) -> None:
    client, server = connection.channel(), connection.channel()
    server.queue_declare("questions")
    answers = collect(client, "amq.rabbitmq.reply-to", auto_ack=True)
    client.basic_publish(
        "", "questions", b"?", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="1")
    )
    _, properties, _ = server.basic_get("questions", auto_ack=True)
    assert properties.reply_to.startswith("amq.rabbitmq.reply-to.")
    assert properties.correlation_id == "1"
    server.basic_publish("", properties.reply_to, b"!")
    serve(server)
    assert [body for _, body, _ in answers] == [b"!"]


def test_client_that_does_not_read_is_not_buried(broker: BuiltinBroker) -> None:
    """Deliveries stop while its socket is full; what it did not get is still in the queue."""
    slow = pika.BlockingConnection(pika.URLParameters(broker.url))
    reader = slow.channel()
    reader.queue_declare("q")
    got = collect(reader, "q", auto_ack=True)
    fast = pika.BlockingConnection(pika.URLParameters(broker.url))
    writer = fast.channel()
    writer.confirm_delivery()
    for _ in range(40):
        writer.basic_publish("", "q", bytes(1_000_000))
    assert broker.depth("q") > 0
    while len(got) < 40:
        slow.process_data_events(time_limit=0.1)
    assert broker.depth("q") == 0
    fast.close()
    slow.close()
