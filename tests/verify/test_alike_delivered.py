"""A delivery like the last accepted one is checked by what differs: its verdict must be that of all checks.

Queues of good and of changed messages, with what RabbitMQ and attackers at it make of them. Each delivery is
judged twice: with all that is remembered of those before, and by itself.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle

import pytest

from differential.picture import picture
from sealgate.reason import GateError
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME, canonical_properties
from sealgate.signing.keyring import Key, Keyring
from sealgate.verify.checks import Verifier
from sealgate.verify.delivery import DeliveryPolicy, DeliveryVerifier, QueueTerms, Requirement
from sealgate.verify.known import KINDS_MAX, TARGETS_MAX, Known, Memory
from sealgate.verify.message import Message, Peer
from sealgate.verify.verdict import Accepted
from sealgate.wire.properties import (
    CORRELATION_ID,
    EXPIRATION,
    MESSAGE_ID,
    REPLY_TO,
    TIMESTAMP,
    scan_content_header,
)
from sealgate.wire.reader import HeaderReader
from support.delivered import (
    DEAD_LETTER,
    DELAYED,
    STRICT,
    countersigned,
    death,
    delivered,
    died,
)
from support.likeness import Producer
from support.likeness_attacks import ATTACKS
from support.policies import ORDERING, OTHER_SECRET, POLICIES, keyrings
from support.sealed import (
    BODY,
    CHALLENGE,
    DEPLOYMENT,
    NOW,
    a_key,
    a_message,
    a_policy,
    seal,
    table,
    task_headers,
    with_token,
)

SEEDS = 120
SEEDS_AT_FULL_SIZE = 3000
PARTS = 3
DELIVERIES = 50
ONCE = QueueTerms(once=True)
TERMS = (STRICT, STRICT, STRICT, DEAD_LETTER, DELAYED, ONCE)
ALL_POLICIES = (*POLICIES.values(), *ORDERING.values())
PRODUCERS = DeliveryPolicy()
DELIVERY_POLICIES = (
    *[PRODUCERS] * 6,
    DeliveryPolicy(Requirement.GATEWAY, frozenset({"k2"})),
    DeliveryPolicy(Requirement.BOTH, frozenset({"k2"})),
)
GATEWAY = Key("k2", HmacSha256(OTHER_SECRET))

#: What happens to a message in the broker, and at the hands of who can write to it.
CHANGES: dict[str, Callable[[Message, int], Message]] = {
    "redelivered by a quorum queue": lambda message, n: delivered(
        message, entries=table({"x-delivery-count": n}), resorted=True
    ),
    "counted by a quorum queue": lambda message, n: delivered(
        message, entries=table({"x-delivery-count": n})
    ),
    "dead-lettered": lambda message, n: delivered(
        message, "dlx", "dead", died(death(message.exchange, message.routing_key))
    ),
    "dead-lettered and back": lambda message, n: delivered(
        message, entries=died(death(message.exchange, message.routing_key)), without=(EXPIRATION,)
    ),
    "elsewhere": lambda message, n: delivered(message, "elsewhere"),
    "under another key": lambda message, n: delivered(message, routing_key="elsewhere"),
    "with a timestamp": lambda message, n: delivered(
        message, properties={TIMESTAMP: (NOW + n).to_bytes(8, "big")}
    ),
    "with a timestamp far off": lambda message, n: delivered(
        message, properties={TIMESTAMP: b"\x7f" + bytes(7)}
    ),
    "with an expiration": lambda message, n: delivered(message, properties={EXPIRATION: b"1000"}),
    "without its expiration": lambda message, n: delivered(message, without=(EXPIRATION,)),
    "with another id": lambda message, n: delivered(message, properties={CORRELATION_ID: b"x"}),
    "with another message id": lambda message, n: delivered(message, properties={MESSAGE_ID: b"id-0"}),
    "with another reply-to": lambda message, n: delivered(message, properties={REPLY_TO: b"mine"}),
    "with a header": lambda message, n: delivered(message, entries=table({"x": "y"})),
    "routed by a header": lambda message, n: delivered(message, entries=table({"CC": ["q"]})),
    "countersigned": lambda message, n: countersigned(message, GATEWAY),
    "countersigned by another": lambda message, n: countersigned(message, a_key("k9")),
}


class Queue:
    """What one consumer is delivered, judged with and without a memory."""

    def __init__(self, seed: int, attacks: Iterator[str], changes: Iterator[str]) -> None:
        self.dice = random.Random(seed)
        self.attacks, self.changes = attacks, changes
        self.rings = keyrings(NOW)
        self.verifier = Verifier(ALL_POLICIES[seed % len(ALL_POLICIES)], self.rings[0])
        self.judging = DeliveryVerifier(self.dice.choice(DELIVERY_POLICIES), self.verifier)
        self.reader = HeaderReader(OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties)
        self.peer = Peer(DEPLOYMENT, user="worker")
        self.producer = Producer(self.dice, CHALLENGE)
        self.now = float(NOW)
        self.count = 0
        self.met: Counter[str] = Counter()
        self.taken = 0
        self.change = ""
        self.terms = TERMS
        self.accepted = 0
        self.claims: list[bytes] = []
        self.reasons: set[str] = set()

    def step(self) -> None:
        dice = self.dice
        self.now += dice.choice((0, 0, 0.01, 0.3, 1, -1))
        if dice.random() < 0.01:
            self.now += dice.choice((15, 300, -40))
        if dice.random() < 0.02:
            self.verifier.keyring = dice.choice((self.rings[0], dice.choice(self.rings)))
        if dice.random() < 0.02:
            self.verifier.policy = dice.choice(ALL_POLICIES)
        if dice.random() < 0.3:
            # What happens to one message in a queue happens to more: only then it is remembered itself.
            self.change = dice.choice(("", "", next(self.changes)))
        usable = any(known.usable for known in known_of(self.peer))
        attack = next(self.attacks) if usable and not self.change and dice.random() < 0.4 else ""
        publish = self.producer.next(self.now, attack)
        self.met[attack or self.change] += usable
        payload, body, target = publish.header, publish.body, (publish.exchange, publish.routing_key)
        if self.change and not attack:
            self.count += 1
            changed = CHANGES[self.change](a_message_of(payload, body, *target), self.count)
            payload, target = changed.header.payload, (changed.exchange, changed.routing_key)
        self.judge(payload, body, *target)

    def judge(self, payload: bytes, body: bytes, exchange: str, routing_key: str) -> None:
        try:
            same = a_message_of(payload, body, exchange, routing_key)
        except GateError as error:
            with pytest.raises(GateError) as refused:
                self.reader.read(payload)
            assert (refused.value.reason, refused.value.detail) == (error.reason, error.detail)
            return
        header = self.reader.read(payload)
        message = Message(exchange, routing_key, False, header, body, same.body_sha256)
        terms, queue = self.dice.choice(self.terms), self.dice.choice(("celery", "other"))
        for known in known_of(self.peer):
            if known.usable and known.holds_for(message, self.verifier.keyring, self.verifier.policy):
                self.taken += 1
        verdict = self.judging.examine(message, queue, terms, self.peer, self.now)
        fresh = Peer(DEPLOYMENT, user="worker")
        wanted = self.judging.examine(same, queue, terms, fresh, self.now)
        assert picture(verdict) == picture(wanted)
        assert len(known_of(self.peer)) <= KINDS_MAX * TARGETS_MAX
        if isinstance(verdict, Accepted):
            self.accepted += verdict.observed is None
            self.claims += [verdict.claim.nonce_key] if verdict.claim is not None else []
        else:
            self.reasons.add(verdict.reason.value)


def known_of(peer: Peer) -> list[Known]:
    return peer.known.all() if isinstance(peer.known, Memory) else []


def a_message_of(payload: bytes, body: bytes, exchange: str, routing_key: str) -> Message:
    header = scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
    return Message(exchange, routing_key, False, header, body, hashlib.sha256(body).digest())


@pytest.mark.parametrize("part", range(PARTS))
def test_verdicts_do_not_hang_on_what_was_accepted_before(part: int, full: bool) -> None:
    dice = random.Random(0)
    attacks = dice.sample(ATTACKS, len(ATTACKS))[part::PARTS]
    changes = dice.sample([*CHANGES], len(CHANGES))
    made, happens = cycle(attacks), cycle(changes)
    met: Counter[str] = Counter()
    taken = 0
    for seed in range(part, SEEDS_AT_FULL_SIZE if full else SEEDS, PARTS):
        queue = Queue(seed, made, happens)
        try:
            for _ in range(DELIVERIES):
                queue.step()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
        met += queue.met
        taken += queue.taken
    # It shows nothing unless the memory was there, was used, and met every attack and every change.
    assert {*attacks, *changes} <= met.keys()
    assert taken > met.total() / 10


def a_row(
    count: int, change: str = "", terms: QueueTerms = STRICT, judging: DeliveryPolicy = PRODUCERS
) -> Queue:
    """So many good messages in a row, to each of which the same happens."""
    queue = Queue(0, iter(()), iter(()))
    queue.terms = (terms,)
    queue.verifier.keyring = Keyring([a_key(), GATEWAY])
    queue.verifier.policy = POLICIES["plain"]
    queue.judging = DeliveryVerifier(judging, queue.verifier)
    for number in range(count):
        publish = queue.producer.next(queue.now, "")
        message = a_message_of(publish.header, publish.body, publish.exchange, publish.routing_key)
        if change:
            message = CHANGES[change](message, number)
        queue.judge(message.header.payload, message.body, message.exchange, message.routing_key)
    return queue


@pytest.mark.parametrize(
    "change",
    ["", "redelivered by a quorum queue", "counted by a quorum queue", "countersigned", "with a timestamp"],
)
def test_deliveries_are_remembered_with_what_brokers_and_gateways_add(change: str) -> None:
    """What no check reads may change from one to the next."""
    queue = a_row(12, change)
    assert queue.taken > 4
    assert queue.accepted > 9


@pytest.mark.parametrize(
    "change", ["dead-lettered", "dead-lettered and back", "elsewhere", "under another key"]
)
def test_what_is_not_where_it_was_sent_to_is_not_remembered(change: str) -> None:
    assert not [known for known in known_of(a_row(12, change, DEAD_LETTER).peer) if known.exchange != ""]


@pytest.mark.parametrize("require", [Requirement.GATEWAY, Requirement.BOTH])
def test_gateways_signatures_are_checked_each_time(require: Requirement) -> None:
    queue = a_row(12, "countersigned", judging=DeliveryPolicy(require, frozenset({"k2"})))
    assert queue.accepted > 9
    assert known_of(queue.peer) == []


def test_once_is_claimed_for_each_delivery_and_its_queue() -> None:
    queue = a_row(12, terms=ONCE)
    assert queue.taken > 4
    assert len(set(queue.claims)) == queue.accepted > 9


def test_seal_that_ends_while_it_is_remembered_is_refused() -> None:
    queue = a_row(12)
    publish = queue.producer.next(queue.now, "")
    queue.now += 10 * 86_400
    accepted = queue.accepted
    queue.judge(publish.header, publish.body, publish.exchange, publish.routing_key)
    assert queue.accepted == accepted
    assert "time.expired" in queue.reasons


def sealed_task(number: int, body: bytes = BODY, entries: bytes = b"", **target: str) -> Message:
    message = a_message(body=body, headers=task_headers(id=f"id-{number}"), raw_entries=entries, **target)
    return with_token(message, seal(message, a_key(), nonce=number.to_bytes(16, "big")))


def test_message_for_elsewhere_is_not_taken_for_those_that_were_sent_here() -> None:
    """With the same x-death: what its key may do is asked of where it was sent to."""
    entries = table({"x-death": [death("", "celery")]})
    queue = a_row(0, terms=DEAD_LETTER)
    queue.verifier.keyring = Keyring([a_key(exchanges=("dlx",))])
    for number in range(6):
        here = sealed_task(number, entries=entries, exchange="dlx", routing_key="dead")
        queue.judge(here.header.payload, here.body, "dlx", "dead")
    assert queue.accepted == 6 and queue.taken > 0
    elsewhere = sealed_task(7, entries=entries)
    queue.judge(elsewhere.header.payload, elsewhere.body, "dlx", "dead")
    assert queue.reasons == {"acl.exchange"}


def test_body_over_the_limit_is_refused_after_those_that_were_not() -> None:
    queue = a_row(0)
    queue.verifier.policy = a_policy(body_bytes_max=len(BODY))
    for number in range(7):
        message = sealed_task(number, BODY + b" " * (number == 6))
        queue.judge(message.header.payload, message.body, "", "celery")
    assert queue.accepted == 6 and queue.taken > 0
    assert queue.reasons == {"body.size"}
