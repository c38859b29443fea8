"""A memory store that is asked while a message is decided: it says what it would have said to all others."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sealgate.stores.journal import Journal
from sealgate.stores.memory import MemoryStore
from sealgate.stores.times import LEASE_S
from sealgate.verify.verdict import Claim, ClaimOutcome, ClaimStatus, Debit
from support.claims import ask, debit, make_claim, paced, waiting

pytestmark = pytest.mark.asyncio

NOW = 1_800_000_000
DEBITS: tuple[tuple[Debit, ...], ...] = ((), (), (debit("few", 1, 3),), (debit("many", 9, 99),))


class Twin:
    """One store, and a clock of its own."""

    def __init__(self, entries_max: int = 100_000, journal: Journal | None = None) -> None:
        self.clock = float(NOW)
        self.store = MemoryStore(
            max_age_s=300,
            clock_skew_s=0,
            entries_max=entries_max,
            journal=journal,
            wall=lambda: self.clock,
            monotonic=lambda: self.clock,
        )

    def ask_at_once(self, claim: Claim) -> ClaimOutcome | None:
        return self.store.claim_now(claim, self.clock, self.clock)


@pytest.mark.parametrize("seed", range(40))
async def test_both_ways_of_asking_are_one_store(seed: int) -> None:
    dice = random.Random(seed)
    twins = asked, at_once = Twin(), Twin()
    pairs: list[tuple[Claim, Claim]] = []
    granted: list[tuple[Claim, Claim]] = []
    for twin in twins:
        await twin.store.start()
    told = set()
    for _ in range(400):
        roll = dice.random()
        if roll < 0.7:
            nonce, text = f"n{dice.randrange(80)}", dice.choice("aab")
            created, remember_s = NOW + dice.randrange(-5, 30), dice.choice((1, 20, 365))
            debits = dice.choice(DEBITS)
            pair = (
                make_claim(nonce, created, *debits, text=text, remember_s=remember_s),
                make_claim(nonce, created, *debits, text=text, remember_s=remember_s),
            )
            if pairs and dice.random() < 0.2:
                pair = dice.choice(pairs)
            pairs.append(pair)
            (outcome,) = await ask(asked.store, pair[0])
            # In between some are asked for in the ordinary way: for deliveries.
            other = dice.random() < 0.1
            second = (await ask(at_once.store, pair[1]))[0] if other else at_once.ask_at_once(pair[1])
            assert outcome == second
            told.add(outcome.status)
            if outcome.status is ClaimStatus.GRANTED:
                granted.append(pair)
        elif roll < 0.9 and granted:
            first, second_claim = granted.pop(dice.randrange(len(granted)))
            commits = dice.random() < 0.7
            asked.store.settle([first] if commits else [], [] if commits else [first])
            at_once.store.settle([second_claim] if commits else [], [] if commits else [second_claim])
        elif roll < 0.95 and granted:
            first, second_claim = dice.choice(granted)
            asked.store.renew([first])
            at_once.store.renew([second_claim])
        else:
            seconds = dice.choice((0.0, 0.1, 0.1, 0.5, 1.0, LEASE_S))
            asked.clock += seconds
            at_once.clock += seconds
    assert {ClaimStatus.GRANTED, ClaimStatus.DUPLICATE, ClaimStatus.CONFLICT, ClaimStatus.HORIZON} <= told


@pytest.mark.parametrize("seed", range(10))
async def test_no_jump_of_the_clock_lets_a_replay_through(seed: int) -> None:
    """Also back to a moment that was before, and with others that ask in between and forget more."""
    dice = random.Random(seed)
    twin = Twin()
    await twin.store.start()
    committed: set[bytes] = set()
    refused = 0
    for _ in range(600):
        nonce = dice.randrange(60)
        created = NOW + nonce % 30
        claim = make_claim(f"n{nonce}", created, remember_s=1 + nonce % 20)
        outcome = (await ask(twin.store, claim))[0] if dice.random() < 0.2 else twin.ask_at_once(claim)
        assert outcome is not None
        if outcome.status is ClaimStatus.GRANTED:
            assert claim.nonce_key not in committed
            twin.store.settle([claim], [])
            committed.add(claim.nonce_key)
        else:
            refused += 1
        if dice.random() < 0.3:
            twin.clock = NOW + dice.choice((0, 1, 2, 5, 10, 20, 40))
    assert len(committed) > 5 and refused


async def test_what_others_have_let_the_store_forget_is_no_new_nonce_at_a_moment_that_was_before() -> None:
    twin = Twin()
    await twin.store.start()
    old, later = twin.clock, twin.clock + 100
    claim = make_claim("n", NOW, remember_s=10)
    assert twin.ask_at_once(claim) == ClaimOutcome(ClaimStatus.GRANTED)
    twin.store.settle([claim], [])
    twin.clock = later
    await ask(twin.store, make_claim("m", int(later)))
    twin.clock = old
    assert twin.ask_at_once(make_claim("n", NOW, remember_s=10)) == ClaimOutcome(ClaimStatus.HORIZON)


async def test_what_is_over_is_forgotten_by_those_who_ask_at_once() -> None:
    twin = Twin(entries_max=100)
    await twin.store.start()
    for number in range(1000):
        claim = make_claim(f"n{number}", NOW + number, remember_s=10)
        assert twin.ask_at_once(claim) == ClaimOutcome(ClaimStatus.GRANTED)
        if number % 2:
            twin.store.settle([claim], [])
        twin.clock += 1
    assert twin.store.entries < 30


async def test_a_full_store_is_full_within_one_event() -> None:
    twin = Twin(entries_max=5)
    await twin.store.start()
    claims = [make_claim(f"n{number}", NOW) for number in range(8)]
    outcomes = [twin.ask_at_once(claim) for claim in claims]
    statuses = [outcome.status for outcome in outcomes if outcome is not None]
    assert statuses == [ClaimStatus.GRANTED] * 5 + [ClaimStatus.FULL] * 3
    twin.store.settle(claims[:2], claims[2:3])
    assert twin.ask_at_once(make_claim("one", NOW)) == ClaimOutcome(ClaimStatus.GRANTED)
    assert twin.ask_at_once(make_claim("two", NOW)) == ClaimOutcome(ClaimStatus.FULL)


async def test_nothing_is_answered_before_the_start_and_after_the_end() -> None:
    twin = Twin()
    assert twin.ask_at_once(make_claim("n", NOW)) is None
    await twin.store.start()
    await twin.store.close()
    assert twin.ask_at_once(make_claim("n", NOW)) is None


async def test_with_a_journal_what_must_be_written_first_is_not_answered_at_once(tmp_path: Path) -> None:
    twin = Twin(journal=Journal(tmp_path / "journal", "boot"))
    await twin.store.start()
    twin.clock += 400
    wait = waiting(make_claim("n", NOW + 400, paced("b", 1, 1)))
    assert twin.ask_at_once(wait) is None
    assert await ask(twin.store, wait) == [ClaimOutcome(ClaimStatus.GRANTED)]
    other = make_claim("m", NOW + 400, text="a")
    assert twin.ask_at_once(other) == ClaimOutcome(ClaimStatus.GRANTED)
    twin.store.settle([wait, other], [])
    await twin.store.close()
    again = Twin(journal=Journal(tmp_path / "journal", "boot"))
    again.clock = twin.clock
    await again.store.start()
    assert again.ask_at_once(make_claim("m", NOW + 400)) == ClaimOutcome(ClaimStatus.DUPLICATE)
    assert again.ask_at_once(make_claim("m", NOW + 400, text="b")) == ClaimOutcome(ClaimStatus.CONFLICT)
    await again.store.close()


async def test_a_journal_that_is_written_ahead_is_written_once_for_an_event(tmp_path: Path) -> None:
    assert Twin(journal=Journal(tmp_path / "journal", "boot", ahead=True)).store.prompt is None
    plain = Twin(journal=Journal(tmp_path / "other", "boot")).store
    assert plain.prompt is plain
