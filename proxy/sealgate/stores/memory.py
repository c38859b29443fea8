"""The memory store: the nonces and buckets of one process, with a journal where one is configured."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from math import ceil
from typing import Final

from sealgate.stores.journal import Journal
from sealgate.stores.limiter import MICROSECONDS, VALUES_MAX, BucketState, LocalLimiter
from sealgate.stores.nonces import Fate, NonceTable, Remembered
from sealgate.stores.times import LEASE_S, Horizon
from sealgate.verify.verdict import GRANTED, Claim, ClaimOutcome, ClaimStatus, PromptStore

_FULL: Final = ClaimOutcome(ClaimStatus.FULL)
_HORIZON: Final = ClaimOutcome(ClaimStatus.HORIZON)
_CONFLICT: Final = ClaimOutcome(ClaimStatus.CONFLICT)
_DUPLICATE: Final = ClaimOutcome(ClaimStatus.DUPLICATE)
_UNAVAILABLE: Final = ClaimOutcome(ClaimStatus.UNAVAILABLE)
_INFLIGHT: Final = ClaimOutcome(ClaimStatus.INFLIGHT)
_GRANTED: Final = GRANTED


class _Moment:
    """What the claims of one event are judged by: the clocks, and the smallest `created` and `remember_until`
    of a nonce that was certainly never here."""

    __slots__ = ("created_min", "monotonic", "now", "remember_min")

    def __init__(self, now: float, monotonic: float, created_min: int, remember_min: int) -> None:
        self.now: Final = now
        self.monotonic: Final = monotonic
        self.created_min: Final = created_min
        self.remember_min: Final = remember_min


class _Book:
    """The buckets as a journal has them: by the wall clock, which goes on while nobody runs."""

    __slots__ = ("_limiter", "_monotonic", "_wall")

    def __init__(
        self, limiter: LocalLimiter, wall: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._limiter: Final = limiter
        self._wall: Final = wall
        self._monotonic: Final = monotonic

    def __len__(self) -> int:
        return len(self._limiter)

    def _ahead_us(self) -> int:
        """How much the wall clock says more than the limiter's."""
        return int((self._wall() - self._monotonic()) * MICROSECONDS)

    def restore(self, state: BucketState) -> None:
        self._limiter.restore(_moved(state, -self._ahead_us()))

    def states(self) -> Iterator[BucketState]:
        for key in self._limiter.used():
            state = self._limiter.state(key, int(self._monotonic() * MICROSECONDS))
            if state is not None:
                yield _moved(state, self._ahead_us())

    def changes(self) -> list[BucketState]:
        """Those that have changed since the last time."""
        return [_moved(state, self._ahead_us()) for state in self._limiter.changes()]


def _moved(state: BucketState, by_us: int) -> BucketState:
    held_until = state.held_until + by_us if state.held_until else 0
    return BucketState(state.key, max(state.tat + by_us, 0), max(held_until, 0), state.valued)


class MemoryStore(PromptStore):
    """A `ClaimStore` that answers at once. `wall` gives Unix seconds (nonces), `monotonic` seconds (leases
    and buckets). `lease_s` is `HELD_S` for leases that nobody takes over; the journal is then to be written
    ahead."""

    def __init__(
        self,
        *,
        max_age_s: float,
        clock_skew_s: float,
        entries_max: int,
        journal: Journal | None = None,
        lease_s: float = LEASE_S,
        values_max: int = VALUES_MAX,
        limits_hit: Counter[str] | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_age_s: Final = max_age_s
        self._clock_skew_s: Final = clock_skew_s
        self._entries_max: Final = entries_max
        self._journal: Final = journal
        self._lease_s: Final = lease_s
        self._wall: Final = wall
        self._monotonic: Final = monotonic
        self._nonces: Final = NonceTable(entries_max)
        #: Of the last claims that were answered at once, and how many these were.
        self._moment: _Moment | None = None
        self._claims = 0
        self._limiter: Final = LocalLimiter(values_max, limits_hit)
        self._limiter.notes_changes = journal is not None
        self._book: Final = _Book(self._limiter, wall, monotonic)
        self._horizon = Horizon(0, max_age_s, clock_skew_s)
        self._owner = 0
        self._unwritten: list[Remembered] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = False

    async def start(self) -> None:
        """Read the journal back. Raises `GateError` (store.unavailable) when it can not be had."""
        now = self._wall()
        self._loop = asyncio.get_running_loop()
        moment = ceil(now) if self._journal is None else self._journal.open(now, self._nonces, self._book)
        self._horizon = Horizon(moment, self._max_age_s, self._clock_skew_s)
        self._open = True

    async def close(self) -> None:
        self._open = False
        if self._journal is not None:
            self._write_journal()
            self._journal.close()

    def claim(self, claims: list[Claim], answer: Callable[[list[ClaimOutcome]], None]) -> None:
        now = self._wall()
        monotonic = self._monotonic()
        if not self._open:
            answer([_UNAVAILABLE] * len(claims))
        elif self._journal is not None and self._journal.ahead:
            answer(self._decide_ahead(claims, self._journal, now, monotonic))
        else:
            outcomes = self._decide_all(claims, now, monotonic)
            if self._limiter.changed:
                # Before the messages leave: who starts after us must not give their tokens again.
                self._write_journal()
            answer(outcomes)

    @property
    def prompt(self) -> PromptStore | None:
        """Not with a journal that is written ahead: it is written once for the claims of an event."""
        return None if self._journal is not None and self._journal.ahead else self

    def claim_now(self, claim: Claim, wall: float, monotonic: float) -> ClaimOutcome | None:
        if not self._open or (claim.wait_us and self._journal is not None):
            # What changes a bucket of the journal is written before its message leaves.
            return None
        at = self._moment
        if at is None or at.monotonic != monotonic or at.now != wall:
            at = self._moment = self._begin(wall, monotonic, self._claims + 1)
            self._claims = 0
        self._claims += 1
        return self._decide(claim, at)

    def _begin(self, now: float, monotonic: float, claims: int) -> _Moment:
        """Forget what is over, so much as `claims` pay for."""
        self._nonces.forget(now, claims)
        return _Moment(
            now,
            monotonic,
            self._horizon.created_min(now),
            max(ceil(now), self._nonces.forgotten_until + 1),
        )

    def _decide_all(self, claims: list[Claim], now: float, monotonic: float) -> list[ClaimOutcome]:
        # It forgets more than the moment before has seen.
        self._moment = None
        at = self._begin(now, monotonic, len(claims))
        return [self._decide(claim, at) for claim in claims]

    def _decide_ahead(
        self, claims: list[Claim], journal: Journal, now: float, monotonic: float
    ) -> list[ClaimOutcome]:
        """Decide and write the leases down, in one write, before anybody acts on them.

        What can not be written down is not granted. (Its tokens stay spent, as a release leaves them.)
        """
        if not journal.in_place and not self._write_journal(even_nothing=True):
            bare = self._decide_all([claim for claim in claims if not claim.nonce_key], now, monotonic)
            decided = iter(bare)
            return [_UNAVAILABLE if claim.nonce_key else next(decided) for claim in claims]
        outcomes = self._decide_all(claims, now, monotonic)
        leased = [
            index
            for index, claim in enumerate(claims)
            if claim.nonce_key and outcomes[index].status is ClaimStatus.GRANTED
        ]
        self._unwritten.extend([_record(claims[index], Fate.LEASED) for index in leased])
        if not self._write_journal():
            for index in leased:
                self._nonces.release(claims[index])
                outcomes[index] = _UNAVAILABLE
        return outcomes

    def _decide(self, claim: Claim, at: _Moment) -> ClaimOutcome:
        nonce_key = claim.nonce_key
        refusal = self._nonce_refusal(claim, at) if len(nonce_key) > 0 else None
        granted = _GRANTED
        if refusal is None and len(claim.debits) > 0:
            taken = self._limiter.take(claim.debits, int(at.monotonic * MICROSECONDS), claim.wait_us)
            if taken is not None and taken.held:
                granted = taken
            else:
                refusal = taken
        if refusal is not None:
            return refusal
        if len(nonce_key) > 0:
            self._owner = claim.owner = self._owner + 1
            claim.lease_until = at.monotonic + self._lease_s
            self._nonces.lease(claim)
        return granted

    def _nonce_refusal(self, claim: Claim, at: _Moment) -> ClaimOutcome | None:
        """The rows of seal1.md's table that refuse; None for a new nonce and for a lease that is over."""
        nonces = self._nonces
        digest = self._digest(claim)
        # What is leased has a record as well.
        if nonces.committed.may_have(claim.nonce_key):
            lease = nonces.leases.by_key.get(claim.nonce_key)
            if lease is not None and lease.remember_until >= at.now:
                if lease.digest != digest:
                    return _CONFLICT
                return _INFLIGHT if at.monotonic < lease.lease_until else None
            before = nonces.committed.digest(claim.nonce_key, at.now)
            if before is not None:
                return _DUPLICATE if before == digest else _CONFLICT
        # A nonce not found passes only when it was certainly never here, and there is room.
        if claim.created < at.created_min or claim.remember_until < at.remember_min:
            return _HORIZON
        return _FULL if len(nonces) >= self._entries_max else None

    def _digest(self, claim: Claim) -> bytes:
        """What tells a repeat of `claim` from a conflict here.

        Nobody else reads it without a journal, and no SHA-256 has to be made for it.
        """
        if self._journal is None and len(claim.fingerprint) > 0:
            claim.digest = claim.fingerprint
        return claim.digest

    def settle(self, commits: list[Claim], releases: list[Claim]) -> None:
        # Always recorded, whoever holds the nonce now: the message did reach the broker.
        if self._journal is not None:
            for claim in commits:
                if len(claim.nonce_key) > 0:
                    self._write_later(_record(claim, Fate.COMMITTED))
        self._nonces.commit(commits)
        for claim in releases:
            lease = self._leased_by(claim)
            if lease is not None:
                self._nonces.release(lease)
                if self._journal is not None and self._journal.ahead:
                    self._write_later(_record(claim, Fate.RELEASED))

    def _write_later(self, record: Remembered) -> None:
        """At the end of this loop turn, with what else it brings, or before the next lease."""
        if not self._unwritten and self._loop is not None:
            self._loop.call_soon(self._write_journal)
        self._unwritten.append(record)

    def _leased_by(self, claim: Claim) -> Claim | None:
        """The lease that `claim` still owns, whether it runs or is over."""
        lease = self._nonces.leases.by_key.get(claim.nonce_key)
        return lease if lease is not None and lease.owner == claim.owner else None

    def renew(self, claims: list[Claim]) -> None:
        lease_until = self._monotonic() + self._lease_s
        for claim in claims:
            lease = self._leased_by(claim)
            if lease is not None:
                lease.lease_until = lease_until

    def _write_journal(self, even_nothing: bool = False) -> bool:
        """Append what is unwritten, in one write; False when the next start would not read it.

        `even_nothing` is for a journal that a disk error took away: each call brings it nearer.
        """
        records, self._unwritten = self._unwritten, []
        buckets = self._book.changes() if self._limiter.changed else []
        if self._journal is None or not (records or buckets or even_nothing):
            return True
        return self._journal.append(records, self._monotonic(), buckets)

    @property
    def healthy(self) -> bool:
        return self._open

    @property
    def entries(self) -> int:
        return len(self._nonces)

    @property
    def errors(self) -> int:
        return 0 if self._journal is None else self._journal.errors


def _record(claim: Claim, fate: Fate) -> Remembered:
    return Remembered(claim.nonce_key, claim.digest, claim.remember_until, fate)
