"""Token buckets of this process, all or nothing over the buckets of one message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from sealgate.verify.bucket import interval_us, take
from sealgate.verify.verdict import Bucket, ClaimOutcome, ClaimStatus, Debit

MICROSECONDS: Final = 1_000_000
#: After the last message that waited for a bucket, those with the same bucket still go through its queue for
#: so long: the broker may be late with what is in there, and the clocks differ.
GRACE_US: Final = 2_000_000
#: The same after a message that went through the queue only to stay behind others.
TRAIL_US: Final = 500_000
#: Buckets made by values in messages that are not full again: about 300 bytes each.
VALUES_MAX: Final = 100_000
#: How that is called where limits that were hit are counted.
VALUES_LIMIT: Final = "rate_values_max"
#: Full ones are looked for no more often than this.
_SWEEP_US: Final = 1_000_000


class BucketState(NamedTuple):
    """A bucket as it may be written down: when it is full again, and until when messages go through its
    queue, both in microseconds of the limiter's clock; whether a value in messages made it."""

    key: str
    tat: int
    held_until: int
    valued: bool


class LocalLimiter:
    """One theoretical arrival time per bucket. As many as the configuration has, and `values_max` that values
    in messages make: above that the values share their `Debit.other`."""

    __slots__ = (
        "_held",
        "_limits_hit",
        "_swept_at",
        "_tats",
        "_valued",
        "_values_max",
        "changed",
        "notes_changes",
    )

    def __init__(self, values_max: int = VALUES_MAX, limits_hit: Counter[str] | None = None) -> None:
        self._tats: Final[dict[str, int]] = {}
        #: Until when messages go through the bucket's queue.
        self._held: Final[dict[str, int]] = {}
        self._valued: Final[set[str]] = set()
        self._values_max: Final = values_max
        self._swept_at = 0
        #: Buckets whose state has changed since `changes` was asked.
        self.changed: set[str] = set()
        self.notes_changes = False
        self._limits_hit: Final[Counter[str]] = Counter() if limits_hit is None else limits_hit

    def take(self, debits: Iterable[Debit], now_us: int, wait_us: int = 0) -> ClaimOutcome | None:
        """Take every debit or none, at most `wait_us` ahead.

        None when all were there; a granted outcome with `held` when the message has to go through the queue;
        else COST, or LIMITED and the longest wait.
        """
        taken: dict[str, int] = {}
        names: list[str] = []
        limited = latest = latest_name = ""
        refused_us = ahead_us = 0
        for debit in debits:
            if debit.other is not None and not self._has_room(debit, now_us):
                debit = debit.other
                self._limits_hit[VALUES_LIMIT] += 1
            bucket = debit.bucket
            if debit.cost > bucket.burst:
                return ClaimOutcome(ClaimStatus.COST, bucket.name)
            names.append(bucket.state)
            key, tat, bucket_us = self._earliest(debit, taken, now_us, wait_us)
            if tat is not None:
                taken[key] = tat
                if bucket_us > ahead_us:
                    latest, latest_name, ahead_us = bucket.state, bucket.name, bucket_us
            elif bucket_us > refused_us:
                limited, refused_us = bucket.name, bucket_us
        if limited:
            return ClaimOutcome(ClaimStatus.LIMITED, limited, refused_us)
        self._tats.update(taken)
        if not wait_us:
            return None
        if self.notes_changes:
            self.changed.update(taken)
        return self._hold(names, latest, latest_name, ahead_us, now_us)

    def _earliest(
        self, debit: Debit, taken: dict[str, int], now_us: int, wait_us: int
    ) -> tuple[str, int | None, int]:
        """Where the tokens are there first, what becomes of that bucket, and how long they take."""
        bucket = debit.bucket
        key = bucket.state
        tat, ahead_us = take(self._tat(bucket, taken, now_us), now_us, bucket, debit.cost, wait_us)
        spare = debit.spare
        if spare is None or (tat is not None and not ahead_us):
            return key, tat, ahead_us
        before = self._tat(spare, taken, now_us)
        spare_tat, spare_us = take(before, now_us, spare, debit.cost, wait_us)
        return (spare.state, spare_tat, spare_us) if spare_us < ahead_us else (key, tat, ahead_us)

    def _tat(self, bucket: Bucket, taken: dict[str, int], now_us: int) -> int:
        key = bucket.state
        tat = taken.get(key, self._tats.get(key, 0))
        if not bucket.delay_us:
            return tat
        # What was written down by a clock that was set back must not close a bucket for longer than a wait.
        return min(tat, now_us + bucket.burst * interval_us(bucket) + bucket.delay_us)

    def _hold(
        self, names: list[str], latest: str, latest_name: str, ahead_us: int, now_us: int
    ) -> ClaimOutcome | None:
        """Whether a message that may wait goes through the queue: it waits, or others did a moment ago."""
        held = self._held
        if ahead_us:
            held[latest] = max(held.get(latest, 0), now_us + ahead_us + GRACE_US)
            return ClaimOutcome(ClaimStatus.GRANTED, latest_name, ahead_us, True)
        for name in names:
            until = held.get(name, 0)
            if until > now_us:
                held[name] = max(until, now_us + TRAIL_US)
                return ClaimOutcome(ClaimStatus.GRANTED, "", 0, True)
        return None

    def _has_room(self, debit: Debit, now_us: int) -> bool:
        valued = self._valued
        key = debit.bucket.state
        if key in valued:
            return True
        if len(valued) >= self._values_max and now_us - self._swept_at >= _SWEEP_US:
            self._swept_at = now_us
            for full in [each for each in valued if self._is_full(each, now_us)]:
                valued.discard(full)
                self._tats.pop(full, None)
                self._held.pop(full, None)
        if len(valued) >= self._values_max:
            return False
        valued.add(key)
        if debit.spare is not None:
            valued.add(debit.spare.state)
        return True

    def _is_full(self, key: str, now_us: int) -> bool:
        return self._tats.get(key, 0) <= now_us and self._held.get(key, 0) <= now_us

    def changes(self) -> list[BucketState]:
        """The buckets of messages that may wait which have changed since the last time."""
        changed, self.changed = self.changed, set()
        return [self._state(key) for key in changed if key in self._tats]

    def __len__(self) -> int:
        return len(self._tats)

    def used(self) -> list[str]:
        """The keys of all buckets there have been."""
        return list(self._tats)

    def state(self, key: str, now_us: int) -> BucketState | None:
        """None for a bucket that is full at `now_us`."""
        return None if self._is_full(key, now_us) else self._state(key)

    def _state(self, key: str) -> BucketState:
        return BucketState(key, self._tats[key], self._held.get(key, 0), key in self._valued)

    def restore(self, state: BucketState) -> None:
        """Take up a state that was written down."""
        self._tats[state.key] = state.tat
        if state.held_until:
            self._held[state.key] = state.held_until
        if state.valued:
            self._valued.add(state.key)
