"""The Redis store: nonces and buckets that several gateways share.

Claims gather while a call is under way; the next call takes them all, up to a bound, with what is to be
settled. One task makes the calls, and nobody cancels it while one is under way: a reply read by the wrong
reader would be a security bug. After any error the connection is dropped and what was sent is sent again on
a new one; owners make that harmless. Claims wait `unavailable_after_s` for the store to return, then are
refused; those without a nonce are decided at once by a local share of the rate while the store is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.stores.batch import COMMIT, RELEASE, RENEW, Answer, Ask, KeySpace, Settlement, Waiting
from sealgate.stores.limiter import MICROSECONDS, LocalLimiter
from sealgate.stores.link import Exchange, Link, LinkSettings, open_link
from sealgate.stores.times import HELD_S, LEASE_S
from sealgate.verify.verdict import GRANTED, Claim, ClaimOutcome, ClaimStatus, Debit

#: A call that takes longer is an error, seconds. Redis answers in milliseconds.
_CALL_S_MAX: Final = 1.0
#: Claims per call: the script holds Redis for about a millisecond.
_ASKS_PER_CALL_MAX: Final = 200
_STEPS_PER_CALL_MAX: Final = 500
#: Claims that wait, of all sessions together; 20 MB. Sessions stop reading long before.
_ASKS_MAX: Final = 20_000
#: Settlements kept while Redis is away; 20 MB. Beyond, the oldest go: their leases have run out by then, or
#: are held until their nonces may be forgotten.
_STEPS_MAX: Final = 100_000
#: An idle connection is tried this often, so that a lost store shows before a message needs it, seconds.
_IDLE_S: Final = 2.0
_BACKOFF_S_MIN: Final = 0.05
_BACKOFF_S_MAX: Final = 1.0
#: How long `close` waits for what is pending, seconds.
_CLOSE_S_MAX: Final = 2.0

_UNAVAILABLE: Final = ClaimOutcome(ClaimStatus.UNAVAILABLE)
_DEGRADED: Final = ClaimOutcome(ClaimStatus.DEGRADED)


class RedisStore:
    """A `ClaimStore`. `gateways` is how many share the store: the divisor of the local share of rates.

    `lease_s` is `HELD_S` for leases that nobody takes over. `warnings` is filled by `start`: what an
    operator should know of this Redis.
    """

    def __init__(
        self,
        url: str,
        *,
        deployment: str,
        max_age_s: float,
        clock_skew_s: float,
        gateways: int = 1,
        unavailable_after_s: float = 5.0,
        lease_s: float = LEASE_S,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        keyspace = KeySpace(deployment)
        self._settings: Final = LinkSettings(
            url, keyspace, max_age_s, clock_skew_s, lease_s, _CALL_S_MAX, wall
        )
        self._gateways: Final = gateways
        self._unavailable_after_s: Final = unavailable_after_s
        self._monotonic: Final = monotonic
        self._limiter: Final = LocalLimiter()
        self._owners: Final = count(secrets.randbits(62) + 1)
        self._asks: Final[deque[Ask]] = deque()
        self._steps: Final[deque[Settlement]] = deque()
        self._link: Link | None = None
        self._identity = b""
        self._wake: Final = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._overdue_timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._entries = 0
        self._errors = 0
        self.warnings: list[str] = []

    async def start(self) -> None:
        """Connect and check, trying for `unavailable_after_s`. Raises `GateError` (store.unavailable)."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._unavailable_after_s
        backoff_s = _BACKOFF_S_MIN
        while True:
            try:
                await self._connect()
                break
            except GateError:
                raise
            except Exception as error:
                if loop.time() + backoff_s > deadline:
                    raise GateError(Reason.STORE_UNAVAILABLE, f"Redis can not be used: {error}") from error
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _BACKOFF_S_MAX)
        self._task = loop.create_task(self._serve(), name="sealgate redis store")

    async def _connect(self) -> None:
        link = await open_link(self._settings, self._identity)
        self.warnings = link.warnings
        self._identity = link.identity
        self._link = link

    async def close(self) -> None:
        """Make the last calls for what is pending; claims that still wait are refused."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            _, late = await asyncio.wait({self._task}, timeout=_CLOSE_S_MAX)
            if late:
                self._task.cancel()
                await asyncio.wait({self._task})
        while self._asks:
            self._resolve(self._asks.popleft(), _UNAVAILABLE)
        if self._overdue_timer is not None:
            self._overdue_timer.cancel()
        if self._link is not None:
            await self._link.close()
            self._link = None

    # What sessions ask for

    def claim(self, claims: list[Claim], answer: Answer) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._unavailable_after_s
        waiting = Waiting(answer, [None] * len(claims), len(claims))
        if not claims:
            loop.call_soon(answer, [])
        for index, claim in enumerate(claims):
            ask = Ask(claim, next(self._owners), waiting, index, deadline)
            if not claim.nonce_key and (self._link is None or not claim.debits):
                self._resolve(ask, self._local(claim))
            elif self._closing or self._task is None or len(self._asks) >= _ASKS_MAX:
                self._resolve(ask, _UNAVAILABLE)
            else:
                self._asks.append(ask)
                self._wake.set()
        self._watch_overdue()

    def settle(self, commits: list[Claim], releases: list[Claim]) -> None:
        self._add_steps(COMMIT, commits)
        self._add_steps(RELEASE, releases)

    def renew(self, claims: list[Claim]) -> None:
        if self._settings.lease_s != HELD_S:
            self._add_steps(RENEW, claims)

    def _add_steps(self, what: str, claims: list[Claim]) -> None:
        for claim in claims:
            if claim.nonce_key:
                self._steps.append(Settlement(what, claim, claim.owner))
                self._wake.set()
        while len(self._steps) > _STEPS_MAX:
            self._steps.popleft()
            self._errors += 1

    @property
    def healthy(self) -> bool:
        return self._link is not None and self._task is not None and not self._task.done()

    @property
    def entries(self) -> int:
        """Keys in the database at the last call, buckets included."""
        return self._entries

    @property
    def errors(self) -> int:
        return self._errors

    # The one task that talks to Redis

    async def _serve(self) -> None:
        while True:
            if self._link is None:
                await self._reconnect()
            await self._wait_for_work()
            if self._closing and not self._asks and not self._steps:
                return
            if self._link is not None:
                await self._call(self._link)

    async def _reconnect(self) -> None:
        """Try until there is a link, or until closing with nothing left to write."""
        backoff_s = _BACKOFF_S_MIN
        while self._link is None and not (self._closing and not self._asks and not self._steps):
            try:
                await self._connect()
            except Exception:
                self._errors += 1
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, _BACKOFF_S_MAX)

    async def _wait_for_work(self) -> None:
        """Return when there is something to send, when closing, or when the link was idle for long."""
        if self._asks or self._steps or self._closing:
            return
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_IDLE_S):
                await self._wake.wait()

    async def _call(self, link: Link) -> None:
        """One call with all that waits, up to the bounds; any error drops the link and keeps the rest."""
        asks = [self._asks.popleft() for _ in range(min(len(self._asks), _ASKS_PER_CALL_MAX))]
        steps = [self._steps.popleft() for _ in range(min(len(self._steps), _STEPS_PER_CALL_MAX))]
        for ask in asks:
            ask.sent = True
        try:
            exchange = await link.exchange(asks, steps)
        except Exception:
            self._errors += 1
            self._link = None
            self._steps.extendleft(reversed(steps))
            self._put_back(asks)
            await link.close()
        except BaseException:
            self._put_back(asks)
            raise
        else:
            await self._finish(exchange, asks, steps)

    async def _finish(self, exchange: Exchange, asks: list[Ask], steps: list[Settlement]) -> None:
        self._entries = exchange.entries
        for ask, outcome in zip(asks, exchange.outcomes, strict=True):
            if outcome.status is ClaimStatus.FULL and not ask.claim.nonce_key:
                outcome = self._local(ask.claim)
            elif outcome.status is ClaimStatus.GRANTED:
                ask.claim.owner = ask.owner
            self._resolve(ask, outcome)
        if exchange.settled < len(steps):
            # Redis is full: nothing can be recorded until it is not.
            self._errors += 1
            self._steps.extendleft(reversed(steps[exchange.settled :]))
            await asyncio.sleep(_BACKOFF_S_MIN)

    def _put_back(self, asks: list[Ask]) -> None:
        """The store is away: decide here what needs no memory, let the rest wait in its place."""
        for ask in reversed(asks):
            if ask.claim.nonce_key:
                self._asks.appendleft(ask)
            else:
                self._resolve(ask, self._local(ask.claim))
        self._watch_overdue()

    # Answers

    def _local(self, claim: Claim) -> ClaimOutcome:
        """Decide a claim without a nonce by this gateway's share of the rate."""
        if not claim.debits:
            return GRANTED
        for debit in claim.debits:
            if debit.cost > debit.bucket.burst:
                return ClaimOutcome(ClaimStatus.COST, debit.bucket.name)
        share = [self._share(debit) for debit in claim.debits]
        return self._limiter.take(share, int(self._monotonic() * MICROSECONDS)) or _DEGRADED

    def _share(self, debit: Debit) -> Debit:
        bucket = debit.bucket
        burst = max(bucket.burst // self._gateways, debit.cost)
        return Debit(replace(bucket, period_us=bucket.period_us * self._gateways, burst=burst), debit.cost)

    def _resolve(self, ask: Ask, outcome: ClaimOutcome) -> None:
        """Note one outcome; the last of a `claim` call sends its answer, in a turn of the loop of its own."""
        if outcome.status is ClaimStatus.UNAVAILABLE and ask.sent:
            # It may have been granted by a call whose reply was lost: nobody will use that lease.
            self._steps.append(Settlement(RELEASE, ask.claim, ask.owner))
        waiting = ask.waiting
        waiting.outcomes[ask.index] = outcome
        waiting.missing -= 1
        if waiting.missing == 0:
            outcomes = [outcome for outcome in waiting.outcomes if outcome is not None]
            asyncio.get_running_loop().call_soon(waiting.answer, outcomes)

    def _watch_overdue(self) -> None:
        if self._asks and self._overdue_timer is None:
            loop = asyncio.get_running_loop()
            self._overdue_timer = loop.call_at(self._asks[0].deadline, self._refuse_overdue)

    def _refuse_overdue(self) -> None:
        """Refuse the claims that have waited too long; they are in the order of their deadlines."""
        self._overdue_timer = None
        now = asyncio.get_running_loop().time()
        while self._asks and self._asks[0].deadline <= now:
            self._resolve(self._asks.popleft(), _UNAVAILABLE)
        self._watch_overdue()
