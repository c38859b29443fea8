"""What a journal that is written ahead keeps: nothing in doubt at an end is let through after it."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sealgate.stores import journal as journal_room
from sealgate.stores import open_store as open_by_name
from sealgate.stores.journal import Journal
from sealgate.stores.memory import MemoryStore
from sealgate.stores.times import HELD_S, LEASE_S
from sealgate.verify.verdict import Claim, ClaimStatus
from support.claims import debit, grant, make_claim, status, statuses

pytestmark = pytest.mark.asyncio

BOOT = "6f1c"
GRANTED = ClaimStatus.GRANTED
INFLIGHT = ClaimStatus.INFLIGHT
DUPLICATE = ClaimStatus.DUPLICATE
HORIZON = ClaimStatus.HORIZON
UNAVAILABLE = ClaimStatus.UNAVAILABLE


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


def open_store(path: Path, clock: Clock, ahead: bool = True, boot: str = BOOT) -> MemoryStore:
    return MemoryStore(
        max_age_s=300,
        clock_skew_s=30,
        entries_max=100_000,
        journal=Journal(path, boot, ahead),
        lease_s=HELD_S if ahead else LEASE_S,
        wall=clock,
        monotonic=clock,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nonces"


@pytest.fixture
def clock(path: Path) -> Clock:
    """Past the horizon of a first start, which left a journal."""
    clock = Clock()
    asyncio.run(start_and_close(path, clock))
    clock.seconds += 1000
    return clock


async def start_and_close(path: Path, clock: Clock) -> None:
    store = open_store(path, clock)
    await store.start()
    await store.close()


async def started(path: Path, clock: Clock, ahead: bool = True) -> MemoryStore:
    store = open_store(path, clock, ahead)
    await store.start()
    return store


def claims_at(clock: Clock, count: int, prefix: str = "n", remember_s: int = 365) -> list[Claim]:
    created = int(clock.seconds)
    return [make_claim(f"{prefix}{number}", created, remember_s=remember_s) for number in range(count)]


def crash(store: MemoryStore) -> None:
    """End as a killed process does: descriptors and locks go, nothing more is written."""
    journal = store._journal
    assert journal is not None
    for writer in (journal._writer, journal._rewrite):
        if writer is not None:
            os.close(writer.fd)
    os.close(journal._lock_fd)


async def end(store: MemoryStore, clean: bool) -> None:
    if clean:
        await store.close()
    else:
        crash(store)


async def outcome_after(
    path: Path, clock: Clock, claims: list[Claim], ahead: bool = True, boot: str = BOOT
) -> list[ClaimStatus]:
    """What a new process says to `claims`."""
    store = open_store(path, clock, ahead, boot)
    await store.start()
    try:
        return await statuses(store, *claims)
    finally:
        await store.close()


def raise_no_space(fd: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("clean", [True, False])
async def test_leases_outlive_the_process_and_its_successors(path: Path, clock: Clock, clean: bool) -> None:
    store = await started(path, clock)
    claims = claims_at(clock, 4)
    await grant(store, claims[:3])
    store.settle(claims[:1], claims[1:2])
    await asyncio.sleep(0)
    await end(store, clean)
    for seconds in (0, 20, 300):
        clock.seconds += seconds
        assert await outcome_after(path, clock, [claims[0], claims[2]]) == [DUPLICATE, INFLIGHT]
    assert await outcome_after(path, clock, [claims[1], claims[3]]) == [GRANTED, GRANTED]
    clock.seconds = claims[2].remember_until + 1
    assert await outcome_after(path, clock, [claims[2]]) == [HORIZON]


async def test_a_lease_is_on_disk_before_it_is_answered_in_one_write_per_call(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await started(path, clock)
    events: list[str] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: events.append("write") or write(fd, data))
    claims = claims_at(clock, 20)
    store.claim(claims, lambda outcomes: events.append(f"{len(outcomes)} answers"))
    assert events == ["write", "20 answers"]
    crash(store)
    assert await outcome_after(path, clock, claims) == [INFLIGHT] * 20


async def test_what_was_not_granted_and_what_needs_no_memory_is_not_written(path: Path, clock: Clock) -> None:
    store = await started(path, clock)
    (first,) = claims_at(clock, 1)
    await grant(store, [first])
    before = path.read_bytes()
    limited = make_claim("limited", int(clock.seconds), debit("b", 1, 1, cost=2))
    assert await statuses(store, first, limited, make_claim("", 0)) == [INFLIGHT, ClaimStatus.COST, GRANTED]
    assert path.read_bytes() == before
    await store.close()


async def test_a_lease_after_a_release_of_the_same_loop_turn_is_the_one_that_counts(
    path: Path, clock: Clock
) -> None:
    store = await started(path, clock)
    (first,) = claims_at(clock, 1)
    (second,) = claims_at(clock, 1)
    store.claim([first], lambda _: None)
    store.settle([], [first])
    store.claim([second], lambda _: None)
    crash(store)
    assert await outcome_after(path, clock, [first]) == [INFLIGHT]


async def test_a_release_or_commit_that_was_not_written_any_more_leaves_the_lease(
    path: Path, clock: Clock
) -> None:
    store = await started(path, clock)
    claims = claims_at(clock, 2)
    await grant(store, claims)
    store.settle(claims[:1], claims[1:])
    crash(store)
    assert await outcome_after(path, clock, claims) == [INFLIGHT] * 2


async def test_a_torn_lease_was_never_answered(path: Path, clock: Clock) -> None:
    store = await started(path, clock)
    claims = claims_at(clock, 3)
    for claim in claims:
        await grant(store, [claim])
    crash(store)
    path.write_bytes(path.read_bytes()[:-20])
    assert await outcome_after(path, clock, claims) == [INFLIGHT, INFLIGHT, GRANTED]


async def test_after_a_power_cut_a_horizon_covers_what_may_have_been_lost(path: Path, clock: Clock) -> None:
    store = await started(path, clock)
    first, unknown = claims_at(clock, 2)
    await grant(store, [first])
    crash(store)
    assert await outcome_after(path, clock, [first, unknown], boot="another") == [INFLIGHT, HORIZON]


async def test_a_disk_error_refuses_the_claim_and_the_nonce_stays_free(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await started(path, clock)
    first, second = claims_at(clock, 2)
    await grant(store, [first])
    with monkeypatch.context() as full:
        full.setattr(os, "write", raise_no_space)
        answered = await statuses(store, second, first, make_claim("", 0))
        assert answered == [UNAVAILABLE, INFLIGHT, GRANTED]
        # Without a file nothing is even tried, and no token is taken.
        only = debit("b", 1, 1, period_s=3600)
        limited = make_claim("third", int(clock.seconds), only)
        assert await statuses(store, limited, make_claim("", 0, only)) == [UNAVAILABLE, GRANTED]
    assert store.errors == 1
    assert not path.exists()
    assert await status(store, second) is UNAVAILABLE, "granted before the file was back"
    clock.seconds += 6
    assert await status(store, second) is UNAVAILABLE
    assert await status(store, second) is GRANTED
    crash(store)
    assert await outcome_after(path, clock, [first, second]) == [INFLIGHT] * 2


async def test_after_an_end_without_the_file_a_horizon_covers_what_was_in_doubt(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await started(path, clock)
    first, second = claims_at(clock, 2)
    await grant(store, [first])
    with monkeypatch.context() as full:
        full.setattr(os, "write", raise_no_space)
        assert await status(store, second) is UNAVAILABLE
    crash_without_file(store)
    assert await outcome_after(path, clock, [first, second]) == [HORIZON] * 2


def crash_without_file(store: MemoryStore) -> None:
    assert store._journal is not None
    assert not store._journal.in_place
    os.close(store._journal._lock_fd)


async def test_a_rewrite_keeps_leases_and_what_becomes_of_them_meanwhile(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_room, "_GROWTH_LINES_MIN", 60)
    monkeypatch.setattr(journal_room, "_GROWTH_MAX", 0)
    monkeypatch.setattr(journal_room, "_SLICE_LINES", 3)
    store = await started(path, clock)
    journal = store._journal
    assert journal is not None
    claims = claims_at(clock, 60)
    await grant(store, claims)
    expected = [INFLIGHT] * 60
    (other,) = claims_at(clock, 1, "other")
    await grant(store, [other])
    assert journal._rewrite is not None
    file_before = path.stat().st_ino
    for number in (0, 30, 59, 10, 45):
        assert journal._rewrite is not None
        store.settle([claims[number]], [claims[number - 1]])
        expected[number], expected[number - 1] = DUPLICATE, GRANTED
        await asyncio.sleep(0)
    more = 0
    while path.stat().st_ino == file_before:
        await grant(store, claims_at(clock, 1, f"more{more}-"))
        more += 1
        assert more < 100
    crash(store)
    assert await outcome_after(path, clock, claims) == expected


async def test_a_file_that_was_not_written_ahead_does_not_tell_what_was_in_doubt(
    path: Path, clock: Clock
) -> None:
    store = await started(path, clock, ahead=False)
    first, second = claims_at(clock, 2)
    await grant(store, [first, second])
    store.settle([first], [])
    await store.close()
    assert b"sealgate-journal-1" in path.read_bytes().splitlines()[0]
    assert await outcome_after(path, clock, [first, second]) == [DUPLICATE, HORIZON]


async def test_a_file_that_was_written_ahead_serves_also_without(path: Path, clock: Clock) -> None:
    store = await started(path, clock)
    claims = claims_at(clock, 3)
    await grant(store, claims)
    store.settle(claims[:1], claims[1:2])
    await store.close()
    taking = await started(path, clock, ahead=False)
    assert len(path.read_bytes().splitlines()) == 2
    assert await statuses(taking, *claims) == [DUPLICATE, GRANTED, GRANTED]
    await taking.close()


async def test_without_it_no_lease_and_no_release_is_written(path: Path, clock: Clock) -> None:
    store = await started(path, clock, ahead=False)
    before = path.read_bytes()
    claims = claims_at(clock, 2)
    await grant(store, claims)
    store.settle([], claims[:1])
    await asyncio.sleep(0)
    assert path.read_bytes() == before
    await store.close()


@pytest.mark.parametrize("line", [b"9999999999 6e 61 X", b"9999999999 6e 61 L R", b"9999999999 6e"])
async def test_a_well_summed_line_of_an_unknown_kind_is_damage(path: Path, clock: Clock, line: bytes) -> None:
    writer = journal_room._Writer(path)
    writer.write([b"sealgate-journal-2 6f1c 0", line, b"closed"])
    os.close(writer.fd)
    assert await outcome_after(path, clock, [make_claim("m", int(clock.seconds))]) == [HORIZON]


CLAIMER = """
import asyncio, sys, time
from sealgate.stores import open_store
from support.claims import grant, make_claim

async def main():
    store = open_store(
        "memory", deployment="d", max_age_s=300, clock_skew_s=0, journal=sys.argv[1], in_doubt="refuse"
    )
    await store.start()
    number = 0
    while True:
        claims = [make_claim(f"n{number + turn}", int(time.time()) + 5) for turn in range(3)]
        await grant(store, claims)
        print(number, claims[0].created, flush=True)
        store.settle(claims[:1], claims[1:2])
        number += 3

asyncio.run(main())
"""


@pytest.mark.system
async def test_a_killed_process_leaves_nothing_it_told_to_be_let_through_again(path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", CLAIMER, str(path)], stdout=subprocess.PIPE, text=True, env=env
    ) as child:
        assert child.stdout is not None
        told = [child.stdout.readline().split() for _ in range(300)]
        child.send_signal(signal.SIGKILL)
        told += [words for line in child.stdout if len(words := line.split()) == 2]
    store = open_by_name(
        "memory", deployment="d", max_age_s=300, clock_skew_s=0, journal=path, in_doubt="refuse"
    )
    await store.start()
    for start, created in told[:-1]:
        claims = [make_claim(f"n{int(start) + turn}", int(created)) for turn in range(3)]
        found = await statuses(store, *claims)
        assert found == [DUPLICATE, GRANTED, INFLIGHT]
        assert time.time() < claims[0].remember_until, "too slow: nonces may be forgotten"
    last = [make_claim(f"n{int(told[-1][0]) + turn}", int(told[-1][1])) for turn in range(3)]
    assert set(await statuses(store, *last)) <= {DUPLICATE, INFLIGHT, GRANTED}
    assert await status(store, last[2]) is INFLIGHT
    await store.close()
