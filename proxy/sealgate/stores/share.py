"""What a gateway decides alone while the shared store is away: by its share of each rate (rate.degraded)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sealgate.stores.limiter import LocalLimiter
from sealgate.verify.verdict import GRANTED, Claim, ClaimOutcome, ClaimStatus, Debit

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
        return self._limiter.take(share, now_us) or _DEGRADED

    def _share(self, debit: Debit) -> Debit:
        bucket = debit.bucket
        burst = max(bucket.burst // self._gateways, debit.cost)
        return Debit(replace(bucket, period_us=bucket.period_us * self._gateways, burst=burst), debit.cost)
