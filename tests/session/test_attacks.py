"""What a client may try on a connection of its own, with a login or without, and what it must not get."""

from __future__ import annotations

import struct
from collections.abc import Callable
from time import perf_counter
from typing import cast

import pytest
from pamqp import body, commands, header, heartbeat

from sealgate.reason import Reason
from sealgate.session.conversation import Conversation, Role, Unconfirmed
from sealgate.session.events import BytesReceived, ClaimsAnswered, Disconnected, DrainAsked, Ticked
from sealgate.session.limits import Limits
from sealgate.session.states import Leg, Side, State
from sealgate.verify.policy import Rule
from sealgate.verify.verdict import GRANTED, ClaimOutcome, ClaimStatus
from sealgate.wire.constants import FRAME_BODY
from sealgate.wire.frames import encode_frame
from support.talk import (
    CHALLENGE,
    RawHeader,
    Talk,
    generic_policy,
    methods_of,
    on,
    sealed,
    unsealed,
)

OPEN_CHANNELS = 2000


def told_to_close(talk: Talk) -> str:
    """The text of the `connection.close` the client got, "" for none."""
    texts = [part.reply_text for part in talk.heard_by_client() if part.name == "Connection.Close"]
    return texts[0] if texts else ""


# Memory


def test_content_headers_count_as_unfinished_content() -> None:
    """2,047 channels with a content header of 128 KiB each and no body were 268 MB that nothing counted."""
    talk = Talk().shake_hands()
    size_max = talk.terms.limits.connection_bytes_max
    large = RawHeader(struct.pack(">HHQH", 60, 0, 5, 0) + bytes(130_000))
    for number in range(1, 300):
        talk.open_channel(number)
        talk.client(number, commands.Basic.Publish(routing_key="q"), large)
        assert talk.session.conversation.partial_bytes <= size_max + 131_072
        if talk.session.conversation.client_leg is not Leg.OPEN:
            break
    assert "conn.memory" in told_to_close(talk)
    talk.give(Disconnected(Side.CLIENT))
    assert talk.tally.buffered_bytes == 0


def test_small_frames_count_for_the_memory_they_take() -> None:
    """A body in frames of one byte took twenty times what was counted."""
    talk = Talk(limits=Limits(connection_bytes_max=1_000_000)).shake_hands().open_channel()
    talk.client(1, commands.Basic.Publish(routing_key="q"), header.ContentHeader(body_size=100_000))
    talk.client_bytes(encode_frame(FRAME_BODY, 1, b"x") * 10_000)
    assert "conn.memory" in told_to_close(talk)


def test_small_frames_that_are_held_count_for_the_memory_they_take() -> None:
    talk = Talk(limits=Limits(held_bytes_max=1_000_000), answer_claims=False).shake_hands().open_channel()
    talk.client(1, *talk.sealed())
    talk.client_bytes(on(1, commands.Channel.Flow(True)) * 10_000)
    assert not talk.reading
    assert talk.tally.buffered_bytes == talk.session.conversation.held_bytes
    talk.answer_claims()
    assert talk.reading
    assert talk.tally.buffered_bytes == 0


def test_headers_of_many_entries_count_for_the_memory_they_take() -> None:
    talk = Talk().shake_hands().open_channel()
    entries = b"".join(b"\x01%cV" % (33 + index) for index in range(90))
    many = RawHeader(struct.pack(">HHQHI", 60, 0, 5, 0x2000, len(entries)) + entries)
    talk.client(1, commands.Basic.Publish(routing_key="q"), many)
    assert talk.session.conversation.partial_bytes > 90 * 200


def test_what_is_held_is_given_back_when_the_connection_ends() -> None:
    talk = Talk(answer_claims=False).shake_hands().open_channel()
    talk.client(1, *talk.sealed(), commands.Channel.Flow(True))
    talk.client(1, *talk.sealed()[:2])
    assert talk.tally.buffered_bytes > 0
    talk.give(Disconnected(Side.UPSTREAM))
    assert talk.tally.buffered_bytes == 0


# Time


def test_frames_cost_the_same_with_many_channels_open() -> None:
    """Each frame looked at every channel: a connection with all its channels open was forty times dearer."""

    def seconds(channels: int) -> float:
        talk = Talk().shake_hands()
        for number in range(1, channels + 1):
            talk.client(number, commands.Channel.Open())
        frames = on(1, commands.Basic.Qos(prefetch_count=1)) * 2000
        started = perf_counter()
        talk.client_bytes(frames)
        return perf_counter() - started

    few = min(seconds(1) for _ in range(3))
    assert seconds(OPEN_CHANNELS) < 10 * few + 0.01


def close_as_a_broker(talk: Talk) -> None:
    talk.broker(0, commands.Connection.Close(504, "CHANNEL_ERROR", 0, 0))


def drain(talk: Talk) -> None:
    talk.give(DrainAsked())


@pytest.mark.replaces_core  # it counts how often the core asks itself something
@pytest.mark.parametrize("close", [close_as_a_broker, drain])
def test_many_channels_make_no_frame_dearer_while_a_close_waits_for_its_answer(
    close: Callable[[Talk], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 KiB of heartbeats after a close that any client can provoke took 1.7 s, and nobody was served."""
    looks = []
    settled = cast(property, Conversation.settled)

    def looking(conversation: Conversation) -> bool:
        looks.append(conversation)
        return bool(settled.fget and settled.fget(conversation))

    talk = Talk().shake_hands().open_channel().open_channel(2)
    monkeypatch.setattr(Conversation, "settled", property(looking))
    close(talk)
    assert told_to_close(talk)
    looks.clear()
    talk.client_bytes(on(0, heartbeat.Heartbeat()) * 100)
    talk.client(1, *unsealed() * 15)
    assert len(looks) <= 5
    talk.client(0, commands.Connection.CloseOk())
    talk.broker(0, commands.Connection.CloseOk())
    assert talk.session.conversation.state is State.CLOSED


# Replay


def test_return_of_another_publish_with_the_same_seal_gives_no_nonce_back() -> None:
    """Where rules observe one exchange, a copy of a captured seal can be returned from there at will."""
    policy = generic_policy(rules=(Rule(exchange="open", observe=True),))
    talk = Talk(policy=policy).shake_hands().open_channel(confirms=True)
    captured = talk.sealed(mandatory=True)
    decoy = [commands.Basic.Publish(exchange="open", routing_key="nowhere", mandatory=True), *captured[1:]]
    talk.client(1, *decoy, *captured)
    talk.broker(
        1,
        commands.Basic.Return(312, "NO_ROUTE", "open", "nowhere"),
        *captured[1:],
        commands.Basic.Ack(2, True),
    )
    assert len(talk.commits) == 1
    assert talk.releases == []


def test_returned_publish_gives_its_nonce_back_however_its_seal_is_typed() -> None:
    for kind in (b"S", b"x"):
        talk = Talk().shake_hands().open_channel(confirms=True)
        method, content, body_part = talk.sealed(mandatory=True)
        typed = RawHeader(content.payload.replace(b"\x06x-sealS", b"\x06x-seal" + kind))
        talk.client(1, method, typed, body_part)
        talk.broker(1, commands.Basic.Return(312, "NO_ROUTE", "", "q"), typed, body_part)
        talk.broker(1, commands.Basic.Ack(1))
        assert (len(talk.commits), len(talk.releases)) == (0, 1)


def test_return_that_can_not_be_read_is_passed_on() -> None:
    talk = Talk(policy=generic_policy(observe_default=True)).shake_hands().open_channel(confirms=True)
    twice = b"\x01nV\x01nV"
    unreadable = RawHeader(struct.pack(">HHQHI", 60, 0, 1, 0x2000, len(twice)) + twice)
    publish = commands.Basic.Publish(routing_key="q", mandatory=True)
    talk.client(1, publish, unreadable, body.ContentBody(b"x"))
    assert methods_of(talk.heard_by_broker()) == ["Basic.Publish", "ContentHeader", "ContentBody"]
    talk.broker(1, commands.Basic.Return(312, "NO_ROUTE", "", "q"), unreadable, body.ContentBody(b"x"))
    assert methods_of(talk.heard_by_client()) == ["Basic.Return", "ContentHeader", "ContentBody"]


def test_lease_of_a_channel_the_broker_closed_is_left_to_run_out() -> None:
    """It was renewed for as long as the client kept its close-ok: nobody else could send the message."""
    talk = Talk().shake_hands(tune=(2047, 131072, 0)).open_channel(confirms=True)
    talk.client(1, *talk.sealed())
    talk.broker(1, commands.Channel.Close(403, "ACCESS_REFUSED", 60, 40))
    talk.wait(8)
    talk.give(Ticked())
    assert talk.renewed == []
    assert talk.session.idle


def test_duplicate_without_confirms_is_dropped_where_refusals_close() -> None:
    talk = Talk(
        outcomes=lambda claim: ClaimOutcome(ClaimStatus.DUPLICATE), unconfirmed=Unconfirmed.CLOSE
    ).shake_hands()
    talk.open_channel()
    talk.client(1, *talk.sealed())
    assert (talk.heard_by_client(), talk.heard_by_broker()) == ([], [])
    assert [record.reason for record in talk.records] == [Reason.REPLAY_DUPLICATE]
    assert talk.tally.unconfirmed_refusals == 0


# Whose fault it was


def test_fault_of_the_client_on_a_reused_channel_is_told_as_its_own() -> None:
    """Its frames were waiting for the broker's close-ok, and its fault came out as a loss of the broker."""
    talk = Talk().shake_hands("py-amqp").open_channel(confirms=True)
    talk.client(1, *unsealed())
    talk.client(1, commands.Channel.CloseOk(), commands.Channel.Open(), commands.Tx.Select())
    talk.client(1, commands.Channel.Flow(True))
    talk.broker(1, commands.Channel.CloseOk())
    assert "method.denied" in told_to_close(talk)
    assert talk.session.conversation.held_bytes == 0


def test_failure_on_one_channel_does_not_keep_the_others_from_being_carried_out() -> None:
    talk = Talk(limits=Limits(failed_verifications_max=1), answer_claims=False).shake_hands()
    talk.open_channel(1).open_channel(2)
    talk.client(1, *talk.sealed(), *unsealed())
    talk.client(2, *talk.sealed())
    publications = [publication for request in talk.asked for publication in request.publications]
    talk.give(ClaimsAnswered(publications, [GRANTED, GRANTED]))
    assert methods_of(talk.heard_by_broker()).count("Basic.Publish") == 2
    assert "conn.failures" in told_to_close(talk)
    assert talk.session.idle


def test_frame_size_no_broker_would_take_splits_nothing_into_nothing() -> None:
    talk = Talk()
    talk.client_bytes(b"AMQP\x00\x00\x09\x01")
    talk.session.conversation.state = State.TUNE_OK
    talk.client(0, commands.Connection.TuneOk(0, 8, 0), commands.Connection.Open("/"))
    talk.broker(0, commands.Connection.OpenOk())
    talk.heard_by_client()
    talk.broker(1, body.ContentBody(b"x" * 10))
    assert methods_of(talk.heard_by_client()) == ["ContentBody"]


# Silence


def test_nothing_that_may_be_logged_shows_a_body_a_header_or_a_seal() -> None:
    talk = Talk(answer_claims=False).shake_hands().open_channel(confirms=True)
    talk.client(1, *sealed(b"my body", "q", now=talk.now.wall))
    (publication,) = talk.asked[0].publications
    ledger = talk.session.conversation.channels[1].ledger
    talk.answer_claims()
    assert ledger is not None
    shown = repr(publication) + repr(ledger.outstanding()) + repr(BytesReceived(Side.CLIENT, b"my body"))
    assert publication.seal.token
    for secret in (b"my body", publication.seal.token, publication.seal.token.rpartition(b".")[2]):
        assert secret.decode() not in shown
    signer = Talk(Role.SIGN).shake_hands().open_channel()
    signer.session.conversation.signer.challenge = CHALLENGE
    signer.client(1, *unsealed(b"my body"))
    assert "seal1" not in repr(signer.session.conversation.signer)
