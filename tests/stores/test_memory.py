"""The memory store's bounds, and what a wall clock that jumps does to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sealgate.stores.memory import MemoryStore
from sealgate.verify.verdict import Claim, ClaimStatus
from support.claims import debit, grant, make_claim, status, statuses

pytestmark = pytest.mark.asyncio

GRANTED = ClaimStatus.GRANTED
FULL = ClaimStatus.FULL
HORIZON = ClaimStatus.HORIZON
NOW = 1_800_000_000
ENTRIES_MAX = 10


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


async def test_what_is_over_is_counted_no_more_and_taken_out_a_little_with_each_claim(clocks: Clocks) -> None:
    store = MemoryStore(
        max_age_s=300, clock_skew_s=0, entries_max=5000, wall=clocks.wall, monotonic=clocks.monotonic
    )
    await store.start()
    await grant(store, [clocks.claim(f"n{number}", remember_s=1 + number % 7) for number in range(1000)])
    leased = [clocks.claim(f"n{number}", remember_s=1 + number % 7) for number in range(1000)]
    store.settle(leased[:900], [])
    clocks.pass_time(20)
    kept = []
    for number in range(500):
        await grant(store, [clocks.claim(f"m{number}")])
        assert store.entries == number + 1
        kept.append(len(list(store._nonces.keys())))
    assert kept[0] >= 900
    assert kept[-1] == 500
    await store.close()


async def test_claim_and_release_for_ever_leaves_nothing(store: MemoryStore, clocks: Clocks) -> None:
    for _ in range(2000):
        claim = clocks.claim("n")
        await grant(store, [claim])
        store.settle([], [claim])
    assert store.entries == 0
    assert sum(store._nonces._by_second.values()) == 0
    assert list(store._nonces.keys()) == []
    assert len(store._nonces._seconds) == 1


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
