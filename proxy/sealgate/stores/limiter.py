"""Token buckets of this process, all or nothing over the buckets of one message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sealgate.verify.bucket import take
from sealgate.verify.verdict import ClaimOutcome, ClaimStatus, Debit

MICROSECONDS: Final = 1_000_000


class LocalLimiter:
    """One theoretical arrival time per bucket name. As many names as the configuration has, never more."""

    __slots__ = ("_tats",)

    def __init__(self) -> None:
        self._tats: Final[dict[str, int]] = {}

    def take(self, debits: Iterable[Debit], now_us: int) -> ClaimOutcome | None:
        """Take every debit or none. None when all were there; else COST, or LIMITED and the longest wait."""
        taken: dict[str, int] = {}
        limited = ""
        wait_us_longest = 0
        for debit in debits:
            name = debit.bucket.name
            if debit.cost > debit.bucket.burst:
                return ClaimOutcome(ClaimStatus.COST, name)
            before = taken.get(name, self._tats.get(name, 0))
            tat, wait_us = take(before, now_us, debit.bucket, debit.cost)
            if tat is not None:
                taken[name] = tat
            elif wait_us > wait_us_longest:
                limited, wait_us_longest = name, wait_us
        if limited:
            return ClaimOutcome(ClaimStatus.LIMITED, limited, wait_us_longest)
        self._tats.update(taken)
        return None
