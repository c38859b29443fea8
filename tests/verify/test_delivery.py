"""The delivery verifier: whose signature, which target, and what else is asked again at the consumer."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest

from sealgate.reason import Reason
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key, KeyState
from sealgate.verify.delivery import DeliveryPolicy, QueueTerms, Requirement, queue_wait_s
from sealgate.verify.message import Message
from sealgate.verify.policy import Rule
from sealgate.verify.targets import TargetPolicy
from sealgate.verify.verdict import Accepted, Claim, Refused, Verdict
from sealgate.wire.properties import EXPIRATION, REPLY_TO, TIMESTAMP
from support.delivered import (
    DEAD_LETTER,
    DELAYED,
    STRICT,
    a_task_with,
    countersigned,
    death,
    delivered,
    died,
    judge_delivery,
)
from support.sealed import (
    JSON_HEADER,
    NOW,
    a_key,
    a_message,
    a_peer,
    a_policy,
    sealed,
    table,
    task_headers,
    with_token,
)
from support.wire_bytes import entry

GATEWAY_KEY = Key("gw1", HmacSha256(bytes(range(64, 96))))
BITS = "0." * 25 + "1.0.1."
DELAYED_KEY = BITS + "celery"


def reason(verdict: Verdict) -> Reason | None:
    return verdict.reason if isinstance(verdict, Refused) else verdict.observed


def token_of(message: Message) -> bytes:
    token = message.header.table.values["x-seal"]
    assert isinstance(token, str)
    return token.encode()


def is_accepted(verdict: Verdict) -> bool:
    return isinstance(verdict, Accepted) and verdict.observed is None


# Times and keys


def test_delivery_is_not_asked_for_its_freshness() -> None:
    """A message may wait in its queue for as long as its seal is valid, and be delivered as often."""
    message = sealed(a_message(), expires=NOW + 6 * 3600)
    for later in (0, 3600, 6 * 3600, 6 * 3600 + 30):
        assert is_accepted(judge_delivery(message, now=NOW + later))
    assert reason(judge_delivery(message, now=NOW + 6 * 3600 + 31)) is Reason.TIME_EXPIRED


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (a_key(state=KeyState.REVOKED), Reason.SIG_KEY_STATE),
        (a_key(not_after=NOW - 1), Reason.SIG_KEY_STATE),
        (a_key(max_lifetime_s=60), Reason.SIG_LIFETIME),
        (a_key(tasks=("other.*",)), Reason.ACL_TASK),
        (a_key(classes=("event",)), Reason.ACL_CLASS),
        (a_key(exchanges=("celery",)), Reason.ACL_EXCHANGE),
        (a_key(routing_keys=("other",)), Reason.ACL_ROUTING_KEY),
        (a_key(vhosts=("/other",)), Reason.ACL_VHOST),
    ],
)
def test_what_a_key_may_do_holds_for_consumers_as_well(key: Key, expected: Reason) -> None:
    assert reason(judge_delivery(sealed(a_message(), key=key), keys=(key,))) is expected


def test_users_of_a_key_are_those_who_publish() -> None:
    """A consumer is another user, and who published is not known any more."""
    key = a_key(users=("web",))
    assert is_accepted(judge_delivery(sealed(a_message(), key=key), keys=(key,), peer=a_peer(user="worker")))


def test_user_id_is_the_publishers() -> None:
    message = sealed(a_message(properties={**JSON_HEADER, 11: b"web"}))
    assert is_accepted(judge_delivery(message, peer=a_peer(user="worker")))


# What anybody can write who writes to the broker


def test_unsealed_delivery_is_refused() -> None:
    verdict = judge_delivery(a_message())
    assert reason(verdict) is Reason.SIG_MISSING
    assert isinstance(verdict, Refused) and not verdict.authenticated and verdict.task == "app.add"


def test_body_that_was_exchanged_is_refused() -> None:
    forged = with_token(a_message(b"[[4,5],{},{}]"), token_of(sealed(a_message())))
    assert reason(judge_delivery(forged)) is Reason.SIG_BAD


def test_envelope_is_proven_again() -> None:
    """A signer may be generous: what kills a worker is not handed to it."""
    assert reason(judge_delivery(sealed(a_message(b"null")))) is Reason.CELERY_ENVELOPE
    pickled = a_message(properties={0: b"application/x-python-serialize"})
    assert reason(judge_delivery(sealed(pickled))) is Reason.CONTENT_TYPE


def test_body_over_the_limit_is_refused() -> None:
    policy = a_policy(body_bytes_max=10)
    assert reason(judge_delivery(sealed(a_message()), policy=policy)) is Reason.BODY_SIZE


FAR = struct.pack(">Q", 253_402_300_800)


@pytest.mark.parametrize("name", ["x-death", "x-delivery-count", "x-opt-rabbitmq-received-time"])
def test_far_timestamp_under_a_name_of_the_brokers_is_refused(name: str) -> None:
    """A consumer reads it all the same, and dies (hostile.jsonl HD06). No signature covers it."""
    message = delivered(sealed(a_message()), entries=entry(name, "T", FAR))
    assert reason(judge_delivery(message)) is Reason.HEADER_TIMESTAMP


def test_far_timestamp_property_that_nobody_signed_is_refused() -> None:
    message = delivered(sealed(a_message()), properties={TIMESTAMP: FAR})
    assert reason(judge_delivery(message)) is Reason.HEADER_TIMESTAMP
    signed = sealed(a_message(properties={**JSON_HEADER, TIMESTAMP: FAR}))
    assert reason(judge_delivery(signed)) is Reason.HEADER_TIMESTAMP


def test_copies_by_header_are_refused() -> None:
    message = sealed(a_message(headers=task_headers(CC=["other"])))
    assert reason(judge_delivery(message)) is Reason.HEADER_ROUTING


# Targets


@pytest.mark.parametrize("terms", [STRICT, DEAD_LETTER, DELAYED])
def test_other_exchange_or_routing_key_is_refused(terms: QueueTerms) -> None:
    """Nothing else says that it was dead-lettered."""
    message = sealed(a_message())
    assert reason(judge_delivery(delivered(message, exchange="e"), terms)) is Reason.TARGET_MISMATCH
    assert reason(judge_delivery(delivered(message, routing_key="k"), terms)) is Reason.TARGET_MISMATCH


@pytest.mark.parametrize(
    ("other", "entered"),
    [
        (death(exchange="e"), False),
        (death(routing_key="k"), False),
        (death(), True),
    ],
)
def test_dead_lettered_from_where_it_was_sent(other: dict[str, object], entered: bool) -> None:
    message = delivered(sealed(a_message()), exchange="dlx", entries=died(other))
    assert is_accepted(judge_delivery(message, DEAD_LETTER)) is entered


def test_dead_lettered_twice() -> None:
    deaths = died(death("dlx", "celery", "dead", "expired"), death())
    message = delivered(sealed(a_message()), exchange="dlx2", routing_key="x", entries=deaths)
    assert is_accepted(judge_delivery(message, DEAD_LETTER))


@pytest.mark.parametrize("original", [None, "59999", "60000"])
def test_expiration_that_died_must_be_the_one_that_was_signed(original: str | None) -> None:
    message = delivered(
        sealed(a_task_with(b"60000")),
        exchange="dlx",
        entries=died(death(expiration=original)),
        without=(EXPIRATION,),
    )
    assert is_accepted(judge_delivery(message, DEAD_LETTER)) is (original == "60000")


def test_expiration_that_was_added_is_refused() -> None:
    message = delivered(sealed(a_message()), properties={EXPIRATION: b"1"})
    assert reason(judge_delivery(message)) is Reason.TARGET_MISMATCH
    dead = delivered(
        sealed(a_message()), exchange="dlx", entries=died(death()), properties={EXPIRATION: b"1"}
    )
    assert reason(judge_delivery(dead, DEAD_LETTER)) is Reason.TARGET_MISMATCH


def test_message_that_came_back_from_its_dead_letters_has_lost_its_expiration() -> None:
    """A retry queue with a TTL that dead-letters back: the target is right again."""
    deaths = died(death("retry", "celery", "retry", "expired"), death(expiration="60000"))
    message = delivered(sealed(a_task_with(b"60000")), entries=deaths, without=(EXPIRATION,))
    assert is_accepted(judge_delivery(message, DEAD_LETTER))
    assert reason(judge_delivery(message, STRICT)) is Reason.TARGET_MISMATCH


@pytest.mark.parametrize("terms", [STRICT, DEAD_LETTER, DELAYED])
@pytest.mark.parametrize("queue", ["sealgate.wait.0011", "sealgate.park.0011"])
@pytest.mark.parametrize("expiration", [b"60000", None])
def test_gateways_own_queues_take_an_expiration_away_and_nothing_else(
    terms: QueueTerms, queue: str, expiration: bytes | None
) -> None:
    deaths = died(death("", queue, queue, "expired", "1500"))
    message = sealed(a_task_with(expiration))
    waited = delivered(message, entries=deaths, without=(EXPIRATION,))
    assert is_accepted(judge_delivery(waited, terms))
    elsewhere = delivered(message, routing_key="other", entries=deaths, without=(EXPIRATION,))
    assert reason(judge_delivery(elsewhere, terms)) is Reason.TARGET_MISMATCH


def test_signed_timestamp_must_still_be_there() -> None:
    stamp = struct.pack(">Q", NOW)
    message = sealed(a_message(properties={**JSON_HEADER, TIMESTAMP: stamp}))
    assert is_accepted(judge_delivery(message))
    assert reason(judge_delivery(delivered(message, without=(TIMESTAMP,)))) is Reason.TARGET_MISMATCH
    other = delivered(message, properties={TIMESTAMP: struct.pack(">Q", NOW + 1)})
    assert reason(judge_delivery(other)) is Reason.TARGET_MISMATCH


@pytest.mark.parametrize("prefix", ["", "shop_"])
@pytest.mark.parametrize("left", ["celery_delayed_1", "celery_delayed_delivery"])
def test_native_delayed_delivery(prefix: str, left: str) -> None:
    entered = prefix + "celery_delayed_27"
    message = sealed(a_message(exchange=entered, routing_key=DELAYED_KEY))
    deaths = died(
        death(prefix + "celery_delayed_1", DELAYED_KEY, prefix + "celery_delayed_0", "expired"),
        death(entered, DELAYED_KEY, prefix + "celery_delayed_2", "expired"),
    )
    arrived = delivered(message, exchange=prefix + left, entries=deaths)
    assert is_accepted(judge_delivery(arrived, DELAYED))
    assert reason(judge_delivery(arrived, STRICT)) is Reason.TARGET_MISMATCH
    other = delivered(message, exchange="other_" + left, entries=deaths)
    assert reason(judge_delivery(other, DELAYED)) is Reason.TARGET_MISMATCH
    sooner = delivered(message, exchange=prefix + left, routing_key="0." * 28 + "celery", entries=deaths)
    assert reason(judge_delivery(sooner, DELAYED)) is Reason.TARGET_MISMATCH
    undelayed = delivered(message, exchange=prefix + left)
    assert reason(judge_delivery(undelayed, DELAYED)) is Reason.TARGET_MISMATCH


def test_dead_letters_are_no_delays() -> None:
    message = delivered(sealed(a_message()), exchange="dlx", entries=died(death()))
    assert reason(judge_delivery(message, DELAYED)) is Reason.TARGET_MISMATCH


def test_what_the_key_may_do_is_asked_of_the_target_it_was_sent_to() -> None:
    key = a_key(exchanges=("",), routing_keys=("celery",))
    message = delivered(
        sealed(a_message(), key=key), exchange="dlx", routing_key="dead", entries=died(death())
    )
    assert is_accepted(judge_delivery(message, DEAD_LETTER, keys=(key,)))


def test_direct_reply_to_has_a_name_of_the_brokers_behind_it() -> None:
    message = sealed(a_message(properties={**JSON_HEADER, REPLY_TO: b"amq.rabbitmq.reply-to"}))
    arrived = delivered(message, properties={REPLY_TO: b"amq.rabbitmq.reply-to.g1h2AAB0"})
    assert is_accepted(judge_delivery(arrived))
    other = delivered(message, properties={REPLY_TO: b"amq.rabbitmq.other"})
    assert reason(judge_delivery(other)) is Reason.SIG_BAD


def test_queues_are_found_by_the_first_that_matches() -> None:
    policy = DeliveryPolicy(
        queues=(
            QueueTerms("dead.*", TargetPolicy.DEAD_LETTER),
            QueueTerms("dead.special", TargetPolicy.DELAYED),
            QueueTerms("once", once=True),
        )
    )
    assert policy.terms_of("dead.special").target is TargetPolicy.DEAD_LETTER
    assert policy.terms_of("once").once
    assert policy.terms_of("celery") == QueueTerms()


# Whose signature


def test_gateways_signature_alone() -> None:
    """What a gateway changed has no good seal of its producer's any more."""
    deliver = DeliveryPolicy(Requirement.GATEWAY, frozenset({"gw1"}))
    keys = (a_key(), GATEWAY_KEY)
    message = with_token(a_message(), token_of(sealed(a_message(b"[[9,9],{},{}]"))))
    assert reason(judge_delivery(message, keys=keys, deliver=deliver)) is Reason.SIG_MISSING
    signed = countersigned(message, GATEWAY_KEY)
    assert is_accepted(judge_delivery(signed, keys=keys, deliver=deliver))
    assert reason(judge_delivery(signed, keys=keys)) is Reason.SIG_BAD
    both = DeliveryPolicy(Requirement.BOTH, frozenset({"gw1"}))
    assert reason(judge_delivery(signed, keys=keys, deliver=both)) is Reason.SIG_BAD


def test_both_signatures() -> None:
    deliver = DeliveryPolicy(Requirement.BOTH, frozenset({"gw1"}))
    keys = (a_key(), GATEWAY_KEY)
    message = sealed(a_message())
    assert reason(judge_delivery(message, keys=keys, deliver=deliver)) is Reason.SIG_MISSING
    verdict = judge_delivery(countersigned(message, GATEWAY_KEY), keys=keys, deliver=deliver)
    assert isinstance(verdict, Accepted) and verdict.kid == "k1"


@pytest.mark.parametrize("require", [Requirement.GATEWAY, Requirement.BOTH])
def test_producer_is_no_gateway(require: Requirement) -> None:
    """Its key is as good as any, and does not stand in for one that counter-signs."""
    deliver = DeliveryPolicy(require, frozenset({"gw1"}))
    message = countersigned(sealed(a_message()), a_key())
    verdict = judge_delivery(message, keys=(a_key(), GATEWAY_KEY), deliver=deliver)
    assert reason(verdict) is Reason.SIG_KID


def test_countersignature_covers_the_producers_seal() -> None:
    deliver = DeliveryPolicy(Requirement.GATEWAY, frozenset({"gw1"}))
    token = countersigned(sealed(a_message()), GATEWAY_KEY).header.table.values["x-countersign"]
    other = delivered(
        sealed(a_message(), nonce=bytes(range(30, 46))), entries=table({"x-countersign": token})
    )
    verdict = judge_delivery(other, keys=(a_key(), GATEWAY_KEY), deliver=deliver)
    assert reason(verdict) is Reason.SIG_BAD


# Observing


def test_rules_observe_deliveries_as_they_do_publishes() -> None:
    policy = a_policy(rules=(Rule(exchange="", task="app.*", observe=True),))
    verdict = judge_delivery(a_message(), policy=policy)
    assert isinstance(verdict, Accepted) and verdict.observed is Reason.SIG_MISSING
    assert reason(judge_delivery(a_message(exchange="other"), policy=policy)) is Reason.SIG_MISSING
    assert isinstance(judge_delivery(a_message(exchange="other"), policy=policy), Refused)


# Once


def once_claim(message: Message, queue: str = "celery", now: float = NOW) -> Claim:
    verdict = judge_delivery(message, QueueTerms(once=True), queue=queue, now=now)
    assert isinstance(verdict, Accepted) and verdict.claim is not None
    return verdict.claim


def test_claim_is_for_a_nonce_in_a_queue() -> None:
    message = sealed(a_message())
    first, again = once_claim(message), once_claim(message, now=NOW + 100)
    assert (first.nonce_key, first.digest) == (again.nonce_key, again.digest)
    others = [once_claim(message, "q2"), once_claim(sealed(a_message(), nonce=bytes(range(1, 17))))]
    assert len({first.nonce_key, *[other.nonce_key for other in others]}) == 3
    assert first.remember_until >= NOW + 3600 + 30
    assert not first.debits


def test_claim_has_a_name_of_its_own() -> None:
    """A gateway that verifies both ways has one store: a delivery is no replay of its publish."""
    published = judge_delivery(sealed(a_message()))
    assert isinstance(published, Accepted) and published.claim is None
    assert once_claim(sealed(a_message())).nonce_key.startswith(b"4:prod:*once:")


def test_nonce_of_a_session_is_opaque_to_a_consumer() -> None:
    assert is_accepted(judge_delivery(sealed(a_message(), nonce=bytes(24))))
    assert len(once_claim(sealed(a_message(), nonce=bytes(24))).nonce_key) == len(b"4:prod:*once:") + 31


# Waiting


@pytest.mark.parametrize(
    ("eta_after_s", "waited_s"), [(None, 100), (40, 60), (100, 0), (101, 100), (-5, 100)]
)
def test_wait_begins_with_the_seal_or_an_eta_that_has_passed(
    eta_after_s: int | None, waited_s: float
) -> None:
    eta = None if eta_after_s is None else datetime.fromtimestamp(NOW + eta_after_s, UTC).isoformat()
    message = sealed(a_message(headers=task_headers(eta=eta)))
    verdict = judge_delivery(message, now=NOW + 100)
    assert isinstance(verdict, Accepted)
    assert queue_wait_s(message.header.table.values["eta"], verdict, NOW + 100) == waited_s


def test_only_configured_names_are_labels() -> None:
    policy = DeliveryPolicy(tasks=("app.add", "shop.*"))
    assert [policy.label(name) for name in ("app.add", "shop.pay", "app.other")] == ["app.add", "shop.*", ""]
