"""The Redis store: nonces and buckets that several gateways share.

Claims of all sessions gather for one turn of the loop, or while a call is under way; the next call takes
them all, up to a bound, with what is to be settled. After any error the connection is dropped and what was
sent is sent again on a new one; the numbers of claims make that harmless. Claims wait `unavailable_after_s`
for the store to return, then are refused. Those without a nonce are decided here where that is certain.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final

from sealgate.stores.batch import Call, Exchange, KeySpace, outcomes_of
from sealgate.stores.here import Here
from sealgate.stores.keeper import BACKOFF_S_MIN, Keeper
from sealgate.stores.limiter import MICROSECONDS, VALUES_MAX
from sealgate.stores.link import Link, LinkSettings
from sealgate.stores.pending import CLAIMS_PER_CALL_MAX, Answer, Part, Pending, Waiting
from sealgate.stores.settlements import NO_STEPS, RELEASE, RENEW, Settlements, Steps
from sealgate.stores.times import HELD_S, LEASE_S
from sealgate.stores.values import Values
from sealgate.verify.verdict import Claim, ClaimOutcome, ClaimStatus

#: A call that takes longer is an error, seconds. Redis answers in milliseconds.
_CALL_S_MAX: Final = 1.0
#: Claims that wait, of all sessions together; 20 MB. Sessions stop reading long before.
_ASKS_MAX: Final = 20_000
#: Settlements kept while Redis is away; 20 MB. Beyond, the oldest go: their leases have run out by then, or
#: are held until their nonces may be forgotten.
_STEPS_MAX: Final = 100_000
#: How long `close` waits for what is pending, seconds.
_CLOSE_S_MAX: Final = 2.0

_UNAVAILABLE: Final = ClaimOutcome(ClaimStatus.UNAVAILABLE)


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
        values_max: int = VALUES_MAX,
        limits_hit: Counter[str] | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = LinkSettings(
            url,
            KeySpace(deployment),
            max_age_s,
            clock_skew_s,
            lease_s,
            _CALL_S_MAX,
            wall,
            gateway=secrets.token_bytes(8),
            call_numbers=count(1),
        )
        self._keeper: Final = Keeper(settings, self)
        self._unavailable_after_s: Final = unavailable_after_s
        self._holds_leases: Final = lease_s == HELD_S
        self._monotonic: Final = monotonic
        self._here: Final = Here(gateways)
        self._values: Final = Values(values_max, limits_hit)
        self._pending: Final = Pending()
        self._settlements: Final = Settlements()
        self._claim_number = 1
        self._started = False
        self._closing = False
        self._asked_at = 0.0
        self._settle_again_at = 0.0
        self._overdue_timer: asyncio.TimerHandle | None = None
        self._drained: Final = asyncio.Event()
        self._entries = 0
        self._errors = 0

    async def start(self) -> None:
        """Connect and check, trying for `unavailable_after_s`. Raises `GateError` (store.unavailable)."""
        await self._keeper.start(self._unavailable_after_s)
        self._started = True

    async def close(self) -> None:
        """Make the last calls for what is pending; claims that still wait are refused."""
        self._closing = True
        if self._started:
            self._keeper.flush_soon()
            self.look_if_drained()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S_MAX):
                    await self._drained.wait()
        self._started = False
        if self._overdue_timer is not None:
            self._overdue_timer.cancel()
        call = await self._keeper.close()
        self._pending.put_back([] if call is None else call.parts)
        for part in self._pending.drain():
            self._refuse(part)

    @property
    def warnings(self) -> list[str]:
        return self._keeper.warnings

    @property
    def healthy(self) -> bool:
        return self._keeper.connected and self._started

    @property
    def entries(self) -> int:
        """Keys in the database at the last call, buckets included."""
        return self._entries

    @property
    def errors(self) -> int:
        return self._errors + self._keeper.errors

    # What sessions ask for

    def claim(self, claims: list[Claim], answer: Answer) -> None:
        waiting = Waiting(answer, len(claims))
        now_us = int(self._monotonic() * MICROSECONDS)
        for claim in claims:
            if claim.debits:
                self._values.bound(claim, now_us)
        if not claims:
            asyncio.get_running_loop().call_soon(answer, [])
        elif b"" not in [claim.nonce_key for claim in claims]:
            self._ask(waiting, claims, range(len(claims)))
        else:
            for places in _runs(claims, self._decide_here(waiting, claims)):
                self._ask(waiting, [claims[place] for place in places], places)
        self._keeper.flush_soon()

    def _ask(self, waiting: Waiting, claims: list[Claim], places: Sequence[int]) -> None:
        """Line up claims that are all with a nonce or all without; refuse what is too much."""
        count = len(claims)
        room = max(_ASKS_MAX - self._pending.claims, 0) if self._started and not self._closing else 0
        if count > room:
            self._resolve(waiting, places[room:], [_UNAVAILABLE] * (count - room))
        first, self._claim_number = self._claim_number, self._claim_number + count
        deadline = asyncio.get_running_loop().time() + self._unavailable_after_s
        for start in range(0, min(count, room), CLAIMS_PER_CALL_MAX):
            end = min(start + CLAIMS_PER_CALL_MAX, count, room)
            numbers = range(first + start, first + end)
            self._pending.add(Part(waiting, claims[start:end], places[start:end], numbers, deadline))
        self._watch_overdue()

    def _decide_here(self, waiting: Waiting, claims: list[Claim]) -> list[int]:
        """Decide the claims without a nonce where that needs no call; returns the places of the others."""
        decided = self._here.decide(claims, self._monotonic(), away=not self._keeper.connected)
        for place, outcome in zip(decided.told, decided.outcomes, strict=True):
            waiting.outcomes[place] = outcome
        done = len(claims) - len(decided.open)
        if done and waiting.granted(done):
            self._tell(waiting)
        return decided.open

    @property
    def prompt(self) -> None:
        """Every claim takes a round trip, or waits for those before it."""

    def settle(self, commits: list[Claim], releases: list[Claim]) -> None:
        self._settlements.commit(commits)
        self._settlements.add(RELEASE, releases)
        self._settlements_added()

    def renew(self, claims: list[Claim]) -> None:
        if not self._holds_leases:
            self._settlements.add(RENEW, claims)
            self._settlements_added()

    def _settlements_added(self) -> None:
        self._errors += self._settlements.bound(_STEPS_MAX)
        self._keeper.flush_soon()

    # What the keeper of the link asks for (`keeper.Mailbox`)

    def send(self, link: Link) -> None:
        """One call with all that waits, up to the bounds."""
        parts = self._pending.take()
        # When Redis was full just now, settlements alone are not worth a call; a claim must come after them.
        was_full = asyncio.get_running_loop().time() < self._settle_again_at
        steps = NO_STEPS if was_full and not parts else self._settlements.take()
        self._asked_at = self._monotonic()
        wanted = self._here.wanted(self._asked_at)
        if not (parts or steps.count or wanted):
            return
        try:
            link.exchange(parts, steps, wanted)
        except Exception as error:
            self._could_not_say(parts, steps, error)

    def _could_not_say(self, parts: list[Part], steps: Steps, error: Exception) -> None:
        """A bug of ours in packing a call: nobody waits for ever, and what was to be settled runs out."""
        self._errors += 1
        for part in parts:
            self._resolve(part.waiting, part.places, [_UNAVAILABLE] * len(part.claims))
        if parts:
            self._settlements.put_back(steps)
        context = {"message": "a call to Redis could not be packed", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)

    def replied(self, call: Call, exchange: Exchange) -> None:
        self._entries = exchange.entries
        if call.wanted:
            self._here.given(call.wanted, exchange.blocks, self._asked_at)
        if exchange.settled < call.steps.count:
            self._errors += 1
            self._settlements.put_back(call.steps, exchange.settled)
            loop = asyncio.get_running_loop()
            self._settle_again_at = loop.time() + BACKOFF_S_MIN
            loop.call_later(BACKOFF_S_MIN, self._keeper.flush_soon)
        first = 0
        for part in call.parts:
            if exchange.refused:
                self._part_answered(part, outcomes_of(part, first, exchange.refused))
            else:
                self._part_answered(part, None)
            first += len(part.claims)
        self._keeper.flush_soon()
        self.look_if_drained()

    def _part_answered(self, part: Part, outcomes: list[ClaimOutcome] | None) -> None:
        """The store has decided `part`; None: all granted."""
        for claim, number in zip(part.claims, part.numbers, strict=True):
            claim.owner = number
        if outcomes is None:
            if part.waiting.granted(len(part.claims)):
                self._tell(part.waiting)
            return
        for index, outcome in enumerate(outcomes):
            claim = part.claims[index]
            if outcome.held:
                self._here.held(claim, outcome, self._asked_at)
            elif outcome.status is ClaimStatus.LIMITED:
                self._here.limited(claim, outcome, self._asked_at)
            elif outcome.status is ClaimStatus.FULL and not claim.nonce_key:
                outcomes[index] = self._here.alone(claim, self._monotonic())
        self._resolve(part.waiting, part.places, outcomes)

    def lost(self, call: Call | None) -> None:
        """The store is away: decide here what needs no memory, let the rest wait in its place."""
        self._here.lost()
        if call is not None:
            self._settlements.put_back(call.steps)
            self._pending.put_back(call.parts)
        now = self._monotonic()
        for part in self._pending.without_nonce():
            outcomes = [self._here.alone(claim, now) for claim in part.claims]
            self._resolve(part.waiting, part.places, outcomes)
        self._watch_overdue()

    @property
    def finished(self) -> bool:
        """Closing, and nothing is left to ask or to write."""
        return self._closing and not self._pending and not len(self._settlements)

    def look_if_drained(self) -> None:
        if self.finished and not self._keeper.busy:
            self._drained.set()

    # Answers

    def _resolve(self, waiting: Waiting, places: Sequence[int], outcomes: Sequence[ClaimOutcome]) -> None:
        if waiting.note(places, outcomes):
            self._tell(waiting)

    def _tell(self, waiting: Waiting) -> None:
        """What a session makes of its answer must not end the work for the others."""
        try:
            waiting.answer(waiting.outcomes)
        except Exception as error:
            context = {"message": "an answer of the claim store was not taken", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)

    def _refuse(self, part: Part) -> None:
        if part.sent and part.nonces:
            # It may have been granted by a call whose reply was lost: nobody will use that lease.
            for claim, number in zip(part.claims, part.numbers, strict=True):
                self._settlements.release(claim, number)
            self._settlements_added()
        self._resolve(part.waiting, part.places, [_UNAVAILABLE] * len(part.claims))

    def _watch_overdue(self) -> None:
        if self._pending and self._overdue_timer is None:
            loop = asyncio.get_running_loop()
            self._overdue_timer = loop.call_at(self._pending.deadline(), self._refuse_overdue)

    def _refuse_overdue(self) -> None:
        """Refuse the claims that have waited too long; they are in the order of their deadlines."""
        self._overdue_timer = None
        for part in self._pending.overdue(asyncio.get_running_loop().time()):
            self._refuse(part)
        self._watch_overdue()


def _runs(claims: list[Claim], places: list[int]) -> list[list[int]]:
    """`places` in their order, cut where claims with a nonce and claims without follow each other."""
    runs: list[list[int]] = []
    last: bool | None = None
    for place in places:
        with_nonce = claims[place].nonce_key != b""
        if with_nonce is not last:
            runs.append([])
            last = with_nonce
        runs[-1].append(place)
    return runs
