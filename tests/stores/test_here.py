"""What is decided without asking Redis, where messages may wait: no block overtakes those that do."""

from __future__ import annotations

from sealgate.stores.here import Here
from sealgate.stores.limiter import GRACE_US
from sealgate.verify.verdict import Bucket, Claim, ClaimOutcome, ClaimStatus, Debit
from support.claims import debit, make_claim, paced, waiting

HIGH = paced("high", 10_000, 10_000)
GRACE_S = GRACE_US / 1_000_000


def bare(*debits: Debit) -> Claim:
    """Of a message that needs no nonce remembered, and may wait an hour."""
    return waiting(make_claim("", 1, *debits))


def with_block(here: Here, tokens: int = 100) -> None:
    """It holds so many tokens of `HIGH` from 1.0 on."""
    for now in (0.98, 1.0):
        here.decide([bare(HIGH)] * 500, now, away=False)
    wanted = here.wanted(1.0)
    here.given(wanted, [tokens], 1.0)


def test_a_block_is_spent_while_nobody_waits() -> None:
    here = Here(1)
    with_block(here)
    assert here.decide([bare(HIGH)], 1.01, away=False).open == []


def test_no_block_is_spent_while_messages_wait_for_the_bucket_and_a_moment_after() -> None:
    here = Here(1)
    with_block(here)
    here.held(bare(HIGH), ClaimOutcome(ClaimStatus.GRANTED, "high", 10_000, True), 1.0)
    assert here.decide([bare(HIGH)], 1.02, away=False).open == [0]
    # Who may not wait goes through no queue either: it takes what there is.
    assert here.decide([make_claim("", 1, HIGH)], 1.03, away=False).open == []
    another = Here(1)
    with_block(another)
    another.held(bare(HIGH), ClaimOutcome(ClaimStatus.GRANTED, "high", 0, True), 1.005 - GRACE_S)
    assert another.decide([bare(HIGH)], 1.004, away=False).open == [0]
    assert another.decide([bare(HIGH)], 1.006, away=False).open == []


def test_a_store_that_is_another_knows_of_nobody_who_waits() -> None:
    here = Here(1)
    here.held(bare(HIGH), ClaimOutcome(ClaimStatus.GRANTED, "high", 10_000_000, True), 1.0)
    here.lost()
    with_block(here)
    assert here.decide([bare(HIGH)], 1.01, away=False).open == []


def test_buckets_that_values_make_have_no_blocks_and_are_not_remembered() -> None:
    here = Here(1)
    bucket = Bucket("high", 10_000, 1_000_000, 10_000, "high a")
    valued = Debit(bucket, 1, None, HIGH)
    for now in (0.98, 1.0):
        here.decide([bare(valued)] * 500, now, away=False)
    assert here.wanted(1.0) == []
    here.held(bare(valued), ClaimOutcome(ClaimStatus.GRANTED, "high", 10_000, True), 1.0)
    assert not here._held


def test_an_empty_bucket_refuses_here_only_what_may_not_wait_for_it() -> None:
    here = Here(1)
    hourly = debit("b", 1, 1, period_s=3600)
    limited = ClaimOutcome(ClaimStatus.LIMITED, "b", 1_800_000_000)
    here.limited(waiting(make_claim("", 1, hourly), 600), limited, 1.0)
    told = here.decide([waiting(make_claim("", 1, hourly), 600)], 2.0, away=False)
    assert told.open == [] and told.outcomes[0].wait_us == 1_799_000_000
    assert here.decide([waiting(make_claim("", 1, hourly), 3600)], 2.0, away=False).open == [0]
    # Of several buckets that messages wait for, nobody here knows how long the others take.
    other = debit("c", 1, 1)
    assert here.decide([waiting(make_claim("", 1, hourly, other), 600)], 2.0, away=False).open == [0]
