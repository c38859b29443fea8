"""What must come before what when answers, closes and reused channels cross: each was found by simulation."""

from __future__ import annotations

import struct

import pytest
from pamqp import body, commands, header

from sealgate.reason import Reason
from sealgate.session.conversation import Confirmed, Unconfirmed
from sealgate.session.events import Disconnected, DrainAsked, Ticked
from sealgate.session.states import Side
from sealgate.signing.token import session_nonce
from sealgate.verify.verdict import ClaimOutcome, ClaimStatus
from sealgate.wire.constants import FRAME_METHOD
from sealgate.wire.frames import encode_frame
from support.talk import CHALLENGE, RawHeader, Talk, methods_of, on, sealed, unsealed

CLOSE = commands.Channel.Close(200, "bye", 0, 0)
UNREADABLE = RawHeader(b"\0\x3c\0\0" + b"\0" * 7 + b"\x01" + b"\x20\0" + b"\0\0\0\x06\x01nV\x01nV")


# Opening


def test_refusal_is_told_after_the_channel_is_open() -> None:
    """A client that publishes before it hears open-ok was sent a nack on a channel it did not know yet."""
    talk = Talk().shake_hands()
    talk.client(1, commands.Channel.Open(), commands.Confirm.Select(), *unsealed(), *talk.sealed())
    assert talk.heard_by_client() == []
    talk.broker(1, commands.Channel.OpenOk(), commands.Confirm.SelectOk())
    assert methods_of(talk.heard_by_client()) == ["Channel.OpenOk", "Confirm.SelectOk", "Basic.Nack"]
    assert methods_of(talk.heard_by_broker())[-3:] == ["Basic.Publish", "ContentHeader", "ContentBody"]


def test_too_many_failures_that_waited_for_the_channel_are_told_as_the_clients_own() -> None:
    talk = Talk().shake_hands()
    talk.client(1, commands.Channel.Open(), commands.Confirm.Select(), *unsealed() * 25)
    talk.broker(1, commands.Channel.OpenOk(), commands.Confirm.SelectOk())
    told = talk.heard_by_client()
    assert methods_of(told)[:3] == ["Channel.OpenOk", "Confirm.SelectOk", "Basic.Nack"]
    assert "conn.failures" in told[-1].reply_text
    assert talk.session.idle


# Closes that cross


def test_close_that_waits_for_claims_is_answered_when_the_broker_closes_first() -> None:
    """It was forgotten: the client waited for a close-ok for ever."""
    talk = Talk().shake_hands().open_channel(confirms=True)
    talk.client(1, *talk.sealed(), CLOSE)
    talk.heard_by_broker()
    talk.broker(1, commands.Channel.Close(404, "NOT_FOUND", 60, 40))
    assert methods_of(talk.heard_by_client()) == ["Channel.Close"]
    assert methods_of(talk.heard_by_broker()) == ["Channel.Close"]
    talk.client(1, commands.Channel.CloseOk())
    talk.broker(1, commands.Channel.CloseOk())
    assert methods_of(talk.heard_by_client()) == ["Channel.CloseOk"]
    assert talk.session.conversation.channels == {}


def test_open_behind_a_close_that_is_forced_is_told_at_once() -> None:
    """The fault was found by the clock, and kept until the broker happened to say something."""
    talk = Talk().shake_hands().open_channel(confirms=True)
    talk.client(1, *talk.sealed(), CLOSE, commands.Channel.Open())
    talk.wait(6)
    talk.give(Ticked())
    (close,) = talk.heard_by_client()
    assert "frame.channel" in close.reply_text


def test_close_that_is_held_is_answered_when_the_broker_closes_first() -> None:
    talk = Talk(answer_claims=False).shake_hands().open_channel()
    talk.client(1, *talk.sealed(), CLOSE)
    talk.broker(1, commands.Channel.Close(404, "NOT_FOUND", 60, 40))
    assert methods_of(talk.heard_by_broker()) == ["Channel.Close"]
    assert talk.session.conversation.held_bytes == 0


def test_close_that_is_held_is_answered_when_a_refusal_closes_first() -> None:
    talk = Talk(confirmed=Confirmed.CLOSE).shake_hands().open_channel(confirms=True)
    talk.client(1, *talk.sealed(), *unsealed(), CLOSE)
    assert talk.heard_by_client() == []
    talk.broker(1, commands.Basic.Ack(1))
    assert methods_of(talk.heard_by_client()) == ["Basic.Ack", "Channel.Close", "Channel.CloseOk"]
    talk.client(1, commands.Channel.CloseOk())
    talk.broker(1, commands.Channel.CloseOk())
    assert talk.session.conversation.channels == {}


def test_nothing_follows_connection_close_not_even_the_answer_to_a_crossing_close() -> None:
    talk = Talk(unconfirmed=Unconfirmed.CLOSE).shake_hands().open_channel()
    talk.client(1, *unsealed())
    talk.give(Disconnected(Side.CLIENT))
    assert methods_of(talk.heard_by_broker())[-1] == "Connection.Close"
    talk.broker(1, commands.Channel.Close(404, "NOT_FOUND", 60, 40))
    assert talk.heard_by_broker() == []


# Reused channels


def test_frames_on_a_number_that_is_not_free_yet_keep_their_place_among_all_others() -> None:
    """Session nonces rise over all channels: what waited on one came after its juniors, and was refused."""
    talk = Talk().shake_hands("py-amqp").open_channel(1, confirms=True).open_channel(2)
    talk.client(1, *unsealed())
    talk.heard_by_broker()
    numbers = iter(range(1, 9))

    def numbered() -> list[object]:
        return sealed(now=talk.now.wall, dice=lambda size: session_nonce(CHALLENGE, next(numbers)))

    first, second = numbered(), numbered()
    reused = on(1, commands.Channel.CloseOk(), commands.Channel.Open(), *first)
    talk.client_bytes(reused + on(2, *second))
    assert talk.heard_by_broker() == []
    talk.broker(1, commands.Channel.CloseOk())
    assert methods_of(talk.heard_by_broker()).count("Basic.Publish") == 2
    assert [record.reason for record in talk.records] == [Reason.SIG_MISSING]


# Claims


def test_publish_returned_on_a_channel_closed_for_a_refusal_gives_its_nonce_back() -> None:
    """Its nonce stayed used: sent again, it was confirmed as a duplicate and was nowhere."""
    talk = Talk(confirmed=Confirmed.CLOSE).shake_hands(tune=(2047, 131072, 0)).open_channel(confirms=True)
    good = talk.sealed(mandatory=True)
    talk.client(1, *good, *unsealed())
    talk.wait(6)
    talk.give(Ticked())
    talk.heard_by_client()
    talk.broker(1, commands.Basic.Return(312, "NO_ROUTE", "", "q"), *good[1:], commands.Basic.Ack(1))
    assert talk.heard_by_client() == []
    assert (len(talk.commits), len(talk.releases)) == (0, 1)


def test_lease_of_a_publish_held_behind_another_is_renewed() -> None:
    talk = Talk(answer_claims=False).shake_hands(tune=(2047, 131072, 0)).open_channel(confirms=True)
    talk.client(1, *talk.sealed())
    talk.client(1, *talk.sealed())
    talk.asked.reverse()
    talk.answer_claims()
    talk.wait(4)
    talk.give(Ticked())
    assert len(talk.renewed) == 1


def test_lease_is_as_old_as_its_claim_not_as_the_forwarding() -> None:
    """An answer that came late, after another: the lease could run out before it was first renewed."""
    talk = Talk(answer_claims=False).shake_hands(tune=(2047, 131072, 0)).open_channel(confirms=True)
    talk.client(1, *talk.sealed())
    talk.wait(4)
    talk.answer_claims()
    talk.give(Ticked())
    assert len(talk.renewed) == 1


# What is told


@pytest.mark.parametrize("confirms", [False, True])
def test_record_names_a_return_only_where_there_was_one(confirms: bool) -> None:
    talk = Talk(confirmed=Confirmed.NACK).shake_hands().open_channel(confirms=confirms)
    talk.client(1, commands.Basic.Publish(routing_key="q", mandatory=True), UNREADABLE, *unsealed(b"x")[2:])
    assert methods_of(talk.heard_by_client()) == (["Basic.Nack"] if confirms else [])
    assert [record.answer for record in talk.records] == ["basic.nack" if confirms else "none"]


def test_returned_publish_comes_back_without_our_countersignature() -> None:
    talk = Talk(countersign=True).shake_hands().open_channel(confirms=True)
    good = talk.sealed(mandatory=True)
    talk.client(1, *good)
    _, countersigned, body = talk.heard_by_broker()
    assert "x-countersign" in countersigned.properties.headers
    talk.broker(1, commands.Basic.Return(312, "NO_ROUTE", "", "q"), countersigned, body)
    _, came_back, _ = talk.heard_by_client()
    assert set(came_back.properties.headers) == {"n", "x-seal"}


def test_duplicate_before_open_ok_waits_too() -> None:
    talk = Talk(outcomes=lambda claim: ClaimOutcome(ClaimStatus.DUPLICATE)).shake_hands()
    talk.client(1, commands.Channel.Open(), commands.Confirm.Select(), *talk.sealed())
    assert talk.heard_by_client() == []
    talk.broker(1, commands.Channel.OpenOk(), commands.Confirm.SelectOk())
    assert methods_of(talk.heard_by_client()) == ["Channel.OpenOk", "Confirm.SelectOk", "Basic.Ack"]


def test_without_a_select_ok_none_is_waited_for() -> None:
    talk = Talk().shake_hands()
    talk.client(1, commands.Channel.Open(), commands.Confirm.Select(nowait=True), *unsealed())
    talk.broker(1, commands.Channel.OpenOk())
    assert methods_of(talk.heard_by_client()) == ["Channel.OpenOk", "Basic.Nack"]


def test_other_bits_of_a_select_are_no_nowait() -> None:
    """The broker looks at the lowest one alone, and answers."""
    talk = Talk().shake_hands().open_channel()
    talk.client_bytes(encode_frame(FRAME_METHOD, 1, struct.pack(">HHB", 85, 10, 0b10)))
    talk.client(1, *unsealed())
    assert talk.heard_by_client() == []
    talk.broker(1, commands.Confirm.SelectOk())
    assert methods_of(talk.heard_by_client()) == ["Confirm.SelectOk", "Basic.Nack"]


def test_drain_waits_for_no_answer_on_a_channel_that_is_closed() -> None:
    """A refusal closed the channel before the broker had answered: the drain waited to be cut."""
    talk = Talk(confirmed=Confirmed.CLOSE).shake_hands(tune=(2047, 131072, 0)).open_channel(confirms=True)
    talk.client(1, *talk.sealed(), *unsealed())
    talk.give(DrainAsked())
    talk.wait(6)
    talk.give(Ticked())
    talk.heard_by_client()
    talk.broker(1, commands.Channel.CloseOk())
    assert methods_of(talk.heard_by_client()) == ["Connection.Close"]


# The broker's content


DELIVERED = [
    commands.Basic.Deliver("t", 1, False, "", "q"),
    header.ContentHeader(0, 8, commands.Basic.Properties()),
    body.ContentBody(b"half"),
    body.ContentBody(b"more"),
]
NACKED = ["Basic.Return", "ContentHeader", "ContentBody", "Basic.Nack"]


@pytest.mark.parametrize("sent", [1, 2, 3])
@pytest.mark.parametrize(
    ("confirmed", "told"), [(Confirmed.NACK, NACKED), (Confirmed.CLOSE, ["Channel.Close"])]
)
def test_refusal_waits_until_the_brokers_content_is_whole(
    confirmed: Confirmed, told: list[str], sent: int
) -> None:
    """A nack, a return or a close of ours in the middle of a delivery is 505 to any client."""
    talk = Talk(confirmed=confirmed).shake_hands().open_channel(confirms=True).open_channel(2, confirms=True)
    talk.broker(1, *DELIVERED[:sent])
    talk.client(1, *unsealed(mandatory=True), *talk.sealed())
    assert len(talk.heard_by_client()) == sent
    talk.client(2, *unsealed(mandatory=True))
    assert methods_of(talk.heard_by_client()) == told, "other channels do not wait"
    talk.broker(1, *DELIVERED[sent:])
    heard = methods_of(talk.heard_by_client())
    assert heard == methods_of(DELIVERED[sent:]) + told
    assert len(talk.records) == 2


def test_refusals_close_is_not_forced_into_the_brokers_content() -> None:
    talk = Talk(confirmed=Confirmed.CLOSE).shake_hands(tune=(2047, 131072, 0)).open_channel(confirms=True)
    talk.client(1, *talk.sealed(), *unsealed())
    talk.broker(1, *DELIVERED[:3])
    talk.heard_by_client()
    talk.wait(30)
    talk.give(Ticked())
    assert methods_of(talk.heard_by_client()) == []
    talk.broker(1, *DELIVERED[3:], commands.Basic.Ack(1))
    assert methods_of(talk.heard_by_client()) == ["ContentBody", "Basic.Ack", "Channel.Close"]


def test_empty_delivery_holds_nothing_up() -> None:
    talk = Talk(confirmed=Confirmed.NACK).shake_hands().open_channel(confirms=True)
    talk.broker(1, DELIVERED[0], header.ContentHeader(0, 0, commands.Basic.Properties()))
    talk.client(1, *unsealed())
    assert methods_of(talk.heard_by_client())[-1] == "Basic.Nack"


def test_client_that_never_reads_its_delivery_can_not_keep_refusals_waiting_for_ever() -> None:
    """Each of its connections held 4 MB of the process's memory, until nobody could publish any more."""
    talk = Talk(confirmed=Confirmed.NACK).shake_hands(tune=(2047, 131072, 0)).open_channel(confirms=True)
    talk.broker(1, *DELIVERED[:3])
    talk.client(1, *unsealed(b"x" * 1000))
    assert talk.tally.buffered_bytes > 1000
    for _ in range(31):
        talk.give(Ticked(upstream_paused=True))
        talk.wait(1)
    assert talk.closed == [], "30 s are not over"
    talk.give(Ticked(upstream_paused=True))
    assert "conn.stall" in talk.heard_by_client()[-1].reply_text
    talk.wait(6)
    talk.give(Ticked(upstream_paused=True))
    assert set(talk.closed) == {Side.CLIENT, Side.UPSTREAM}
    assert talk.tally.buffered_bytes == 0


def test_client_that_reads_slowly_is_waited_for() -> None:
    talk = Talk(confirmed=Confirmed.NACK).shake_hands(tune=(2047, 131072, 0)).open_channel(confirms=True)
    for _ in range(40):
        talk.broker(1, *DELIVERED[:3])
        talk.client(1, *unsealed(b"x"))
        talk.give(Ticked(upstream_paused=True))
        talk.broker(1, *DELIVERED[3:])
        assert methods_of(talk.heard_by_client())[-1] == "Basic.Nack"
        talk.wait(1)
        talk.give(Ticked(upstream_paused=True))
    assert talk.session.idle
