"""Blocks of tokens: spent only while they are covered, sized by use, never more than the bucket allows."""

from __future__ import annotations

import random

import pytest

from sealgate.stores.blocks import REACH_US, Blocks
from sealgate.verify.bucket import interval_us
from sealgate.verify.verdict import Bucket, Debit
from support.claims import debit

HIGH = debit("high", 10_000, 10_000)
PAIR = (HIGH, debit("other", 1_000, 1_000))


def used(blocks: Blocks, debits: tuple[Debit, ...], now: float, times: int) -> int:
    """How many of so many messages at once were paid from blocks."""
    return [blocks.spend(debits, now) for _ in range(times)].count(True)


def with_block(tokens: int = 100, asked_at: float = 1.0) -> Blocks:
    """Blocks that hold so many tokens of `HIGH`."""
    blocks = Blocks()
    assert used(blocks, (HIGH,), asked_at - 0.02, 1000) == 0
    assert used(blocks, (HIGH,), asked_at, 1) == 0
    wanted = blocks.wanted(asked_at)
    assert [each.bucket for each in wanted] == [HIGH.bucket]
    blocks.given(wanted, [tokens], asked_at)
    return blocks


def test_nothing_is_spent_that_was_not_given() -> None:
    blocks = Blocks()
    assert used(blocks, (HIGH,), 1.0, 10) == 0
    assert used(with_block(100), (HIGH,), 1.0, 150) == 100


def test_a_block_lapses_before_its_cover_does() -> None:
    # The moment counts from when it was asked for; the shared bucket covers it from when it was given.
    assert used(with_block(asked_at=1.0), (HIGH,), 1.079, 1) == 1
    assert used(with_block(asked_at=1.0), (HIGH,), 1.08, 1) == 0
    assert REACH_US > 80_000


def test_two_blocks_lapse_each_at_its_time() -> None:
    blocks = with_block(100, asked_at=1.0)
    assert used(blocks, (HIGH,), 1.05, 60) == 60
    wanted = blocks.wanted(1.05)
    blocks.given(wanted, [wanted[0].tokens], 1.05)
    # What lapses first is spent first.
    assert used(blocks, (HIGH,), 1.06, 30) == 30
    assert used(blocks, (HIGH,), 1.09, 10_000) == wanted[0].tokens


def test_a_message_is_paid_from_all_its_buckets_or_none() -> None:
    blocks = with_block(100)
    assert used(blocks, PAIR, 1.0, 10) == 0
    assert used(blocks, (HIGH,), 1.0, 150) == 100


def test_a_bucket_named_twice_is_left_to_redis() -> None:
    assert used(with_block(100), (HIGH, HIGH), 1.0, 1) == 0


def test_a_cost_takes_as_many_tokens() -> None:
    dear = Debit(HIGH.bucket, 30)
    blocks = with_block(100)
    assert used(blocks, (dear,), 1.0, 10) == 3
    assert used(blocks, (HIGH,), 1.0, 20) == 10


def test_no_debits_are_no_reason_to_grant() -> None:
    assert not Blocks().spend((), 1.0)


@pytest.mark.parametrize(
    "low",
    [
        debit("a", 5, 10),
        debit("b", 199, 1000),
        debit("c", 100_000, 100_000, period_s=3600),
        debit("narrow", 1_000, 399),
    ],
)
def test_low_rates_and_narrow_buckets_stay_exact(low: Debit) -> None:
    blocks = Blocks()
    for step in range(100):
        assert used(blocks, (low,), 1.0 + step / 100, 5) == 0
        assert blocks.wanted(1.0 + step / 100) == []


@pytest.mark.parametrize("least", [debit("a", 200, 200), debit("b", 1_000, 400)])
def test_from_200_tokens_a_second_and_400_ms_of_burst_on_there_are_blocks(least: Debit) -> None:
    blocks = Blocks()
    found = []
    for step in range(200):
        used(blocks, (least,), 1.0 + step / 1000, 1)
        found += blocks.wanted(1.0 + step / 1000)
    assert found


def test_a_block_is_what_40_ms_need_at_the_pace_of_late() -> None:
    blocks = Blocks()
    sizes = []
    # 2,000 a second.
    for step in range(1000):
        now = 1.0 + step / 2000
        blocks.spend((HIGH,), now)
        wanted = blocks.wanted(now)
        sizes += [each.tokens for each in wanted]
        blocks.given(wanted, [each.tokens for each in wanted], now)
    assert 70 <= sizes[-1] <= 90
    assert 8 <= len(sizes) <= 30


def test_no_block_is_asked_for_at_a_pace_that_needs_none() -> None:
    blocks = Blocks()
    for step in range(100):
        # 100 a second: 4 in 40 ms.
        blocks.spend((HIGH,), 1.0 + step / 100)
        assert blocks.wanted(1.0 + step / 100) == []


def test_no_block_is_more_than_the_rate_brings_while_it_lasts() -> None:
    blocks = Blocks()
    used(blocks, (HIGH,), 1.0, 100_000)
    used(blocks, (HIGH,), 1.02, 100_000)
    (wanted,) = blocks.wanted(1.02)
    assert wanted.tokens == 400


def test_no_second_block_is_asked_for_before_the_first_was_answered() -> None:
    blocks = Blocks()
    used(blocks, (HIGH,), 1.0, 1000)
    used(blocks, (HIGH,), 1.02, 1000)
    assert len(blocks.wanted(1.02)) == 1
    used(blocks, (HIGH,), 1.5, 1000)
    assert blocks.wanted(1.5) == []


def test_a_bucket_known_to_be_empty_is_not_asked_for_a_block() -> None:
    blocks = with_block(0)
    blocks.empty("high", 2.0)
    used(blocks, (HIGH,), 1.99, 1000)
    assert blocks.wanted(1.99) == []
    used(blocks, (HIGH,), 2.0, 1000)
    assert len(blocks.wanted(2.0)) == 1


def test_another_configuration_ends_what_was_taken_under_the_old_one() -> None:
    blocks = with_block(100)
    slower = debit("high", 5_000, 10_000)
    assert used(blocks, (slower,), 1.0, 10) == 0
    assert used(blocks, (HIGH,), 1.0, 10) == 0


def test_an_answer_that_comes_after_the_configuration_changed_counts_for_nothing() -> None:
    blocks = Blocks()
    used(blocks, (HIGH,), 1.0, 1000)
    used(blocks, (HIGH,), 1.02, 1000)
    wanted = blocks.wanted(1.02)
    slower = debit("high", 5_000, 10_000)
    used(blocks, (slower,), 1.03, 1)
    blocks.given(wanted, [100], 1.02)
    assert used(blocks, (slower,), 1.03, 10) == 0


def test_a_reload_that_changes_nothing_keeps_the_block() -> None:
    same = debit("high", 10_000, 10_000)
    assert same is not HIGH
    assert used(with_block(100), (same,), 1.0, 150) == 100


def test_a_store_that_went_away_takes_the_blocks_with_it() -> None:
    blocks = with_block(100)
    blocks.lost()
    assert used(blocks, (HIGH,), 1.0, 10) == 0


class SharedBucket:
    """The arithmetic of exchange.lua on one bucket, in virtual microseconds."""

    def __init__(self, bucket: Bucket) -> None:
        self.interval = interval_us(bucket)
        self.capacity = bucket.burst * self.interval
        self.tat = 0

    def take(self, now: int) -> bool:
        tat = max(self.tat, now) + self.interval
        if tat > now + self.capacity:
            return False
        self.tat = tat
        return True

    def block(self, now: int, wanted: int, reach: int) -> int:
        tat = max(min(self.tat, now + self.capacity), now + reach)
        tokens = max(min(wanted, (now + self.capacity - tat) // self.interval // 2), 0)
        if tokens:
            self.tat = tat + tokens * self.interval
        return tokens


def strictest_overshoot(bucket: Bucket, seed: int, reach: int) -> int:
    """The most by which any stretch of time saw more messages than burst and rate allow, where every block is
    spent at the worst moment that is left to it; 0 when none did."""
    dice = random.Random(seed)
    shared, meter = SharedBucket(bucket), SharedBucket(bucket)
    now, overshoot = 1_000_000, 0
    blocks: list[tuple[int, int]] = []
    for _ in range(200):
        now += dice.choice((0, 1, 500, 20_000, 60_000, 150_000))
        sent = 0
        for until, tokens in list(blocks):
            if until < now:
                blocks.remove((until, tokens))
            elif dice.random() < 0.5:
                blocks.remove((until, tokens))
                sent += tokens
        if dice.random() < 0.6:
            tokens = shared.block(now, dice.choice((10, 100, 1000)), reach)
            if tokens:
                blocks.append((now + 100_000, tokens))
        if dice.random() < 0.4:
            wanted = dice.choice((1, 50, 2500))
            while wanted and shared.take(now):
                wanted, sent = wanted - 1, sent + 1
        # The meter sees what is really sent: each message it refuses is one too many in some stretch.
        overshoot += [meter.take(now) for _ in range(sent)].count(False)
    return overshoot


@pytest.mark.parametrize("rate", [debit("b", 1_000, 400), debit("b", 200, 1_000), debit("b", 3_000, 2_000)])
def test_no_stretch_of_time_sees_more_than_burst_and_rate_allow(rate: Debit) -> None:
    assert [strictest_overshoot(rate.bucket, seed, REACH_US) for seed in range(20)] == [0] * 20


def test_without_its_reach_a_block_would_let_too_much_through() -> None:
    """That the test above can fail."""
    bucket = debit("b", 1_000, 400).bucket
    assert any(strictest_overshoot(bucket, seed, 0) for seed in range(20))
