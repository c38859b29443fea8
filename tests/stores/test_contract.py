"""What every claim store does (seal1.md "Replay"), held against the memory store and a real Redis."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from math import ceil
from typing import Any, cast

import pytest
import pytest_asyncio

from sealgate.stores.memory import MemoryStore
from sealgate.stores.redis import RedisStore
from sealgate.stores.times import HELD_S
from sealgate.stores.values import VALUES_MAX
from sealgate.verify.verdict import Bucket, Claim, ClaimOutcome, ClaimStatus, ClaimStore, Debit
from support.claims import ask, debit, grant, make_claim, of_a_stranger, paced, status, statuses, waiting
from support.redis_server import RedisServer

GRANTED = ClaimStatus.GRANTED
INFLIGHT = ClaimStatus.INFLIGHT
DUPLICATE = ClaimStatus.DUPLICATE
CONFLICT = ClaimStatus.CONFLICT
LIMITED = ClaimStatus.LIMITED
COST = ClaimStatus.COST
HORIZON = ClaimStatus.HORIZON

LEASE_S = 0.4
#: Longer than the run, so that a horizon matters all the time.
MAX_AGE_S = 1_000_000
#: Periods of buckets, in days: different, so that no two waits are alike.
DAYS = {"a": 1, "b": 20, "c": 300, "d": 4000}


class Bench:
    """A started store and its clock: virtual for memory, the real one for Redis."""

    store: ClaimStore
    #: Limits of the store that were hit.
    hits: Counter[str]
    exact = False

    def now(self) -> float:
        return time.time()

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def claim(self, nonce: str, *debits: Debit, text: str = "a") -> Claim:
        """Of a message created now."""
        return make_claim(nonce, ceil(self.now()) + 1, *debits, text=text)


class MemoryBench(Bench):
    exact = True

    def __init__(self, lease_s: float = LEASE_S, values_max: int = VALUES_MAX) -> None:
        self.clock = 1_800_000_000.25
        self.hits = Counter()
        self.store = MemoryStore(
            max_age_s=MAX_AGE_S,
            clock_skew_s=0,
            entries_max=5000,
            lease_s=lease_s,
            values_max=values_max,
            limits_hit=self.hits,
            wall=self.now,
            monotonic=self.now,
        )

    def now(self) -> float:
        return self.clock

    async def pass_time(self, seconds: float) -> None:
        self.clock += seconds


class AtOnce:
    """A memory store that is asked for each claim while its message is decided."""

    def __init__(self, store: ClaimStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    def claim(self, claims: list[Claim], answer: Callable[[list[ClaimOutcome]], None]) -> None:
        prompt = self._store.prompt
        assert prompt is not None
        outcomes: list[ClaimOutcome] = []
        for claim in claims:
            outcome = prompt.claim_now(claim, self._now(), self._now())
            if outcome is None:
                self._store.claim([claim], outcomes.extend)
            else:
                outcomes.append(outcome)
        answer(outcomes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class AtOnceBench(MemoryBench):
    def __init__(self, lease_s: float, values_max: int) -> None:
        super().__init__(lease_s, values_max)
        self.store = cast(ClaimStore, AtOnce(self.store, self.now))


class RedisBench(Bench):
    def __init__(
        self,
        server: RedisServer,
        young: bool = False,
        lease_s: float = LEASE_S,
        deployment: str = "",
        values_max: int = VALUES_MAX,
    ) -> None:
        self.hits = Counter()
        self.deployment = deployment or f"test-{uuid.uuid4().hex}"
        if not young:
            server.age(self.deployment)
        self.store = RedisStore(
            server.url,
            deployment=self.deployment,
            max_age_s=MAX_AGE_S,
            clock_skew_s=0,
            lease_s=lease_s,
            values_max=values_max,
            limits_hit=self.hits,
        )


def open_bench(
    kind: str,
    request: pytest.FixtureRequest,
    young: bool = False,
    lease_s: float = LEASE_S,
    values_max: int = VALUES_MAX,
) -> Bench:
    if kind == "memory":
        return MemoryBench(lease_s, values_max)
    if kind == "memory, at once":
        return AtOnceBench(lease_s, values_max)
    server = request.getfixturevalue("redis_server")
    return RedisBench(server, young, lease_s, values_max=values_max)


KINDS = ["memory", "memory, at once", pytest.param("redis", marks=pytest.mark.system)]


@pytest_asyncio.fixture(params=KINDS)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    opened = open_bench(request.param, request)
    await opened.store.start()
    yield opened
    await opened.store.close()


@pytest_asyncio.fixture(params=KINDS)
async def young(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """A bench whose store, being new, remembers nothing from before."""
    opened = open_bench(request.param, request, young=True)
    await opened.store.start()
    # Redis tells its age in whole seconds: what was created within the last one is refused to be safe.
    await opened.pass_time(1.1)
    yield opened
    await opened.store.close()


@pytest_asyncio.fixture(params=KINDS)
async def holding(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """A bench whose leases nobody takes over (`in_doubt = "refuse"`)."""
    opened = open_bench(request.param, request, lease_s=HELD_S)
    await opened.store.start()
    yield opened
    await opened.store.close()


@pytest.mark.asyncio
async def test_a_new_nonce_is_granted_and_gets_an_owner(bench: Bench) -> None:
    first, second = bench.claim("n1"), bench.claim("n2")
    assert await ask(bench.store, first, second) == [ClaimOutcome(GRANTED)] * 2
    assert 0 != first.owner != second.owner != 0


@pytest.mark.asyncio
async def test_a_repeat_while_the_first_is_in_flight_is_told_so(bench: Bench) -> None:
    await grant(bench.store, [bench.claim("n")])
    assert await status(bench.store, bench.claim("n")) is INFLIGHT


@pytest.mark.asyncio
async def test_a_repeat_after_the_commit_is_a_duplicate(bench: Bench) -> None:
    first = bench.claim("n")
    await grant(bench.store, [first])
    bench.store.settle([first], [])
    assert await status(bench.store, bench.claim("n")) is DUPLICATE
    await bench.pass_time(LEASE_S * 1.5)
    assert await status(bench.store, bench.claim("n")) is DUPLICATE


@pytest.mark.asyncio
async def test_another_message_with_the_nonce_is_a_conflict_in_every_state(bench: Bench) -> None:
    first = bench.claim("n")
    await grant(bench.store, [first])
    assert await status(bench.store, bench.claim("n", text="b")) is CONFLICT
    await bench.pass_time(LEASE_S * 1.5)
    assert await status(bench.store, bench.claim("n", text="b")) is CONFLICT
    bench.store.settle([first], [])
    assert await status(bench.store, bench.claim("n", text="b")) is CONFLICT


@pytest.mark.asyncio
async def test_a_released_nonce_is_as_new(bench: Bench) -> None:
    first = bench.claim("n")
    await grant(bench.store, [first])
    bench.store.settle([], [first])
    await grant(bench.store, [bench.claim("n")])


@pytest.mark.asyncio
async def test_only_the_owner_releases(bench: Bench) -> None:
    first = bench.claim("n")
    await grant(bench.store, [first])
    bench.store.settle([], [of_a_stranger(first)])
    assert await status(bench.store, bench.claim("n")) is INFLIGHT


@pytest.mark.asyncio
async def test_a_release_after_the_commit_changes_nothing(bench: Bench) -> None:
    first = bench.claim("n")
    await grant(bench.store, [first])
    bench.store.settle([first], [])
    bench.store.settle([], [first])
    assert await status(bench.store, bench.claim("n")) is DUPLICATE


@pytest.mark.asyncio
async def test_a_lease_that_is_over_is_taken_over_and_its_owner_releases_no_more(bench: Bench) -> None:
    first, second = bench.claim("n"), bench.claim("n")
    await grant(bench.store, [first])
    await bench.pass_time(LEASE_S * 1.5)
    await grant(bench.store, [second])
    assert second.owner != first.owner
    bench.store.settle([], [first])
    assert await status(bench.store, bench.claim("n")) is INFLIGHT


@pytest.mark.asyncio
async def test_a_commit_counts_even_when_the_lease_was_taken_over(bench: Bench) -> None:
    first, second = bench.claim("n"), bench.claim("n")
    await grant(bench.store, [first])
    await bench.pass_time(LEASE_S * 1.5)
    await grant(bench.store, [second])
    bench.store.settle([first], [second])
    assert await status(bench.store, bench.claim("n")) is DUPLICATE


@pytest.mark.asyncio
async def test_a_commit_without_a_lease_is_recorded(bench: Bench) -> None:
    bench.store.settle([bench.claim("n")], [])
    assert await status(bench.store, bench.claim("n")) is DUPLICATE


@pytest.mark.asyncio
async def test_a_renewed_lease_runs_on(bench: Bench) -> None:
    first = bench.claim("n")
    await grant(bench.store, [first])
    for _ in range(3):
        await bench.pass_time(LEASE_S * 0.6)
        bench.store.renew([first])
        assert await status(bench.store, bench.claim("n")) is INFLIGHT
    bench.store.settle([], [first])
    await grant(bench.store, [bench.claim("n")])


@pytest.mark.asyncio
async def test_only_the_owner_renews(bench: Bench) -> None:
    first, second = bench.claim("n"), bench.claim("n")
    await grant(bench.store, [first])
    await bench.pass_time(LEASE_S * 1.5)
    await grant(bench.store, [second])
    await bench.pass_time(LEASE_S * 0.6)
    bench.store.renew([first])
    await bench.pass_time(LEASE_S * 0.6)
    await grant(bench.store, [bench.claim("n")])


@pytest.mark.asyncio
async def test_a_held_lease_is_taken_over_by_nobody(holding: Bench) -> None:
    first = holding.claim("n")
    await grant(holding.store, [first])
    await holding.pass_time(300 if holding.exact else LEASE_S * 3)
    holding.store.renew([first])
    assert await status(holding.store, holding.claim("n")) is INFLIGHT
    assert await status(holding.store, holding.claim("n", text="b")) is CONFLICT


@pytest.mark.asyncio
async def test_a_held_lease_ends_by_a_settlement_of_its_owner(holding: Bench) -> None:
    claims = [holding.claim(nonce) for nonce in ("arrived", "given back", "of another")]
    await grant(holding.store, claims)
    holding.store.settle(claims[:1], [claims[1], of_a_stranger(claims[2])])
    again = [holding.claim(nonce) for nonce in ("arrived", "given back", "of another")]
    assert await statuses(holding.store, *again) == [DUPLICATE, GRANTED, INFLIGHT]


@pytest.mark.asyncio
async def test_a_held_lease_ends_when_the_message_is_too_old_for_any_gateway(holding: Bench) -> None:
    short = make_claim("n", int(holding.now()) + 1, remember_s=1)
    await grant(holding.store, [short])
    found = set()
    while holding.now() < short.remember_until + 2:
        found.add(await status(holding.store, short))
        await holding.pass_time(0.1)
    assert found == {INFLIGHT, HORIZON}, "a nonce in doubt was granted again"
    assert await status(holding.store, short) is HORIZON


@pytest.mark.asyncio
async def test_renewing_does_not_shorten_a_held_lease(holding: Bench) -> None:
    first = holding.claim("n")
    await grant(holding.store, [first])
    for _ in range(3):
        holding.store.renew([first])
        await holding.pass_time(LEASE_S)
        assert await status(holding.store, holding.claim("n")) is INFLIGHT


@pytest.mark.system
@pytest.mark.asyncio
async def test_gateways_that_take_over_and_gateways_that_hold_can_share_a_store(
    redis_server: RedisServer,
) -> None:
    holding = RedisBench(redis_server, lease_s=HELD_S)
    taking = RedisBench(redis_server, deployment=holding.deployment)
    await holding.store.start()
    await taking.store.start()
    await grant(holding.store, [holding.claim("held")])
    await grant(taking.store, [taking.claim("leased")])
    await taking.pass_time(LEASE_S * 1.5)
    assert await status(taking.store, taking.claim("held")) is INFLIGHT
    assert await status(holding.store, holding.claim("leased")) is INFLIGHT
    await grant(taking.store, [taking.claim("leased")])
    await holding.store.close()
    await taking.store.close()


@pytest.mark.asyncio
async def test_the_same_nonce_of_another_kid_is_another_nonce(bench: Bench) -> None:
    await grant(bench.store, [bench.claim("prod/k1/n"), bench.claim("prod/k2/n")])


@pytest.mark.asyncio
async def test_without_a_nonce_only_tokens_count(bench: Bench) -> None:
    claims = [bench.claim("", debit("b", 1, 2, period_s=3600)) for _ in range(3)]
    assert await statuses(bench.store, *claims) == [GRANTED, GRANTED, LIMITED]
    bench.store.renew(claims)
    bench.store.settle(claims[:1], claims[1:])
    assert await status(bench.store, claims[0]) is LIMITED
    await grant(bench.store, [bench.claim("")])


@pytest.mark.asyncio
async def test_limited_writes_nothing(bench: Bench) -> None:
    narrow, wide = debit("narrow", 1, 1, period_s=3600), debit("wide", 1, 2, period_s=3600)
    await grant(bench.store, [bench.claim("n1", narrow, wide)])
    (limited,) = await ask(bench.store, bench.claim("n2", wide, narrow))
    assert (limited.status, limited.bucket) == (LIMITED, "narrow")
    assert 3590 * 1_000_000 < limited.wait_us <= 3600 * 1_000_000
    await grant(bench.store, [bench.claim("n2", wide)])
    assert await status(bench.store, bench.claim("n3", wide)) is LIMITED


@pytest.mark.asyncio
async def test_of_two_empty_buckets_the_longer_wait_is_told(bench: Bench) -> None:
    short, long = debit("short", 1, 1, period_s=60), debit("long", 1, 1, period_s=3600)
    await grant(bench.store, [bench.claim("n1", short, long)])
    for debits in ((short, long), (long, short)):
        (limited,) = await ask(bench.store, bench.claim("n2", *debits))
        assert (limited.status, limited.bucket) == (LIMITED, "long")


@pytest.mark.asyncio
async def test_one_bucket_named_twice_pays_twice(bench: Bench) -> None:
    once = debit("b", 1, 3, period_s=3600)
    claims = [bench.claim("", once, once), bench.claim("", once, once), bench.claim("", once)]
    assert await statuses(bench.store, *claims) == [GRANTED, LIMITED, GRANTED]


@pytest.mark.asyncio
async def test_a_cost_over_the_burst_is_never_retryable_whatever_else_is_empty(bench: Bench) -> None:
    empty, dear = debit("empty", 1, 1, period_s=3600), debit("dear", 5, 4, cost=5)
    await grant(bench.store, [bench.claim("", empty)])
    (refused,) = await ask(bench.store, bench.claim("n", empty, dear))
    assert (refused.status, refused.bucket) == (COST, "dear")
    await grant(bench.store, [bench.claim("n")])


@pytest.mark.asyncio
async def test_the_nonce_is_told_before_the_rate(bench: Bench) -> None:
    only = debit("b", 1, 1, period_s=3600)
    first = bench.claim("n", only)
    await grant(bench.store, [first])
    assert await status(bench.store, bench.claim("n", only)) is INFLIGHT
    bench.store.settle([first], [])
    assert await status(bench.store, bench.claim("n", only)) is DUPLICATE


@pytest.mark.asyncio
async def test_released_tokens_stay_spent(bench: Bench) -> None:
    only = debit("b", 1, 1, period_s=3600)
    first = bench.claim("n", only)
    await grant(bench.store, [first])
    bench.store.settle([], [first])
    assert await status(bench.store, bench.claim("n", only)) is LIMITED


@pytest.mark.asyncio
async def test_claims_of_one_call_are_decided_in_order(bench: Bench) -> None:
    pair = debit("b", 1, 2, period_s=3600)
    claims = [bench.claim(nonce, pair) for nonce in ("n1", "n1", "n2", "n3", "n1")]
    assert await statuses(bench.store, *claims) == [GRANTED, INFLIGHT, GRANTED, LIMITED, INFLIGHT]


@pytest.mark.asyncio
async def test_many_claims_at_once_all_get_their_own_outcome(bench: Bench) -> None:
    claims = [bench.claim(f"n{number % 450}") for number in range(900)]
    found = await statuses(bench.store, *claims)
    assert found == [GRANTED] * 450 + [INFLIGHT] * 450
    bench.store.settle(claims[0:450:2], claims[1:450:2])
    again = await statuses(bench.store, *[bench.claim(f"n{number}") for number in range(450)])
    assert again == [DUPLICATE, GRANTED] * 225


@pytest.mark.asyncio
async def test_no_claims_no_outcomes(bench: Bench) -> None:
    assert await ask(bench.store) == []


@pytest.mark.asyncio
async def test_what_was_created_before_the_stores_memory_is_beyond_the_horizon(young: Bench) -> None:
    old = int(young.now()) - 100_000
    assert await status(young.store, make_claim("n", old, remember_s=200_000)) is HORIZON
    await grant(young.store, [make_claim("", old, debit("b", 1, 1)), young.claim("n")])


@pytest.mark.asyncio
async def test_a_nonce_that_may_have_been_forgotten_is_not_taken_for_new(bench: Bench) -> None:
    now = int(bench.now())
    gone = make_claim("n", now + 1, remember_s=-5)
    assert await status(bench.store, gone) is HORIZON
    short = make_claim("m", now + 1, remember_s=1)
    await grant(bench.store, [short])
    bench.store.settle([short], [])
    assert await status(bench.store, short) is DUPLICATE
    await bench.pass_time(4)
    assert await status(bench.store, short) is HORIZON


@pytest.mark.asyncio
async def test_a_bucket_gives_its_burst_and_then_its_rate(bench: Bench) -> None:
    flood = debit("b", 10, 20)
    claims = [bench.claim("", flood) for _ in range(25)]
    started = bench.now()
    granted = (await statuses(bench.store, *claims)).count(GRANTED)
    assert granted == 20
    seconds = 10.0 if bench.exact else 1.5
    while bench.now() - started < seconds:
        await bench.pass_time(0.02)
        granted += (await statuses(bench.store, bench.claim("", flood))).count(GRANTED)
    fair = 20 + 10 * (bench.now() - started)
    assert fair - 1.5 <= granted <= fair + 0.01


@pytest.mark.asyncio
async def test_the_wait_told_is_the_wait_needed(bench: Bench) -> None:
    only = debit("b", 1, 1)
    await grant(bench.store, [bench.claim("", only)])
    (limited,) = await ask(bench.store, bench.claim("", only))
    assert 0 < limited.wait_us <= 1_000_000
    await bench.pass_time(limited.wait_us / 1_000_000 + 0.001)
    await grant(bench.store, [bench.claim("", only)])


@pytest.mark.asyncio
async def test_a_store_counts_its_entries_and_is_healthy_until_closed(bench: Bench) -> None:
    assert bench.store.healthy
    before = bench.store.entries
    await grant(bench.store, [bench.claim(f"n{number}") for number in range(5)])
    await grant(bench.store, [bench.claim("")])
    assert await status(bench.store, bench.claim("n0")) is INFLIGHT
    assert bench.store.entries >= before + 5
    assert bench.store.errors == 0
    await bench.store.close()
    assert not bench.store.healthy
    assert await status(bench.store, bench.claim("m")) is ClaimStatus.UNAVAILABLE


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_that_was_not_started_refuses(request: pytest.FixtureRequest, kind: str) -> None:
    other = open_bench(kind, request)
    assert await status(other.store, other.claim("n")) is ClaimStatus.UNAVAILABLE
    await other.store.close()


@pytest.mark.system
@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(4))
async def test_memory_and_redis_give_the_same_outcomes(redis_server: RedisServer, seed: int) -> None:
    # No lease runs out and no bucket refills while the test runs.
    memory, redis = MemoryBench(lease_s=1000), RedisBench(redis_server, lease_s=1000)
    benches: tuple[Bench, ...] = (memory, redis)
    for bench in benches:
        await bench.store.start()
    dice = random.Random(seed)
    granted: list[tuple[Claim, Claim]] = []
    for _ in range(40):
        pairs = []
        for _ in range(dice.randrange(1, 8)):
            names = dice.sample("abcd", dice.randrange(0, 3))
            debits = [debit(name, 1, 6, dice.choice((1, 1, 2, 7)), DAYS[name] * 86_400) for name in names]
            nonce = dice.choice(("", *[f"n{number}" for number in range(25)]))
            text = dice.choice("aaaab")
            pairs.append(tuple(bench.claim(nonce, *debits, text=text) for bench in benches))
        ours = await ask(memory.store, *[pair[0] for pair in pairs])
        theirs = await ask(redis.store, *[pair[1] for pair in pairs])
        assert [(o.status, o.bucket) for o in ours] == [(o.status, o.bucket) for o in theirs]
        granted += [pair for pair, outcome in zip(pairs, ours, strict=True) if outcome.status is GRANTED]
        for pair in dice.sample(granted, min(len(granted), 3)):
            commits, releases = (1, 0) if dice.random() < 0.5 else (0, 1)
            for bench, claim in zip(benches, pair, strict=True):
                bench.store.settle([claim] * commits, [claim] * releases)
    for bench in benches:
        await bench.store.close()


# Messages that may wait


def slots(outcomes: list[ClaimOutcome]) -> list[int]:
    """The waits of granted claims in whole periods of the bucket, an hour each."""
    assert {outcome.status for outcome in outcomes} == {GRANTED}
    return [round(outcome.wait_us / 3_600_000_000) for outcome in outcomes]


@pytest.mark.asyncio
@pytest.mark.parametrize("nonce", [True, False])
async def test_tokens_are_granted_ahead_one_after_the_other_up_to_the_longest_wait(
    bench: Bench, nonce: bool
) -> None:
    hourly = paced("b", 1, 2, period_s=3600)
    claims = [waiting(bench.claim(f"n{n}" if nonce else "", hourly), 3 * 3600 + 60) for n in range(6)]
    *granted, limited = await ask(bench.store, *claims)
    assert slots(granted) == [0, 0, 1, 2, 3]
    assert [outcome.held for outcome in granted] == [False, False, True, True, True]
    assert {outcome.bucket for outcome in granted[2:]} == {"b"}
    assert (limited.status, limited.bucket, limited.held) == (LIMITED, "b", False)
    assert round(limited.wait_us / 3_600_000_000) == 4
    # Nothing was written: one that may wait longer gets the slot.
    (later,) = await ask(bench.store, waiting(bench.claim("later" if nonce else "", hourly), 5 * 3600))
    assert slots([later]) == [4]


@pytest.mark.asyncio
async def test_who_may_not_wait_is_refused_while_others_wait(bench: Bench) -> None:
    hourly = paced("b", 1, 1, period_s=3600)
    outcomes = await ask(
        bench.store,
        bench.claim("n1", hourly),
        waiting(bench.claim("n2", hourly), 7200),
        bench.claim("n3", hourly),
    )
    assert [outcome.status for outcome in outcomes] == [GRANTED, GRANTED, LIMITED]
    assert round(outcomes[2].wait_us / 3_600_000_000) == 2


@pytest.mark.asyncio
async def test_all_windows_of_a_message_grant_ahead_or_none_does(bench: Bench) -> None:
    short, long = paced("b", 1, 1, "b1", 60), paced("b", 1, 1, "b2", 3600)
    first, second, third = await ask(
        bench.store,
        waiting(bench.claim("n1", short, long)),
        waiting(bench.claim("n2", short, long), 3700),
        waiting(bench.claim("n3", short, long), 3700),
    )
    assert (first.held, second.held, third.status) == (False, True, LIMITED)
    assert 3590 < second.wait_us / 1_000_000 <= 3600
    # The short window was not charged for the one that was refused.
    (alone,) = await ask(bench.store, waiting(bench.claim("n4", short)))
    assert 110 < alone.wait_us / 1_000_000 <= 120


@pytest.mark.asyncio
async def test_a_message_that_needs_no_wait_stays_behind_those_that_wait(bench: Bench) -> None:
    quick = paced("b", 10, 1)
    first, second = await ask(bench.store, *[waiting(bench.claim(f"n{n}", quick)) for n in range(2)])
    assert (first.held, second.held) == (False, True)
    # Its slot is over, but what waits may still be on its way.
    await bench.pass_time(0.3)
    (behind,) = await ask(bench.store, waiting(bench.claim("n3", quick)))
    assert (behind.status, behind.held, behind.wait_us) == (GRANTED, True, 0)
    # Who can not wait can not go through the queue either.
    await bench.pass_time(0.3)
    (other,) = await ask(bench.store, bench.claim("n4", quick))
    assert (other.status, other.held) == (GRANTED, False)
    await bench.pass_time(3)
    (after,) = await ask(bench.store, waiting(bench.claim("n5", quick)))
    assert (after.status, after.held) == (GRANTED, False)


@pytest.mark.asyncio
async def test_a_message_sent_twice_gets_no_second_slot(bench: Bench) -> None:
    hourly = paced("b", 1, 1, period_s=3600)
    await grant(bench.store, [waiting(bench.claim("n1", hourly))])
    first, again = await ask(
        bench.store, waiting(bench.claim("n2", hourly), 9000), waiting(bench.claim("n2", hourly), 9000)
    )
    assert (first.held, again.status, again.held) == (True, INFLIGHT, False)
    (other,) = await ask(bench.store, waiting(bench.claim("n3", hourly), 9000))
    assert slots([other]) == [2]
    # A conflict is known by the digest, whatever else the lease says.
    assert await status(bench.store, waiting(bench.claim("n2", hourly, text="b"))) is CONFLICT


@pytest.mark.asyncio
async def test_a_spare_is_taken_where_it_has_the_tokens_earlier(bench: Bench) -> None:
    low = Bucket("b", 1, 3600_000_000, 1, "", 7200_000_000)
    spare = Bucket("b", 1, 3600_000_000, 1, "spare", 7200_000_000)
    high, plain = Debit(low, 1, spare), Debit(low)
    outcomes = await ask(
        bench.store,
        waiting(bench.claim("n1", plain), 7200),
        waiting(bench.claim("n2", plain), 7200),
        waiting(bench.claim("n3", high), 7200),
        waiting(bench.claim("n4", high), 7200),
        waiting(bench.claim("n5", plain), 7200),
    )
    # The second plain one waits an hour; high ones have the spare at once, then what comes first.
    assert slots(outcomes) == [0, 1, 0, 1, 2]
    assert await status(bench.store, bench.claim("n6", plain)) is LIMITED
    assert await status(bench.store, bench.claim("n7", high)) is LIMITED


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nonce", ["n", ""])
async def test_values_that_are_too_many_share_a_bucket(
    kind: str, nonce: str, request: pytest.FixtureRequest
) -> None:
    hits: Counter[str] = Counter()
    bench = open_bench(kind, request)
    bounds: dict[str, Any] = {"values_max": 2, "limits_hit": hits, "max_age_s": MAX_AGE_S, "clock_skew_s": 0}
    if isinstance(bench, RedisBench):
        url = request.getfixturevalue("redis_server").url
        bench.store = RedisStore(url, deployment=bench.deployment, **bounds)
    else:
        bench.store = MemoryStore(entries_max=100, wall=bench.now, monotonic=bench.now, **bounds)
    await bench.store.start()
    other = debit("b", 1, 1, period_s=3600)

    def of(value: str) -> Claim:
        bucket = Bucket("b", 1, 3600_000_000, 1, f"b {value}")
        return bench.claim(nonce and f"{nonce}{value}{random.random()}", Debit(bucket, 1, None, other))

    assert await statuses(bench.store, of("1"), of("2"), of("3"), of("4")) == [GRANTED] * 3 + [LIMITED]
    assert hits["rate_values_max"] == 2
    assert await statuses(bench.store, of("1"), of("2")) == [LIMITED] * 2
    await bench.store.close()
