"""Order, returns and confirms (protocol.md O, C)."""

from __future__ import annotations

import pytest
from pamqp import commands

from support.conversation import conversation
from support.speaker import Message, Speaker

pytestmark = pytest.mark.system

Basic, Channel, Confirm, Connection, Exchange, Queue = (
    commands.Basic,
    commands.Channel,
    commands.Confirm,
    commands.Connection,
    commands.Exchange,
    commands.Queue,
)


@conversation()
def test_O1_what_follows_a_publish_comes_after_it(c: Speaker) -> None:
    c.open().queue("O1")
    for number in range(20):
        c.say(Message(1, "O1", b"m%d" % number))
        c.ask(1, Basic.Get(queue="O1", no_ack=True), Basic.GetOk)
        c.wait_for_content()
    c.say(*[Message(1, "O1", b"x") for _ in range(50)])
    deleted = c.ask(1, Queue.Delete(queue="O1"), Queue.DeleteOk)
    assert deleted.message_count == 50


@conversation()
def test_O1_channel_close_right_behind(c: Speaker) -> None:
    c.open().queue("O1c")
    c.say(*[Message(1, "O1c", b"x") for _ in range(50)])
    c.ask(1, Channel.Close(200, "bye", 0, 0), Channel.CloseOk)
    c.open(2)
    c.ask(2, Queue.Delete(queue="O1c"), Queue.DeleteOk)


@conversation()
def test_O1_connection_close_right_behind(c: Speaker) -> None:
    c.open(1).open(2).queue("O1d")
    c.say(*[Message(1 + number % 2, "O1d", b"x") for number in range(50)])
    c.ask(0, Connection.Close(200, "bye", 0, 0), Connection.CloseOk)
    other = c.another("other").open()
    other.ask(1, Queue.Delete(queue="O1d"), Queue.DeleteOk)


@conversation()
def test_O4_return_before_ack(c: Speaker) -> None:
    c.open(confirms=True).queue("O4")
    for number in range(5):
        c.say(Message(1, "nowhere", b"m%d" % number, mandatory=True), Message(1, "O4", mandatory=True))
        c.wait_for_confirms(2 * number + 2)
    c.ask(1, Queue.Delete(queue="O4"), Queue.DeleteOk)


@conversation()
def test_O4_returns_on_interleaved_channels(c: Speaker) -> None:
    c.open(1).open(2)
    for number in range(20):
        channel = 1 + number % 2
        c.say(Message(channel, "nowhere", b"x" * number, mandatory=True))
    c.sync(1)
    c.sync(2)


@conversation()
def test_O4_returns_before_acks_on_interleaved_channels(c: Speaker) -> None:
    c.open(1, confirms=True).open(2, confirms=True)
    for number in range(1, 8):
        for channel in (1, 2):
            c.say(Message(channel, "nowhere", b"x" * number, mandatory=True))
            c.wait_for_confirms(number, channel)


@conversation()
def test_O5_return_of_ones_own_properties(c: Speaker) -> None:
    c.open(confirms=True)
    every = Basic.Properties(
        content_type="text/plain",
        content_encoding="utf-8",
        headers={"n": 1, "deep": {"er": [1, "two"]}},
        delivery_mode=2,
        priority=3,
        correlation_id="c",
        reply_to="r",
        expiration="60000",
        message_id="m",
        message_type="t",
        user_id="guest",
        app_id="a",
    )
    c.say(Message(1, "nowhere", b"all of it", properties=every, mandatory=True))
    c.wait_for_confirms(1)
    c.say(Message(1, "nowhere", b"none of it", mandatory=True))
    c.wait_for_confirms(2)
    c.say(Message(1, "nowhere", mandatory=True))
    c.wait_for_confirms(3)


@conversation()
def test_C1_each_tag_is_answered_once(c: Speaker) -> None:
    c.open(1, confirms=True).open(2, confirms=True).queue("C1")
    for _ in range(20):
        c.say(*[Message(channel, "C1", b"x") for channel in (1, 2, 1)])
    c.wait_for_confirms(40, 1)
    c.wait_for_confirms(20, 2)
    c.ask(1, Queue.Delete(queue="C1"), Queue.DeleteOk)


@conversation()
def test_C1_publish_to_no_exchange(c: Speaker) -> None:
    c.open(confirms=True)
    c.say(Message(1, "key", b"x", exchange="nowhere"))
    c.wait(Channel.Close)
    c.tell(1, Channel.CloseOk())
    c.open(1, confirms=True)
    c.say(Message(1, "key", b"x"))
    c.wait_for_confirms(1)


@conversation()
def test_C1_publishes_behind_a_channel_error(c: Speaker) -> None:
    c.open(confirms=True).queue("C1b")
    c.say(Message(1, "C1b", b"good"))
    c.wait_for_confirms(1)
    c.say(Message(1, "key", b"bad", exchange="nowhere"), *[Message(1, "C1b", b"lost") for _ in range(5)])
    c.wait(Channel.Close)
    c.tell(1, Channel.CloseOk())
    c.open(2)
    c.ask(2, Queue.Delete(queue="C1b"), Queue.DeleteOk)


@conversation()
def test_C4_nacks_of_a_full_queue(c: Speaker) -> None:
    c.open(confirms=True)
    c.queue("C4", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    c.say(*[Message(1, "C4", b"x") for _ in range(10)])
    c.wait_for_confirms(10)
    c.ask(1, Queue.Delete(queue="C4"), Queue.DeleteOk)


@conversation()
def test_C8_same_number_starts_at_one_again(c: Speaker) -> None:
    c.open(confirms=True).queue("C8")
    c.say(*[Message(1, "C8", b"x") for _ in range(10)])
    c.wait_for_confirms(10)
    c.ask(1, Channel.Close(200, "bye", 0, 0), Channel.CloseOk)
    c.open(1, confirms=True)
    c.say(Message(1, "C8", b"x"))
    c.wait_for_confirms(1)
    c.ask(1, Queue.Delete(queue="C8"), Queue.DeleteOk)


@conversation()
def test_C6_no_wait_select(c: Speaker) -> None:
    c.open()
    c.tell(1, Confirm.Select(nowait=True))
    c.say(Message(1, "nowhere", b"x"))
    c.wait_for_confirms(1)
    c.ask(1, Confirm.Select(), Confirm.SelectOk)
    c.say(Message(1, "nowhere", b"x"))
    c.wait_for_confirms(2)


@conversation()
def test_C1_publishes_before_the_select_are_not_counted(c: Speaker) -> None:
    c.open()
    c.say(Message(1, "nowhere", b"x"), Message(1, "nowhere", b"x"))
    c.ask(1, Confirm.Select(), Confirm.SelectOk)
    c.say(Message(1, "nowhere", b"x"))
    c.wait_for_confirms(1)


@conversation()
def test_C1_internal_exchange(c: Speaker) -> None:
    c.open(confirms=True)
    declare = Exchange.Declare(exchange="C1i", exchange_type="fanout", internal=True)
    c.ask(1, declare, Exchange.DeclareOk)
    c.say(Message(1, "key", b"x", exchange="C1i"))
    c.wait(Channel.Close)
    c.tell(1, Channel.CloseOk())
    c.open(2)
    c.ask(2, Exchange.Delete(exchange="C1i"), Exchange.DeleteOk)
