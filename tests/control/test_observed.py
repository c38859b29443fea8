from __future__ import annotations

import json
from pathlib import Path

import pytest

from sealgate.control.observed import (
    ENTRIES_MAX,
    FILE_BYTES_MAX,
    MINUTES,
    NAMES_MAX,
    OTHER,
    Observed,
    Row,
    restore,
    rows_of,
    save,
)

NOW = 1_800_000_030.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def observed(clock: Clock) -> Observed:
    return Observed(clock)


def note(observed: Observed, clock: Clock, task: str = "shop.add", reason: str = "sig.missing") -> None:
    observed.note("mode.default", reason, task, "k1", clock.now)


def test_counts_by_rule_reason_task_and_key_with_first_and_last(observed: Observed, clock: Clock) -> None:
    note(observed, clock)
    clock.now += 600
    note(observed, clock)
    note(observed, clock, reason="time.stale")
    assert observed.rows() == [
        Row("mode.default", "sig.missing", "shop.add", "k1", 2, NOW, NOW + 600),
        Row("mode.default", "time.stale", "shop.add", "k1", 1, NOW + 600, NOW + 600),
    ]


def test_what_is_over_an_hour_old_is_gone(observed: Observed, clock: Clock) -> None:
    note(observed, clock, "early")
    clock.now += 60 * (MINUTES - 1)
    note(observed, clock, "late")
    assert [row.task for row in observed.rows()] == ["early", "late"]
    clock.now += 60
    assert [row.task for row in observed.rows()] == ["late"]
    clock.now += 60 * MINUTES
    assert observed.rows() == []


def test_since_is_the_start_and_at_most_an_hour_ago(observed: Observed, clock: Clock) -> None:
    clock.now += 600
    assert observed.since == NOW
    clock.now += 36_000
    assert observed.since == clock.now - 3600


def test_names_of_one_reason_are_bounded_and_take_no_room_of_another(
    observed: Observed, clock: Clock
) -> None:
    for number in range(NAMES_MAX + 25):
        note(observed, clock, f"made.up{number}")
    note(observed, clock, "shop.add", "time.stale")
    rows = {row.task: row for row in observed.rows()}
    assert rows[OTHER].times == 25
    assert rows["shop.add"].times == 1
    assert len(rows) == NAMES_MAX + 2


def test_entries_are_bounded_over_the_hour(observed: Observed, clock: Clock) -> None:
    reasons = [f"r.{number}" for number in range(20)]
    for _ in range(MINUTES):
        for reason in reasons:
            for number in range(NAMES_MAX):
                note(observed, clock, f"t{number}", reason)
        clock.now += 60
    clock.now -= 60
    kept = observed.take()
    assert sum(row.times for row in kept) == MINUTES * len(reasons) * NAMES_MAX
    assert len(kept) <= ENTRIES_MAX + MINUTES * len(reasons)
    assert any(row.task == OTHER for row in kept)


def test_clock_that_was_set_back_leaves_nothing_for_longer_than_an_hour(
    observed: Observed, clock: Clock
) -> None:
    observed.note("mode.default", "sig.bad", "t", "", NOW + 1e9)
    clock.now += 60 * (MINUTES + 1)
    assert observed.rows() == []


def test_what_is_taken_is_gone_here_and_adds_up_there(clock: Clock) -> None:
    workers, whole = [Observed(clock), Observed(clock)], Observed(clock)
    for worker in workers:
        note(worker, clock)
        for row in rows_of(json.loads(json.dumps(worker.take()))):
            whole.add(row)
        assert worker.rows() == []
    assert [row.times for row in whole.rows()] == [2]


def test_file_carries_it_to_another_process(observed: Observed, clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "state.observed"
    note(observed, clock, "täsk\n")
    save(file, observed.dump())
    clock.now += 300
    other = Observed(clock)
    assert restore(other, file) == ""
    assert other.rows() == observed.rows()
    assert other.since == NOW
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_no_file_is_no_trouble(observed: Observed, tmp_path: Path) -> None:
    assert restore(observed, tmp_path / "none") == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 2, "since": 1, "rows": []}',
        b'{"version": 1, "since": "x", "rows": []}',
        b'{"version": 1, "since": NaN, "rows": []}',
        b'{"version": 1, "since": 1, "rows": {}}',
        b'{"version": 1, "since": 1, "rows": [["a", "b", "c", "d", "1", 1, 1]]}',
        b'{"version": 1, "since": 1, "rows": [["a", "b", "c", "d", 1, 1e999, 1]]}',
        b'{"version": 1, "since": 1, "rows": [["a", "b", "c", 4, 1, 1, 1]]}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_damaged_file_is_told_and_gives_nothing(observed: Observed, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "state.observed"
    file.write_bytes(data)
    assert restore(observed, file) != ""
    assert observed.rows() == []
    assert observed.since == NOW


def test_file_that_is_too_large_is_not_read(observed: Observed, tmp_path: Path) -> None:
    file = tmp_path / "state.observed"
    with file.open("wb") as opened:
        opened.truncate(FILE_BYTES_MAX + 1)
    assert restore(observed, file) == f"is over {FILE_BYTES_MAX} bytes"
