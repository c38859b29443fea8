"""Routing on the built-in broker."""

from __future__ import annotations

import pika.exceptions
import pytest
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from sealgate.devbroker.exchange import topic_matches
from support.builtin_broker import BuiltinBroker


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("#", "", True),
        ("#", "a.b", True),
        ("*", "", True),
        ("*", "a.b", False),
        ("#.z", "z", True),
        ("#.z", "a.b.z", True),
        ("#.z", "a.z.b", False),
        ("a.#.b.#.c", "a.x.b.b.y.c", True),
        ("a.#.b.#.c", "a.x.c", False),
        ("#.#.#", "a", True),
        ("", "", True),
    ],
)
def test_topic_pattern(pattern: str, key: str, matches: bool) -> None:
    assert topic_matches(pattern.split("."), key.split(".")) is matches


def test_hostile_topic_pattern_takes_no_time() -> None:
    assert not topic_matches(["#", "a"] * 60, ["a"] * 120 + ["b"])


def depths(broker: BuiltinBroker, *queues: str) -> list[int]:
    return [broker.depth(queue) for queue in queues]


def test_each_type_routes_by_its_rule(broker: BuiltinBroker, channel: BlockingChannel) -> None:
    for kind in ("direct", "fanout", "topic"):
        channel.exchange_declare(kind, kind)
        for queue, key in ((f"{kind}-ab", "a.b"), (f"{kind}-star", "a.*")):
            channel.queue_declare(queue)
            channel.queue_bind(queue, kind, key)
        channel.basic_publish(kind, "a.b", b"x")
        channel.basic_publish(kind, "a.c", b"x")
    channel.queue_declare("end")
    assert depths(broker, "direct-ab", "direct-star") == [1, 0]
    assert depths(broker, "fanout-ab", "fanout-star") == [2, 2]
    assert depths(broker, "topic-ab", "topic-star") == [1, 2]


def test_queue_bound_twice_gets_one_copy(broker: BuiltinBroker, channel: BlockingChannel) -> None:
    channel.queue_declare("q")
    channel.queue_bind("q", "amq.topic", "a.*")
    channel.queue_bind("q", "amq.topic", "*.b")
    channel.basic_publish("amq.topic", "a.b", b"x")
    channel.queue_declare("end")
    assert broker.depth("q") == 1


def test_exchanges_can_be_bound_to_each_other_even_in_a_ring(
    broker: BuiltinBroker, channel: BlockingChannel
) -> None:
    channel.exchange_declare("one", "fanout")
    channel.exchange_declare("two", "fanout")
    channel.exchange_bind("two", "one")
    channel.exchange_bind("one", "two")
    channel.queue_declare("q")
    channel.queue_bind("q", "two")
    channel.basic_publish("one", "", b"x")
    channel.queue_declare("end")
    assert broker.depth("q") == 1
    channel.exchange_unbind("two", "one")
    channel.basic_publish("one", "", b"x")
    channel.queue_declare("end")
    assert broker.depth("q") == 1


def test_unbound_queue_gets_nothing_more(broker: BuiltinBroker, channel: BlockingChannel) -> None:
    channel.queue_declare("q")
    channel.queue_bind("q", "amq.direct", "k")
    channel.queue_unbind("q", "amq.direct", "k")
    channel.basic_publish("amq.direct", "k", b"x")
    channel.queue_declare("end")
    assert broker.depth("q") == 0


def test_auto_delete_exchange_goes_with_its_last_one(broker: BuiltinBroker, channel: BlockingChannel) -> None:
    channel.exchange_declare("x", "fanout", auto_delete=True)
    channel.queue_declare("q")
    channel.queue_bind("q", "x")
    channel.queue_delete("q")
    assert "x" not in broker.ask(lambda b: list(b.vhost.exchanges))


def test_exchange_in_use_is_deleted_unless_asked_not_to(connection: BlockingConnection) -> None:
    channel = connection.channel()
    channel.exchange_declare("x", "fanout")
    channel.queue_declare("q")
    channel.queue_bind("q", "x")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="exchange 'x' in vhost '/' in use"):
        channel.exchange_delete("x", if_unused=True)
    channel = connection.channel()
    channel.exchange_delete("x")
    channel.exchange_delete("x")


def test_declaring_an_exchange_otherwise_is_refused(channel: BlockingChannel) -> None:
    channel.exchange_declare("x", "fanout")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="inequivalent arg 'type' for exchange"):
        channel.exchange_declare("x", "direct")


def test_unknown_exchange_type_closes_the_connection(channel: BlockingChannel) -> None:
    with pytest.raises(
        pika.exceptions.ConnectionClosedByBroker, match="unknown exchange type 'headers'"
    ) as caught:
        channel.exchange_declare("x", "headers")
    assert caught.value.reply_code == 503


def test_default_exchange_takes_no_bindings(channel: BlockingChannel) -> None:
    channel.queue_declare("q")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="not permitted on the default exchange"):
        channel.queue_bind("q", "", "k")
