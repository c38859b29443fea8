"""Publications that wait in the broker: what goes upstream instead, in which order, and what can go wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pamqp import body, commands, header

from sealgate.reason import Reason
from sealgate.session.events import QueueDeclared, Ticked
from sealgate.session.holding import FRESH_S, HoldingQueue, ReadyQueues, Waits
from sealgate.session.limits import Limits
from sealgate.verify.rates import RateTable
from sealgate.verify.verdict import GRANTED, Bucket, Claim, ClaimOutcome, ClaimStatus, Debit
from sealgate.wire.methods import Publish
from support.talk import Spoken, Talk, generic_policy, methods_of, on

RATES = RateTable({"q": "1/s", "*": "9/s"}, delay_us=3_600_000_000)


def waits(*seconds: float) -> Callable[[Claim], ClaimOutcome]:
    """The store's answers in turn: a wait of so many seconds, or none for a negative one."""
    left = list(seconds)

    def outcome(claim: Claim) -> ClaimOutcome:
        wait_s = left.pop(0)
        if wait_s < 0:
            return GRANTED
        assert claim.wait_us
        return ClaimOutcome(ClaimStatus.GRANTED, "q" if wait_s else "", int(wait_s * 1_000_000), True)

    return outcome


def talk_of(*seconds: float, confirms: bool = True, **options: object) -> Talk:
    options.setdefault("policy", generic_policy(rates=RATES))
    talk = Talk(outcomes=waits(*seconds), **options)  # type: ignore[arg-type]
    return talk.shake_hands().open_channel(confirms=confirms)


def published(parts: list[Spoken]) -> list[tuple[str, str | None, bytes]]:
    """(routing key, expiration, body) of each publish."""
    found = []
    for method, properties, content in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        assert isinstance(method, commands.Basic.Publish) and isinstance(properties, header.ContentHeader)
        assert isinstance(content, body.ContentBody) and method.exchange == ""
        found.append((method.routing_key, properties.properties.expiration, content.value))
    return found


def declare(talk: Talk, trouble: str = "") -> HoldingQueue:
    """Answer the oldest `DeclareQueue`."""
    queue = talk.declared.pop(0)
    talk.give(QueueDeclared(queue, trouble))
    return queue


def test_a_message_over_its_rate_goes_to_its_queue_and_is_confirmed_by_the_broker() -> None:
    talk = talk_of(10)
    sent = talk.sealed()
    talk.client(1, *sent)
    assert talk.heard_by_broker() == []
    queue = declare(talk)
    assert queue.name.startswith("sealgate.wait.") and (queue.exchange, queue.routing_key) == ("", "q")
    heard = talk.heard_by_broker()
    assert published(heard) == [(queue.name, "10000", b"hello")]
    # Everything else is what the client sent.
    properties = heard[1].properties
    assert properties.content_type == "text/plain" and set(properties.headers) == {"n", "x-seal"}
    assert talk.heard_by_client() == []
    talk.broker(1, commands.Basic.Ack(1))
    assert methods_of(talk.heard_by_client()) == ["Basic.Ack"]
    assert len(talk.commits) == 1
    assert talk.tally.delayed == {"q": 1} and talk.tally.rate_wait["q"].total == 10
    assert talk.tally.messages == {("publish", "accepted", "ok"): 1}
    assert talk.records == []


def test_the_time_it_waited_here_is_taken_off() -> None:
    talk = talk_of(10)
    talk.client(1, *talk.sealed())
    talk.wait(2.5)
    queue = declare(talk)
    assert published(talk.heard_by_broker()) == [(queue.name, "7500", b"hello")]


def test_a_slot_that_is_over_by_then_is_now() -> None:
    talk = talk_of(1)
    talk.client(1, *talk.sealed())
    talk.wait(4)
    declare(talk)
    assert published(talk.heard_by_broker())[0][1] == "0"


def test_all_that_follow_on_the_channel_keep_their_place() -> None:
    talk = talk_of(10, 11, -1, 12)
    talk.client(1, *talk.sealed(b"1"), *talk.sealed(b"2"), *talk.sealed(b"3"), *talk.sealed(b"4"))
    talk.client(1, commands.Queue.Declare(queue="after"))
    assert talk.heard_by_broker() == [] and len(talk.declared) == 1
    name = declare(talk).name
    heard = talk.heard_by_broker()
    assert published(heard[:-1]) == [
        (name, "10000", b"1"),
        (name, "11000", b"2"),
        ("q", None, b"3"),
        (name, "12000", b"4"),
    ]
    assert methods_of(heard[-1:]) == ["Queue.Declare"]
    talk.broker(1, commands.Basic.Ack(4, multiple=True))
    (ack,) = talk.heard_by_client()
    assert (ack.delivery_tag, ack.multiple) == (4, True)
    assert len(talk.commits) == 4


def test_one_that_only_stays_behind_others_waits_for_nothing() -> None:
    talk = talk_of(0)
    talk.client(1, *talk.sealed())
    queue = declare(talk)
    assert published(talk.heard_by_broker()) == [(queue.name, "0", b"hello")]
    assert talk.tally.delayed == {"q": 1} and not talk.tally.rate_wait


def test_without_confirms_the_claim_is_settled_when_it_is_sent() -> None:
    talk = talk_of(10, confirms=False)
    talk.client(1, *talk.sealed())
    assert talk.commits == []
    declare(talk)
    assert len(talk.commits) == 1


def test_a_queue_is_asked_for_once_in_a_while_and_not_for_each_message() -> None:
    talk = talk_of(*[10] * 5)
    talk.client(1, *talk.sealed())
    declare(talk)
    talk.client(1, *talk.sealed())
    assert talk.declared == []
    talk.wait(FRESH_S - 1)
    talk.client(1, *talk.sealed())
    assert talk.declared == []
    talk.wait(1)
    talk.client(1, *talk.sealed())
    assert len(talk.declared) == 1
    declare(talk)
    assert len(published(talk.heard_by_broker())) == 4


def test_a_queue_that_can_not_be_had_refuses_what_was_to_wait_there_and_frees_its_nonce() -> None:
    talk = talk_of(10, 11)
    talk.client(1, *talk.sealed(b"1"), *talk.sealed(b"2"))
    declare(talk, "ACCESS_REFUSED")
    assert talk.heard_by_broker() == []
    assert methods_of(talk.heard_by_client()) == ["Basic.Nack", "Basic.Nack"]
    assert [(record.reason, record.detail) for record in talk.records] == [
        (Reason.RATE_TASK, "ACCESS_REFUSED")
    ] * 2
    assert len(talk.releases) == 2 and talk.commits == []
    assert talk.tally.messages == {("publish", "refused", "rate.task"): 2}
    assert not talk.tally.delayed
    # The next one asks again.
    talk = talk_of(10, 11)
    talk.client(1, *talk.sealed(b"1"))
    declare(talk, "away")
    talk.client(1, *talk.sealed(b"2"))
    assert len(talk.declared) == 1


def test_what_waits_for_its_queue_when_its_channel_closes_is_not_sent() -> None:
    talk = talk_of(10)
    talk.client(1, *talk.sealed())
    talk.broker(1, commands.Channel.Close(404, "NOT_FOUND", 60, 40))
    assert len(talk.releases) == 1
    talk.client(1, commands.Channel.CloseOk())
    talk.heard_by_broker()
    declare(talk)
    assert talk.heard_by_broker() == [] and talk.commits == []
    assert len(talk.releases) == 1


def test_a_lease_is_renewed_while_the_queue_is_being_declared() -> None:
    talk = talk_of(10)
    talk.client(1, *talk.sealed())
    talk.wait(4)
    talk.give(Ticked())
    assert len(talk.renewed) == 1


def test_a_client_that_sends_on_is_not_read_when_too_much_waits() -> None:
    talk = talk_of(*[10] * 30, limits=Limits(held_bytes_max=4096))
    for _ in range(30):
        talk.client(1, *talk.sealed())
    assert not talk.reading
    declare(talk)
    assert talk.reading


def test_a_countersigned_message_waits_with_its_countersignature() -> None:
    talk = talk_of(10, countersign=True)
    talk.client(1, *talk.sealed())
    declare(talk)
    properties = talk.heard_by_broker()[1].properties
    assert properties.expiration == "10000" and "x-countersign" in properties.headers


def test_a_mandatory_message_is_refused_instead() -> None:
    def limited(claim: Claim) -> ClaimOutcome:
        assert not claim.wait_us
        return ClaimOutcome(ClaimStatus.LIMITED, "q", 10_000_000)

    talk = Talk(policy=generic_policy(rates=RATES), outcomes=limited).shake_hands()
    talk.open_channel(confirms=True).client(1, *talk.sealed(mandatory=True))
    assert methods_of(talk.heard_by_client())[0] == "Basic.Return"
    assert talk.declared == [] and talk.records[0].reason is Reason.RATE_TASK


def test_more_queues_than_may_be_are_refused() -> None:
    talk = talk_of(10, 10, 10)
    talk.terms.queues = ReadyQueues(1)
    talk.client(1, *talk.sealed(routing_key="q"))
    declare(talk)
    talk.client(1, *talk.sealed(routing_key="r"))
    assert talk.declared == []
    assert "over 1 queues" in talk.records[0].detail
    assert talk.tally.limits_hit == {"holding_queues_max": 1}
    talk.client(1, *talk.sealed(routing_key="q"))
    assert len(published(talk.heard_by_broker())) == 2


# A queue that is gone


def come_back(talk: Talk, heard: list[Spoken], channel: int = 1) -> None:
    """The broker returns the publish that was just heard: there is no such queue."""
    method, properties, content = heard
    assert method.mandatory
    returned = commands.Basic.Return(312, "NO_ROUTE", "", method.routing_key)
    talk.broker(channel, returned, properties, content)


def test_what_comes_back_from_a_queue_that_is_gone_is_nacked_and_kept_as_it_was_sent() -> None:
    talk = talk_of(10, 11, 12)
    sent = talk.sealed(b"1")
    talk.client(1, *sent, *talk.sealed(b"2"))
    name = declare(talk).name
    heard = talk.heard_by_broker()
    come_back(talk, heard[:3])
    talk.broker(1, commands.Basic.Ack(2, multiple=True))
    told = talk.heard_by_client()
    assert [(part.name, part.delivery_tag, getattr(part, "multiple", None)) for part in told] == [
        ("Basic.Nack", 1, False),
        ("Basic.Ack", 2, True),
    ]
    # Its nonce is free again; the other one arrived.
    assert (len(talk.releases), len(talk.commits)) == (1, 1)
    (record,) = talk.records
    assert (record.reason, record.answer, record.kid) == (Reason.RATE_TASK, "basic.nack", "k1")
    assert (record.exchange, record.routing_key, record.body, record.complete) == ("", "q", b"1", True)
    assert record.header == sent[1].payload
    assert record.method == on(1, commands.Basic.Publish(routing_key="q"))[7:-1]
    assert talk.tally.messages["publish", "refused", "rate.task"] == 1
    # The queue is declared again before it is used.
    talk.client(1, *talk.sealed(b"3"))
    assert declare(talk).name == name
    talk.broker(1, commands.Basic.Ack(3))
    assert [part.delivery_tag for part in talk.heard_by_client()] == [3]


def test_without_confirms_what_comes_back_is_kept() -> None:
    talk = talk_of(10, confirms=False)
    talk.client(1, *talk.sealed())
    declare(talk)
    come_back(talk, talk.heard_by_broker())
    assert talk.heard_by_client() == []
    assert talk.records[0].answer == "none" and talk.tally.unconfirmed_refusals == 1


def test_a_body_in_several_frames_and_none_at_all_come_back_whole() -> None:
    talk = talk_of(10, 11)
    talk.client(1, *talk.sealed(b"hello"), *talk.sealed(b""))
    name = declare(talk).name
    heard = talk.heard_by_broker()
    back = commands.Basic.Return(312, "NO_ROUTE", "", name)
    talk.broker(1, back, heard[1], body.ContentBody(b"he"))
    assert talk.records == []
    talk.broker(1, body.ContentBody(b"llo"))
    talk.broker(1, back, heard[4])
    assert [record.body for record in talk.records] == [b"hello", b""]
    assert talk.heard_by_client() == []


def test_a_return_of_the_clients_own_is_the_clients() -> None:
    """Also from a queue that is called so: the client published there, where rules only observe."""
    talk = talk_of(-1, policy=generic_policy(rates=RATES, observe_default=True))
    talk.client(1, *talk.sealed(routing_key="sealgate.wait.mine", mandatory=True))
    (method, properties, content) = talk.heard_by_broker()
    talk.broker(1, commands.Basic.Return(312, "NO_ROUTE", "", method.routing_key), properties, content)
    assert methods_of(talk.heard_by_client()) == ["Basic.Return", "ContentHeader", "ContentBody"]


# The queues


def name_of(
    claim: Claim, vhost: str = "/", exchange: str = "", routing_key: str = "q", **like: object
) -> str:
    publish = Publish(exchange, routing_key, False, False)
    waits = Waits(**like)  # type: ignore[arg-type]
    return waits.detour(vhost, publish, claim, ClaimOutcome(ClaimStatus.GRANTED, "", 0, True), 0.0).queue.name


def claim_on(*debits: Debit) -> Claim:
    return Claim(b"", b"", 0, 0, debits, wait_us=1)


def test_messages_with_the_same_buckets_and_target_share_a_queue_and_others_do_not() -> None:
    a, b = Bucket("a", 1, 1_000_000, 1), Bucket("a", 1, 1_000_000, 1, "a b")
    of_a, of_b, of_both = claim_on(Debit(a)), claim_on(Debit(b)), claim_on(Debit(a), Debit(b))
    with_spare = claim_on(Debit(a, 1, b))
    names = {
        name_of(of_a),
        name_of(of_b),
        name_of(of_both),
        name_of(with_spare),
        name_of(of_a, vhost="v"),
        name_of(of_a, exchange="e"),
        name_of(of_a, routing_key="r"),
        name_of(of_a, quorum=True),
        name_of(of_a, expires_ms=1),
    }
    assert len(names) == 9
    assert name_of(claim_on(Debit(a, 2))) == name_of(of_a)


@pytest.mark.parametrize("quorum", [False, True])
def test_a_queue_dead_letters_to_the_target_and_is_forgotten_only_when_unused(quorum: bool) -> None:
    arguments = HoldingQueue("q", "e", "r", quorum, 5000).arguments()
    assert arguments["x-dead-letter-exchange"] == "e" and arguments["x-dead-letter-routing-key"] == "r"
    assert arguments["x-expires"] == 5000
    assert (arguments.get("x-dead-letter-strategy") == "at-least-once") is quorum
    assert "x-expires" not in HoldingQueue("q", "e", "r").arguments()


def test_ready_queues_are_those_of_one_broker_and_vhost_and_are_forgotten_with_the_brokers() -> None:
    ready = ReadyQueues(2)
    short, lasting = HoldingQueue("s", "", "q", expires_ms=1000), HoldingQueue("l", "", "q")
    ready.note("a:1", "/", short, 0.0)
    ready.note("a:1", "/", lasting, 0.0)
    assert ready.fresh("a:1", "/", "s", 1.0)
    assert not ready.fresh("b:1", "/", "s", 1.0) and not ready.fresh("a:1", "v", "s", 1.0)
    assert not ready.has_room("a:1", "/", "n", 0.5) and ready.has_room("a:1", "/", "s", 0.5)
    assert ready.has_room("a:1", "/", "n", 1.0)
    ready.forget("a:1", "/", "l")
    assert not ready.fresh("a:1", "/", "l", 1.0)
    assert ready.find("a:1", "/", "l") == lasting


def test_park_queue_does_not_keep_the_room_of_wait_queues_that_are_gone() -> None:
    ready = ReadyQueues(2)
    ready.note("a:1", "/", HoldingQueue("sealgate.park.p", "", "q", paused_by="q"), 0.0)
    ready.note("a:1", "/", HoldingQueue("sealgate.wait.w", "", "q", expires_ms=1000), 0.0)
    assert not ready.has_room("a:1", "/", "sealgate.wait.x", 0.5)
    assert ready.has_room("a:1", "/", "sealgate.wait.x", 1.0)
    assert ready.find("a:1", "/", "sealgate.park.p") is not None
