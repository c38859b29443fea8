"""The Redis store when Redis is slow, away, another than before, full, or answers out of turn."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import ceil
from pathlib import Path

import pytest

from sealgate.reason import GateError, Reason
from sealgate.stores import keeper
from sealgate.stores import redis as redis_room
from sealgate.stores.redis import RedisStore
from sealgate.verify.verdict import Claim, ClaimOutcome, ClaimStatus, Debit
from support.certificates import Authority
from support.claims import ask, debit, grant, make_claim, paced, status, statuses, waiting
from support.liar import Liar, liar_before
from support.processes import free_port
from support.redis_server import RedisServer, private_redis

pytestmark = [pytest.mark.system, pytest.mark.asyncio]

GRANTED = ClaimStatus.GRANTED
INFLIGHT = ClaimStatus.INFLIGHT
DUPLICATE = ClaimStatus.DUPLICATE
DEGRADED = ClaimStatus.DEGRADED
UNAVAILABLE = ClaimStatus.UNAVAILABLE
HORIZON = ClaimStatus.HORIZON
LIMITED = ClaimStatus.LIMITED

HOUR_S = 3600


def fresh(nonce: str, *debits: Debit) -> Claim:
    return make_claim(nonce, ceil(time.time()) + 1, *debits)


@pytest.fixture
def deployment(redis_server: RedisServer) -> str:
    """The name of a deployment that this Redis has served for ever."""
    name = f"test-{uuid.uuid4().hex}"
    redis_server.age(name)
    return name


@asynccontextmanager
async def opened(
    url: str,
    deployment: str,
    *,
    gateways: int = 1,
    unavailable_after_s: float = 5.0,
    clock_skew_s: float = 0,
    wall: Callable[[], float] = time.time,
) -> AsyncIterator[RedisStore]:
    store = RedisStore(
        url,
        deployment=deployment,
        max_age_s=HOUR_S,
        clock_skew_s=clock_skew_s,
        gateways=gateways,
        unavailable_after_s=unavailable_after_s,
        wall=wall,
    )
    await store.start()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def lying(redis_server: RedisServer, deployment: str) -> AsyncIterator[tuple[Liar, RedisStore]]:
    """A store that speaks to Redis through a relay that may lie."""
    async with (
        liar_before(redis_server.port) as liar,
        opened(f"redis://127.0.0.1:{liar.port}/0", deployment) as store,
    ):
        yield liar, store


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_two_gateways_share_nonces_and_tokens(redis_server: RedisServer, deployment: str) -> None:
    flood = debit("b", 1, 20, period_s=HOUR_S)
    async with opened(redis_server.url, deployment) as one, opened(redis_server.url, deployment) as two:
        first = fresh("n")
        await grant(one, [first])
        assert await status(two, fresh("n")) is INFLIGHT
        one.settle([first], [])
        assert await status(one, fresh("n")) is DUPLICATE
        assert await status(two, fresh("n")) is DUPLICATE
        both = await asyncio.gather(*[statuses(store, *[fresh("", flood)] * 15) for store in (one, two)])
        assert sum(found.count(GRANTED) for found in both) == 20


async def test_all_sessions_of_a_turn_share_one_call_with_what_is_to_be_settled(
    redis_server: RedisServer, deployment: str
) -> None:
    async with opened(redis_server.url, deployment) as store:
        before = [fresh(f"before{number}") for number in range(40)]
        await grant(store, before)
        calls = redis_server.calls("evalsha")
        found: list[ClaimOutcome] = []
        for number in range(20):
            store.claim([fresh(f"n{number}")], found.extend)
            store.settle(before[number : number + 1], before[20 + number : 21 + number])
        await until(lambda: len(found) == 20)
        assert {outcome.status for outcome in found} == {GRANTED}
        assert redis_server.calls("evalsha") == calls + 1
        again = await statuses(store, *[fresh(f"before{number}") for number in range(40)])
        assert again == [DUPLICATE] * 20 + [GRANTED] * 20


async def test_what_comes_while_a_call_is_under_way_goes_into_the_next(
    redis_server: RedisServer, deployment: str
) -> None:
    async with opened(redis_server.url, deployment) as store:
        calls = redis_server.calls("evalsha")
        with redis_server.frozen():
            asking = []
            for number in range(20):
                asking.append(asyncio.ensure_future(status(store, fresh(f"n{number}"))))
                for _ in range(3):
                    await asyncio.sleep(0)
        assert await asyncio.gather(*asking) == [GRANTED] * 20
        assert redis_server.calls("evalsha") == calls + 2


async def test_deployments_do_not_see_each_other(redis_server: RedisServer, deployment: str) -> None:
    other = f"{deployment}-other"
    redis_server.age(other)
    only = debit("b", 1, 1, period_s=HOUR_S)
    async with opened(redis_server.url, deployment) as one, opened(redis_server.url, other) as two:
        await grant(one, [fresh("n", only)])
        await grant(two, [fresh("n", only)])


async def test_every_key_is_in_one_slot_and_passes_away(redis_server: RedisServer, deployment: str) -> None:
    async with opened(redis_server.url, deployment) as store:
        committed, leased = fresh("n1", debit("b", 1, 1)), fresh("n2")
        await grant(store, [committed, leased])
        store.settle([committed], [])
        assert await status(store, fresh("n1")) is DUPLICATE
        prefix = f"sealgate:{{{deployment}}}:"
        nonces = [f"n:4:test:k1:{nonce.ljust(16, chr(0))}" for nonce in ("n1", "n2")]
        for name in ("identity", *nonces, "b:b"):
            assert int(redis_server.command("PTTL", prefix + name)[1:]) > 0, name


async def test_a_store_that_nobody_serves_can_not_start() -> None:
    store = RedisStore(
        f"redis://:geheim@127.0.0.1:{free_port()}/0",
        deployment="d",
        max_age_s=1,
        clock_skew_s=0,
        unavailable_after_s=0.3,
    )
    with pytest.raises(GateError) as caught:
        await store.start()
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert "geheim" not in str(caught.value)
    await store.close()


async def test_start_waits_for_a_store_that_is_late(redis_server: RedisServer, deployment: str) -> None:
    redis_server.kill()
    starting = asyncio.create_task(enter_and_leave(redis_server.url, deployment))
    try:
        await asyncio.sleep(0.2)
        assert not starting.done()
    finally:
        redis_server.start()
    await starting


async def enter_and_leave(url: str, deployment: str) -> None:
    async with opened(url, deployment):
        pass


async def test_a_wrong_password_is_told_without_it(redis_server: RedisServer, deployment: str) -> None:
    redis_server.command("ACL", "SETUSER", "app", "on", ">correct", "~*", "+@all")
    address = redis_server.url.removeprefix("redis://")
    async with opened(f"redis://app:correct@{address}", deployment) as store:
        await grant(store, [fresh("n")])
    with pytest.raises(GateError, match=r"store\.unavailable") as caught:
        async with opened(f"redis://app:falsch@{address}", deployment, unavailable_after_s=0.1):
            pass
    assert "falsch" not in str(caught.value)


async def test_an_eviction_policy_is_refused_at_start(redis_server: RedisServer, deployment: str) -> None:
    redis_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(GateError, match=r"maxmemory-policy allkeys-lru.*must be noeviction") as caught:
            async with opened(redis_server.url, deployment):
                pass
    finally:
        redis_server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert caught.value.reason is Reason.STORE_UNAVAILABLE


async def test_a_policy_that_can_not_be_read_is_warned_about(
    redis_server: RedisServer, deployment: str
) -> None:
    async with liar_before(redis_server.port) as liar:
        liar.replace = (b"maxmemory_policy", b"maxmemory_hidden")
        async with opened(f"redis://127.0.0.1:{liar.port}/0", deployment) as store:
            assert [warning for warning in store.warnings if "maxmemory-policy" in warning]


async def test_a_server_without_identity_is_refused(redis_server: RedisServer, deployment: str) -> None:
    async with liar_before(redis_server.port) as liar:
        liar.replace = (b"master_replid:", b"master_hidden:")
        with pytest.raises(GateError, match="run_id and master_replid"):
            async with opened(f"redis://127.0.0.1:{liar.port}/0", deployment):
                pass


async def test_a_replica_is_refused(redis_server: RedisServer, deployment: str) -> None:
    redis_server.command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(GateError, match="replica"):
            async with opened(redis_server.url, deployment):
                pass
    finally:
        redis_server.command("REPLICAOF", "NO", "ONE")


async def test_clocks_apart_are_warned_about(redis_server: RedisServer, deployment: str) -> None:
    async with opened(redis_server.url, deployment, wall=lambda: time.time() + 100) as store:
        assert [warning for warning in store.warnings if "clocks" in warning and "100 s" in warning]
    async with opened(redis_server.url, deployment) as store:
        assert store.warnings == []


async def test_while_redis_is_away_claims_wait_and_are_then_refused(
    redis_server: RedisServer, deployment: str
) -> None:
    async with opened(redis_server.url, deployment, unavailable_after_s=0.6) as store:
        redis_server.kill()
        try:
            started = time.monotonic()
            assert await statuses(store, fresh("n1"), fresh("n2")) == [UNAVAILABLE] * 2
            assert 0.5 < time.monotonic() - started < 3
            assert not store.healthy
            assert store.errors > 0
        finally:
            redis_server.start()
        await until(lambda: store.healthy)


async def test_an_idle_store_notices_that_redis_went(
    redis_server: RedisServer, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_IDLE_S", 0.05)
    async with opened(redis_server.url, deployment) as store:
        redis_server.kill()
        try:
            await until(lambda: not store.healthy)
        finally:
            redis_server.start()
        await until(lambda: store.healthy)


async def test_after_a_restart_older_messages_are_beyond_the_horizon(
    redis_server: RedisServer, deployment: str
) -> None:
    async with opened(redis_server.url, deployment, clock_skew_s=2) as store:
        before = make_claim("n1", int(time.time()))
        await grant(store, [before])
        store.settle([before], [])
        assert await status(store, before) is DUPLICATE
        redis_server.restart()
        assert await status(store, before) is HORIZON
        assert await status(store, make_claim("n2", int(time.time()))) is HORIZON
        await grant(store, [make_claim("n3", ceil(time.time()) + 4), fresh("")])
    async with opened(redis_server.url, deployment, clock_skew_s=2) as other:
        assert await status(other, make_claim("n4", int(time.time()))) is HORIZON


async def test_a_flushed_store_is_noticed_by_the_next_claim(
    redis_server: RedisServer, deployment: str
) -> None:
    async with opened(redis_server.url, deployment) as store:
        before = make_claim("n", int(time.time()) - 10)
        await grant(store, [before])
        store.settle([before], [])
        assert await status(store, before) is DUPLICATE
        redis_server.command("FLUSHALL")
        assert await status(store, before) is HORIZON


async def test_commits_made_while_redis_is_away_are_written_when_it_returns(
    redis_server: RedisServer, deployment: str
) -> None:
    async with opened(redis_server.url, deployment) as store:
        first = fresh("n")
        await grant(store, [first])
        redis_server.kill()
        try:
            store.settle([first], [])
            await until(lambda: not store.healthy)
        finally:
            redis_server.start()
        assert await status(store, fresh("n")) is DUPLICATE


async def test_close_writes_what_is_pending(redis_server: RedisServer, deployment: str) -> None:
    async with opened(redis_server.url, deployment) as store:
        claims = [fresh(f"n{number}") for number in range(1200)]
        await grant(store, claims)
        store.settle(claims, [])
    async with opened(redis_server.url, deployment) as other:
        again = await statuses(other, *[fresh(f"n{number}") for number in range(1200)])
        assert again == [DUPLICATE] * 1200


async def test_close_without_redis_refuses_what_waits_and_returns(
    redis_server: RedisServer, deployment: str
) -> None:
    async with opened(redis_server.url, deployment) as store:
        first = fresh("n")
        await grant(store, [first])
        redis_server.kill()
        try:
            store.settle([first], [])
            waiting = asyncio.create_task(status(store, fresh("m")))
            await until(lambda: not store.healthy)
            async with asyncio.timeout(5):
                await store.close()
            assert await waiting is UNAVAILABLE
        finally:
            redis_server.start()


async def test_a_frozen_redis_gives_one_grant_and_takes_one_token(
    redis_server: RedisServer, deployment: str
) -> None:
    pair = debit("b", 1, 2, period_s=HOUR_S)
    async with opened(redis_server.url, deployment) as store:
        with redis_server.frozen():
            waiting = asyncio.create_task(status(store, fresh("n", pair)))
            await until(lambda: not store.healthy)
        # The first call lies in the server's socket and is carried out as well.
        assert await waiting is GRANTED
        assert await statuses(store, fresh("m1", pair), fresh("m2", pair)) == [GRANTED, LIMITED]


async def test_a_frozen_redis_gives_a_message_that_waits_one_slot(
    redis_server: RedisServer, deployment: str
) -> None:
    hourly = paced("b", 1, 1, period_s=HOUR_S)
    async with opened(redis_server.url, deployment) as store:
        await grant(store, [waiting(fresh("m", hourly), 9 * HOUR_S)])
        with redis_server.frozen():
            asked = asyncio.create_task(ask(store, waiting(fresh("n", hourly), 9 * HOUR_S)))
            await until(lambda: not store.healthy)
        # Asked for twice, and told what it was given the first time.
        (outcome,) = await asked
        assert (outcome.status, outcome.held, round(outcome.wait_us / 3.6e9)) == (GRANTED, True, 1)
        (next_one,) = await ask(store, waiting(fresh("o", hourly), 9 * HOUR_S))
        assert round(next_one.wait_us / 3.6e9) == 2


async def test_a_message_that_only_follows_keeps_the_next_one_behind_it(
    redis_server: RedisServer, deployment: str
) -> None:
    key = f"sealgate:{{{deployment}}}:w:b"
    quick = paced("b", 1000, 1)
    async with opened(redis_server.url, deployment) as store:
        first, second = await ask(store, waiting(fresh("m", quick)), waiting(fresh("n", quick)))
        assert (first.held, second.held) == (False, True)
        # Shorter than what one more message is to make of it.
        redis_server.command("SET", key, "1", "PX", "490")
        before = int(redis_server.command("PEXPIRETIME", key)[1:])
        (behind,) = await ask(store, waiting(fresh("o", quick)))
        assert behind.held
        assert int(redis_server.command("PEXPIRETIME", key)[1:]) > before


async def test_without_redis_messages_wait_for_the_local_share(
    redis_server: RedisServer, deployment: str
) -> None:
    bucket = paced("b", 1, 8, period_s=HOUR_S)
    async with opened(redis_server.url, deployment, gateways=4, unavailable_after_s=0.5) as store:
        redis_server.kill()
        try:
            await until(lambda: not store.healthy)
            claims = [waiting(fresh("", bucket), 5 * HOUR_S) for _ in range(4)]
            outcomes = await ask(store, *claims)
        finally:
            redis_server.start()
    # A quarter of burst and rate: two at once, then one in four hours.
    assert [outcome.status for outcome in outcomes] == [DEGRADED, DEGRADED, DEGRADED, LIMITED]
    assert [outcome.held for outcome in outcomes] == [False, False, True, False]
    assert round(outcomes[2].wait_us / 3.6e9) == 4


async def test_a_claim_refused_while_redis_was_frozen_leaves_no_lease(
    redis_server: RedisServer, deployment: str
) -> None:
    async with opened(redis_server.url, deployment, unavailable_after_s=0.3) as store:
        with redis_server.frozen():
            assert await status(store, fresh("n")) is UNAVAILABLE
        await until(lambda: store.healthy)
        await grant(store, [fresh("n")])


async def test_without_redis_tokens_come_from_a_local_share(
    redis_server: RedisServer, deployment: str
) -> None:
    bucket = debit("b", 1, 8, period_s=HOUR_S)
    async with opened(redis_server.url, deployment, gateways=4, unavailable_after_s=0.5) as store:
        redis_server.kill()
        try:
            # In flight when the connection breaks, then at once.
            assert await status(store, fresh("", bucket)) is DEGRADED
            started = time.monotonic()
            assert await statuses(store, *[fresh("", bucket)] * 3) == [DEGRADED, LIMITED, LIMITED]
            dear = debit("dear", 1, 8, cost=9)
            (refused,) = await ask(store, fresh("", dear))
            assert refused == ClaimOutcome(ClaimStatus.COST, "dear")
            big = debit("big", 1, 8, cost=8, period_s=HOUR_S)
            assert await statuses(store, fresh("", big), fresh("", big)) == [DEGRADED, LIMITED]
            await grant(store, [fresh("")])
            assert time.monotonic() - started < 0.3
        finally:
            redis_server.start()


async def test_a_full_redis_refuses_new_nonces_and_forgets_none(
    redis_server: RedisServer, deployment: str
) -> None:
    bucket = debit("b", 1, 2, period_s=HOUR_S)
    async with opened(redis_server.url, deployment) as store:
        kept, pending = fresh("kept"), fresh("pending")
        await grant(store, [kept, pending])
        store.settle([kept], [])
        assert await status(store, fresh("kept")) is DUPLICATE
        redis_server.command("CONFIG", "SET", "maxmemory", "1")
        try:
            wanted = [fresh("new"), fresh("kept"), fresh("pending"), fresh("", bucket), fresh("")]
            found = await statuses(store, *wanted)
            assert found == [ClaimStatus.FULL, DUPLICATE, INFLIGHT, DEGRADED, GRANTED]
            assert store.healthy
            store.settle([pending], [])
            await until(lambda: store.errors > 0)
        finally:
            redis_server.command("CONFIG", "SET", "maxmemory", "0")
        assert await statuses(store, fresh("pending"), fresh("new")) == [DUPLICATE, GRANTED]


async def test_a_script_that_was_flushed_is_loaded_again(redis_server: RedisServer, deployment: str) -> None:
    async with opened(redis_server.url, deployment) as store:
        first = fresh("n")
        await grant(store, [first])
        redis_server.command("SCRIPT", "FLUSH")
        store.settle([first], [])
        assert await statuses(store, fresh("n"), fresh("m")) == [DUPLICATE, GRANTED]
        assert store.errors == 1


async def test_a_master_that_became_a_replica_is_written_to_no_more(
    redis_server: RedisServer, deployment: str
) -> None:
    async with opened(redis_server.url, deployment, unavailable_after_s=0.5) as store:
        first = fresh("n")
        await grant(store, [first])
        redis_server.command("REPLICAOF", "127.0.0.1", "1")
        try:
            store.settle([first], [])
            assert await status(store, fresh("m")) is UNAVAILABLE
            assert not store.healthy
        finally:
            redis_server.command("REPLICAOF", "NO", "ONE")
        await until(lambda: store.healthy)
        # Another history now (master_replid), but what was to be committed is.
        assert await status(store, fresh("n")) is DUPLICATE


@pytest.mark.parametrize(
    "answer", [b"+OK\r\n", b":1\r\n", b"$-1\r\n", b"*0\r\n", b"$5\r\n12345\r\n", b"$99999999\r\n"]
)
async def test_an_answer_of_another_kind_is_never_taken(
    redis_server: RedisServer, deployment: str, answer: bytes
) -> None:
    async with lying(redis_server, deployment) as (liar, store):
        liar.instead_once = answer
        await grant(store, [fresh("n")])
        assert store.errors == 1
        assert liar.connections == 2


async def test_an_answer_in_pieces_is_put_together(redis_server: RedisServer, deployment: str) -> None:
    async with lying(redis_server, deployment) as (liar, store):
        liar.bytes_at_once = 3
        first = fresh("n")
        await grant(store, [first])
        store.settle([first], [])
        assert await status(store, fresh("n")) is DUPLICATE
        assert store.errors == 0


async def test_what_nobody_asked_for_ends_the_connection(redis_server: RedisServer, deployment: str) -> None:
    async with lying(redis_server, deployment) as (liar, store):
        await grant(store, [fresh("n")])
        await liar.say(b"+HELLO\r\n")
        await until(lambda: store.errors == 1 and store.healthy)
        assert await status(store, fresh("n")) is INFLIGHT
        assert liar.connections == 2


async def test_redis_over_tls(redis_server: RedisServer, deployment: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with private_redis(authority.issue("localhost"), authority.ca) as server:
        server.age(deployment)
        url = f"rediss://localhost:{server.tls_port}/0"
        trusted = f"{url}?ssl_ca_certs={authority.ca}"
        async with opened(trusted, deployment) as store:
            claims = [fresh(f"n{number}") for number in range(450)]
            await grant(store, claims)
            store.settle(claims, [])
            assert await status(store, fresh("n0")) is DUPLICATE
            server.restart()
            await until(lambda: store.errors > 0 and store.healthy)
        with pytest.raises(GateError, match="certificate"):
            async with opened(url, deployment, unavailable_after_s=0.1):
                pass


async def test_a_reply_out_of_turn_is_never_taken(redis_server: RedisServer, deployment: str) -> None:
    async with lying(redis_server, deployment) as (liar, store):
        liar.stale_once = True
        first = fresh("n")
        await grant(store, [first])
        # The stale GRANTED now lies before the answer to the next claim.
        assert await status(store, fresh("n")) is INFLIGHT
        assert store.errors == 1
        assert liar.connections == 2


async def test_an_answer_that_never_comes_is_asked_for_again_elsewhere(
    redis_server: RedisServer, deployment: str
) -> None:
    async with lying(redis_server, deployment) as (liar, store):
        liar.dumb = True
        waiting = asyncio.create_task(status(store, fresh("n")))
        await until(lambda: not store.healthy)
        liar.dumb = False
        assert await waiting is GRANTED


async def test_claims_over_the_bound_are_refused_at_once(
    redis_server: RedisServer, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_room, "_ASKS_MAX", 3)
    async with opened(redis_server.url, deployment) as store:
        found = await statuses(store, *[fresh(f"n{number}") for number in range(5)])
        assert found == [GRANTED] * 3 + [UNAVAILABLE] * 2


async def test_settlements_over_the_bound_drop_the_oldest_and_count_them(
    redis_server: RedisServer, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_room, "_STEPS_MAX", 3)
    async with opened(redis_server.url, deployment) as store:
        claims = [fresh(f"n{number}") for number in range(5)]
        await grant(store, claims)
        store.settle(claims, [])
        assert store.errors == 2
        found = await statuses(store, *[fresh(f"n{number}") for number in range(5)])
        assert found == [INFLIGHT] * 2 + [DUPLICATE] * 3


async def test_a_caller_that_fails_does_not_stop_the_store(
    redis_server: RedisServer, deployment: str
) -> None:
    caught: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: caught.append(str(context["exception"])))
    async with opened(redis_server.url, deployment) as store:
        store.claim([fresh("n1")], fail)
        await until(lambda: bool(caught))
        await grant(store, [fresh("n2")])
    assert caught == ["the caller's own bug"]


async def test_a_claim_that_can_not_be_said_is_refused_and_keeps_nothing_back(
    redis_server: RedisServer, deployment: str
) -> None:
    caught: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: caught.append(str(context["message"])))
    async with opened(redis_server.url, deployment) as store:
        first = fresh("n1")
        await grant(store, [first])
        store.settle([first], [])
        assert await status(store, make_claim("n2", -1)) is UNAVAILABLE
        assert await statuses(store, fresh("n1"), fresh("n2")) == [DUPLICATE, GRANTED]
        assert store.errors == 1
    assert caught == ["a call to Redis could not be packed"]


def fail(outcomes: list[ClaimOutcome]) -> None:
    raise RuntimeError("the caller's own bug")
