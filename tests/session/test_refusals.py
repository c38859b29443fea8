"""How a refusal is told: every row of the table in DESIGN.md, "How a refusal is told"."""

from __future__ import annotations

import pytest
from pamqp import commands

from sealgate.reason import Reason
from sealgate.session.conversation import Confirmed, Unconfirmed
from sealgate.session.limits import Limits
from sealgate.session.states import Side
from sealgate.verify.verdict import Claim, ClaimOutcome, ClaimStatus
from support.talk import Talk, decode, methods_of, on, unsealed


def test_confirm_channel_of_py_amqp_is_closed_with_the_reason() -> None:
    talk = Talk().shake_hands("py-amqp").open_channel(confirms=True)
    talk.client(1, *unsealed())
    (close,) = talk.heard_by_client()
    assert (close.name, close.reply_code) == ("Channel.Close", 403)
    assert close.reply_text.startswith("ACCESS_REFUSED - sealgate: sig.missing")
    assert (close.class_id, close.method_id) == (60, 40)
    assert methods_of(talk.heard_by_broker()) == ["Channel.Close"]


def test_confirm_channel_of_other_clients_gets_a_nack_of_that_tag_alone() -> None:
    talk = Talk().shake_hands().open_channel(confirms=True)
    talk.client(1, *talk.sealed(), *unsealed(), *talk.sealed())
    (nack,) = talk.heard_by_client()
    assert (nack.name, nack.delivery_tag, nack.multiple, nack.requeue) == ("Basic.Nack", 2, False, False)
    assert methods_of(talk.heard_by_broker()).count("Basic.Publish") == 2
    talk.broker(1, commands.Basic.Ack(2, True))
    assert [(ack.delivery_tag, ack.multiple) for ack in talk.heard_by_client()] == [(1, True), (3, True)]


def test_mandatory_publish_is_returned_before_the_nack() -> None:
    talk = Talk().shake_hands().open_channel(confirms=True)
    talk.client(1, *unsealed(b"mine", mandatory=True))
    returned, content, body, nack = talk.heard_by_client()
    assert (returned.name, returned.reply_code, returned.routing_key) == ("Basic.Return", 403, "q")
    assert "sig.missing" in returned.reply_text
    assert content.properties.headers in (None, {})
    assert body.value == b"mine"
    assert nack.name == "Basic.Nack"


def test_channel_without_confirms_lives_and_the_refusal_is_counted() -> None:
    talk = Talk().shake_hands("py-amqp").open_channel()
    talk.client(1, *unsealed(), *talk.sealed())
    assert talk.heard_by_client() == []
    assert methods_of(talk.heard_by_broker()) == ["Basic.Publish", "ContentHeader", "ContentBody"]
    assert talk.tally.unconfirmed_refusals == 1


def test_channel_without_confirms_is_closed_on_request() -> None:
    talk = Talk(unconfirmed=Unconfirmed.CLOSE).shake_hands().open_channel()
    talk.client(1, *unsealed())
    assert methods_of(talk.heard_by_client()) == ["Channel.Close"]


@pytest.mark.parametrize(
    ("confirmed", "told"), [(Confirmed.NACK, "Basic.Nack"), (Confirmed.CLOSE, "Channel.Close")]
)
def test_operator_can_choose_how_confirm_channels_are_told(confirmed: Confirmed, told: str) -> None:
    for product in ("py-amqp", "other"):
        talk = Talk(confirmed=confirmed).shake_hands(product).open_channel(confirms=True)
        talk.client(1, *unsealed())
        assert methods_of(talk.heard_by_client()) == [told]


def test_every_refusal_leaves_one_count_one_record_and_the_raw_publication() -> None:
    talk = Talk().shake_hands().open_channel(confirms=True)
    talk.client(1, *unsealed(b"secret body"))
    (record,) = talk.records
    assert record.reason is Reason.SIG_MISSING
    assert (record.vhost, record.user, record.routing_key, record.channel) == ("/", "guest", "q", 1)
    assert record.body == b"secret body"
    assert record.complete
    assert record.answer == "basic.nack"
    assert record.method[:4] == b"\x00\x3c\x00\x28"
    assert record.header[:2] == b"\x00\x3c"
    assert "secret body" not in repr(record)
    assert talk.tally.messages == {("publish", "refused", "sig.missing"): 1}


def test_duplicate_is_confirmed_and_not_forwarded() -> None:
    talk = Talk(outcomes=lambda claim: ClaimOutcome(ClaimStatus.DUPLICATE)).shake_hands("py-amqp")
    talk.open_channel(confirms=True)
    talk.client(1, *talk.sealed())
    (ack,) = talk.heard_by_client()
    assert (ack.name, ack.delivery_tag, ack.multiple) == ("Basic.Ack", 1, False)
    assert talk.heard_by_broker() == []
    assert talk.tally.messages == {("publish", "refused", "replay.duplicate"): 1}


def test_duplicate_without_confirms_is_dropped_and_kept() -> None:
    talk = Talk(outcomes=lambda claim: ClaimOutcome(ClaimStatus.DUPLICATE)).shake_hands().open_channel()
    talk.client(1, *talk.sealed())
    assert talk.heard_by_client() == []
    assert talk.heard_by_broker() == []
    assert [record.reason for record in talk.records] == [Reason.REPLAY_DUPLICATE]


def test_message_over_its_rate_is_refused_and_its_wait_counted() -> None:
    limited = ClaimOutcome(ClaimStatus.LIMITED, "shop.*", 250_000)
    talk = Talk(outcomes=lambda claim: limited).shake_hands().open_channel(confirms=True)
    talk.client(1, *talk.sealed())
    assert methods_of(talk.heard_by_client()) == ["Basic.Nack"]
    assert talk.tally.messages == {("publish", "refused", "rate.task"): 1}
    assert talk.tally.rate_wait["shop.*"].total == 0.25


def test_refusal_by_closing_waits_until_earlier_publishes_are_confirmed() -> None:
    talk = Talk().shake_hands("py-amqp").open_channel(confirms=True)
    talk.client(1, *talk.sealed(), *unsealed(), *talk.sealed())
    assert talk.heard_by_client() == []
    assert methods_of(talk.heard_by_broker()).count("Basic.Publish") == 1
    talk.broker(1, commands.Basic.Ack(1))
    assert methods_of(talk.heard_by_client()) == ["Basic.Ack", "Channel.Close"]
    assert methods_of(talk.heard_by_broker()) == ["Channel.Close"]


def test_refusal_by_closing_does_not_wait_for_ever() -> None:
    from sealgate.session.events import Ticked

    talk = Talk().shake_hands("py-amqp").open_channel(confirms=True)
    talk.client(1, *talk.sealed(), *unsealed())
    talk.wait(6)
    talk.give(Ticked())
    assert "Channel.Close" in methods_of(talk.heard_by_client())


def test_refused_channel_swallows_until_both_sides_are_done_and_can_then_be_reused() -> None:
    talk = Talk().shake_hands("py-amqp").open_channel(confirms=True)
    talk.client(1, *unsealed())
    talk.heard_by_client(), talk.heard_by_broker()
    talk.client(1, *talk.sealed())
    talk.broker(1, commands.Basic.Deliver("tag", 1, False, "", "q"))
    assert (talk.heard_by_client(), talk.heard_by_broker()) == ([], [])
    talk.client(1, commands.Channel.CloseOk())
    talk.client(1, commands.Channel.Open())
    talk.client(1, *talk.sealed())
    assert talk.heard_by_broker() == []
    talk.broker(1, commands.Channel.CloseOk())
    assert methods_of(talk.heard_by_broker()) == [
        "Channel.Open",
        "Basic.Publish",
        "ContentHeader",
        "ContentBody",
    ]
    assert talk.heard_by_client() == []


def test_closes_that_cross_on_a_refused_channel_are_both_answered() -> None:
    talk = Talk().shake_hands("py-amqp").open_channel(confirms=True)
    talk.client(1, *unsealed())
    talk.heard_by_client(), talk.heard_by_broker()
    talk.client(1, commands.Channel.Close(200, "bye", 0, 0))
    talk.broker(1, commands.Channel.Close(404, "gone", 60, 40))
    assert methods_of(talk.heard_by_client()) == ["Channel.CloseOk"]
    assert methods_of(talk.heard_by_broker()) == ["Channel.CloseOk"]
    talk.client(1, commands.Channel.CloseOk())
    talk.broker(1, commands.Channel.CloseOk())
    talk.client(1, commands.Channel.Open())
    assert methods_of(talk.heard_by_broker()) == ["Channel.Open"]


def test_twenty_failed_verifications_close_the_connection() -> None:
    talk = Talk(limits=Limits(failed_verifications_max=3)).shake_hands().open_channel()
    talk.client(1, *unsealed(), *unsealed())
    assert talk.heard_by_client() == []
    talk.client(1, *unsealed())
    (close,) = talk.heard_by_client()
    assert (close.name, close.reply_code) == ("Connection.Close", 403)
    assert "conn.failures" in close.reply_text
    assert talk.tally.messages["publish", "refused", "sig.missing"] == 3
    assert talk.tally.limits_hit["failed_verifications_max"] == 1


def test_failed_verifications_are_forgotten_after_the_window() -> None:
    talk = Talk(limits=Limits(failed_verifications_max=3)).shake_hands().open_channel()
    for _ in range(6):
        talk.client(1, *unsealed())
        talk.wait(6)
    assert talk.heard_by_client() == []


def test_refusals_of_authenticated_messages_are_no_guesses() -> None:
    limited = ClaimOutcome(ClaimStatus.LIMITED, "q", 1)
    talk = Talk(limits=Limits(failed_verifications_max=3), outcomes=lambda claim: limited)
    talk.shake_hands().open_channel(confirms=True)
    for _ in range(10):
        talk.client(1, *talk.sealed())
    assert set(methods_of(talk.heard_by_client())) == {"Basic.Nack"}


def test_body_over_the_limit_is_refused_on_its_header_and_drained() -> None:
    talk = Talk(limits=Limits(body_bytes_max=10)).shake_hands().open_channel(confirms=True)
    method, head, body = unsealed(b"x" * 11)
    talk.client(1, method, head)
    assert methods_of(talk.heard_by_client()) == ["Basic.Nack"]
    talk.client(1, body, *talk.sealed(b"x" * 10))
    assert methods_of(talk.heard_by_broker()) == ["Basic.Publish", "ContentHeader", "ContentBody"]
    assert talk.heard_by_client() == []
    (record,) = talk.records
    assert (record.reason, record.body, record.body_size, record.complete) == (
        Reason.BODY_SIZE,
        b"",
        11,
        False,
    )
    assert talk.session.conversation.partial_bytes == 0


def test_structure_no_client_may_send_closes_the_connection() -> None:
    talk = Talk().shake_hands().open_channel()
    talk.client_bytes(on(1, *unsealed())[:-1] + b"\xcf")
    (close,) = talk.heard_by_client()
    assert (close.name, close.reply_code) == ("Connection.Close", 501)
    assert close.reply_text.startswith("FRAME_ERROR - sealgate: frame.end")
    assert methods_of(talk.heard_by_broker()) == ["Connection.Close"]
    talk.client(1, *talk.sealed())
    assert talk.heard_by_broker() == []
    assert talk.tally.messages == {("publish", "refused", "frame.end"): 1}
    assert talk.records == []


@pytest.mark.parametrize("mandatory", [False, True])
def test_answers_of_one_channel_come_in_the_order_of_its_publishes(mandatory: bool) -> None:
    """A refusal waits for the claim of the publish before it (protocol.md C5)."""
    talk = Talk(answer_claims=False).shake_hands().open_channel(confirms=True)
    talk.client(1, *talk.sealed(), *unsealed(mandatory=mandatory))
    assert talk.heard_by_client() == []
    talk.answer_claims()
    assert methods_of(talk.heard_by_client())[-1] == "Basic.Nack"
    assert "Basic.Publish" in methods_of(talk.heard_by_broker())


def test_store_that_is_away_refuses_and_forwards_nothing() -> None:
    gone = ClaimOutcome(ClaimStatus.UNAVAILABLE)
    talk = Talk(outcomes=lambda claim: gone).shake_hands().open_channel(confirms=True)
    talk.client(1, *talk.sealed())
    assert talk.heard_by_broker() == []
    assert talk.tally.messages == {("publish", "refused", "store.unavailable"): 1}
    assert talk.commits == talk.releases == []


def test_claims_are_settled_by_what_the_broker_answers() -> None:
    asked: list[Claim] = []

    def grant(claim: Claim) -> ClaimOutcome:
        asked.append(claim)
        return ClaimOutcome(ClaimStatus.GRANTED)

    talk = Talk(outcomes=grant).shake_hands().open_channel(confirms=True)
    talk.client(1, *talk.sealed(b"1"), *talk.sealed(b"2", mandatory=True), *talk.sealed(b"3"))
    sent = [part for _, part in decode(talk.to_broker)]
    returned_header = sent[4]
    talk.heard_by_broker()
    assert talk.commits == []
    talk.broker(1, commands.Basic.Return(312, "NO_ROUTE", "", "q"), returned_header, sent[5])
    talk.broker(1, commands.Basic.Ack(2, True), commands.Basic.Nack(3))
    assert talk.commits == [asked[0]]
    assert talk.releases == [asked[1], asked[2]]
    assert methods_of(talk.heard_by_client()) == [
        "Basic.Return", "ContentHeader", "ContentBody", "Basic.Ack", "Basic.Nack",
    ]  # fmt: skip


def test_without_confirms_the_write_upstream_commits() -> None:
    talk = Talk().shake_hands().open_channel()
    talk.client(1, *talk.sealed())
    assert len(talk.commits) == 1
    assert talk.closed == []
    assert Side.CLIENT not in talk.closed


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_close_ok_of_a_refused_client_ends_its_connection_however_it_broke_the_frames(cut: int) -> None:
    talk = Talk().shake_hands().open_channel()
    talk.client_bytes(b"\x01\x00\x01\x00\x00\x00\x00\xcf")
    (close,) = talk.heard_by_client()
    assert (close.name, close.reply_code) == ("Connection.Close", 501)
    close_ok = on(0, commands.Connection.CloseOk())
    talk.client_bytes(b"more nonsense" + close_ok[:cut])
    assert (Side.CLIENT in talk.closed) is (cut == len(close_ok))
    talk.client_bytes(close_ok[cut:])
    assert Side.CLIENT in talk.closed


def test_payload_is_bounded_by_frame_max_and_the_octets_around_it_are_forgiven() -> None:
    """As RabbitMQ does: two of the Python clients fill a frame with frame_max octets of body."""
    for over, told in ((0, []), (1, ["Connection.Close"])):
        talk = Talk().shake_hands(tune=(2047, 8192, 60)).open_channel()
        talk.client_bytes(b"\x01\x00\x01" + (8192 + over).to_bytes(4, "big"))
        assert methods_of(talk.heard_by_client()) == told
