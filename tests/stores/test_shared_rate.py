"""One bucket, several gateways, high rates: by Redis' own clock never one token over burst and rate."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from sealgate.stores.redis import RedisStore
from sealgate.verify.verdict import Claim, ClaimOutcome, ClaimStatus, Debit
from support.claims import ask, debit, grant, make_claim, status, statuses
from support.hammer import SLOT, Hammer, flood
from support.processes import end, spawn
from support.redis_server import RedisServer

pytestmark = [pytest.mark.system, pytest.mark.asyncio]

GRANTED = ClaimStatus.GRANTED
LIMITED = ClaimStatus.LIMITED
RATE, BURST = 5_000, 2_500


@pytest.fixture
def deployment(redis_server: RedisServer) -> str:
    name = f"test-{uuid.uuid4().hex}"
    redis_server.age(name)
    return name


@asynccontextmanager
async def opened(redis_server: RedisServer, deployment: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_server.url, deployment=deployment, max_age_s=300, clock_skew_s=0)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


def redis_time(redis_server: RedisServer) -> float:
    """The server's clock, in seconds, as scripts see it."""
    script = "local t = redis.call('TIME') return t[1] .. '.' .. string.format('%06d', t[2])"
    return float(redis_server.command("EVAL", script, "0"))


def bare(*debits: Debit) -> Claim:
    return make_claim("", 1, *debits)


def at_once(store: RedisStore, claim: Claim, count: int) -> int:
    """How many of `count` claims are granted before `claim` returns, that is, without a call."""
    found: list[ClaimOutcome] = []
    for _ in range(count):
        store.claim([claim], found.extend)
    return [outcome.status for outcome in found].count(GRANTED)


async def hold_a_block(store: RedisStore, claim: Claim, pause_s: float = 0.002) -> None:
    """Use the bucket until claims are granted without a call."""
    async with asyncio.timeout(10):
        while at_once(store, claim, 1) == 0:
            await asyncio.sleep(pause_s)


async def test_two_gateways_at_full_speed_stay_within_burst_and_rate(
    redis_server: RedisServer, deployment: str
) -> None:
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(redis_server, deployment)) for _ in range(2)]
        hammers = [Hammer(store, flood(RATE, BURST)) for store in stores]
        started = redis_time(redis_server)
        seconds = 0.0
        while seconds < 3:
            for _ in range(25):
                for hammer in hammers:
                    hammer.strike()
                await asyncio.sleep(0)
            granted = sum([hammer.granted for hammer in hammers])
            seconds = redis_time(redis_server) - started
            assert granted <= BURST + RATE * seconds
    # And it is a rate, not a stop.
    assert granted > (BURST + RATE * seconds) * 0.8


class Hammers:
    """Processes that hammer one bucket, each with a slot of its own in a file that outlives them all."""

    def __init__(self, redis_server: RedisServer, deployment: str, home: Path) -> None:
        self._counters = home / "counters"
        self._counters.write_bytes(bytes(SLOT.size * 64))
        self._log = home / "log"
        self._words = [redis_server.url, deployment, str(RATE), str(BURST), str(self._counters)]
        self._running: list[subprocess.Popen[bytes]] = []
        self.started = 0

    def start(self) -> None:
        command = [sys.executable, "-m", "support.hammer", *self._words, str(self.started)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        self._running.append(spawn(command, self._log, environment))
        self.started += 1

    def kill_oldest(self) -> None:
        end(self._running.pop(0), signal.SIGKILL)

    def kill_all(self) -> None:
        while self._running:
            self.kill_oldest()

    def granted(self) -> list[int]:
        """What each was granted, also those that are dead."""
        return [count for (count,) in SLOT.iter_unpack(self._counters.read_bytes())]

    @property
    def log(self) -> str:
        return self._log.read_text()


async def test_gateways_that_are_killed_leave_no_token_twice(
    redis_server: RedisServer, deployment: str, tmp_path: Path
) -> None:
    hammers = Hammers(redis_server, deployment, tmp_path)
    started = redis_time(redis_server)

    def allowed() -> float:
        return BURST + RATE * (redis_time(redis_server) - started)

    try:
        hammers.start()
        hammers.start()
        deadline = time.monotonic() + 90
        seen = 0
        while hammers.started < 8:
            assert time.monotonic() < deadline, hammers.log
            await asyncio.sleep(0.01)
            granted = hammers.granted()
            assert sum(granted) <= allowed()
            # The newest is at work, and has worked beside the oldest for a while.
            if granted[hammers.started - 1] > 0 and sum(granted) > seen + RATE // 4:
                seen = sum(granted)
                hammers.kill_oldest()
                hammers.start()
    finally:
        hammers.kill_all()
    assert sum(hammers.granted()) <= allowed()


async def test_a_block_that_is_spent_late_is_within_the_burst(
    redis_server: RedisServer, deployment: str
) -> None:
    """One gateway holds a block while the bucket fills up, then both take what they can in one moment."""
    # Few and dear, so that emptying the bucket takes no time in which it fills again.
    cost, rate, burst = 100, 10_000, 4_000
    claim = bare(debit("b", rate, burst, cost=cost))
    held = 0
    async with opened(redis_server, deployment) as one, opened(redis_server, deployment) as two:
        for _ in range(10):
            await hold_a_block(one, claim, pause_s=0.012)
            await asyncio.sleep(0.05)
            started = redis_time(redis_server)
            found = await statuses(two, *[claim] * 45)
            assert found.count(GRANTED) < 45
            late = at_once(one, claim, 1)
            while at_once(one, claim, 1):
                late += 1
            held += late
            granted = (found.count(GRANTED) + late) * cost
            assert granted <= burst + rate * (redis_time(redis_server) - started)
            await asyncio.sleep(0.4)
    assert held > 0, "no block was ever spent late: nothing was tried"


async def test_a_high_rate_is_spent_without_a_call_for_each_message(
    redis_server: RedisServer, deployment: str
) -> None:
    claim = bare(debit("b", 10_000, 10_000))
    async with opened(redis_server, deployment) as store:
        await hold_a_block(store, claim)
        before, granted = redis_server.calls("evalsha"), 0
        for _ in range(500):
            granted += (await statuses(store, *[claim] * 5)).count(GRANTED)
            await asyncio.sleep(0.001)
        assert granted == 2500
        assert (redis_server.calls("evalsha") - before) * 5 < 500


async def test_low_rates_are_decided_by_redis_alone(redis_server: RedisServer, deployment: str) -> None:
    claim = bare(debit("b", 100, 10_000))
    async with opened(redis_server, deployment) as store:
        for _ in range(100):
            assert at_once(store, claim, 1) == 0
            await grant(store, [claim])


async def test_a_message_with_a_nonce_is_decided_by_redis_alone(
    redis_server: RedisServer, deployment: str
) -> None:
    high = debit("b", 10_000, 10_000)
    async with opened(redis_server, deployment) as store:
        await hold_a_block(store, bare(high))
        first = make_claim("n", int(time.time()) + 1, high)
        assert at_once(store, first, 1) == 0
        await asyncio.sleep(0)
        assert await status(store, first) is ClaimStatus.INFLIGHT


async def test_an_empty_bucket_is_not_asked_again_before_its_moment(
    redis_server: RedisServer, deployment: str
) -> None:
    hourly = debit("b", 1, 1, period_s=3600)
    async with opened(redis_server, deployment) as store:
        await grant(store, [bare(hourly)])
        (first,) = await ask(store, bare(hourly))
        before = redis_server.calls("evalsha")
        waits = [first.wait_us]
        for _ in range(50):
            (again,) = await ask(store, bare(hourly))
            assert (again.status, again.bucket) == (LIMITED, "b")
            waits.append(again.wait_us)
        assert redis_server.calls("evalsha") == before
        # What is told is what is left.
        assert waits == sorted(waits, reverse=True)
        assert waits[-1] > 3590 * 1_000_000


async def test_a_duplicate_is_told_as_one_though_its_bucket_is_known_to_be_empty(
    redis_server: RedisServer, deployment: str
) -> None:
    hourly = debit("b", 1, 1, period_s=3600)
    first = make_claim("n", int(time.time()) + 1, hourly)
    async with opened(redis_server, deployment) as store:
        await grant(store, [first])
        store.settle([first], [])
        assert await statuses(store, bare(hourly), bare(hourly)) == [LIMITED] * 2
        assert await status(store, first) is ClaimStatus.DUPLICATE
        assert await status(store, make_claim("m", int(time.time()) + 1, hourly)) is LIMITED


async def test_an_empty_bucket_gives_again_at_its_moment(redis_server: RedisServer, deployment: str) -> None:
    claim = bare(debit("b", 5, 1))
    async with opened(redis_server, deployment) as store:
        for _ in range(4):
            await grant(store, [claim])
            (limited,) = await ask(store, claim)
            assert limited.status is LIMITED
            await asyncio.sleep(limited.wait_us / 1_000_000 + 0.001)


async def test_another_store_behind_the_address_is_asked_anew(
    redis_server: RedisServer, deployment: str
) -> None:
    """What was said of a bucket, and blocks of it, count for the store that said it."""
    hourly, high = debit("b", 1, 1, period_s=3600), debit("high", 10_000, 10_000)
    async with opened(redis_server, deployment) as store:
        await hold_a_block(store, bare(high))
        assert await statuses(store, bare(hourly), bare(hourly)) == [GRANTED, LIMITED]
        redis_server.restart()
        async with asyncio.timeout(10):
            while store.errors == 0 or not store.healthy:
                await asyncio.sleep(0.01)
        assert at_once(store, bare(high), 1) == 0
        await grant(store, [bare(hourly)])
