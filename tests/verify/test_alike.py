"""A message like the last accepted one is checked by what differs: its verdict must be that of all checks.

Long conversations over one connection, attacks and reloads among them. Each message is judged twice: as the
session does it, with all that is remembered of those before, and by itself, on a connection that has seen
nothing.
"""

from __future__ import annotations

import hashlib
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import cycle

import pytest

from sealgate.reason import GateError
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME, canonical_properties
from sealgate.verify.celery import TASK_HEADER
from sealgate.verify.checks import Verifier
from sealgate.verify.known import Known, Memory
from sealgate.verify.message import Message, Peer
from sealgate.verify.policy import Policy
from sealgate.verify.verdict import Accepted, ClaimOutcome, ClaimStatus, Verdict
from sealgate.wire.properties import MESSAGE_ID, ContentHeader, scan_content_header
from sealgate.wire.reader import HeaderReader
from support.likeness import Producer
from support.likeness_attacks import ATTACKS, Draft, Publish
from support.policies import ORDERING, POLICIES, keyrings
from support.sealed import CHALLENGE, DEPLOYMENT, NOW

SEEDS = 80
SEEDS_AT_FULL_SIZE = 4000
PARTS = 4
ALL_POLICIES = (*POLICIES.values(), *ORDERING.values())
MESSAGES = 50


def known_of(peer: Peer) -> list[Known]:
    return peer.known.all() if isinstance(peer.known, Memory) else []


class Connection:
    """One connection, judged with and without its memory."""

    def __init__(self, seed: int, attacks: Iterator[str]) -> None:
        """The next of `attacks` is made when there is a memory that might be fooled."""
        self.attacks = attacks
        self.dice = random.Random(seed)
        self.rings = keyrings(NOW)
        self.verifier = Verifier(ALL_POLICIES[seed % len(ALL_POLICIES)], self.rings[0])
        # With every other connection tables are told apart by their task, as sessions have it.
        names = OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME
        self.reader = HeaderReader(*names, canonical_properties, TASK_HEADER if seed % 2 else "")
        self.peer = Peer(DEPLOYMENT, user="app", challenge=CHALLENGE)
        self.producer = Producer(self.dice, CHALLENGE)
        self.now = float(NOW)
        #: What met a usable memory, by attack, and how many messages were judged by it.
        self.met: Counter[str] = Counter()
        self.taken = 0
        self.again: list[str] = []

    def step(self) -> None:
        self.now += self.dice.choice((0, 0, 0, 0.01, 0.3, 1, -1))
        if self.dice.random() < 0.01:
            self.now += self.dice.choice((15, 300, -40))
        if self.dice.random() < 0.02:
            self.verifier.keyring = self.dice.choice((self.rings[0], self.dice.choice(self.rings)))
        if self.dice.random() < 0.02:
            self.verifier.policy = self.dice.choice(ALL_POLICIES)
        usable = any(known.usable for known in known_of(self.peer))
        attack = self.attack(usable)
        publish = self.producer.next(self.now, attack)
        self.met[attack] += usable
        self.judge(publish)

    def attack(self, usable: bool) -> str:
        """The same more than once, or taking turns with what is right: only then it is remembered itself."""
        if self.again and self.dice.random() < 0.7:
            return self.again.pop()
        if not usable or self.dice.random() > 0.3:
            return ""
        attack = next(self.attacks)
        self.again = [attack] * self.dice.choice((0, 0, 1, 2, 4))
        return attack

    def judge(self, publish: Publish) -> None:
        try:
            alone = scan_content_header(publish.header, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
        except GateError as error:
            with pytest.raises(GateError) as refused:
                self.reader.read(publish.header)
            assert (refused.value.reason, refused.value.detail) == (error.reason, error.detail)
            return
        header = self.reader.read(publish.header)
        fresh = Peer(DEPLOYMENT, user="app", challenge=CHALLENGE, last_sequence=self.peer.last_sequence)
        message, same = of(publish, header), of(publish, alone)
        for known in known_of(self.peer):
            if known.usable and known.holds_for(message, self.verifier.keyring, self.verifier.policy):
                self.taken += 1
        verdict = self.verifier.examine(message, self.peer, self.now)
        wanted = self.verifier.examine(same, fresh, self.now)
        assert verdict == wanted, publish
        assert self.peer.last_sequence == fresh.last_sequence, publish
        assert message.section_p == same.section_p
        assert message.header.table.canonical == same.header.table.canonical
        assert (header.table.foreign, header.table.size) == (alone.table.foreign, alone.table.size)
        self.settle(verdict, wanted, message, same)

    def settle(self, verdict: Verdict, wanted: Verdict, message: Message, same: Message) -> None:
        """The store's answer makes the same of both."""
        if isinstance(verdict, Accepted) and isinstance(wanted, Accepted) and verdict.claim is not None:
            outcome = ClaimOutcome(self.dice.choice(list(ClaimStatus)), "app.*", 5)
            settled = self.verifier.settled(verdict, outcome, message, self.peer)
            assert settled == self.verifier.settled(wanted, outcome, same, self.peer)


def of(publish: Publish, header: ContentHeader) -> Message:
    digest = hashlib.sha256(publish.body).digest()
    return Message(publish.exchange, publish.routing_key, False, header, publish.body, digest)


@pytest.mark.parametrize("part", range(PARTS))
def test_verdicts_do_not_hang_on_what_was_accepted_before(part: int, full: bool) -> None:
    made = random.Random(0).sample(ATTACKS, len(ATTACKS))[part::PARTS]
    attacks = cycle(made)
    met: Counter[str] = Counter()
    taken = 0
    for seed in range(part, SEEDS_AT_FULL_SIZE if full else SEEDS, PARTS):
        connection = Connection(seed, attacks)
        try:
            for _ in range(MESSAGES):
                connection.step()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
        met += connection.met
        taken += connection.taken
    # It shows nothing unless the memory was there, was used, and met every attack.
    assert set(made) <= met.keys()
    assert taken > met.total() / 8


def in_a_row(policy: Policy, change: Callable[[Draft, int], None]) -> int:
    """Ten messages that begin alike, changed by their number; time goes on before the last.

    Returns how many of them met a usable memory.
    """
    connection = Connection(7, iter(()))
    connection.verifier.policy = policy
    for number in range(10):
        if number == 9:
            connection.now += 100
        draft = connection.producer._draft(connection.now)
        change(draft, number)
        connection.judge(connection.producer._sealed(draft, int(connection.now), ""))
    return connection.taken


def test_compressed_bodies_in_a_row_let_no_other_body_in() -> None:
    def change(draft: Draft, number: int) -> None:
        draft.set("compression", "gzip")
        if number < 8:
            draft.body = zlib.compress(draft.body)

    in_a_row(POLICIES["both protocols"], change)


def test_task_that_has_expired_is_refused_after_those_that_had_not() -> None:
    expires = datetime.fromtimestamp(NOW + 20, UTC).isoformat()

    def change(draft: Draft, number: int) -> None:
        draft.set("eta", None)
        draft.set("expires", expires)

    in_a_row(POLICIES["plain"], change)


def test_revoked_message_id_is_refused_after_those_that_were_not() -> None:
    """The property changes from message to message, and an order may be for it."""

    def change(draft: Draft, number: int) -> None:
        draft.set("id", f"x-{number}")
        draft.properties[MESSAGE_ID] = b"id-0" if number == 8 else b"m-%d" % number

    assert in_a_row(ORDERING["ids revoked"], change) > 4
