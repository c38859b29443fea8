"""Queues of the built-in broker: lifetimes, limits, dead letters. With pika."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pika
import pika.exceptions
import pytest
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from support.builtin_broker import BuiltinBroker
from support.processes import wait_until

Props = pika.BasicProperties


def bodies(channel: BlockingChannel, queue: str) -> list[bytes]:
    found = []
    while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
        found.append(got[2])
    return found


@contextmanager
def refused(code: int, text: str) -> Iterator[None]:
    """The broker closes the channel with this code, and a text that holds this."""
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
        yield
    assert caught.value.reply_code == code
    assert text in caught.value.reply_text


def test_queue_without_a_name_gets_one(channel: BlockingChannel) -> None:
    name = channel.queue_declare("", exclusive=True).method.queue
    assert name.startswith("amq.gen-")
    channel.basic_publish("", name, b"x")
    assert bodies(channel, name) == [b"x"]


def test_exclusive_queue_is_its_connections_alone_and_goes_with_it(
    broker: BuiltinBroker, connection: BlockingConnection
) -> None:
    owner = pika.BlockingConnection(pika.URLParameters(broker.url))
    owner.channel().queue_declare("mine", exclusive=True)
    with refused(405, "RESOURCE_LOCKED - cannot obtain exclusive access"):
        connection.channel().queue_declare("mine", exclusive=True)
    owner.close()
    with refused(404, "NOT_FOUND - no queue 'mine' in vhost '/'"):
        connection.channel().queue_declare("mine", passive=True)


def test_auto_delete_queue_goes_with_its_last_user(broker: BuiltinBroker, channel: BlockingChannel) -> None:
    channel.queue_declare("q", auto_delete=True)
    tags = [channel.basic_consume("q", lambda *_: None) for _ in range(2)]
    channel.basic_cancel(tags[0])
    assert "q" in broker.ask(lambda b: list(b.vhost.queues))
    channel.basic_cancel(tags[1])
    assert "q" not in broker.ask(lambda b: list(b.vhost.queues))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"durable": True},
            "inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but",
        ),
        ({"arguments": {"x-max-length": 5}}, "inequivalent arg 'x-max-length' for queue 'q'"),
        ({"arguments": None}, "inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received none"),
    ],
)
def test_declaring_it_otherwise_is_refused(
    channel: BlockingChannel, change: dict[str, Any], text: str
) -> None:
    channel.queue_declare("q", arguments={"x-max-length": 3})
    with refused(406, text):
        channel.queue_declare("q", **{"arguments": {"x-max-length": 3}, **change})


@pytest.mark.parametrize(
    "arguments",
    [{"x-message-ttl": -1}, {"x-expires": 0}, {"x-max-length": "3"}, {"x-dead-letter-routing-key": "k"}],
)
def test_argument_that_can_not_be_is_refused(channel: BlockingChannel, arguments: dict[str, Any]) -> None:
    with refused(406, f"invalid arg '{next(iter(arguments))}' for queue 'q' in vhost '/'"):
        channel.queue_declare("q", arguments=arguments)


def test_reserved_names_are_refused(connection: BlockingConnection) -> None:
    with refused(403, "queue name 'amq.mine' contains reserved prefix 'amq.*'"):
        connection.channel().queue_declare("amq.mine")
    with refused(403, "exchange name 'amq.mine' contains reserved prefix"):
        connection.channel().exchange_declare("amq.mine")


def test_queue_expires_unused(broker: BuiltinBroker, channel: BlockingChannel) -> None:
    channel.queue_declare("q", arguments={"x-expires": 60})
    wait_until(lambda: "q" not in broker.ask(lambda b: list(b.vhost.queues)), 5, "the queue to expire")


def test_queue_does_not_expire_while_it_is_consumed(broker: BuiltinBroker, channel: BlockingChannel) -> None:
    channel.queue_declare("used", arguments={"x-expires": 60})
    tag = channel.basic_consume("used", lambda *_: None)
    channel.queue_declare("unused", arguments={"x-expires": 180})
    wait_until(lambda: "unused" not in broker.ask(lambda b: list(b.vhost.queues)), 5, "the other to expire")
    assert "used" in broker.ask(lambda b: list(b.vhost.queues))
    channel.basic_cancel(tag)
    wait_until(lambda: "used" not in broker.ask(lambda b: list(b.vhost.queues)), 5, "the queue to expire")


def test_message_expires_by_its_own_or_the_queues_time(
    broker: BuiltinBroker, channel: BlockingChannel
) -> None:
    channel.queue_declare("own")
    channel.basic_publish("", "own", b"short", Props(expiration="50"))
    channel.basic_publish("", "own", b"long")
    channel.queue_declare("queues", arguments={"x-message-ttl": 50})
    channel.basic_publish("", "queues", b"short", Props(expiration="60000"))
    wait_until(lambda: (broker.depth("own"), broker.depth("queues")) == (1, 0), 5, "both to expire")
    assert bodies(channel, "own") == [b"long"]


def test_rejected_message_is_dead_lettered_with_its_story(channel: BlockingChannel) -> None:
    channel.exchange_declare("dlx", "direct")
    channel.queue_declare("dead")
    channel.queue_bind("dead", "dlx", "bad")
    channel.queue_declare(
        "q", arguments={"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "bad"}
    )
    channel.basic_publish("", "q", b"x", Props(headers={"n": 7}, content_type="text/plain"))
    channel.basic_reject(channel.basic_get("q")[0].delivery_tag, requeue=False)
    method, properties, body = channel.basic_get("dead", auto_ack=True)
    assert (method.exchange, method.routing_key, body) == ("dlx", "bad", b"x")
    assert (properties.content_type, properties.headers["n"]) == ("text/plain", 7)
    death = properties.headers["x-death"][0]
    assert {k: death[k] for k in ("queue", "reason", "count", "exchange", "routing-keys")} == {
        "queue": "q",
        "reason": "rejected",
        "count": 1,
        "exchange": "",
        "routing-keys": ["q"],
    }
    assert properties.headers["x-first-death-queue"] == "q"


def test_expired_message_is_dead_lettered_without_its_expiration(channel: BlockingChannel) -> None:
    """The usual way to delay: wait in one queue, die into the other."""
    channel.queue_declare("work")
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work"}
    channel.queue_declare("wait", arguments=arguments)
    channel.basic_publish("", "wait", b"later", Props(expiration="40"))
    got: list[tuple[Props, bytes]] = []
    channel.basic_consume("work", lambda _c, _m, p, b: got.append((p, b)), auto_ack=True)
    channel.connection.process_data_events(time_limit=5)
    properties, body = got[0]
    assert (body, properties.expiration) == (b"later", None)
    assert properties.headers["x-death"][0]["original-expiration"] == "40"


def test_second_death_of_the_same_kind_is_counted(channel: BlockingChannel) -> None:
    channel.queue_declare("q", arguments={"x-dead-letter-exchange": "amq.fanout"})
    channel.queue_bind("q", "amq.fanout")
    channel.basic_publish("", "q", b"x")
    for _ in range(3):
        channel.basic_reject(channel.basic_get("q")[0].delivery_tag, requeue=False)
    headers = channel.basic_get("q")[1].headers
    assert [(death["queue"], death["count"]) for death in headers["x-death"]] == [("q", 3)]


def test_message_that_expires_in_circles_is_dropped(broker: BuiltinBroker, channel: BlockingChannel) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        arguments = {"x-message-ttl": 20, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": other}
        channel.queue_declare(one, arguments=arguments)
    channel.basic_publish("", "a", b"x")
    wait_until(lambda: broker.ask(lambda b: b.queued_bytes) == 0, 5, "the message to be dropped")


def test_full_queue_drops_its_head_to_the_dead_letters(channel: BlockingChannel) -> None:
    channel.queue_declare("dead")
    arguments = {"x-max-length": 2, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    channel.queue_declare("q", arguments=arguments)
    for body in (b"1", b"2", b"3", b"4"):
        channel.basic_publish("", "q", body)
    assert bodies(channel, "q") == [b"3", b"4"]
    assert bodies(channel, "dead") == [b"1", b"2"]


def test_full_queue_that_rejects_nacks(channel: BlockingChannel) -> None:
    channel.queue_declare("q", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.confirm_delivery()
    channel.basic_publish("", "q", b"1")
    with pytest.raises(pika.exceptions.NackError):
        channel.basic_publish("", "q", b"2")
    assert bodies(channel, "q") == [b"1"]


def test_octets_in_a_queue_can_be_limited(channel: BlockingChannel) -> None:
    channel.queue_declare("q", arguments={"x-max-length-bytes": 2500})
    for number in range(4):
        channel.basic_publish("", "q", b"%d" % number * 1000)
    assert [body[:1] for body in bodies(channel, "q")] == [b"2", b"3"]


def test_higher_priority_goes_first(channel: BlockingChannel) -> None:
    channel.queue_declare("q", arguments={"x-max-priority": 5})
    for priority in (0, 3, 9, 3, 1):
        channel.basic_publish("", "q", b"%d" % priority, Props(priority=priority))
    assert bodies(channel, "q") == [b"9", b"3", b"3", b"1", b"0"]


def test_purge_and_delete_say_how_many(channel: BlockingChannel) -> None:
    channel.queue_declare("q")
    for _ in range(3):
        channel.basic_publish("", "q", b"x")
    assert channel.queue_purge("q").method.message_count == 3
    channel.basic_publish("", "q", b"x")
    assert channel.queue_delete("q").method.message_count == 1
    assert channel.queue_delete("q").method.message_count == 0


def test_delete_only_if_unused_or_empty(connection: BlockingConnection) -> None:
    channel = connection.channel()
    channel.queue_declare("q")
    channel.basic_publish("", "q", b"x")
    with refused(406, "queue 'q' in vhost '/' not empty"):
        channel.queue_delete("q", if_empty=True)
    channel = connection.channel()
    channel.basic_consume("q", lambda *_: None)
    with refused(406, "queue 'q' in vhost '/' in use"):
        channel.queue_delete("q", if_unused=True)
