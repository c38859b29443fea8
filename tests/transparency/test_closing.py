"""Closes, their races, and broken sockets (protocol.md X)."""

from __future__ import annotations

import struct

import pytest
from pamqp import commands

from support.conversation import Instead, Refused, conversation
from support.raw_client import METHOD, frame, method
from support.speaker import Message, Speaker
from support.wire_bytes import long, short

pytestmark = pytest.mark.system

Basic, Channel, Connection, Exchange, Queue = (
    commands.Basic,
    commands.Channel,
    commands.Connection,
    commands.Exchange,
    commands.Queue,
)
BYE = (200, "bye", 0, 0)
#: A method that makes RabbitMQ close the channel.
MISTAKE = Queue.Declare(queue="nowhere", passive=True)


@conversation()
def test_X1_channel_errors(c: Speaker) -> None:
    c.open(1)
    c.queue("X1", auto_delete=True)
    for number, mistake in enumerate(
        [
            MISTAKE,
            Queue.Declare(queue="X1", durable=True),
            Queue.Declare(queue="amq.reserved"),
            Exchange.Declare(exchange="amq.direct", exchange_type="fanout"),
            Exchange.Declare(exchange="", exchange_type="fanout"),
            Queue.Bind(queue="X1", exchange="nowhere", routing_key=""),
            Basic.Get(queue="nowhere"),
            Basic.Consume(queue="nowhere"),
            Basic.Ack(99),
            Exchange.Delete(exchange="amq.direct"),
        ],
        start=2,
    ):
        c.open(number)
        c.tell(number, mistake)
        c.wait(Channel.Close, number)
        c.tell(number, Channel.CloseOk())
    c.ask(1, Queue.Delete(queue="X1"), Queue.DeleteOk)


@conversation()
def test_X1_reply_text_that_is_cut(c: Speaker) -> None:
    c.open()
    name = "é" * 127
    declare = struct.pack(">HHH", 50, 10, 0) + short(name.encode()) + b"\x01" + long(b"")
    c.say(frame(METHOD, 1, declare))
    c.wait(Channel.Close)
    c.tell(1, Channel.CloseOk())
    c.open(2)


@conversation()
def test_X1_queue_of_somebody_else(c: Speaker) -> None:
    c.open().queue("X1e", exclusive=True)
    other = c.another("other").open()
    other.tell(1, Queue.Declare(queue="X1e", passive=True))
    other.wait(Channel.Close)
    other.tell(1, Channel.CloseOk())
    other.open(2)


@conversation()
def test_X1_exchange_of_no_known_kind(c: Speaker) -> None:
    c.open()
    c.tell(1, Exchange.Declare(exchange="X1k", exchange_type="nonsense"))
    c.wait(Connection.Close)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


@conversation()
def test_X1_second_consumer_of_one_name(c: Speaker) -> None:
    c.open().queue("X1s")
    c.ask(1, Basic.Consume(queue="X1s", consumer_tag="tag"), Basic.ConsumeOk)
    c.tell(1, Basic.Consume(queue="X1s", consumer_tag="tag"))
    c.wait(Connection.Close)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()
    other = c.another("other").open()
    other.ask(1, Queue.Delete(queue="X1s"), Queue.DeleteOk)


@conversation()
def test_X3_close(c: Speaker) -> None:
    c.open()
    c.ask(0, Connection.Close(*BYE), Connection.CloseOk)


@conversation()
def test_X3_close_before_any_channel(c: Speaker) -> None:
    c.shake_hands()
    c.ask(0, Connection.Close(*BYE), Connection.CloseOk)


@conversation()
def test_X4_frames_after_connection_close(c: Speaker) -> None:
    c.open().queue("X4")
    c.say(
        method(0, Connection.Close(*BYE)),
        Message(1, "X4", b"too late"),
        method(1, Queue.Declare(queue="X4n")),
    )
    c.wait(Connection.CloseOk)
    other = c.another("other").open()
    other.ask(1, Queue.Delete(queue="X4"), Queue.DeleteOk)


@conversation()
def test_X4_frames_after_the_broker_closed_the_connection(c: Speaker) -> None:
    c.open().queue("X4b")
    c.ask(1, Basic.Consume(queue="X4b", consumer_tag="tag"), Basic.ConsumeOk)
    c.tell(1, Basic.Consume(queue="X4b", consumer_tag="tag"))
    c.wait(Connection.Close)
    c.say(Message(1, "X4b", b"too late"), method(1, Queue.Declare(queue="X4c")))
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()
    other = c.another("other").open()
    other.ask(1, Queue.Delete(queue="X4b"), Queue.DeleteOk)


@conversation()
def test_X5_close_where_close_ok_was_due(c: Speaker) -> None:
    c.open().queue("X5b")
    c.ask(1, Basic.Consume(queue="X5b", consumer_tag="tag"), Basic.ConsumeOk)
    c.tell(1, Basic.Consume(queue="X5b", consumer_tag="tag"))
    c.wait(Connection.Close)
    c.ask(0, Connection.Close(*BYE), Connection.CloseOk)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


@conversation()
def test_X5_close_ok_that_nobody_asked_for(c: Speaker) -> None:
    c.open()
    c.tell(0, Connection.CloseOk())
    c.wait(Connection.Close)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


# Channels


@conversation()
def test_X4_frames_after_the_broker_closed_the_channel(c: Speaker) -> None:
    c.open(1).open(2)
    c.tell(1, MISTAKE)
    c.wait(Channel.Close, 1)
    c.say(Message(1, "nowhere", b"too late", mandatory=True), method(1, Queue.Declare(queue="X4d")))
    c.sync(2)
    c.tell(1, Channel.CloseOk())
    c.open(1)
    c.sync(1)


#: Nothing of a channel that is closed is looked at any more.
DROPPED = Instead(
    ("frame 1 b'\\x00\\x14\\x00\\x0b",), "content cut short harms nobody where none of it is kept"
)


@conversation(gates=DROPPED)
def test_X4_half_a_message_when_the_broker_closed_the_channel(c: Speaker) -> None:
    c.open(1).open(2)
    c.tell(1, MISTAKE)
    c.wait(Channel.Close, 1)
    method_frame, header_frame, *_ = Message(1, "nowhere", b"too late").parts(c.way.seal)
    c.say(method_frame, header_frame, method(1, Channel.CloseOk()), method(1, Channel.Open()))
    if isinstance(c.wait((Connection.Close, Channel.OpenOk)), Connection.Close):
        c.tell(0, Connection.CloseOk())
        c.wait_for_end()


@conversation()
def test_X5_closes_of_a_channel_cross(c: Speaker) -> None:
    c.open(1).open(2)
    c.tell(1, MISTAKE, Channel.Close(*BYE))
    c.wait(Channel.Close, 1)
    c.wait(Channel.CloseOk, 1)
    c.tell(1, Channel.CloseOk())
    c.open(1)
    c.sync(1)
    c.sync(2)


@conversation()
def test_X5_closes_of_a_channel_cross_and_close_ok_first(c: Speaker) -> None:
    c.open(1).open(2)
    c.tell(1, MISTAKE)
    c.wait(Channel.Close, 1)
    c.ask(1, Channel.Close(*BYE), Channel.CloseOk)
    c.sync(2)
    c.tell(1, Channel.CloseOk())
    c.open(1)
    c.sync(1)


@conversation()
def test_X5_number_used_again_at_once(c: Speaker) -> None:
    c.open(1)
    for _ in range(5):
        c.ask(1, Channel.Close(*BYE), Channel.CloseOk)
        c.open(1)
    c.tell(1, MISTAKE)
    c.wait(Channel.Close)
    c.tell(1, Channel.CloseOk(), Channel.Open())
    c.wait(Channel.OpenOk)
    c.sync()


@conversation(gates=Refused(504, "frame.channel", "DESIGN.md, how a refusal is told: wrong state"))
def test_X5_number_used_again_before_close_ok(c: Speaker) -> None:
    c.open(1)
    c.tell(1, Channel.Close(*BYE), Channel.Open())
    c.wait(Connection.Close)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


@conversation()
def test_X5_two_channel_closes(c: Speaker) -> None:
    c.open(1).open(2)
    c.tell(1, Channel.Close(*BYE), Channel.Close(*BYE))
    c.wait(Channel.CloseOk, 1)
    c.sync(2)


@conversation()
def test_X4_method_after_channel_close(c: Speaker) -> None:
    c.open(1).open(2)
    c.tell(1, Channel.Close(*BYE), Queue.Declare(queue="X4m"))
    c.wait(Channel.CloseOk, 1)
    c.sync(2)


@conversation()
def test_X5_channel_close_with_confirms_outstanding(c: Speaker) -> None:
    c.counts_confirms = False  # How many come before close-ok is up to the broker's disk.
    c.open(1, confirms=True).queue("X5o", durable=True)
    persistent = Basic.Properties(delivery_mode=2)
    for _ in range(3):
        c.say(*[Message(1, "X5o", b"x", properties=persistent) for _ in range(20)])
        c.ask(1, Channel.Close(*BYE), Channel.CloseOk)
        c.open(1, confirms=True)
    c.ask(1, Queue.Delete(queue="X5o"), Queue.DeleteOk)


@conversation()
def test_X5_connection_close_with_confirms_outstanding(c: Speaker) -> None:
    c.counts_confirms = False
    c.open(1, confirms=True).queue("X5p", durable=True)
    persistent = Basic.Properties(delivery_mode=2)
    c.say(*[Message(1, "X5p", b"x", properties=persistent) for _ in range(20)])
    c.ask(0, Connection.Close(*BYE), Connection.CloseOk)
    other = c.another("other").open()
    other.ask(1, Queue.Delete(queue="X5p"), Queue.DeleteOk)


@conversation()
def test_X5_channel_close_with_deliveries_unacknowledged(c: Speaker) -> None:
    c.open(1).open(2).queue("X5u")
    c.say(*[Message(1, "X5u", b"x") for _ in range(3)])
    c.ask(1, Basic.Consume(queue="X5u", consumer_tag="tag"), Basic.ConsumeOk)
    for _ in range(3):
        c.wait(Basic.Deliver)
        c.wait_for_content()
    c.ask(1, Channel.Close(*BYE), Channel.CloseOk)
    c.ask(2, Basic.Get(queue="X5u", no_ack=True), Basic.GetOk)
    c.wait_for_content(2)
    c.ask(2, Queue.Delete(queue="X5u"), Queue.DeleteOk)


# Sockets


@conversation()
def test_X6_half_closed(c: Speaker) -> None:
    c.open()
    c.hang_up_half()
    c.wait_for_end()


@conversation()
def test_X6_half_closed_after_connection_close(c: Speaker) -> None:
    c.open()
    c.tell(0, Connection.Close(*BYE))
    c.wait(Connection.CloseOk)
    c.hang_up_half()
    c.wait_for_end()


@conversation()
def test_X7_what_a_vanished_client_held_comes_back(c: Speaker) -> None:
    c.open(confirms=True).queue("X7")
    c.say(*[Message(1, "X7", b"m%d" % number) for number in range(10)])
    c.wait_for_confirms(10)
    doomed = c.another("doomed").open()
    doomed.ask(1, Basic.Consume(queue="X7"), Basic.ConsumeOk)
    for _ in range(10):
        doomed.wait(Basic.Deliver)
        doomed.wait_for_content()
    doomed.queue("X7x", exclusive=True)
    # They come back as soon as the broker knows that the client is gone.
    c.ask(1, Basic.Consume(queue="X7", no_ack=True, consumer_tag="tag"), Basic.ConsumeOk)
    doomed.vanish()
    for _ in range(10):
        c.wait(Basic.Deliver)
        c.wait_for_content()
    c.ask(1, Queue.Delete(queue="X7"), Queue.DeleteOk)
