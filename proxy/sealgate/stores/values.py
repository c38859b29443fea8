"""How many buckets the values in messages may make in a store that is shared. Pure: the time comes in."""

from __future__ import annotations

from collections import Counter
from typing import Final

from sealgate.stores.limiter import GRACE_US, VALUES_LIMIT, VALUES_MAX
from sealgate.verify.bucket import interval_us
from sealgate.verify.verdict import Claim, Debit

#: Old ones are looked for no more often than this.
_SWEEP_US: Final = 1_000_000


class Values:
    """The buckets that this gateway has used of late, until they are surely full and Redis forgets them.

    Above `values_max` a value draws from the bucket that all such values share.
    """

    __slots__ = ("_full_at", "_limits_hit", "_swept_at", "_values_max")

    def __init__(self, values_max: int = VALUES_MAX, limits_hit: Counter[str] | None = None) -> None:
        self._full_at: Final[dict[str, int]] = {}
        self._values_max: Final = values_max
        self._swept_at = 0
        self._limits_hit: Final[Counter[str]] = Counter() if limits_hit is None else limits_hit

    def bound(self, claim: Claim, now_us: int) -> None:
        """Replace debits of values that are too many."""
        debits = claim.debits
        for debit in debits:
            if debit.other is not None:
                claim.debits = tuple([self._bounded(each, now_us) for each in debits])
                return

    def _bounded(self, debit: Debit, now_us: int) -> Debit:
        other = debit.other
        if other is None:
            return debit
        bucket = debit.bucket
        full_at = self._full_at
        if bucket.state not in full_at and not self._has_room(now_us):
            self._limits_hit[VALUES_LIMIT] += 1
            return other
        full_at[bucket.state] = now_us + bucket.burst * interval_us(bucket) + bucket.delay_us + GRACE_US
        return debit

    def _has_room(self, now_us: int) -> bool:
        full_at = self._full_at
        if len(full_at) >= self._values_max and now_us - self._swept_at >= _SWEEP_US:
            self._swept_at = now_us
            for key in [key for key, at in full_at.items() if at <= now_us]:
                del full_at[key]
        return len(full_at) < self._values_max
