"""Frames and content (protocol.md F, N3)."""

from __future__ import annotations

import struct

import pytest
from pamqp import commands

from support.conversation import Instead, Refused, conversation
from support.raw_client import BODY, HEADER, HEARTBEAT, METHOD, frame, method
from support.speaker import HEARTBEAT_FRAME, Message, Speaker
from support.wire_bytes import content_header, entry, long, short

pytestmark = pytest.mark.system

Basic, Channel, Connection, Exchange, Queue = (
    commands.Basic,
    commands.Channel,
    commands.Connection,
    commands.Exchange,
    commands.Queue,
)


def publish(channel: int = 1, key: str = "nowhere", **options: bool) -> bytes:
    return method(channel, Basic.Publish(routing_key=key, **options))


def header(size: int, channel: int = 1, flags: int = 0, class_id: int = 60, weight: int = 0) -> bytes:
    return frame(HEADER, channel, content_header(flags, b"", size, class_id, weight))


def body(octets: bytes, channel: int = 1) -> bytes:
    return frame(BODY, channel, octets)


def take(c: Speaker, queue: str, channel: int = 1) -> None:
    """What is first in the queue, and no more queue."""
    c.ask(channel, Basic.Get(queue=queue, no_ack=True), Basic.GetOk)
    c.wait_for_content(channel)
    c.ask(channel, Queue.Delete(queue=queue), Queue.DeleteOk)


def finish(c: Speaker) -> None:
    """The broker closes the connection."""
    c.wait(Connection.Close)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


@conversation()
def test_F1_publishes_in_one_segment(c: Speaker) -> None:
    c.open(confirms=True).queue("F1")
    c.say(*[Message(1, "F1", b"m%d" % number) for number in range(500)])
    c.wait_for_confirms(500)
    take(c, "F1")


@conversation()
def test_F1_publishes_octet_by_octet(c: Speaker) -> None:
    c.open(confirms=True).queue("F1o")
    c.dribble(c.octets(*[Message(1, "F1o", b"body", body_frame_bytes_max=1) for _ in range(20)]))
    c.wait_for_confirms(20)
    take(c, "F1o")


@conversation()
def test_F2_no_body(c: Speaker) -> None:
    c.open(confirms=True).queue("F2")
    c.say(Message(1, "F2"), Message(1, "F2", b"next"))
    c.wait_for_confirms(2)
    take(c, "F2")


@conversation(gates=Refused(505, "frame.order", "an empty message has no body frame"))
def test_F2_body_frame_after_no_body(c: Speaker) -> None:
    c.open()
    c.say(publish(), header(0), body(b""))
    finish(c)


@conversation()
def test_F2_empty_body_frames_between(c: Speaker) -> None:
    c.open(confirms=True).queue("F2e")
    method_frame, header_frame, body_frame = Message(1, "F2e", b"x").parts(c.way.seal)
    c.say(method_frame, header_frame, body(b""), body(b""), body_frame)
    c.wait_for_confirms(1)
    take(c, "F2e")


@conversation()
def test_F3_interleaved_channels(c: Speaker) -> None:
    c.open(1, confirms=True).open(2, confirms=True).queue("F3")
    parts = [
        Message(channel, "F3", b"abcdef", body_frame_bytes_max=2).parts(c.way.seal) for channel in (1, 2)
    ]
    for one, two in zip(*parts, strict=True):
        c.say(one, HEARTBEAT_FRAME, two)
    c.wait_for_confirms(1, 1)
    c.wait_for_confirms(1, 2)
    take(c, "F3")


# Frames that are wrong


@conversation(gates=Refused(501, "frame.end", "hostile.jsonl FR01"))
def test_F4_wrong_end_octet(c: Speaker) -> None:
    c.open()
    c.say(frame(METHOD, 1, b"\x00\x32\x00\x0a\x00\x00\x01q\x00\x00\x00\x00\x00", end=b"\xcf"))
    finish(c)


@conversation(gates=Refused(501, "frame.type", "hostile.jsonl FR02"))
def test_F4_unknown_frame_type(c: Speaker) -> None:
    c.open()
    c.say(frame(4, 1, b"what"))
    finish(c)


@conversation(gates=Refused(501, "frame.size", "a heartbeat has no payload"))
def test_F4_heartbeat_with_a_payload(c: Speaker) -> None:
    c.open()
    c.say(frame(HEARTBEAT, 0, b"what"))
    finish(c)


@conversation(gates=Refused(505, "frame.order", "a heartbeat belongs to channel 0"))
def test_F4_heartbeat_on_a_channel(c: Speaker) -> None:
    c.open()
    c.say(frame(HEARTBEAT, 1, b""))
    finish(c)


@conversation(gates=Refused(505, "frame.order", "content that nothing announced"))
def test_F4_header_without_a_method(c: Speaker) -> None:
    c.open()
    c.say(header(1))
    finish(c)


@conversation(gates=Refused(505, "frame.order", "content that nothing announced"))
def test_F4_body_without_a_header(c: Speaker) -> None:
    c.open()
    c.say(publish(), body(b"x"))
    finish(c)


@conversation(gates=Refused(505, "frame.order", "content has no place on channel 0"))
def test_F4_content_on_channel_0(c: Speaker) -> None:
    c.open()
    c.say(header(1, channel=0))
    finish(c)


@conversation(gates=Refused(504, "frame.channel", "channel 0 is for the connection"))
def test_F4_method_of_a_channel_on_channel_0(c: Speaker) -> None:
    c.open()
    c.tell(0, Queue.Declare(queue="F4"))
    finish(c)


@conversation()
def test_F4_method_on_a_channel_that_is_not_open(c: Speaker) -> None:
    c.open()
    c.tell(7, Queue.Declare(queue="F4"))
    finish(c)


@conversation(gates=Refused(504, "frame.channel", "hostile.jsonl FR15"))
def test_F4_publish_on_a_channel_that_is_not_open(c: Speaker) -> None:
    c.open()
    c.say(publish(7), header(1, 7), body(b"x", 7))
    finish(c)


@conversation()
def test_F4_close_ok_on_a_channel_that_is_not_open(c: Speaker) -> None:
    c.open()
    c.tell(7, Channel.CloseOk())
    finish(c)


@conversation()
def test_F4_close_of_a_channel_that_is_not_open(c: Speaker) -> None:
    c.open()
    c.tell(7, Channel.Close(200, "bye", 0, 0))
    finish(c)


@conversation()
def test_F4_channel_opened_twice(c: Speaker) -> None:
    c.open()
    c.tell(1, Channel.Open())
    finish(c)


@conversation(gates=Refused(501, "frame.truncated", "no method id to go by"))
def test_F4_method_frame_of_two_octets(c: Speaker) -> None:
    c.open()
    c.say(frame(METHOD, 1, b"\x00\x3c"))
    finish(c)


@conversation(gates=Refused(505, "frame.class", "weight must be 0"))
def test_F5_weight(c: Speaker) -> None:
    c.open()
    c.say(publish(), header(1, weight=1), body(b"x"))
    finish(c)


@conversation(gates=Refused(505, "frame.class", "hostile.jsonl FR04"))
def test_F5_class_of_the_header(c: Speaker) -> None:
    c.open()
    c.say(publish(), header(1, class_id=61), body(b"x"))
    finish(c)


@conversation(gates=Instead(("confirm nack 1",), "hostile.jsonl FR13: the message alone is refused"))
def test_F5_flags_that_do_not_decode(c: Speaker) -> None:
    c.open(confirms=True)
    c.say(publish(), header(1, flags=0x8000), body(b"x"))
    if isinstance(c.wait((Connection.Close, Basic.Nack)), Connection.Close):
        c.tell(0, Connection.CloseOk())
        c.wait_for_end()


@conversation(gates=Refused(505, "frame.body_overflow", "hostile.jsonl FR07: never passed on"))
def test_F6_more_body_than_declared(c: Speaker) -> None:
    c.open()
    c.say(publish(), header(3), body(b"12345"))
    c.tell(1, Queue.Declare(queue="F6"))
    finish(c)


@conversation()
def test_F7_body_size_of_2_to_the_63(c: Speaker) -> None:
    c.open()
    c.say(publish(), header(2**63))
    c.open(2)


@conversation()
def test_F7_a_megabyte(c: Speaker) -> None:
    c.open(confirms=True).queue("F7")
    c.say(Message(1, "F7", bytes(range(256)) * 4096))
    c.wait_for_confirms(1)
    take(c, "F7")


@conversation(gates=Refused(505, "frame.order", "hostile.jsonl FR06"))
def test_F8_channel_close_in_the_middle_of_content(c: Speaker) -> None:
    c.open()
    c.say(publish(), header(10), body(b"12345"))
    c.tell(1, Channel.Close(200, "bye", 0, 0))
    finish(c)


@conversation(gates=Refused(505, "frame.order", "hostile.jsonl FR06"))
def test_F8_close_ok_in_the_middle_of_content(c: Speaker) -> None:
    c.open()
    c.say(publish(), header(10), body(b"12345"))
    c.tell(1, Channel.CloseOk())
    finish(c)


@conversation(gates=Refused(505, "frame.order", "hostile.jsonl FR06"))
def test_F8_method_in_the_middle_of_content(c: Speaker) -> None:
    c.open()
    c.say(publish(), header(10))
    c.tell(1, Queue.Declare(queue="F8"))
    finish(c)


@conversation()
def test_F8_connection_close_in_the_middle_of_content(c: Speaker) -> None:
    c.open().queue("F8c")
    c.say(publish(key="F8c"), header(10), body(b"12345"))
    c.tell(0, Connection.Close(200, "bye", 0, 0))
    c.wait(Connection.CloseOk)
    other = c.another("other").open()
    other.ask(1, Basic.Get(queue="F8c", no_ack=True), Basic.GetEmpty)
    other.ask(1, Queue.Delete(queue="F8c"), Queue.DeleteOk)


@conversation()
def test_F8_client_vanishes_in_the_middle_of_content(c: Speaker) -> None:
    c.open().queue("F8v")
    doomed = c.another("doomed").open()
    doomed.say(publish(key="F8v"), header(10), body(b"12345"))
    doomed.vanish()
    c.sync()
    c.ask(1, Basic.Get(queue="F8v", no_ack=True), Basic.GetEmpty)
    c.ask(1, Queue.Delete(queue="F8v"), Queue.DeleteOk)


#: Every type of a field that RabbitMQ takes, and text that is no UTF-8 (F9).
TYPES = b"".join(
    [
        entry("t", "t", b"\x01"),
        entry("b", "b", b"\xff"),
        entry("B", "B", b"\xff"),
        entry("s", "s", struct.pack(">h", -2)),
        entry("u", "u", struct.pack(">H", 65_535)),
        entry("I", "I", struct.pack(">i", -3)),
        entry("i", "i", struct.pack(">I", 3)),
        entry("l", "l", struct.pack(">q", -4)),
        entry("L", "L", struct.pack(">q", 2**40)),
        entry("f", "f", struct.pack(">f", 1.5)),
        entry("d", "d", struct.pack(">d", 0.1)),
        entry("D", "D", b"\x02" + struct.pack(">i", 314)),
        entry("S", "S", long(b"text")),
        entry("S8", "S", long(b"\xff\xfe")),
        entry("x", "x", long(b"\x00\x01")),
        entry("T", "T", struct.pack(">Q", 1_800_000_000)),
        entry("V", "V"),
        entry("F", "F", long(entry("in", "I", struct.pack(">i", 1)))),
        entry("A", "A", long(b"I" + struct.pack(">i", 1) + b"S" + long(b"a"))),
    ]
)


@conversation()
def test_F9_octets_of_the_properties(c: Speaker) -> None:
    c.open(confirms=True).queue("F9")
    flags = struct.pack(">H", 0x8000 | 0x4000 | 0x2000 | 0x1000 | 0x0040)
    properties = short(b"text/plain") + short(b"") + long(TYPES) + b"\x02" + struct.pack(">Q", 2**62)
    c.say(Message(1, "F9", b"body", properties=flags + properties))
    c.wait_for_confirms(1)
    take(c, "F9")


@conversation()
def test_F9_names_as_long_as_they_may_be(c: Speaker) -> None:
    exchange, key = "e" * 127, "k" * 255
    c.open(confirms=True).queue("F9n")
    c.ask(1, Exchange.Declare(exchange=exchange), Exchange.DeclareOk)
    c.ask(1, Queue.Bind(queue="F9n", exchange=exchange, routing_key=key), Queue.BindOk)
    c.say(Message(1, key, b"body", exchange=exchange))
    c.wait_for_confirms(1)
    take(c, "F9n")
    c.ask(1, Exchange.Delete(exchange=exchange), Exchange.DeleteOk)


@conversation()
def test_F10_exchange_bindings(c: Speaker) -> None:
    c.open(confirms=True).queue("F10")
    for name in ("F10a", "F10b"):
        c.ask(1, Exchange.Declare(exchange=name, exchange_type="fanout"), Exchange.DeclareOk)
    c.ask(1, Exchange.Bind(destination="F10b", source="F10a"), Exchange.BindOk)
    c.ask(1, Queue.Bind(queue="F10", exchange="F10b", routing_key=""), Queue.BindOk)
    c.say(Message(1, "any", b"through both", exchange="F10a"))
    c.wait_for_confirms(1)
    c.ask(1, Exchange.Unbind(destination="F10b", source="F10a"), Exchange.UnbindOk)
    take(c, "F10")
    for name in ("F10a", "F10b"):
        c.ask(1, Exchange.Delete(exchange=name), Exchange.DeleteOk)


@conversation()
def test_F10_basic_credit(c: Speaker) -> None:
    c.open()
    # basic.credit (60, 200) of older RabbitMQs: 3.10 knows it, and may not like it.
    c.say(frame(METHOD, 1, struct.pack(">HH", 60, 200) + short(b"tag") + struct.pack(">IB", 10, 0)))
    c.wait(Channel.Close)
    c.tell(1, Channel.CloseOk())
    c.open(2)


#: RabbitMQ hangs up without a word. What a lost broker looks like is told as that.
HUNG_UP = Refused(320, "conn.upstream", "protocol.md X2")


@conversation(HUNG_UP, **{"pass": HUNG_UP})
def test_F10_unknown_method(c: Speaker) -> None:
    c.open()
    c.say(frame(METHOD, 1, struct.pack(">HH", 99, 99)))
    c.wait_for_end()


@conversation(HUNG_UP, **{"pass": HUNG_UP})
def test_F10_unknown_method_of_the_connection(c: Speaker) -> None:
    c.open()
    c.say(frame(METHOD, 0, struct.pack(">HH", 10, 99)))
    c.wait_for_end()


@conversation()
def test_F10_method_that_only_brokers_say(c: Speaker) -> None:
    c.open()
    c.tell(1, Basic.GetEmpty())
    finish(c)


@conversation(gates=Refused(540, "method.immediate", "hostile.jsonl FR20"))
def test_F11_immediate(c: Speaker) -> None:
    c.open()
    c.say(publish(immediate=True), header(1), body(b"x"))
    finish(c)


@conversation()
def test_F11_access_ticket(c: Speaker) -> None:
    c.open(confirms=True).queue("F11")
    ticketed = bytearray(Message(1, "F11", b"x").parts(None)[0])
    ticketed[11:13] = b"\xff\xff"
    _, *content = Message(1, "F11", b"x").parts(c.way.seal)
    c.say(bytes(ticketed), *content)
    c.wait_for_confirms(1)
    take(c, "F11")


@conversation(gates=Refused(501, "frame.trailing", "hostile.jsonl FR12"))
def test_F11_trailing_octets(c: Speaker) -> None:
    c.open()
    c.say(publish()[:3], struct.pack(">I", len(publish()) - 8 + 1), publish()[7:-1], b"\x00\xce")
    c.say(header(1), body(b"x"))
    finish(c)


@conversation()
def test_N3_body_frame_of_frame_max(c: Speaker) -> None:
    c.shake_hands(frame_max=8192).open(confirms=True).queue("N3")
    c.say(Message(1, "N3", bytes(16_384), body_frame_bytes_max=8184))
    c.wait_for_confirms(1)
    take(c, "N3")


@conversation()
def test_N3_eight_octets_more_are_forgiven(c: Speaker) -> None:
    c.shake_hands(frame_max=8192).open(confirms=True).queue("N3f")
    c.say(Message(1, "N3f", bytes(16_384), body_frame_bytes_max=8192))
    c.wait_for_confirms(1)
    take(c, "N3f")


@conversation(gates=Refused(501, "frame.size", "hostile.jsonl FR03"))
def test_N3_one_octet_more_is_not(c: Speaker) -> None:
    c.shake_hands(frame_max=8192).open(confirms=True).queue("N3m")
    c.say(publish(key="N3m"), header(16_386), body(bytes(8193)), body(bytes(8193)))
    finish(c)
