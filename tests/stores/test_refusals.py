"""Buckets known to be empty: refused here exactly as the shared store would, or not at all."""

from __future__ import annotations

from sealgate.stores.refusals import Refusals
from sealgate.verify.verdict import ClaimOutcome, ClaimStatus
from support.claims import debit

MINUTE = debit("minute", 1, 1, period_s=60)
HOUR = debit("hour", 1, 1, period_s=3600)
FAST = debit("fast", 1000, 2000)


def limited(bucket: str, wait_us: int) -> ClaimOutcome:
    return ClaimOutcome(ClaimStatus.LIMITED, bucket, wait_us)


def known(*waits: tuple[str, int]) -> Refusals:
    """Since 100 s it is known that these buckets want so many microseconds more."""
    refusals = Refusals()
    by_name = {each.bucket.name: each for each in (MINUTE, HOUR, FAST)}
    for name, wait_us in waits:
        refusals.note((by_name[name],), limited(name, wait_us), 100.0)
    return refusals


def test_nothing_is_refused_that_was_not_refused_before() -> None:
    assert Refusals().refusal((MINUTE,), 100.0) is None
    assert known(("minute", 30_000_000)).refusal((HOUR,), 100.0) is None


def test_until_the_moment_named_it_is_refused_with_what_is_left() -> None:
    refusals = known(("minute", 30_000_000))
    assert refusals.refusal((MINUTE,), 100.0) == limited("minute", 30_000_000)
    assert refusals.refusal((MINUTE,), 110.0) == limited("minute", 20_000_000)
    assert refusals.refusal((MINUTE,), 130.0) is None
    assert refusals.refusal((MINUTE,), 100.0) is None


def test_with_other_buckets_it_is_refused_when_none_of_them_can_take_longer() -> None:
    refusals = known(("minute", 30_000_000))
    assert refusals.refusal((FAST, MINUTE), 100.0) == limited("minute", 30_000_000)
    # The hour's bucket may be empty for longer, and would then be the one to name.
    assert refusals.refusal((HOUR, MINUTE), 100.0) is None
    assert refusals.refusal((MINUTE, HOUR), 100.0) is None


def test_of_two_known_to_be_empty_the_longer_wait_is_told() -> None:
    refusals = known(("minute", 30_000_000), ("hour", 3_000_000_000))
    for debits in ((MINUTE, HOUR), (HOUR, MINUTE)):
        assert refusals.refusal(debits, 100.0) == limited("hour", 3_000_000_000)


def test_a_smaller_cost_is_asked_for() -> None:
    dear = debit("b", 1, 10, cost=5)
    refusals = Refusals()
    refusals.note((dear,), limited("b", 3_000_000), 100.0)
    assert refusals.refusal((debit("b", 1, 10, cost=1),), 100.0) is None
    assert refusals.refusal((dear,), 100.0) == limited("b", 3_000_000)


def test_a_cost_that_can_never_be_paid_is_left_to_the_store() -> None:
    assert known(("minute", 30_000_000)).refusal((debit("b", 1, 4, cost=5), MINUTE), 100.0) is None


def test_a_bucket_named_twice_is_neither_remembered_nor_refused() -> None:
    refusals = Refusals()
    refusals.note((MINUTE, MINUTE), limited("minute", 30_000_000), 100.0)
    assert refusals.refusal((MINUTE,), 100.0) is None
    assert known(("minute", 30_000_000)).refusal((MINUTE, MINUTE), 100.0) is None


def test_another_configuration_is_asked_for() -> None:
    refusals = known(("minute", 30_000_000))
    assert refusals.refusal((debit("minute", 2, 1, period_s=60),), 100.0) is None


def test_another_store_is_asked() -> None:
    refusals = known(("minute", 30_000_000))
    refusals.forget()
    assert refusals.refusal((MINUTE,), 100.0) is None
