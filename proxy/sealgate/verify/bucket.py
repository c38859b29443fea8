"""A token bucket in integers: GCRA, the generic cell rate algorithm.

The whole state of a bucket is one integer, its theoretical arrival time (TAT) in microseconds: the moment at
which it would be full again. 0 stands for a bucket never used. Pure functions, so that the memory store and
the Redis script do the same arithmetic.
"""

from __future__ import annotations

from typing import Final

from sealgate.verify.verdict import Bucket

#: The wait of a cost that the bucket can never hold.
NEVER_US: Final = -1


def interval_us(bucket: Bucket) -> int:
    """Microseconds per token, rounded up: a bucket never gives more than its rate.

    The rounding costs under 1 % of the rate up to 10,000 tokens a second, and under 5 % up to 50,000.
    """
    return -(-bucket.period_us // bucket.rate)


def take(tat: int, now_us: int, bucket: Bucket, cost: int, wait_us: int = 0) -> tuple[int | None, int]:
    """Take `cost` tokens at `now_us`, or those that will be there within `wait_us`.

    Returns the new state and the microseconds until the tokens are there; or None and that (`NEVER_US` when
    `cost` is over the burst) when it is longer than `wait_us`. Nothing is taken then. Tokens that are taken
    ahead are there one after the other: who asks later waits longer. A clock that steps back gives no tokens
    twice: the state stays ahead.
    """
    if cost > bucket.burst:
        return None, NEVER_US
    interval = interval_us(bucket)
    new_tat = max(tat, now_us) + cost * interval
    allowed_at = new_tat - bucket.burst * interval
    if now_us < allowed_at:
        ahead_us = allowed_at - now_us
        return (new_tat if ahead_us <= wait_us else None), ahead_us
    return new_tat, 0
