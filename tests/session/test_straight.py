"""What comes whole is taken in one step: that must show in nothing, whichever chunks it comes in."""

from __future__ import annotations

import sys

import pytest
from pamqp import body, commands, header

from sealgate.session.conversation import Confirmed, Role
from sealgate.session.events import Ticked
from sealgate.session.incoming import AWAITED_BYTES_MAX
from sealgate.session.limits import Limits
from sealgate.wire.constants import FRAME_HEADER
from sealgate.wire.frames import encode_frame
from support.talk import Talk, methods_of, on, sealed, unsealed
from support.wire_bytes import content_header, entry, long

DELIVER = commands.Basic.Deliver("tag", 1, False, "", "q")


def in_octets(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("wrong", [{"class_id": 61}, {"class_id": 0}, {"weight": 1}, {"weight": 256}])
def test_delivery_whose_header_is_none_ends_the_connection_in_any_chunks(wrong: dict[str, int]) -> None:
    """Whole it was passed on; octet by octet the broker is told to speak no AMQP 0-9-1."""
    frame = encode_frame(FRAME_HEADER, 1, content_header(body_size=1, **wrong))
    data = on(1, DELIVER) + frame + on(1, body.ContentBody(b"x"))
    talks = []
    for pieces in ([data], in_octets(data)):
        talk = Talk().shake_hands().open_channel(1)
        for piece in pieces:
            talk.broker_bytes(piece)
        talks.append(talk)
    assert frame not in talks[0].to_client
    assert talks[0].closed == talks[1].closed
    assert talks[0].to_broker == talks[1].to_broker


@pytest.mark.parametrize("payload", [b"", b"x", b"x" * 1000])
def test_what_waits_counts_for_the_same_memory_in_any_chunks(payload: bytes) -> None:
    data = on(1, *sealed(payload))
    held = []
    for pieces in ([data], in_octets(data)):
        talk = Talk(answer_claims=False).shake_hands().open_channel(1)
        for piece in pieces:
            talk.client_bytes(piece)
        held.append((talk.session.conversation.held_bytes, talk.tally.buffered_bytes))
    assert held[0] == held[1]


@pytest.mark.parametrize("payload", [b"", b"x"])
def test_memory_limit_is_the_same_in_any_chunks(payload: bytes) -> None:
    """At the limit a publish is let in, an octet over it the connection ends."""
    data = on(1, *sealed(payload))
    probe = Talk(answer_claims=False).shake_hands().open_channel(1)
    probe.client_bytes(data)
    size = probe.session.conversation.held_bytes
    for room in (0, -1):
        told = []
        for pieces in ([data], in_octets(data)):
            limits = Limits(connection_bytes_max=size + room)
            talk = Talk(limits=limits, answer_claims=False).shake_hands().open_channel(1)
            for piece in pieces:
                talk.client_bytes(piece)
            told.append((len(talk.asked), talk.to_client, dict(talk.tally.limits_hit)))
        assert told[0] == told[1]
        assert told[0][0] == 1 + room


def test_header_that_has_no_room_for_its_seal_takes_one_nonce_in_any_chunks() -> None:
    """It is refused, and the next message has the next nonce."""
    huge = long(entry("huge", "S", long(b"h" * 3990)))
    publish = commands.Basic.Publish(routing_key="q")
    frame = encode_frame(FRAME_HEADER, 1, content_header(0x2000, huge, 1))
    data = on(1, publish) + frame + on(1, body.ContentBody(b"x"), *unsealed())
    sent = []
    for pieces in ([data], in_octets(data)):
        talk = Talk(role=Role.SIGN).shake_hands(tune=(2047, 4096, 0)).open_channel(1)
        for piece in pieces:
            talk.client_bytes(piece)
        assert talk.tally.messages["publish", "refused", "header.size"] == 1
        sent.append(talk.to_broker)
    assert sent[0] == sent[1] != b""


def test_whole_messages_that_were_given_out_are_let_go() -> None:
    """A client that falls silent would else keep its last quarter of a megabyte, which nobody counts."""
    data = on(1, *sealed(b"x" * 100)) * 2
    others = sys.getrefcount(data)
    for role in (Role.VERIFY, Role.SIGN, Role.PASS):
        talk = Talk(role=role).shake_hands().open_channel(1)
        talk.client_bytes(data)
        talk.heard_by_broker()
        assert sys.getrefcount(data) == others


def test_deliveries_that_were_given_out_are_let_go() -> None:
    data = on(1, DELIVER, header.ContentHeader(body_size=1), body.ContentBody(b"x")) * 2
    others = sys.getrefcount(data)
    for role in (Role.VERIFY, Role.PASS):
        talk = Talk(role=role).shake_hands().open_channel(1)
        talk.broker_bytes(data)
        talk.heard_by_client()
        assert sys.getrefcount(data) == others


@pytest.mark.parametrize("kept", [1, 2])
def test_whole_publish_in_the_middle_of_another_ends_the_connection(kept: int) -> None:
    """Of the one before the body, or header and body, never come."""
    begun = on(1, *sealed()[:kept])
    data = begun + on(1, *sealed())
    for pieces in ([data], [begun, data[len(begun) :]], in_octets(data)):
        talk = Talk().shake_hands().open_channel(1)
        for piece in pieces:
            talk.client_bytes(piece)
        assert talk.tally.messages["publish", "refused", "frame.order"] == 1
        assert commands.Basic.Publish.name not in methods_of(talk.heard_by_broker())


def answers(channel: int, tags: range) -> bytes:
    kinds = (commands.Basic.Ack, commands.Basic.Ack, commands.Basic.Reject, commands.Basic.Nack)
    return on(channel, *[kinds[tag % 4](tag) for tag in tags])


def test_answers_wait_for_the_publish_that_is_held_on_their_channel_in_any_chunks() -> None:
    """On the other channels they leave at once, whichever stretch of frames they came in."""
    held = on(1, *sealed())
    before, after = answers(1, range(4)), answers(1, range(4, 40))
    others, cut = answers(2, range(40)), len(answers(1, range(9)))
    data = before + answers(2, range(8)) + held + after[:cut] + others + after[cut:]
    for pieces in ([data], in_octets(data), [data[:777], data[777:]]):
        talk = Talk(answer_claims=False).shake_hands().open_channel(1).open_channel(2)
        for piece in pieces:
            talk.client_bytes(piece)
        assert talk.to_broker == before + answers(2, range(8)) + others
        talk.answer_claims()
        assert talk.to_broker == before + answers(2, range(8)) + others + held + after


def test_answers_are_not_passed_on_where_the_channel_is_about_to_be_closed() -> None:
    """What comes behind a refusal that waits to be told is dropped, as a broker drops it."""
    data = on(1, *unsealed()) + answers(1, range(9)) + answers(2, range(9))
    for pieces in ([data], in_octets(data)):
        talk = Talk(confirmed=Confirmed.CLOSE, answer_claims=False).shake_hands()
        talk.open_channel(1, confirms=True).open_channel(2)
        talk.client(1, *sealed())
        talk.answer_claims()
        talk.heard_by_broker()
        for piece in pieces:
            talk.client_bytes(piece)
        assert talk.to_broker == answers(2, range(9))


def partial(talk: Talk) -> int:
    """Memory of a publish whose frames were taken one by one so far."""
    return talk.session.conversation.partial_bytes


def test_publish_that_ends_in_the_next_read_is_taken_whole() -> None:
    talk = Talk().shake_hands().open_channel(1)
    first, second = (on(1, *talk.sealed(payload)) for payload in (b"one", b"two"))
    cut = len(second) - 5
    talk.client_bytes(first + second[:cut], more=True)
    assert talk.to_broker == first
    assert partial(talk) == 0
    talk.client_bytes(second[cut:])
    assert talk.to_broker == first + second
    talk.client_bytes(second[:cut])
    assert partial(talk) > 0, "nothing more was there to be read"


def test_publish_whose_end_does_not_come_is_one_under_way_at_the_next_tick() -> None:
    talk = Talk().shake_hands().open_channel(1)
    publish = on(1, *talk.sealed())
    talk.client_bytes(publish[:-5], more=True)
    assert partial(talk) == 0
    talk.give(Ticked())
    assert partial(talk) > 0
    talk.client_bytes(publish[-5:])
    assert partial(talk) == 0
    assert talk.to_broker == publish


def test_large_publish_is_not_waited_for() -> None:
    talk = Talk().shake_hands().open_channel(1)
    publish = on(1, *talk.sealed(bytes(AWAITED_BYTES_MAX)))
    talk.client_bytes(publish[:-5], more=True)
    assert partial(talk) > 0
    talk.client_bytes(publish[-5:])
    assert talk.to_broker == publish


def test_frame_that_must_be_refused_is_refused_at_once_whatever_comes_behind_it() -> None:
    talk = Talk().shake_hands().open_channel(1)
    talk.client_bytes(on(1, *talk.sealed()) + encode_frame(4, 1, b""), more=True)
    assert methods_of(talk.heard_by_client()) == ["Connection.Close"]


def test_publish_that_is_all_here_waits_for_nothing_whatever_frames_it_came_in() -> None:
    talk = Talk().shake_hands().open_channel(1)
    method, header, _ = talk.sealed(b"hello")
    publish = on(1, method, header, body.ContentBody(b"he"), body.ContentBody(b"llo"))
    talk.client_bytes(publish, more=True)
    assert talk.to_broker == publish
