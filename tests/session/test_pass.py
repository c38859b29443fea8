"""`publish.action = "pass"`: the broker judges, frame by frame and beyond frames."""

from __future__ import annotations

import pytest
from pamqp import body, commands, header, heartbeat

from sealgate.session.conversation import Role
from sealgate.session.events import Disconnected, DrainAsked, Ticked
from sealgate.session.states import Side, State
from support.talk import Talk, methods_of, on, unsealed

NO_FRAME = b"\x01\x00\x01\x00\x00\x00\x02ab\xcf"
TOO_LARGE = b"\x03\x00\x01" + (131_073).to_bytes(4, "big")
CLOSE = commands.Connection.Close(501, "FRAME_ERROR", 0, 0)


def passing() -> Talk:
    return Talk(role=Role.PASS).shake_hands()


@pytest.mark.parametrize(
    "frames",
    [
        on(7, commands.Queue.Declare(queue="q")),
        on(7, *unsealed()),
        on(4000, commands.Channel.Open()),
        on(1, header.ContentHeader(body_size=1)),
        on(1, body.ContentBody(b"x")),
        b"\x08\x00\x01\x00\x00\x00\x00\xce",
        on(0, commands.Queue.Declare(queue="q")),
        on(0, body.ContentBody(b"x")),
        on(0, commands.Connection.CloseOk()),
        b"\x01\x00\x01\x00\x00\x00\x02\x00\x3c\xce",
        b"\x01\x00\x00\x00\x00\x00\x02\x00\x0a\xce",
    ],
)
def test_frames_out_of_place_are_for_the_broker_to_judge(frames: bytes) -> None:
    talk = passing()
    talk.client_bytes(frames)
    assert talk.to_broker == frames
    assert talk.to_client == b""
    assert not talk.tally.messages


@pytest.mark.parametrize("wrong", [NO_FRAME, TOO_LARGE, b"GET / HTTP/1.1\r\n"])
def test_bytes_that_are_no_frames_are_for_the_broker_to_judge(wrong: bytes) -> None:
    talk = passing()
    before = on(1, commands.Channel.Open())
    talk.client_bytes(before + wrong)
    talk.client_bytes(b"and so on")
    assert talk.to_broker == before + wrong + b"and so on"
    talk.broker(0, CLOSE)
    assert methods_of(talk.heard_by_client()) == ["Connection.Close"]
    assert talk.closed == [Side.UPSTREAM]


def test_client_that_sent_no_frames_ends_it_by_its_close_ok() -> None:
    talk = passing()
    talk.client_bytes(NO_FRAME)
    talk.broker(0, CLOSE)
    talk.to_broker = b""
    talk.client_bytes(b"more of the same" + on(0, commands.Connection.CloseOk()))
    assert talk.closed == [Side.UPSTREAM, Side.CLIENT]
    assert talk.to_broker == b""
    assert talk.session.conversation.state is State.CLOSED


def test_no_heartbeat_goes_into_the_middle_of_what_is_no_frame() -> None:
    talk = Talk(role=Role.PASS).shake_hands(tune=(2047, 131_072, 2))
    talk.client_bytes(TOO_LARGE)
    talk.heard_by_client()
    for _ in range(3):
        talk.wait(1)
        talk.broker(0, heartbeat.Heartbeat())
        talk.client_bytes(b"dribble")
        talk.give(Ticked(False, False))
    assert methods_of(talk.heard_by_client())[0] == "Heartbeat"
    assert talk.to_broker == TOO_LARGE + b"dribble" * 3


def test_client_that_sent_no_frames_and_vanishes_is_forgotten() -> None:
    talk = passing()
    talk.client_bytes(NO_FRAME)
    talk.give(Disconnected(Side.CLIENT))
    talk.broker(0, commands.Connection.CloseOk())
    assert talk.session.conversation.state is State.CLOSED
    assert talk.tally.buffered_bytes == 0


def test_whoever_breaks_the_handshake_is_hung_up_on() -> None:
    talk = Talk(role=Role.PASS)
    talk.client_bytes(b"AMQP\x00\x00\x09\x01" + on(1, commands.Channel.Open()))
    talk.start()
    assert methods_of(talk.heard_by_client()) == ["Connection.Start"]
    assert sorted(side.value for side in talk.closed) == ["client", "upstream"]


@pytest.mark.parametrize("role", [Role.PASS, Role.SIGN, Role.VERIFY])
def test_client_that_gives_up_in_the_handshake_tells_the_broker(role: Role) -> None:
    talk = Talk(role=role)
    close = on(0, commands.Connection.Close(200, "never mind", 0, 0))
    talk.client_bytes(b"AMQP\x00\x00\x09\x01" + close)
    talk.start()
    assert talk.to_broker.endswith(close)
    talk.heard_by_client()
    talk.broker(0, commands.Connection.CloseOk())
    assert methods_of(talk.heard_by_client()) == ["Connection.CloseOk"]
    talk.give(Disconnected(Side.UPSTREAM))
    assert Side.CLIENT in talk.closed


def test_drain_passes_on_only_what_nobody_expects_a_confirm_of() -> None:
    talk = passing()
    for channel in (1, 2, 3):
        talk.client(channel, commands.Channel.Open())
    talk.client(1, commands.Confirm.Select())
    talk.client(3, commands.Confirm.Select())
    talk.client(3, commands.Channel.Close(200, "bye", 0, 0), commands.Channel.Open())
    talk.heard_by_broker()
    talk.give(DrainAsked())
    assert methods_of(talk.heard_by_client()) == ["Connection.Close"]
    for channel in (1, 2, 3):
        talk.client(channel, *unsealed(f"on {channel}".encode()))
    bodies = [part.value for part in talk.heard_by_broker() if part.name == "ContentBody"]
    assert bodies == [b"on 2", b"on 3"]


def test_broker_that_blocks_does_not_judge_a_silent_client() -> None:
    """protocol.md B4: it does not read, so it can not hear heartbeats either."""
    talk = Talk().shake_hands(tune=(2047, 131_072, 2))
    talk.broker(0, commands.Connection.Blocked("low on memory"))
    for _ in range(20):
        talk.wait(1)
        talk.broker(0, heartbeat.Heartbeat())
        talk.give(Ticked(False, False))
    assert Side.CLIENT not in talk.closed
    talk.broker(0, commands.Connection.Unblocked())
    for _ in range(6):
        talk.wait(1)
        talk.broker(0, heartbeat.Heartbeat())
        talk.give(Ticked(False, False))
    assert Side.CLIENT in talk.closed


@pytest.mark.parametrize("role", [Role.PASS, Role.SIGN, Role.VERIFY])
def test_close_of_the_broker_that_crosses_the_clients_is_heard(role: Role) -> None:
    talk = Talk(role=role).shake_hands()
    talk.client(0, commands.Connection.Close(200, "bye", 0, 0))
    talk.broker(0, commands.Connection.Close(320, "CONNECTION_FORCED - maintenance", 0, 0))
    closed, answered = talk.heard_by_client()
    assert (closed.name, closed.reply_code, answered.name) == (
        "Connection.Close",
        320,
        "Connection.CloseOk",
    )


@pytest.mark.parametrize("role", [Role.SIGN, Role.VERIFY])
def test_methods_on_a_channel_that_is_not_open_are_for_the_broker_to_judge(role: Role) -> None:
    talk = Talk(role=role).shake_hands()
    frames = on(7, commands.Queue.Declare(queue="q"), commands.Channel.Close(200, "bye", 0, 0))
    talk.client_bytes(frames)
    assert talk.to_broker == frames
    talk.client(7, *unsealed())
    (closed,) = talk.heard_by_client()
    assert (closed.name, closed.reply_code) == ("Connection.Close", 504)


def test_channel_opened_again_before_it_is_closed_is_a_connection_error() -> None:
    talk = Talk().shake_hands().open_channel()
    talk.client(1, commands.Channel.Close(200, "bye", 0, 0), commands.Channel.Open())
    (closed,) = talk.heard_by_client()
    assert (closed.name, closed.reply_code) == ("Connection.Close", 504)


def test_channel_opened_again_while_its_close_waits_for_confirms_is_a_connection_error() -> None:
    talk = Talk().shake_hands().open_channel(confirms=True)
    talk.client(1, *talk.sealed(), commands.Channel.Close(200, "bye", 0, 0), commands.Channel.Open())
    talk.broker(1, commands.Basic.Ack(1))
    told = talk.heard_by_client()
    assert methods_of(told) == ["Basic.Ack", "Connection.Close"]
    assert (told[1].reply_code, told[1].class_id, told[1].method_id) == (504, 20, 10)
