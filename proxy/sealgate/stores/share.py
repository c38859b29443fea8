"""What a gateway decides alone while the shared store is away: by its share of each rate (rate.degraded)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sealgate.stores.limiter import LocalLimiter
from sealgate.verify.verdict import GRANTED, Bucket, Claim, ClaimOutcome, ClaimStatus, Debit

_DEGRADED: Final = ClaimOutcome(ClaimStatus.DEGRADED)


class LocalShare:
    """`gateways` is how many share the store: the divisor of rate and burst."""

    __slots__ = ("_gateways", "_limiter")

    def __init__(self, gateways: int) -> None:
        self._gateways: Final = gateways
        self._limiter: Final = LocalLimiter()

    def decide(self, claim: Claim, now_us: int) -> ClaimOutcome:
        """A claim without a nonce, at `now_us` (steady microseconds)."""
        if not claim.debits:
            return GRANTED
        for debit in claim.debits:
            if debit.cost > debit.bucket.burst:
                return ClaimOutcome(ClaimStatus.COST, debit.bucket.name)
        share = [self._share(debit) for debit in claim.debits]
        taken = self._limiter.take(share, now_us, claim.wait_us)
        if taken is None:
            return _DEGRADED
        return replace(taken, status=ClaimStatus.DEGRADED) if taken.held else taken

    def _share(self, debit: Debit) -> Debit:
        spare, other = debit.spare, debit.other
        return Debit(
            self._part(debit.bucket, debit.cost),
            debit.cost,
            None if spare is None else self._part(spare, debit.cost),
            None if other is None else self._share(other),
        )

    def _part(self, bucket: Bucket, cost: int) -> Bucket:
        burst = max(bucket.burst // self._gateways, cost)
        return replace(bucket, period_us=bucket.period_us * self._gateways, burst=burst)
