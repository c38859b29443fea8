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
from typing import Any

import pytest

from differential.picture import picture
from sealgate.reason import GateError
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME, canonical_properties
from sealgate.signing.keyring import MAX_LIFETIME_S_DEFAULT, Key, Keyring
from sealgate.verify.celery import TASK_HEADER
from sealgate.verify.checks import Verifier
from sealgate.verify.known import Known, Memory
from sealgate.verify.message import Message, Peer
from sealgate.verify.policy import Policy
from sealgate.verify.verdict import Accepted, ClaimOutcome, ClaimStatus, Verdict
from sealgate.wire.properties import MESSAGE_ID, TIMESTAMP, ContentHeader, scan_content_header
from sealgate.wire.reader import HeaderReader
from support.likeness import Producer
from support.likeness_attacks import ATTACKS, Draft, Publish
from support.policies import ORDERING, POLICIES, keyrings
from support.sealed import CHALLENGE, DEPLOYMENT, NOW, SECRET

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
        assert picture(verdict) == picture(wanted), publish
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
            assert picture(settled) == picture(self.verifier.settled(wanted, outcome, same, self.peer))


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


def after_good_ones(
    change: Callable[[Draft], None], attack: str = "", later_s: int = 0, created: int = NOW, **key: Any
) -> int:
    """Seven messages alike, then three that are changed, or judged later; all sealed in one second but these.

    Returns how many were judged by what is remembered.
    """
    connection = Connection(7, iter(()))
    ring = Keyring([Key("k1", HmacSha256(SECRET), **key)])
    connection.verifier = Verifier(POLICIES["plain"], ring)
    connection.producer = Producer(random.Random(3), CHALLENGE)
    connection.producer._restless = 0.0
    connection.producer._moving = ["id", "root_id"]
    for number in range(10):
        connection.producer._count += 1
        draft = connection.producer._draft(NOW)
        draft.properties[TIMESTAMP] = (NOW + min(number, 1)).to_bytes(8, "big")
        if attack != "other timestamp":
            del draft.properties[TIMESTAMP]
        changed = number >= 7
        if changed:
            change(draft)
            connection.now = float(NOW + later_s)
        connection.judge(
            connection.producer._sealed(draft, created if changed else NOW, attack if changed else "")
        )
    return connection.taken


def unchanged(draft: Draft) -> None:
    """Leave it as it is."""


@pytest.mark.parametrize(
    "attack", ["", "sealed for elsewhere", "other timestamp", "sealed under another name"]
)
def test_attack_on_the_seal_is_refused_each_time(attack: str) -> None:
    assert after_good_ones(unchanged, attack) > 4


def test_key_that_ends_meanwhile_takes_no_more_of_the_same_second() -> None:
    assert after_good_ones(unchanged, later_s=7, not_after=NOW + 5) > 4


def timed(name: str, seconds: int) -> Callable[[Draft], None]:
    text = datetime.fromtimestamp(NOW + seconds, UTC).isoformat()
    return lambda draft: draft.set(name, text)


@pytest.mark.parametrize("later_s", [0, 20, 49, 50, 51, 60])
def test_task_that_ends_meanwhile_is_refused_in_the_same_second_of_its_seal(
    later_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Producer, "_draft", with_(timed("expires", 20)))
    assert after_good_ones(unchanged, later_s=later_s) > 4


@pytest.mark.parametrize("earlier_s", [0, 1, 9])
def test_eta_is_held_against_each_seal(earlier_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Producer, "_draft", with_(timed("eta", MAX_LIFETIME_S_DEFAULT - 5)))
    assert after_good_ones(unchanged, created=NOW - earlier_s) > 3


def with_(change: Callable[[Draft], None]) -> Callable[[Producer, float], Draft]:
    made = Producer._draft

    def draft(self: Producer, now: float) -> Draft:
        found = made(self, now)
        change(found)
        return found

    return draft


@pytest.mark.parametrize("name", ["id", "root_id"])
@pytest.mark.parametrize("value", ["../x", "", "a b", "ü", "-", "a" * 255, "a" * 256, "a\x00"])
def test_each_id_is_looked_at(name: str, value: str) -> None:
    assert after_good_ones(lambda draft: draft.set(name, value)) > 4


END = b', {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
BODIES = (
    b"[[1], {}" + END,
    b"[[1], {} " + END,
    b"[[1], {}, {}" + END,
    b"[[1], {}, 1" + END,
    b"[[1]" + END,
    b"[" + END[2:],
    END,
    b"[[1], {}," + END,
    b"[[1], {}]" + END,
    b"[{}, {}" + END,
    b"[[1], []" + END,
    b"[[1], null" + END,
    b'[[1], {"a": 1, "a": 2}' + END,
    b'[[{"a": 1, "b": {"a": 1, "a": 1}}], {}' + END,
    b'[[1], {"py/object": 1}' + END,
    b'[[1], {"__type__": "x", "__value__": 1}' + END,
    b'[[{"__type__": "uuid", "__value__": 1}], {}' + END,
    b'[["gAJLAS4="], {}' + END,
    b'[["\\u0067AJLAS4="], {}' + END,
    b'[[":", "a:b", "\\":"], {"k": ":"}' + END,
    b'[[1], {"a": "' + END,
    b'[["' + END[:-1] + b'"], {}' + END,
    b'[["\\"' + END,
    b"[[NaN], {}" + END,
    b"[[1e999], {}" + END,
    b"[[" + b"9" * 4000 + b"], {}" + END,
    b"[[" + b"[" * 600 + b"]" * 600 + b"], {}" + END,
    b'[["\xff"], {}' + END,
    b"[[1], {}" + END.replace(b"}]", b'}, "x"]'),
    b"[[1], {}" + END.replace(b"null}", b"[]}"),
    b"[[1], {}" + END.replace(b"chord", b"reply"),
    b"[[1], {}" + END + b" ",
    b"\xef\xbb\xbf[[1], {}" + END,
)


@pytest.mark.parametrize("body", BODIES)
def test_body_with_celerys_own_end_is_what_the_whole_of_it_is(body: bytes) -> None:
    def change(draft: Draft) -> None:
        draft.body = body

    assert after_good_ones(change) > 4
