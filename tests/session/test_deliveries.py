"""Deliveries that are judged: what the client sees, what the broker is told, what is kept."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import body, commands, header

from sealgate.reason import Reason
from sealgate.session.consumers import CONSUMERS_MAX
from sealgate.session.conversation import Role, Unconfirmed
from sealgate.session.events import Disconnected, Ticked
from sealgate.session.limits import Limits
from sealgate.session.states import Side
from sealgate.signing.canonical import COUNTERSIGN_NAME, TOKEN_NAME
from sealgate.verify.delivery import DeliveryPolicy, QueueTerms
from sealgate.verify.targets import TargetPolicy
from sealgate.verify.verdict import GRANTED, Claim, ClaimOutcome, ClaimStatus
from support.talk import RawHeader, Talk, generic_policy, methods_of, on, sealed, unsealed

Basic, Queue = commands.Basic, commands.Queue
DELIVERIES = DeliveryPolicy()
METHODS = {"Ack": 80, "Reject": 90, "Nack": 120}
ONCE = DeliveryPolicy(queues=(QueueTerms("q", once=True),))


def a_talk(delivery: DeliveryPolicy = DELIVERIES, **options: Any) -> Talk:
    """A worker's sidecar with an open channel."""
    return Talk(Role.SIGN, delivery=delivery, **options).shake_hands().open_channel(1)


def consuming(talk: Talk, queue: str = "q", tag: str = "tag", no_ack: bool = False, channel: int = 1) -> Talk:
    talk.client(channel, Basic.Consume(queue=queue, consumer_tag=tag, no_ack=no_ack))
    talk.broker(channel, Basic.ConsumeOk(tag))
    talk.heard_by_client()
    talk.heard_by_broker()
    return talk


def delivered(tag: int, payload: bytes = b"hello", consumer: str = "tag", **target: Any) -> list[Any]:
    """A good message as the broker delivers it."""
    parts = sealed(payload, target.pop("routing_key", "q"), exchange=target.pop("exchange", ""))
    publish = parts[0]
    return [
        Basic.Deliver(consumer, tag, target.pop("redelivered", False), publish.exchange, publish.routing_key),
        *parts[1:],
    ]


def forged(tag: int, payload: bytes = b"evil", consumer: str = "tag") -> list[Any]:
    """What somebody writes into the queue."""
    properties = Basic.Properties(content_type="text/plain", headers={"n": 1})
    return [
        Basic.Deliver(consumer, tag, False, "", "q"),
        header.ContentHeader(body_size=len(payload), properties=properties),
        body.ContentBody(payload),
    ]


def bodies(parts: list[Any]) -> bytes:
    return b"".join(part.value for part in parts if isinstance(part, body.ContentBody))


def tags(parts: list[Any], kind: Any = Basic.Deliver) -> list[int]:
    return [part.delivery_tag for part in parts if isinstance(part, kind)]


def answers(parts: list[Any]) -> list[tuple[str, int, bool]]:
    """(method, tag, multiple or requeue) of what the broker heard of deliveries."""
    found = []
    for part in parts:
        if isinstance(part, Basic.Ack):
            found.append(("ack", part.delivery_tag, part.multiple))
        elif isinstance(part, Basic.Nack):
            found.append(("nack", part.delivery_tag, part.multiple))
        elif isinstance(part, Basic.Reject):
            found.append(("reject", part.delivery_tag, part.requeue))
    return found


# What the client sees


def test_good_delivery_reaches_the_client_without_its_seal() -> None:
    talk = consuming(a_talk())
    talk.broker(1, *delivered(7))
    deliver, head, content = talk.heard_by_client()
    assert (deliver.delivery_tag, deliver.consumer_tag, deliver.routing_key) == (7, "tag", "q")
    assert head.properties.headers == {"n": 1}
    assert content.value == b"hello"
    assert talk.heard_by_broker() == []
    assert talk.tally.messages == {("deliver", "accepted", "ok"): 1}
    assert talk.tally.key_messages == {("k1", "accepted"): 1}


def test_header_table_that_held_nothing_but_the_seal_goes_with_it() -> None:
    """Whoever publishes without headers has none on a direct connection."""
    talk = consuming(a_talk(policy=generic_policy(observe_default=True)))
    head = header.ContentHeader(properties=Basic.Properties(headers={TOKEN_NAME: "x", COUNTERSIGN_NAME: "y"}))
    talk.broker(1, Basic.Deliver("tag", 1, False, "", "q"), head)
    _, seen = talk.heard_by_client()
    assert seen.properties.headers is None


def test_forged_delivery_is_kept_then_rejected_and_never_seen() -> None:
    talk = consuming(a_talk(keeps=None))
    talk.broker(1, *forged(1), *delivered(2))
    assert tags(talk.heard_by_client()) == [2]
    assert talk.heard_by_broker() == []
    [record] = talk.records
    assert (record.reason, record.direction, record.answer) == (Reason.SIG_MISSING, "deliver", "basic.reject")
    assert (record.exchange, record.routing_key, record.body, record.complete) == ("", "q", b"evil", True)
    assert record.detail.endswith("queue q")
    talk.kept()
    assert answers(talk.heard_by_broker()) == [("reject", 1, False)]
    assert talk.tally.messages["deliver", "refused", "sig.missing"] == 1


def test_forged_deliveries_do_not_end_the_connection() -> None:
    """Guessing is the publishers': whoever writes into a queue must not be able to cut a worker off."""
    talk = consuming(a_talk())
    for tag in range(1, 100):
        talk.broker(1, *forged(tag))
    assert talk.closed == []
    assert len(answers(talk.heard_by_broker())) == 99


def test_what_quarantine_has_no_room_for_stays_with_the_broker() -> None:
    talk = consuming(a_talk(keeps=None))
    talk.broker(1, *forged(1))
    talk.kept(False)
    assert answers(talk.heard_by_broker()) == []
    for _ in range(6):
        talk.wait(1)
        talk.give(Ticked())
    assert len(talk.keeping) == 1
    talk.kept(True)
    assert answers(talk.heard_by_broker()) == [("reject", 1, False)]
    assert talk.session.conversation.partial_bytes == 0


def test_without_acknowledgements_it_is_only_kept() -> None:
    """A reject of such a tag closes the channel (406)."""
    talk = consuming(a_talk(keeps=None), no_ack=True)
    talk.broker(1, *forged(1), *delivered(2))
    assert tags(talk.heard_by_client()) == [2]
    assert talk.heard_by_broker() == []
    assert [(record.reason, record.answer) for record in talk.records] == [(Reason.SIG_MISSING, "none")]
    assert talk.keeping == []


def test_body_over_the_limit_is_refused_without_being_kept() -> None:
    talk = consuming(a_talk(limits=Limits(body_bytes_max=10)))
    talk.broker(1, *forged(1, b"x" * 11))
    [record] = talk.records
    assert (record.reason, record.body, record.complete, record.body_size) == (
        Reason.BODY_SIZE,
        b"",
        False,
        11,
    )
    assert answers(talk.heard_by_broker()) == [("reject", 1, False)]
    assert talk.tally.limits_hit["body_bytes_max"] == 1
    assert talk.session.conversation.partial_bytes == 0


def test_header_that_can_not_be_read_is_refused() -> None:
    talk = consuming(a_talk())
    raw = header.ContentHeader(body_size=0, properties=Basic.Properties(headers={"n": 1})).marshal()
    broken = RawHeader(raw.replace(b"\x01n", b"\x01\xff"))
    talk.broker(1, Basic.Deliver("tag", 1, False, "", "q"), broken)
    assert talk.records[0].reason is Reason.HEADER_KEY
    assert answers(talk.heard_by_broker()) == [("reject", 1, False)]


def test_observed_delivery_is_counted_kept_and_handed_over() -> None:
    talk = consuming(a_talk(policy=generic_policy(observe_default=True)))
    talk.broker(1, *forged(1))
    assert bodies(talk.heard_by_client()) == b"evil"
    assert talk.tally.messages == {("deliver", "observed", "sig.missing"): 1}
    assert [(record.observed, record.answer) for record in talk.records] == [(True, "delivered")]
    talk.client(1, Basic.Ack(1))
    assert answers(talk.heard_by_broker()) == [("ack", 1, False)]


def test_chunks_do_not_matter() -> None:
    data = on(1, *delivered(1, b"x" * 40), *forged(2), *delivered(3, b""))
    whole = consuming(a_talk())
    whole.broker_bytes(data)
    for size in (1, 7):
        pieces = consuming(a_talk())
        for at in range(0, len(data), size):
            pieces.broker_bytes(data[at : at + size])
        assert pieces.to_client == whole.to_client
        assert pieces.to_broker == whole.to_broker
        assert len(pieces.records) == len(whole.records) == 1
        assert pieces.session.conversation.partial_bytes == 0


def test_bodies_are_cut_to_the_clients_frames() -> None:
    talk = consuming(Talk(Role.SIGN, delivery=DELIVERIES).shake_hands(tune=(10, 5120, 0)).open_channel(1))
    talk.broker(1, *delivered(1, b"x" * 5000))
    parts = talk.heard_by_client()
    size = talk.session.conversation.client_frame_max - 8
    assert [len(part.value) for part in parts[2:]] == [size, 5000 - size]


def test_deliveries_of_two_channels_interleave() -> None:
    talk = consuming(consuming(a_talk()).open_channel(2), channel=2)
    one, two = delivered(1, b"one"), delivered(1, b"two")
    for first, second in zip(one, two, strict=True):
        talk.broker(1, first)
        talk.broker(2, second)
    assert bodies(talk.heard_by_client()) == b"onetwo"


def test_method_in_the_middle_of_a_delivery_is_a_broken_broker() -> None:
    talk = consuming(a_talk())
    deliver, *_ = delivered(1)
    talk.broker(1, deliver, Basic.QosOk())
    assert Side.UPSTREAM in talk.closed


# Which queue


def test_queue_is_the_one_that_was_declared_last() -> None:
    policy = DeliveryPolicy(queues=(QueueTerms("amq.gen-*", TargetPolicy.DEAD_LETTER),))
    talk = a_talk(policy)
    talk.client(1, Queue.Declare(queue=""), Basic.Consume(queue="", consumer_tag="tag"))
    talk.broker(1, Queue.DeclareOk("amq.gen-1", 0, 0), Basic.ConsumeOk("tag"))
    talk.broker(1, *forged(1))
    assert talk.records[0].detail.endswith("queue amq.gen-1")
    delivering = talk.session._deliveries.book.of(talk.session.conversation.channels[1])  # type: ignore[union-attr]
    assert delivering.consumers.find(b"tag").terms.target is TargetPolicy.DEAD_LETTER


def test_tag_that_the_broker_makes_up() -> None:
    talk = a_talk()
    talk.client(1, Basic.Consume(queue="a", no_ack=True), Basic.Consume(queue="b"))
    talk.broker(1, Basic.ConsumeOk("amq.ctag-1"), Basic.ConsumeOk("amq.ctag-2"))
    talk.broker(1, *forged(1, consumer="amq.ctag-1"), *forged(2, consumer="amq.ctag-2"))
    assert [record.detail for record in talk.records] == [
        "no x-seal header; queue a",
        "no x-seal header; queue b",
    ]
    assert answers(talk.heard_by_broker()) == [("reject", 2, False)]


def test_consumer_that_nobody_names_is_named() -> None:
    talk = a_talk()
    talk.client(1, Basic.Consume(queue="a", no_ack=True, nowait=True), Basic.Consume(queue="b", nowait=True))
    named = [part.consumer_tag for part in talk.heard_by_broker()]
    assert named == ["sealgate.ctag-1", "sealgate.ctag-2"]
    talk.broker(1, *forged(1, consumer=named[0]), *forged(2, consumer=named[1]))
    assert answers(talk.heard_by_broker()) == [("reject", 2, False)]


def test_delivery_before_consume_ok_is_known() -> None:
    talk = a_talk()
    talk.client(1, Basic.Consume(queue="a", consumer_tag="tag", no_ack=True))
    talk.broker(1, *forged(1), Basic.ConsumeOk("tag"))
    assert talk.records[0].answer == "none"


def test_cancelled_consumer_is_still_delivered_what_was_on_its_way() -> None:
    talk = consuming(a_talk(), no_ack=True)
    talk.client(1, Basic.Cancel("tag"))
    talk.broker(1, Basic.CancelOk("tag"), *forged(1))
    assert talk.records[0].answer == "none"


def test_consumers_of_a_channel_are_bounded() -> None:
    talk = a_talk()
    for number in range(1000):
        talk.client(1, Basic.Consume(queue="q", consumer_tag=str(number)))
    assert talk.closed == [] and talk.tally.messages == {}
    talk.client(1, Basic.Consume(queue="q", consumer_tag="more"))
    assert talk.tally.messages == {("publish", "refused", "conn.limit"): 1}


# Acknowledgements


def test_multiple_does_not_span_what_the_gate_keeps() -> None:
    talk = consuming(a_talk(keeps=None))
    talk.broker(1, *delivered(1), *delivered(2), *forged(3), *delivered(4), *delivered(5))
    talk.client(1, Basic.Ack(5, True))
    assert answers(talk.heard_by_broker()) == [("ack", 2, True), ("ack", 4, False), ("ack", 5, False)]
    talk.kept()
    assert answers(talk.heard_by_broker()) == [("reject", 3, False)]


def test_multiple_passes_once_what_lies_between_is_settled() -> None:
    talk = consuming(a_talk())
    talk.broker(1, *delivered(1), *forged(2), *delivered(3))
    talk.heard_by_broker()
    talk.client(1, Basic.Nack(3, True, True))
    [nack] = talk.heard_by_broker()
    assert (nack.delivery_tag, nack.multiple, nack.requeue) == (3, True, True)


@pytest.mark.parametrize("kind", ["ack", "nack"])
def test_all_outstanding_are_those_that_the_client_has(kind: str) -> None:
    """Tag 0 with multiple: the broker would count in what is still on its way (protocol.md V2)."""
    talk = consuming(a_talk(keeps=None))
    zero = Basic.Ack(0, True) if kind == "ack" else Basic.Nack(0, True, False)
    talk.client(1, zero)
    assert talk.heard_by_broker() == []
    talk.broker(1, *delivered(1), *delivered(2), *forged(3))
    talk.broker(1, *delivered(4)[:1])
    talk.client(1, zero)
    assert answers(talk.heard_by_broker()) == [(kind, 2, True)]
    talk.client(1, zero)
    assert talk.heard_by_broker() == []


@pytest.mark.parametrize(
    "wrong",
    [Basic.Ack(2), Basic.Ack(2, True), Basic.Reject(2), Basic.Nack(2), Basic.Ack(9), Basic.Reject(0)],
)
def test_tag_that_the_client_does_not_have_closes_its_channel_as_the_broker_would(wrong: Any) -> None:
    talk = consuming(a_talk(keeps=None))
    talk.broker(1, *delivered(1), *forged(2))
    talk.heard_by_client()
    talk.client(1, wrong)
    [close] = talk.heard_by_client()
    assert (close.reply_code, close.reply_text) == (
        406,
        f"PRECONDITION_FAILED - unknown delivery tag {wrong.delivery_tag}",
    )
    assert (close.class_id, close.method_id) == (60, METHODS[type(wrong).__name__])
    assert methods_of(talk.heard_by_broker()) == ["Channel.Close"]
    talk.kept()
    assert talk.heard_by_broker() == []


def test_tag_is_answered_once() -> None:
    talk = consuming(a_talk())
    talk.broker(1, *delivered(1))
    talk.client(1, Basic.Ack(1))
    talk.heard_by_client()
    talk.client(1, Basic.Ack(1))
    assert methods_of(talk.heard_by_client()) == ["Channel.Close"]


def test_recover_takes_back_what_the_gate_keeps_as_well() -> None:
    talk = consuming(a_talk(keeps=None))
    talk.broker(1, *delivered(1), *forged(2))
    talk.client(1, Basic.Recover(True))
    assert methods_of(talk.heard_by_broker()) == ["Basic.Recover"]
    talk.broker(1, *forged(3), *delivered(4))
    talk.heard_by_client()
    talk.broker(1, Basic.RecoverOk())
    assert methods_of(talk.heard_by_client()) == ["Basic.RecoverOk"]
    talk.kept()
    assert talk.heard_by_broker() == []
    talk.broker(1, *delivered(5, redelivered=True), *forged(6))
    assert tags(talk.heard_by_client()) == [5]
    talk.kept()
    assert answers(talk.heard_by_broker()) == [("reject", 6, False)]


@pytest.mark.filterwarnings("ignore:This command is deprecated")
def test_recover_async_is_told_from_what_comes_after_it() -> None:
    talk = consuming(a_talk())
    talk.client(1, Basic.RecoverAsync(True))
    assert methods_of(talk.heard_by_broker()) == ["Basic.Recover"]
    talk.broker(1, Basic.RecoverOk())
    assert talk.heard_by_client() == []


def test_closed_channel_is_told_nothing_more() -> None:
    talk = consuming(a_talk(keeps=None))
    talk.broker(1, *forged(1))
    talk.client(1, commands.Channel.Close(200, "bye", 0, 0))
    talk.heard_by_broker()
    talk.kept()
    assert talk.heard_by_broker() == []
    talk.broker(1, *forged(2))
    assert talk.keeping == [] and talk.heard_by_broker() == []
    talk.broker(1, commands.Channel.CloseOk())
    talk.open_channel(1)
    consuming(talk)
    talk.broker(1, *delivered(1))
    assert tags(talk.heard_by_client()) == [1]


@pytest.mark.parametrize("upto", [1, 2])
def test_connection_that_ends_within_a_delivery_leaves_nothing(upto: int) -> None:
    talk = consuming(a_talk(keeps=None))
    talk.broker(1, *forged(1), *delivered(2)[:upto])
    talk.give(Disconnected(Side.UPSTREAM))
    assert talk.tally.buffered_bytes == 0


# basic.get


def got(tag: int, payload: bytes = b"hello") -> list[Any]:
    return [Basic.GetOk(tag, False, "", "q", 0), *sealed(payload)[1:]]


def got_forged(tag: int) -> list[Any]:
    return [Basic.GetOk(tag, False, "", "q", 0), *forged(tag)[1:]]


@pytest.mark.parametrize("no_ack", [False, True])
def test_get_is_asked_again_until_there_is_a_good_one(no_ack: bool) -> None:
    talk = a_talk(keeps=None)
    talk.client(1, Basic.Get(queue="q", no_ack=no_ack))
    talk.heard_by_broker()
    talk.broker(1, *got_forged(1))
    assert talk.heard_by_client() == []
    assert methods_of(talk.heard_by_broker()) == ["Basic.Get"]
    talk.broker(1, *got(2))
    assert tags(talk.heard_by_client(), Basic.GetOk) == [2]
    if not no_ack:
        talk.kept()
        assert answers(talk.heard_by_broker()) == [("reject", 1, False)]


def test_get_finds_nothing_but_forgeries() -> None:
    talk = a_talk()
    talk.client(1, Basic.Get(queue="q"))
    talk.broker(1, *got_forged(1))
    talk.broker(1, Basic.GetEmpty())
    assert methods_of(talk.heard_by_client()) == ["Basic.GetEmpty"]


def test_what_the_client_says_behind_a_get_waits_for_its_answer() -> None:
    """The broker may have to be asked again, and must not have deleted the queue by then."""
    talk = a_talk()
    talk.client(1, Basic.Get(queue="q"), Queue.Delete(queue="q"))
    assert methods_of(talk.heard_by_broker()) == ["Basic.Get"]
    talk.broker(1, *got_forged(1))
    assert "Queue.Delete" not in methods_of(talk.heard_by_broker())
    talk.broker(1, *got(2))
    assert methods_of(talk.heard_by_broker()) == ["Queue.Delete"]


# Once


def answering(*statuses: ClaimStatus) -> tuple[list[Claim], Any]:
    """A store that answers so, then grants; and what it was asked."""
    left, asked = list(statuses), []

    def answer(claim: Claim) -> ClaimOutcome:
        asked.append(claim)
        return ClaimOutcome(left.pop(0)) if left else GRANTED

    return asked, answer


def test_acknowledged_is_done() -> None:
    talk = consuming(a_talk(ONCE))
    talk.broker(1, *delivered(1), *delivered(2), *delivered(3), *delivered(4))
    talk.client(1, Basic.Ack(2, True), Basic.Reject(3, False))
    assert len(talk.commits) == 2 and len(talk.releases) == 1
    talk.client(1, commands.Channel.Close(200, "", 0, 0))
    assert len(talk.commits) == 2 and len(talk.releases) == 2


def test_other_queues_ask_no_store() -> None:
    asked, outcomes = answering()
    talk = consuming(a_talk(ONCE, outcomes=outcomes), queue="other")
    talk.broker(1, *delivered(1))
    assert asked == [] and tags(talk.heard_by_client()) == [1]


def test_without_acknowledgements_delivered_is_done() -> None:
    talk = consuming(a_talk(ONCE), no_ack=True)
    talk.broker(1, *delivered(1))
    assert len(talk.commits) == 1


def test_delivered_again_after_its_ack_is_acknowledged_and_not_seen() -> None:
    """hostile.jsonl CO09."""
    _, outcomes = answering(ClaimStatus.DUPLICATE)
    talk = consuming(a_talk(ONCE, outcomes=outcomes))
    talk.broker(1, *delivered(1))
    assert talk.heard_by_client() == []
    assert answers(talk.heard_by_broker()) == [("ack", 1, False)]
    assert talk.tally.messages == {("deliver", "refused", "replay.duplicate"): 1}
    assert talk.records[0].answer == "basic.ack"


def test_other_message_under_a_used_nonce_is_rejected() -> None:
    _, outcomes = answering(ClaimStatus.CONFLICT)
    talk = consuming(a_talk(ONCE, outcomes=outcomes))
    talk.broker(1, *delivered(1))
    assert answers(talk.heard_by_broker()) == [("reject", 1, False)]


@pytest.mark.parametrize("status", [ClaimStatus.INFLIGHT, ClaimStatus.UNAVAILABLE, ClaimStatus.FULL])
def test_what_can_not_be_decided_waits_and_is_asked_again(status: ClaimStatus) -> None:
    """The first delivery may still be at work: neither a second run nor the dead letters are right."""
    asked, outcomes = answering(status)
    talk = consuming(a_talk(ONCE, outcomes=outcomes))
    talk.broker(1, *delivered(1), *delivered(2))
    assert tags(talk.heard_by_client()) == [2]
    assert talk.heard_by_broker() == []
    talk.client(1, Basic.Ack(0, True))
    assert answers(talk.heard_by_broker()) == [("ack", 2, False)]
    for _ in range(3):
        talk.wait(1)
        talk.give(Ticked())
    assert tags(talk.heard_by_client()) == [1]
    assert len(asked) == 3
    talk.client(1, Basic.Ack(1))
    assert answers(talk.heard_by_broker()) == [("ack", 1, False)]


def test_what_waits_for_a_consumer_that_is_gone_goes_back() -> None:
    _, outcomes = answering(ClaimStatus.INFLIGHT)
    talk = consuming(a_talk(ONCE, outcomes=outcomes))
    talk.broker(1, *delivered(1))
    talk.client(1, Basic.Cancel("tag"))
    talk.broker(1, Basic.CancelOk("tag"))
    talk.heard_by_broker()
    talk.wait(3)
    talk.give(Ticked())
    assert answers(talk.heard_by_broker()) == [("reject", 1, True)]


def test_who_gets_does_not_wait() -> None:
    _, outcomes = answering(ClaimStatus.INFLIGHT)
    talk = a_talk(ONCE, outcomes=outcomes)
    talk.client(1, Basic.Get(queue="q"))
    talk.heard_by_broker()
    talk.broker(1, *got(1))
    assert methods_of(talk.heard_by_client()) == ["Basic.GetEmpty"]
    assert answers(talk.heard_by_broker()) == [("reject", 1, True)]


def test_answer_of_the_store_for_a_closed_channel_is_given_back() -> None:
    talk = consuming(a_talk(ONCE, answer_claims=False))
    talk.broker(1, *delivered(1))
    talk.client(1, commands.Channel.Close(200, "", 0, 0))
    talk.answer_delivery_claims()
    assert len(talk.releases) == 1 and talk.heard_by_client() == []
    assert talk.session.conversation.partial_bytes == 0


def test_leases_are_renewed_while_the_client_works() -> None:
    talk = consuming(a_talk(ONCE))
    talk.broker(1, *delivered(1))
    for _ in range(8):
        talk.wait(1)
        talk.give(Ticked())
    assert len(talk.renewed) >= 2


# Bounds


def test_broker_is_not_read_while_too_much_waits() -> None:
    talk = consuming(a_talk(keeps=None, limits=Limits(held_bytes_max=5000)))
    talk.broker(1, *forged(1, b"x" * 3000))
    assert talk.reading_broker
    talk.broker(1, *forged(2, b"x" * 3000))
    assert not talk.reading_broker
    talk.kept()
    assert talk.reading_broker


def test_deliveries_over_the_memory_of_a_connection_end_it() -> None:
    """The broker still has them all."""
    talk = consuming(a_talk(limits=Limits(connection_bytes_max=8000)))
    deliver, head, *_ = delivered(1, b"x" * 20000)
    talk.broker(1, deliver, head, body.ContentBody(b"x" * 9000))
    assert talk.tally.limits_hit["connection_bytes_max"] > 0
    assert "conn.memory" in talk.heard_by_client()[0].reply_text
    assert Side.UPSTREAM in talk.closed or "Connection.Close" in methods_of(talk.heard_by_broker())


def test_return_is_not_torn_by_a_delivery_that_waited() -> None:
    talk = consuming(a_talk(ONCE, answer_claims=False))
    talk.broker(1, *delivered(1))
    publish, head, content = sealed(b"returned", mandatory=True)
    talk.broker(1, Basic.Return(312, "NO_ROUTE", "", publish.routing_key), head)
    talk.answer_delivery_claims()
    talk.broker(1, content)
    assert methods_of(talk.heard_by_client()) == [
        "Basic.Return",
        "ContentHeader",
        "ContentBody",
        "Basic.Deliver",
        "ContentHeader",
        "ContentBody",
    ]


def test_consumers_that_are_cancelled_without_an_answer_are_let_go() -> None:
    """Else a client that comes and goes so is thrown out at the limit of consumers."""
    talk = a_talk()
    for count in range(CONSUMERS_MAX + 10):
        tag = f"t{count}"
        talk.client(1, Basic.Consume(queue="q", consumer_tag=tag))
        talk.broker(1, Basic.ConsumeOk(tag))
        talk.client(1, Basic.Cancel(tag, nowait=True))
    assert talk.closed == [] and talk.tally.messages == {}
    # What was on its way to it is still judged, and still goes to the client.
    talk.heard_by_client()
    talk.broker(1, *delivered(1, consumer=tag), *forged(2, consumer=tag))
    assert tags(talk.heard_by_client()) == [1]


def test_cancel_without_an_answer_may_cross_its_consume_ok() -> None:
    """The consumer was asked for and the broker has not said so yet: its deliveries are its own."""
    talk = a_talk()
    talk.client(1, Basic.Consume(queue="q", consumer_tag="t", no_ack=True), Basic.Cancel("t", nowait=True))
    talk.broker(1, Basic.ConsumeOk("t"), *forged(1, consumer="t"))
    assert answers(talk.heard_by_broker()) == []
    assert [record.answer for record in talk.records] == ["none"]


def test_delivery_before_the_consume_ok_of_a_consumer_that_the_broker_names() -> None:
    talk = a_talk()
    talk.client(1, Basic.Consume(queue="q", consumer_tag="", no_ack=True))
    talk.heard_by_broker()
    talk.broker(1, *forged(1, consumer="amq.ctag-1"), Basic.ConsumeOk("amq.ctag-1"))
    # Nothing to reject: without acknowledgements the broker would close the channel for that.
    assert answers(talk.heard_by_broker()) == []
    assert [record.answer for record in talk.records] == ["none"]


@pytest.mark.parametrize("first", ["client", "broker"])
def test_channel_that_is_closed_for_a_publish_keeps_nothing_of_its_deliveries(first: str) -> None:
    """The broker has them back: a claim that was held on would keep all others from working on them."""
    talk = Talk(delivery=ONCE, unconfirmed=Unconfirmed.CLOSE, keeps=None, answer_claims=False)
    consuming(talk.shake_hands().open_channel(1))
    talk.broker(1, *delivered(1))
    talk.answer_delivery_claims()
    talk.broker(1, *delivered(2), *forged(3))
    talk.client(1, *unsealed())
    closes = {
        "client": lambda: talk.client(1, commands.Channel.CloseOk()),
        "broker": lambda: talk.broker(1, commands.Channel.CloseOk()),
    }
    closes.pop(first)()
    closes.popitem()[1]()
    assert len(talk.releases) == 1 and talk.session.conversation.channels == {}
    assert talk.session.conversation.partial_bytes == talk.tally.buffered_bytes == 0
    talk.answer_delivery_claims()
    assert len(talk.releases) == 2
    talk.wait(talk.terms.limits.renew_s + 1)
    talk.give(Ticked())
    assert talk.renewed == []


def test_queue_that_was_declared_last_is_that_also_where_the_one_before_is_answered_after_it() -> None:
    talk = a_talk(ONCE, answer_claims=False)
    talk.client(1, Queue.Declare(queue="other"), Queue.Declare(queue="q", nowait=True))
    talk.client(1, Basic.Consume(queue="", consumer_tag="before"))
    talk.broker(1, Queue.DeclareOk("other", 0, 0))
    talk.client(1, Basic.Consume(queue="", consumer_tag="after"))
    talk.broker(1, Basic.ConsumeOk("before"), Basic.ConsumeOk("after"))
    talk.broker(1, *delivered(1, consumer="before"), *delivered(2, consumer="after"))
    assert asked_of(talk) == ["before", "after"]
    # And the next one is asked for by its own name.
    talk.client(1, Queue.Declare(queue="other"), Basic.Consume(queue="", consumer_tag="other"))
    talk.broker(1, Queue.DeclareOk("other", 0, 0), Basic.ConsumeOk("other"))
    talk.broker(1, *delivered(3, consumer="other"))
    assert asked_of(talk) == ["before", "after"]


def asked_of(talk: Talk) -> list[str]:
    """The consumers whose deliveries the store was asked about."""
    return [
        delivery.info.consumer_tag.decode()
        for request in talk.delivery_claims
        for delivery in request.deliveries
    ]
