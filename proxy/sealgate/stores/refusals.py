"""Buckets that are known to be empty: until the moment that Redis named nothing is asked of them again.

Only for claims without a nonce: a message sent twice must be told so, whatever its rate. A claim is refused
here exactly as Redis would refuse it, by the bucket with the longest wait; where that is not certain, Redis
is asked.
Pure: the time comes in.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sealgate.verify.bucket import interval_us
from sealgate.verify.verdict import Bucket, ClaimOutcome, ClaimStatus, Debit

_MICROSECONDS: Final = 1_000_000


class _Empty(NamedTuple):
    """`bucket` has no `cost` tokens before `until` (steady seconds)."""

    bucket: Bucket
    cost: int
    until: float


class Refusals:
    """One entry per bucket at most, by name."""

    __slots__ = ("_empty",)

    def __init__(self) -> None:
        self._empty: Final[dict[str, _Empty]] = {}

    def note(self, debits: tuple[Debit, ...], outcome: ClaimOutcome, asked_at: float) -> None:
        """Remember a LIMITED that answers what was asked at `asked_at`: Redis counted the wait from then on.

        A bucket that a claim names twice is not remembered: which of the two had to wait is not told.
        """
        named = [debit for debit in debits if debit.bucket.name == outcome.bucket]
        if len(named) == 1:
            until = asked_at + outcome.wait_us / _MICROSECONDS
            self._empty[outcome.bucket] = _Empty(named[0].bucket, named[0].cost, until)

    def refusal(self, debits: tuple[Debit, ...], now: float, may_wait_us: int = 0) -> ClaimOutcome | None:
        """LIMITED with what is left to wait if that is over `may_wait_us`; None: the store must be asked."""
        if not self._empty or (may_wait_us and len(debits) > 1):
            return None
        longest, bucket = 0.0, ""
        others = 0.0
        names = set()
        for debit in debits:
            name = debit.bucket.name
            if debit.cost > debit.bucket.burst or name in names or debit.spare is not None:
                return None
            names.add(name)
            wait_us = self._wait_us(debit, now)
            if wait_us > longest:
                others = max(others, longest)
                longest, bucket = wait_us, name
            elif wait_us == 0:
                # It can not be empty for longer than it takes to get these tokens.
                others = max(others, debit.cost * interval_us(debit.bucket))
            else:
                others = max(others, wait_us)
        if longest <= others or longest <= may_wait_us:
            return None
        return ClaimOutcome(ClaimStatus.LIMITED, bucket, max(int(longest), 1))

    def _wait_us(self, debit: Debit, now: float) -> float:
        """How long `debit` surely has to wait; 0 when that is not known."""
        entry = self._empty.get(debit.bucket.name)
        if entry is None:
            return 0.0
        if entry.until <= now or (entry.bucket is not debit.bucket and entry.bucket != debit.bucket):
            del self._empty[debit.bucket.name]
            return 0.0
        return (entry.until - now) * _MICROSECONDS if debit.cost >= entry.cost else 0.0

    def forget(self) -> None:
        """The store is another, or away."""
        self._empty.clear()
