from __future__ import annotations

import pytest

from sealgate.verify.rates import RateTable, parse_rate

RATES = RateTable({"app.add": "5/m burst 10 cost 2", "app.*": "100/s", "*": "2000/s burst 4000"})


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("5/m", (5, 60_000_000, 5, 1)),
        ("5/m burst 10", (5, 60_000_000, 10, 1)),
        ("5/m cost 2 burst 10", (5, 60_000_000, 10, 2)),
        ("1/10s", (1, 10_000_000, 1, 1)),
        ("7/h", (7, 3_600_000_000, 7, 1)),
        ("1/30d", (1, 2_592_000_000_000, 1, 1)),
    ],
)
def test_rate_is_read(text: str, parsed: tuple[int, int, int, int]) -> None:
    assert parse_rate(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5/",
        "5/w",
        "-5/m",
        "5.5/m",
        "0/s",
        "1000001/s",
        "5/0s",
        "5/31d",
        "5/m burst 0",
        "5/m burst 1000001",
        "5/m burst",
        "5/m burst 10 burst 11",
        "5/m cost 0",
        "5/m cost 6",
        "5/m  burst 10",
        "٥/m",
        "1/30d burst 100",
    ],
)
def test_rate_that_means_nothing_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"rate|burst|cost|period|bucket"):
        parse_rate(text)


def test_task_draws_from_every_bucket_that_matches() -> None:
    drawn = [(debit.bucket.name, debit.cost) for debit in RATES.debits("app.add")]
    assert drawn == [("app.add", 2), ("app.*", 1), ("*", 1)]
    assert [debit.bucket.name for debit in RATES.debits("other")] == ["*"]


def test_task_without_a_matching_bucket_draws_nothing() -> None:
    assert RateTable().debits("a") == ()
    assert RateTable({"b": "1/s"}).debits("a") == ()


def test_unknown_names_share_the_buckets_of_their_patterns_and_are_not_remembered_for_ever() -> None:
    buckets = {RATES.debits(f"made.up.{n}")[0].bucket for n in range(10_000)}
    assert [bucket.name for bucket in buckets] == ["*"]
    assert len(RATES._remembered) <= 4096
    assert RATES.debits("made.up.1") == RATES.debits("made.up.9999")


def test_label_of_a_task_is_a_configured_name() -> None:
    assert [RATES.label(task) for task in ("app.add", "app.mul", "other", "")] == ["app.add", "app.*", "", ""]
