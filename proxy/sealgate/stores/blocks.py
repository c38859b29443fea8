"""Blocks of rate tokens: taken from the shared bucket in one go, spent here without asking again.

For claims without a nonce (the others go to Redis anyway, and are decided there to the token), and for
buckets whose rate is high: a block of a low rate would be most of what there is, and another gateway would
find nothing.

A block never lets more through than burst and rate allow, whoever holds one and whoever dies. exchange.lua
keeps the bucket's debt so high that it covers the block for `REACH_US` on Redis' clock; it is spent here
within `_SPEND_S` of the moment in which it was asked for, on this machine's steady clock, which may run a
fifth slower than Redis'. What is not spent lapses: nothing is given back, so nothing is given back twice.
Pure: the time comes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf
from typing import Final, NamedTuple

from sealgate.verify.bucket import interval_us
from sealgate.verify.verdict import Bucket, Debit

#: For how long the shared bucket covers a block, microseconds.
REACH_US: Final = 100_000
#: For how long a block is spent, seconds.
_SPEND_S: Final = 0.08
#: Buckets with a rate of at least 200 tokens a second: a block holds some.
_INTERVAL_US_MAX: Final = 5_000
#: Buckets that take as long to fill, at least: a block keeps back a quarter of the burst at most.
_FILL_US_MIN: Final = 4 * REACH_US
#: A block lasts this long at the pace of late, seconds.
_BLOCK_S: Final = 0.04
#: Fewer tokens are no block: asking for each message costs no more.
_TOKENS_MIN: Final = 8
#: The pace is measured over no less than this, seconds.
_PACE_S_MIN: Final = 0.01
#: After a silence as long as this the pace of before says nothing, seconds.
_PACE_S_MAX: Final = 1.0
_MICROSECONDS: Final = 1_000_000


class Wanted(NamedTuple):
    """A block to ask for: `tokens` at most."""

    bucket: Bucket
    tokens: int


class _Holding:
    """What is held of one bucket, and its pace.

    `left` tokens may be spent before `until`, then the `later` ones, as (spend until, tokens) in the order in
    which they lapse. The next block may be asked for `again_at`, and is when no more than `low` are left.
    """

    __slots__ = ("again_at", "bucket", "later", "left", "low", "pace", "since", "until", "used")

    def __init__(self, bucket: Bucket, now: float) -> None:
        self.bucket: Final = bucket
        self.left = 0
        self.until = 0.0
        self.later: list[tuple[float, int]] = []
        self.low = 0
        self.again_at = now + _PACE_S_MIN
        self.since = now
        self.used = 0
        self.pace = 0.0

    def tokens(self, now: float) -> int:
        """How many may be spent now; what has lapsed is forgotten."""
        later = self.later
        while now >= self.until or not self.left:
            if not later:
                self.left = 0
                return 0
            self.until, self.left = later.pop(0)
        return self.left + sum([tokens for _, tokens in later])

    def spend(self, cost: int) -> None:
        """Those that lapse first. There are enough."""
        while cost > self.left:
            cost -= self.left
            self.until, self.left = self.later.pop(0)
        self.left -= cost

    def wanted(self, now: float) -> int:
        """The size of the next block, by the use since this was asked last; 0 for none."""
        spent_s = now - self.since
        measured = self.used / max(spent_s, _PACE_S_MIN)
        self.pace = measured if spent_s > _PACE_S_MAX else (self.pace + measured) / 2
        self.since, self.used = now, 0
        self.again_at = now + _BLOCK_S
        tokens = ceil(self.pace * _BLOCK_S)
        # More than the rate itself could not be used for long.
        most = int(_BLOCK_S * _MICROSECONDS / interval_us(self.bucket))
        return min(tokens, most) if tokens >= _TOKENS_MIN else 0


class Blocks:
    """What this gateway holds of all buckets: as many as the configuration has with a high rate."""

    __slots__ = ("_due", "_holdings")

    def __init__(self) -> None:
        self._holdings: Final[dict[str, _Holding]] = {}
        self._due: Final[dict[str, _Holding]] = {}

    @property
    def due(self) -> bool:
        """Whether a block should be asked for."""
        return bool(self._due)

    def spend(self, debits: tuple[Debit, ...], now: float) -> bool:
        """Take the tokens of all `debits` from blocks at `now` (steady seconds), or none.

        False says nothing but that the shared buckets must be asked.
        """
        if len(debits) == 1:
            debit = debits[0]
            holding = self._holding(debit, now)
            if holding is None or not self._enough(holding, debit.cost, now):
                return False
            holding.spend(debit.cost)
            return True
        holdings: list[_Holding] = []
        enough = bool(debits)
        for debit in debits:
            holding = self._holding(debit, now)
            if holding is None:
                return False
            if holding in holdings or not self._enough(holding, debit.cost, now):
                enough = False
            holdings.append(holding)
        if enough:
            for holding, debit in zip(holdings, debits, strict=True):
                holding.spend(debit.cost)
        return enough

    def _holding(self, debit: Debit, now: float) -> _Holding | None:
        """None for a bucket that is not worth blocks. Those that values in messages make are never."""
        bucket = debit.bucket
        if debit.other is not None or debit.spare is not None:
            return None
        holding = self._holdings.get(bucket.state)
        if holding is None or (holding.bucket is not bucket and holding.bucket != bucket):
            if not _worth_it(bucket):
                return None
            # Another configuration: what was taken under the old one lapses.
            holding = self._holdings[bucket.state] = _Holding(bucket, now)
        return holding

    def _enough(self, holding: _Holding, cost: int, now: float) -> bool:
        """Whether `cost` tokens are there; counts the use, and notes when a block should be asked for."""
        holding.used += cost
        left = holding.left - cost
        if left < 0 or now >= holding.until or left <= holding.low:
            left = holding.tokens(now) - cost
            if left <= holding.low and now >= holding.again_at:
                self._due[holding.bucket.state] = holding
        return left >= 0

    def wanted(self, now: float) -> list[Wanted]:
        """The blocks that the call to be sent now should ask for; `given` or `lost` must follow."""
        wanted: list[Wanted] = []
        for holding in self._due.values():
            tokens = holding.wanted(now)
            if tokens:
                # Not twice at once; `given` allows the next.
                holding.again_at = inf
                wanted.append(Wanted(holding.bucket, tokens))
        self._due.clear()
        return wanted

    def given(self, wanted: list[Wanted], tokens: Sequence[int], asked_at: float) -> None:
        """The store's answer to `wanted`, which was asked for at `asked_at` (steady seconds)."""
        for (bucket, _), count in zip(wanted, tokens, strict=True):
            holding = self._holdings.get(bucket.state)
            if holding is not None and holding.bucket is bucket:
                holding.again_at = asked_at + _PACE_S_MIN
                if count:
                    holding.later.append((asked_at + _SPEND_S, count))
                    holding.low = count // 2

    def empty(self, key: str, until: float) -> None:
        """Redis has refused tokens of this bucket until then (steady seconds): ask for no block before."""
        holding = self._holdings.get(key)
        if holding is not None and holding.again_at != inf:
            holding.again_at = max(holding.again_at, until)

    def lost(self) -> None:
        """The store is another, or away: what was taken from it counts no more."""
        self._holdings.clear()
        self._due.clear()


def _worth_it(bucket: Bucket) -> bool:
    interval = interval_us(bucket)
    return interval <= _INTERVAL_US_MAX and bucket.burst * interval >= _FILL_US_MIN
