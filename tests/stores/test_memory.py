"""The memory store's bounds, and what a wall clock that jumps does to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sealgate.stores.memory import MemoryStore
from sealgate.verify.seals import nonce_name
from sealgate.verify.verdict import Claim, ClaimStatus
from support.claims import debit, grant, make_claim, status, statuses

pytestmark = pytest.mark.asyncio

GRANTED = ClaimStatus.GRANTED
FULL = ClaimStatus.FULL
HORIZON = ClaimStatus.HORIZON
NOW = 1_800_000_000
ENTRIES_MAX = 10
#: Of a nonce, packed.
RECORD_BYTES = 71


class Clocks:
    def __init__(self) -> None:
        self.wall_s = float(NOW)
        self.monotonic_s = 50.0

    def wall(self) -> float:
        return self.wall_s

    def monotonic(self) -> float:
        return self.monotonic_s

    def pass_time(self, seconds: float) -> None:
        self.wall_s += seconds
        self.monotonic_s += seconds

    def claim(self, nonce: str, remember_s: int = 365) -> Claim:
        return make_claim(nonce, int(self.wall_s) + 1, remember_s=remember_s)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest_asyncio.fixture
async def store(clocks: Clocks) -> AsyncIterator[MemoryStore]:
    opened = MemoryStore(
        max_age_s=300,
        clock_skew_s=0,
        entries_max=ENTRIES_MAX,
        wall=clocks.wall,
        monotonic=clocks.monotonic,
    )
    await opened.start()
    yield opened
    await opened.close()


async def test_a_full_store_refuses_and_evicts_nobody(store: MemoryStore, clocks: Clocks) -> None:
    held = [clocks.claim(f"n{number}") for number in range(ENTRIES_MAX)]
    await grant(store, held)
    assert await status(store, clocks.claim("one more")) is FULL
    store.settle(held[:5], [])
    again = [clocks.claim(f"n{number}") for number in range(ENTRIES_MAX)]
    assert await statuses(store, *again) == [ClaimStatus.DUPLICATE] * 5 + [ClaimStatus.INFLIGHT] * 5
    assert await status(store, make_claim("", NOW, debit("b", 1, 1))) is GRANTED
    store.settle([], held[5:6])
    assert await statuses(store, clocks.claim("one more"), clocks.claim("two more")) == [GRANTED, FULL]


async def test_a_full_store_has_room_again_when_nonces_expire(store: MemoryStore, clocks: Clocks) -> None:
    await grant(store, [clocks.claim(f"n{number}", remember_s=10) for number in range(ENTRIES_MAX)])
    clocks.pass_time(12)
    await grant(store, [clocks.claim(f"m{number}") for number in range(ENTRIES_MAX)])
    assert store.entries == ENTRIES_MAX


async def test_what_was_committed_and_is_over_is_counted_no_more_and_freed_with_each_claim(
    clocks: Clocks,
) -> None:
    store = MemoryStore(
        max_age_s=300, clock_skew_s=0, entries_max=5000, wall=clocks.wall, monotonic=clocks.monotonic
    )
    await store.start()
    for number in range(1000):
        claim = clocks.claim(f"n{number}", remember_s=1 + number % 7)
        await grant(store, [claim])
        store.settle([claim], [])
    clocks.pass_time(20)
    kept = []
    for number in range(500):
        await grant(store, [clocks.claim(f"m{number}")])
        assert store.entries == number + 1
        kept.append(sum(map(len, store._nonces.committed._buckets)) - store.entries * RECORD_BYTES)
    assert kept[0] > 0.9 * 1000 * RECORD_BYTES
    assert kept[-1] < 0.1 * 1000 * RECORD_BYTES
    await store.close()


async def test_leases_that_nobody_ended_go_a_few_with_each_claim(clocks: Clocks) -> None:
    store = MemoryStore(
        max_age_s=300, clock_skew_s=0, entries_max=5000, wall=clocks.wall, monotonic=clocks.monotonic
    )
    await store.start()
    await grant(store, [clocks.claim(f"n{number}", remember_s=1 + number % 7) for number in range(1000)])
    clocks.pass_time(20)
    sizes = []
    for number in range(500):
        await grant(store, [clocks.claim(f"m{number}")])
        sizes.append(store.entries)
    assert sizes[0] >= 990
    assert sizes[-1] == 500
    await store.close()


async def test_claim_and_release_for_ever_leaves_nothing(store: MemoryStore, clocks: Clocks) -> None:
    for _ in range(2000):
        claim = clocks.claim("n")
        await grant(store, [claim])
        store.settle([], [claim])
    assert store.entries == 0
    assert not store._nonces.leases.by_key


async def test_a_clock_set_forward_and_back_lets_no_replay_through(
    store: MemoryStore, clocks: Clocks
) -> None:
    first = clocks.claim("n")
    await grant(store, [first])
    store.settle([first], [])
    clocks.wall_s += 100_000
    assert await status(store, clocks.claim("other")) is GRANTED
    clocks.wall_s -= 100_000
    assert await status(store, first) is HORIZON
    young = clocks.claim("young", remember_s=365)
    assert await status(store, young) is HORIZON, "as old as what was forgotten"
    clocks.pass_time(100_001)
    assert await status(store, clocks.claim("younger")) is GRANTED


async def test_a_clock_set_back_forgets_nothing_and_lets_no_replay_through(
    store: MemoryStore, clocks: Clocks
) -> None:
    claims = [clocks.claim(f"n{number}") for number in range(3)]
    await grant(store, claims)
    store.settle(claims[:2], [])
    for seconds in (-1000, +900, -400):
        clocks.wall_s += seconds
        assert await statuses(store, *claims) == [ClaimStatus.DUPLICATE] * 2 + [ClaimStatus.INFLIGHT]


async def test_a_lease_taken_while_the_clock_was_ahead_and_a_commit_from_before_it_both_refuse(
    store: MemoryStore, clocks: Clocks
) -> None:
    first = clocks.claim("n", remember_s=10)
    await grant(store, [first])
    store.settle([first], [])
    clocks.wall_s += 100
    again = make_claim("n", int(clocks.wall_s), text="b")
    await grant(store, [again])
    clocks.wall_s -= 100
    assert await statuses(store, first, again) == [ClaimStatus.CONFLICT, ClaimStatus.INFLIGHT]
    store.settle([again], [])
    clocks.wall_s += 100
    assert await statuses(store, first, again) == [ClaimStatus.CONFLICT, ClaimStatus.DUPLICATE]


async def test_a_nonce_is_found_whatever_second_the_other_message_names(
    store: MemoryStore, clocks: Clocks
) -> None:
    first = clocks.claim("n")
    await grant(store, [first])
    for settled in (False, True):
        if settled:
            store.settle([first], [])
        for remember_s in (1, 63, 64, 65, 365, 366, 10_000):
            other = make_claim("n", int(clocks.wall_s) + 1, text="b", remember_s=remember_s)
            assert await status(store, other) is ClaimStatus.CONFLICT


async def test_a_nonce_counts_to_the_end_of_its_last_second_and_no_longer(
    store: MemoryStore, clocks: Clocks
) -> None:
    first = clocks.claim("n", remember_s=10)
    await grant(store, [first])
    store.settle([first], [])
    clocks.wall_s = float(first.remember_until)
    assert await status(store, first) is ClaimStatus.DUPLICATE
    clocks.wall_s += 0.001
    assert await status(store, first) is HORIZON
    assert await status(store, clocks.claim("n")) is GRANTED


async def test_an_unsettled_lease_that_another_message_replaced_can_still_be_committed(
    store: MemoryStore, clocks: Clocks
) -> None:
    """Whatever holds the nonce by then: the message did reach the broker."""
    first, second = clocks.claim("n"), clocks.claim("n")
    await grant(store, [first])
    clocks.monotonic_s += 11
    await grant(store, [second])
    store.settle([first], [])
    store.settle([second], [])
    assert (await status(store, first), store.entries) == (ClaimStatus.DUPLICATE, 1)
    late = make_claim("n", first.created, text="late", remember_s=400)
    store.settle([late], [])
    assert store.entries == 1
    assert await statuses(store, late, first) == [ClaimStatus.DUPLICATE, ClaimStatus.CONFLICT]


async def test_nonces_of_every_length_and_key_are_their_own(store: MemoryStore, clocks: Clocks) -> None:
    created = int(clocks.wall_s) + 1
    names = [
        nonce_name(deployment, kid, b"n" * size)
        for deployment, kid, size in (
            ("d", "k1", 16),
            ("d", "k1", 17),
            ("d", "k1", 23),
            ("d", "k2", 16),
            ("e", "k1", 16),
            ("1:d", "k1", 16),
        )
    ]
    claims = [Claim(name, b"d" * 32, created, created + 365, ()) for name in names]
    await grant(store, claims)
    store.settle(claims[:-1], claims[-1:])
    assert await statuses(store, *claims) == [ClaimStatus.DUPLICATE] * 5 + [GRANTED]


async def test_a_clock_set_back_gives_no_tokens_and_holds_no_lease_longer(
    store: MemoryStore, clocks: Clocks
) -> None:
    only = debit("b", 1, 1, period_s=60)
    created = NOW + 1
    await grant(store, [make_claim("n", created, only)])
    clocks.wall_s -= 30
    clocks.monotonic_s += 11
    assert await status(store, make_claim("m", created, only)) is ClaimStatus.LIMITED
    await grant(store, [make_claim("n", created)])


async def test_the_horizon_ends_when_nothing_that_old_is_fresh(clocks: Clocks) -> None:
    store = MemoryStore(
        max_age_s=300, clock_skew_s=30, entries_max=10, wall=clocks.wall, monotonic=clocks.monotonic
    )
    await store.start()
    old = make_claim("n", NOW, remember_s=1000)
    clocks.pass_time(360)
    assert await status(store, old) is HORIZON
    clocks.pass_time(1)
    assert await status(store, old) is GRANTED
    await store.close()


async def test_an_expired_entry_is_not_taken_for_a_conflict(store: MemoryStore, clocks: Clocks) -> None:
    await grant(store, [clocks.claim(f"n{number}", remember_s=1) for number in range(9)])
    clocks.pass_time(5)
    reused = make_claim("n8", int(clocks.wall_s), text="b")
    assert await status(store, reused) is GRANTED
