"""The local limiter: what it grants ahead keeps every window, and what it forgets and remembers."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sealgate.stores.limiter import GRACE_US, TRAIL_US, LocalLimiter
from sealgate.verify.verdict import Bucket, ClaimStatus, Debit

HOUR_US = 3_600_000_000


def conforms(releases: list[int], rate: int, period_us: int, burst: int) -> bool:
    """Whether messages at these times, microseconds, rising, keep a rate: judged by what was released in each
    span of time, not by the bucket's own arithmetic."""
    for first in range(len(releases)):
        for last in range(first, len(releases)):
            span_us = releases[last] - releases[first]
            if last - first + 1 > burst + span_us * rate // period_us:
                return False
    return True


_BUCKETS = st.builds(
    lambda rate, period_s, burst: (rate, period_s * 1_000_000, burst),
    st.integers(1, 20),
    st.sampled_from([1, 10, 60]),
    st.integers(1, 12),
)
_GAPS = st.lists(st.sampled_from([0, 0, 0, 1_000, 130_000, 2_000_000, 30_000_000]), min_size=1, max_size=40)


@given(st.lists(_BUCKETS, min_size=1, max_size=3), _GAPS, st.sampled_from([0, 1_000_000, HOUR_US]))
def test_what_is_released_keeps_every_window_and_its_order(
    windows: list[tuple[int, int, int]], gaps: list[int], longest_us: int
) -> None:
    buckets = [
        Bucket("t", rate, period_us, burst, f"t{index}", longest_us)
        for index, (rate, period_us, burst) in enumerate(windows)
    ]
    limiter, now, releases = LocalLimiter(), 0, []
    held_before = False
    for gap in gaps:
        now += gap
        outcome = limiter.take([Debit(bucket) for bucket in buckets], now, longest_us)
        if outcome is None:
            assert not releases or releases[-1] <= now
            assert not (held_before and releases[-1] > now - TRAIL_US)
            releases.append(now)
            held_before = False
        elif outcome.status is ClaimStatus.GRANTED:
            assert 0 <= outcome.wait_us <= longest_us and outcome.held
            releases.append(now + outcome.wait_us)
            held_before = True
        else:
            assert outcome.wait_us > longest_us
    assert releases == sorted(releases)
    for bucket in buckets:
        assert conforms(releases, bucket.rate, bucket.period_us, bucket.burst)


@given(
    _BUCKETS, st.integers(1, 99), st.lists(st.tuples(st.booleans(), st.sampled_from([0, 50_000, 3_000_000])))
)
def test_a_reserve_keeps_the_whole_and_each_keeps_its_order(
    window: tuple[int, int, int], share: int, asks: list[tuple[bool, int]]
) -> None:
    rate, period_us, burst = window
    low = Bucket("t", rate * (100 - share), period_us * 100, burst, "", HOUR_US)
    spare = Bucket("t", rate * share, period_us * 100, burst, "spare", HOUR_US)
    limiter, now = LocalLimiter(), 0
    released: dict[bool, list[int]] = {True: [], False: []}
    for high, gap in asks:
        now += gap
        outcome = limiter.take([Debit(low, 1, spare if high else None)], now, HOUR_US)
        wait_us = 0
        if outcome is not None:
            if outcome.status is not ClaimStatus.GRANTED:
                continue
            wait_us = outcome.wait_us
        released[high].append(now + wait_us)
    whole = sorted(released[True] + released[False])
    assert conforms(whole, rate, period_us, 2 * burst)
    assert conforms(released[False], low.rate, low.period_us, low.burst)
    for each in released.values():
        assert each == sorted(each)


def test_messages_stay_behind_those_that_wait_for_a_while_after_the_last_slot() -> None:
    limiter = LocalLimiter()
    debits = [Debit(Bucket("t", 10, 1_000_000, 2, "", HOUR_US))]
    assert limiter.take(debits, 0, HOUR_US) is None
    assert limiter.take(debits, 0, HOUR_US) is None
    waits = limiter.take(debits, 0, HOUR_US)
    assert waits is not None and (waits.held, waits.wait_us) == (True, 100_000)
    at = 100_000 + GRACE_US - 1
    for _ in range(3):
        # Each of them is in the queue as well, so that the next follows it, for a moment longer.
        behind = limiter.take(debits, at, HOUR_US)
        assert behind is not None and (behind.held, behind.wait_us) == (True, 0)
        at += TRAIL_US - 1
    assert limiter.take(debits, at + 1, HOUR_US) is None
    assert limiter.take(debits, at + 2, HOUR_US) is None


def test_a_state_that_was_written_down_is_taken_up_and_a_clock_set_back_closes_nothing_for_longer() -> None:
    debits = [Debit(Bucket("t", 1, 1_000_000, 1, "", 10_000_000))]
    limiter = LocalLimiter()
    limiter.notes_changes = True
    for _ in range(3):
        limiter.take(debits, 0, HOUR_US)
    (state,) = limiter.changes()
    assert (state.key, state.tat, state.held_until, state.valued) == (
        "t",
        3_000_000,
        2_000_000 + GRACE_US,
        False,
    )
    assert limiter.changes() == []
    again = LocalLimiter()
    again.restore(state)
    outcome = again.take(debits, 500_000, HOUR_US)
    assert outcome is not None and outcome.wait_us == 2_500_000
    far = LocalLimiter()
    far.restore(state._replace(tat=10**15))
    outcome = far.take(debits, 0, HOUR_US)
    assert outcome is not None and outcome.wait_us <= 11_000_000


def test_values_that_are_full_again_make_room() -> None:
    hits: Counter[str] = Counter()
    limiter = LocalLimiter(1, hits)
    other = Debit(Bucket("t", 1, 1_000_000, 1, "other"))

    def of(value: str) -> list[Debit]:
        return [Debit(Bucket("t", 1, 1_000_000, 1, value), 1, None, other)]

    assert limiter.take(of("a"), 2_000_000) is None
    assert limiter.take(of("b"), 2_000_000) is None
    assert hits["rate_values_max"] == 1
    assert limiter.take(of("c"), 2_000_000) is not None
    # A second later the first is full again, and forgotten.
    assert limiter.take(of("c"), 4_000_000) is None
    assert hits["rate_values_max"] == 2
    assert len(limiter) == 2
