"""Publishing to the built-in broker, with pika."""

from __future__ import annotations

import pika
import pika.exceptions
import pytest
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from support.builtin_broker import BuiltinBroker, builtin_broker

Props = pika.BasicProperties


def test_message_arrives_with_the_properties_it_was_sent_with(channel: BlockingChannel) -> None:
    channel.queue_declare("q")
    sent = Props(
        content_type="text/plain",
        headers={"n": 1, "big": 2**40, "deep": {"list": [1, "x", None, True]}},
        delivery_mode=2,
        correlation_id="c",
        timestamp=1_700_000_000,
    )
    channel.basic_publish("", "q", b"hello", sent)
    method, got, body = channel.basic_get("q", auto_ack=True)
    assert body == b"hello"
    assert got == sent
    assert (method.exchange, method.routing_key, method.redelivered) == ("", "q", False)


@pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 1_000_000])
def test_body_of_any_size_arrives_whole(channel: BlockingChannel, size: int) -> None:
    channel.queue_declare("q")
    body = bytes(i % 251 for i in range(size))
    channel.basic_publish("", "q", body)
    assert channel.basic_get("q", auto_ack=True)[2] == body


def test_confirmed_publish_is_acknowledged(broker: BuiltinBroker, channel: BlockingChannel) -> None:
    channel.confirm_delivery()
    channel.queue_declare("q")
    for _ in range(3):
        channel.basic_publish("", "q", b"x", mandatory=True)
    assert broker.depth("q") == 3
    assert broker.ask(lambda b: (b.published_total, b.published_to(""), b.published_to("amq.direct"))) == (
        3,
        3,
        0,
    )


def test_mandatory_message_without_a_queue_is_returned(channel: BlockingChannel) -> None:
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError) as caught:
        channel.basic_publish("", "nowhere", b"lost", mandatory=True)
    returned = caught.value.messages[0]
    assert (returned.method.reply_code, returned.method.reply_text) == (312, "NO_ROUTE")
    assert returned.body == b"lost"


def test_publish_to_a_missing_exchange_closes_the_channel(channel: BlockingChannel) -> None:
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
        channel.basic_publish("missing", "q", b"x")
    assert caught.value.reply_code == 404
    assert caught.value.reply_text == "NOT_FOUND - no exchange 'missing' in vhost '/'"


def test_publish_to_an_internal_exchange_is_refused(channel: BlockingChannel) -> None:
    channel.confirm_delivery()
    channel.exchange_declare("inner", internal=True)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
        channel.basic_publish("inner", "q", b"x")
    assert caught.value.reply_code == 403


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        (Props(user_id="other"), "user_id property set to 'other' but authenticated user was 'guest'"),
        (Props(expiration="soon"), "invalid expiration 'soon'"),
        (Props(reply_to="amq.rabbitmq.reply-to"), "fast reply consumer does not exist"),
    ],
)
def test_property_that_can_not_be_closes_the_channel(
    channel: BlockingChannel, properties: Props, text: str
) -> None:
    channel.confirm_delivery()
    channel.queue_declare("q")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match=text) as caught:
        channel.basic_publish("", "q", b"x", properties)
    assert caught.value.reply_code == 406


def test_own_user_id_passes(channel: BlockingChannel) -> None:
    channel.queue_declare("q")
    channel.basic_publish("", "q", b"x", Props(user_id="guest"))
    assert channel.basic_get("q", auto_ack=True)[1].user_id == "guest"


def test_message_that_is_too_large_closes_the_channel_alone(connection: BlockingConnection) -> None:
    channel, other = connection.channel(), connection.channel()
    channel.queue_declare("q")
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="larger than configured max size"):
        channel.basic_publish("", "q", bytes(16_777_217))
    assert other.queue_declare("q", passive=True).method.message_count == 0


def test_full_broker_says_so_and_takes_again_when_there_is_room() -> None:
    with builtin_broker(queued_bytes_max=10_000) as broker:
        connection = pika.BlockingConnection(pika.URLParameters(broker.url))
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("q")
        channel.basic_publish("", "q", bytes(6000))
        with pytest.raises(
            pika.exceptions.ChannelClosedByBroker, match="the built-in broker is full"
        ) as caught:
            channel.basic_publish("", "q", bytes(6000))
        assert caught.value.reply_code == 506
        channel = connection.channel()
        channel.confirm_delivery()
        assert channel.basic_get("q")[0].delivery_tag == 1
        channel.basic_ack(1)
        channel.basic_publish("", "q", bytes(6000))
        connection.close()
        assert broker.depth("q") == 1


def test_octets_held_return_to_zero(broker: BuiltinBroker, channel: BlockingChannel) -> None:
    channel.queue_declare("q", arguments={"x-max-length": 2})
    channel.queue_declare("other")
    for _ in range(5):
        channel.basic_publish("", "q", b"12345")
        channel.basic_publish("", "other", b"12345")
    channel.basic_get("q", auto_ack=True)
    tag = channel.basic_get("q")[0].delivery_tag
    channel.basic_reject(tag, requeue=False)
    channel.queue_purge("other")
    assert broker.ask(lambda b: b.queued_bytes) == 0
