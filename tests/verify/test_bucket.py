from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sealgate.verify.bucket import NEVER_US, interval_us, take
from sealgate.verify.verdict import Bucket

SECOND_US = 1_000_000
START_US = 1_767_225_600 * SECOND_US
TEN_A_SECOND = Bucket("t", 10, SECOND_US, 20)

buckets = st.builds(
    Bucket,
    st.just("t"),
    rate=st.integers(1, 1_000_000),
    period_us=st.sampled_from([SECOND_US, 60 * SECOND_US, 3600 * SECOND_US]),
    burst=st.integers(1, 1000),
)


def taken(bucket: Bucket, times_us: list[int], cost: int = 1) -> list[int]:
    """The times at which `cost` tokens were there, asking once at each of `times_us`."""
    tat, granted = 0, []
    for now_us in times_us:
        new_tat, _ = take(tat, now_us, bucket, cost)
        if new_tat is not None:
            tat = new_tat
            granted.append(now_us)
    return granted


def test_unused_bucket_gives_its_burst_at_once_and_no_more() -> None:
    assert len(taken(TEN_A_SECOND, [START_US] * 100)) == 20


def test_drained_bucket_gives_its_rate() -> None:
    flood = [START_US + n * 2000 for n in range(5000)]
    assert len(taken(TEN_A_SECOND, flood)) == 20 + 99


def test_refusal_tells_when_the_token_is_there_to_the_microsecond() -> None:
    tat = START_US + 2 * SECOND_US
    assert take(tat, START_US, TEN_A_SECOND, 1) == (None, 100_000)
    assert take(tat, START_US + 99_999, TEN_A_SECOND, 1) == (None, 1)
    assert take(tat, START_US + 100_000, TEN_A_SECOND, 1) == (tat + 100_000, 0)


def test_cost_over_the_burst_is_never_there() -> None:
    assert take(0, START_US, TEN_A_SECOND, 21) == (None, NEVER_US)
    assert take(0, START_US, TEN_A_SECOND, 20)[1] == 0


def test_clock_that_steps_back_gives_no_tokens_twice() -> None:
    drained, _ = take(0, START_US, TEN_A_SECOND, 20)
    assert drained is not None
    assert take(drained, START_US - 60 * SECOND_US, TEN_A_SECOND, 1)[0] is None


def test_interval_is_rounded_up() -> None:
    assert interval_us(Bucket("t", 3, SECOND_US, 1)) == 333_334
    assert interval_us(Bucket("t", 2000, SECOND_US, 1)) == 500


@given(
    bucket=buckets,
    steps_us=st.lists(st.integers(0, 3 * SECOND_US), min_size=1, max_size=200),
    cost=st.integers(1, 5),
)
def test_no_window_gives_more_than_burst_and_rate(bucket: Bucket, steps_us: list[int], cost: int) -> None:
    now_us, times_us = START_US, []
    for step_us in steps_us:
        now_us += step_us
        times_us.append(now_us)
    granted = taken(bucket, times_us, cost)
    for first in range(0, len(granted), 7):
        for last in range(first, len(granted)):
            tokens = (last - first + 1) * cost
            window_us = granted[last] - granted[first]
            assert tokens * bucket.period_us <= bucket.burst * bucket.period_us + bucket.rate * window_us


@given(bucket=buckets, tat=st.integers(0, 3600 * SECOND_US), cost=st.integers(1, 5))
def test_waiting_as_told_is_always_enough(bucket: Bucket, tat: int, cost: int) -> None:
    new_tat, wait_us = take(START_US + tat, START_US, bucket, cost)
    if cost > bucket.burst:
        assert (new_tat, wait_us) == (None, NEVER_US)
    elif new_tat is None:
        assert take(START_US + tat, START_US + wait_us, bucket, cost)[0] is not None
        assert take(START_US + tat, START_US + wait_us - 1, bucket, cost)[0] is None
    else:
        assert wait_us == 0
