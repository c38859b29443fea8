"""What the journal keeps over ends clean and not, and what it refuses to vouch for."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import stat
import subprocess
import sys
import zlib
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest

from sealgate.reason import GateError, Reason
from sealgate.stores import journal as journal_room
from sealgate.stores.boot import boot_id
from sealgate.stores.journal import Journal
from sealgate.stores.memory import MemoryStore
from sealgate.verify.seals import nonce_name
from sealgate.verify.verdict import Claim, ClaimStatus
from support.claims import ask, grant, make_claim, paced, status, statuses, waiting

pytestmark = pytest.mark.asyncio

BOOT = "6f1c"
GRANTED = ClaimStatus.GRANTED
DUPLICATE = ClaimStatus.DUPLICATE
HORIZON = ClaimStatus.HORIZON
NOW = 1_800_000_000


class Clock:
    def __init__(self) -> None:
        self.seconds = float(NOW)

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a journal that has run for long: no horizon matters any more."""
    journal = tmp_path / "nonces"
    asyncio.run(start_and_close(journal, Clock()))
    lines = journal.read_bytes().splitlines()
    assert len(lines) == 2
    return journal


async def start_and_close(path: Path, clock: Clock) -> None:
    store = open_store(path, clock)
    await store.start()
    await store.close()


def open_store(path: Path, clock: Clock, boot: str = BOOT) -> MemoryStore:
    return MemoryStore(
        max_age_s=300,
        clock_skew_s=30,
        entries_max=100_000,
        journal=Journal(path, boot),
        wall=clock,
        monotonic=clock,
    )


def later() -> Clock:
    """A clock past the horizon of the fixture's first start."""
    clock = Clock()
    clock.seconds += 1000
    return clock


def claims_at(clock: Clock, count: int, prefix: str = "n", remember_s: int = 365) -> list[Claim]:
    created = int(clock.seconds)
    return [make_claim(f"{prefix}{number}", created, remember_s=remember_s) for number in range(count)]


async def commit(store: MemoryStore, claims: list[Claim]) -> None:
    """Commit and let the loop turn, so that the journal is written."""
    await grant(store, claims)
    store.settle(claims, [])
    await asyncio.sleep(0)


def crash(store: MemoryStore) -> None:
    """End as a killed process does: descriptors and locks go, nothing more is written."""
    journal = store._journal
    assert journal is not None
    if journal._writer is not None:
        os.close(journal._writer.fd)
    if journal._rewrite is not None:
        os.close(journal._rewrite.fd)
    os.close(journal._lock_fd)


async def outcome_after(path: Path, clock: Clock, claims: list[Claim], boot: str = BOOT) -> list[ClaimStatus]:
    """What a new process says to `claims`."""
    store = open_store(path, clock, boot)
    await store.start()
    try:
        return await statuses(store, *claims)
    finally:
        await store.close()


@pytest.mark.parametrize("clean", [True, False])
async def test_committed_nonces_outlive_the_process(path_later: tuple[Path, Clock], clean: bool) -> None:
    path, clock = path_later
    store = open_store(path, clock)
    await store.start()
    claims = claims_at(clock, 5)
    await commit(store, claims[:3])
    await grant(store, claims[3:4])
    if clean:
        await store.close()
    else:
        crash(store)
    assert await outcome_after(path, clock, claims) == [DUPLICATE] * 3 + [GRANTED] * 2


@pytest.fixture
def path_later(path: Path) -> tuple[Path, Clock]:
    return path, later()


async def test_commits_of_one_loop_turn_are_one_write(
    path_later: tuple[Path, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = path_later
    store = open_store(path, clock)
    await store.start()
    claims = claims_at(clock, 20)
    await grant(store, claims)
    writes: list[int] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: writes.append(len(data)) or write(fd, data))
    for claim in claims:
        store.settle([claim], [])
    assert writes == []
    await asyncio.sleep(0)
    assert len(writes) == 1
    await store.close()


async def test_a_first_start_waits_out_the_skew_and_so_does_one_soon_after(tmp_path: Path) -> None:
    path, clock = tmp_path / "nonces", Clock()
    old, new = make_claim("old", NOW + 29), make_claim("new", NOW + 31)
    assert await outcome_after(path, clock, [old, new]) == [HORIZON, GRANTED]
    clock.seconds += 5
    assert await outcome_after(path, clock, [old]) == [HORIZON]


async def test_without_a_journal_every_start_waits_out_the_skew() -> None:
    clock = Clock()
    store = MemoryStore(max_age_s=300, clock_skew_s=30, entries_max=10, wall=clock, monotonic=clock)
    await store.start()
    assert await status(store, make_claim("old", NOW + 29)) is HORIZON
    assert await status(store, make_claim("new", NOW + 30)) is GRANTED
    await store.close()


async def test_a_torn_last_line_is_cut(path_later: tuple[Path, Clock]) -> None:
    path, clock = path_later
    store = open_store(path, clock)
    await store.start()
    claims = claims_at(clock, 4)
    await commit(store, claims)
    crash(store)
    for missing in (1, 2, 40, 80):
        torn = path.with_name(f"torn{missing}")
        torn.write_bytes(path.read_bytes()[:-missing])
        assert await outcome_after(torn, clock, claims) == [DUPLICATE] * 3 + [GRANTED], missing


@pytest.mark.parametrize("damage", ["bit", "lost line", "foreign line", "swapped lines", "zeros", "no CRC"])
async def test_a_damaged_middle_keeps_the_good_lines_and_sets_a_horizon(
    path_later: tuple[Path, Clock], damage: str
) -> None:
    path, clock = path_later
    store = open_store(path, clock)
    await store.start()
    claims = claims_at(clock, 5)
    await commit(store, claims)
    crash(store)
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "bit":
        lines[2] = lines[2][:30] + bytes([lines[2][30] ^ 1]) + lines[2][31:]
    elif damage == "lost line":
        del lines[2]
    elif damage == "foreign line":
        lines.insert(2, b"00000000 1 61 62\n")
    elif damage == "swapped lines":
        lines[2:4] = lines[3], lines[2]
    elif damage == "zeros":
        lines[2] = bytes(len(lines[2]))
    else:
        lines[2] = b"nothing\n"
    path.write_bytes(b"".join(lines))
    unknown = make_claim("unknown", int(clock.seconds))
    found = await outcome_after(path, clock, [claims[4], unknown])
    assert found == [DUPLICATE, HORIZON]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        bytes(4096),
        b"00000000 sealgate-journal-1 x 0\n",
        b"zz sealgate-journal-1 x 0\n",
        b"00000000 sealgate-jour\xeeal-1 x 0\n",
    ],
)
async def test_a_file_without_a_good_first_line_vouches_for_nothing(tmp_path: Path, content: bytes) -> None:
    path, clock = tmp_path / "nonces", Clock()
    path.write_bytes(content)
    assert await outcome_after(path, clock, [make_claim("n", NOW)]) == [HORIZON]


@pytest.mark.parametrize(
    "content", [b"# keys\n[[key]]\n", b"-----BEGIN PRIVATE KEY-----\n", b"\x7fELF", b"k"]
)
async def test_a_file_that_was_never_a_journal_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.toml"
    path.write_bytes(content)
    with pytest.raises(GateError, match=r"keys.toml: this file is no journal"):
        await open_store(path, Clock()).start()
    assert path.read_bytes() == content


async def test_a_well_summed_line_that_is_no_record_is_damage(path_later: tuple[Path, Clock]) -> None:
    path, clock = path_later
    writer = journal_room._Writer(path)
    writer.write([b"sealgate-journal-1 6f1c 0", b"12 zz 00", b"closed"])
    os.close(writer.fd)
    assert await outcome_after(path, clock, [make_claim("n", int(clock.seconds))]) == [HORIZON]


@pytest.mark.parametrize("horizon", [b"", b"x", b"-1", b"1_0", b"0x1"])
async def test_a_well_summed_first_line_without_a_number_is_damage(
    path_later: tuple[Path, Clock], horizon: bytes
) -> None:
    path, clock = path_later
    writer = journal_room._Writer(path)
    writer.write([b"sealgate-journal-1 6f1c " + horizon, b"closed"])
    os.close(writer.fd)
    assert await outcome_after(path, clock, [make_claim("n", int(clock.seconds))]) == [HORIZON]


@pytest.mark.parametrize(("clean", "expected"), [(True, GRANTED), (False, HORIZON)])
async def test_after_a_power_cut_only_a_clean_close_is_trusted(
    path_later: tuple[Path, Clock], clean: bool, expected: ClaimStatus
) -> None:
    path, clock = path_later
    store = open_store(path, clock)
    await store.start()
    first, unknown = claims_at(clock, 2)
    await commit(store, [first])
    if clean:
        await store.close()
    else:
        crash(store)
    assert await outcome_after(path, clock, [first, unknown], boot="another") == [DUPLICATE, expected]


async def test_where_no_boot_is_known_only_a_clean_close_is_trusted(path_later: tuple[Path, Clock]) -> None:
    path, clock = path_later
    store = open_store(path, clock, boot="")
    await store.start()
    (first,) = claims_at(clock, 1)
    crash(store)
    assert await outcome_after(path, clock, [first], boot="") == [HORIZON]


async def test_the_file_is_for_its_owner_only(path: Path) -> None:
    for name in (path, path.with_name("nonces.lock")):
        assert stat.S_IMODE(name.stat().st_mode) == 0o600


async def test_two_processes_can_not_share_a_journal(path: Path) -> None:
    one, two = open_store(path, Clock()), open_store(path, Clock())
    await one.start()
    with pytest.raises(GateError, match="another process uses it") as caught:
        await two.start()
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    await one.close()
    await two.start()
    await two.close()


async def test_a_journal_that_can_not_be_written_is_told_with_its_path(tmp_path: Path) -> None:
    store = open_store(tmp_path / "missing" / "nonces", Clock())
    with pytest.raises(GateError, match=r"missing/nonces: No such file"):
        await store.start()


async def test_a_failed_start_leaves_the_journal_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    monkeypatch.setattr(os, "write", raise_no_space)
    with pytest.raises(GateError, match="No space left"):
        await open_store(path, Clock()).start()
    assert path.read_bytes() == before
    assert not path.with_name("nonces.new").exists()


def raise_no_space(fd: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_expired_nonces_leave_the_file(
    path_later: tuple[Path, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_room, "_GROWTH_LINES_MIN", 100)
    monkeypatch.setattr(journal_room, "_SLICE_LINES", 10)
    path, clock = path_later
    store = open_store(path, clock)
    await store.start()
    keep = claims_at(clock, 35, "keep", remember_s=3000)
    await commit(store, keep)
    largest = 0
    for turn in range(150):
        await commit(store, claims_at(clock, 5, f"short{turn}-", remember_s=1))
        clock.seconds += 3
        largest = max(largest, len(path.read_bytes().splitlines()))
    assert largest < 100 + 2 * 45 + 60
    assert store.entries < 60
    crash(store)
    assert await outcome_after(path, clock, keep) == [DUPLICATE] * 35


async def test_commits_and_releases_during_a_rewrite_are_kept_rightly(
    path_later: tuple[Path, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_room, "_GROWTH_LINES_MIN", 40)
    monkeypatch.setattr(journal_room, "_GROWTH_MAX", 0)
    monkeypatch.setattr(journal_room, "_SLICE_LINES", 3)
    path, clock = path_later
    store = open_store(path, clock)
    await store.start()
    journal = store._journal
    assert journal is not None
    before = claims_at(clock, 45, "before")
    await commit(store, before)
    assert journal._rewrite is not None
    during = []
    while journal._rewrite is not None:
        await commit(store, claims_at(clock, 1, f"during{len(during)}-"))
        during += claims_at(clock, 1, f"during{len(during)}-")
    assert len(during) > 3
    after = claims_at(clock, 2, "after")
    await commit(store, after)
    crash(store)
    everything = before + during + after
    assert await outcome_after(path, clock, everything) == [DUPLICATE] * len(everything)


@pytest.mark.parametrize("clean", [True, False])
async def test_an_end_during_a_rewrite_loses_nothing(
    path_later: tuple[Path, Clock], monkeypatch: pytest.MonkeyPatch, clean: bool
) -> None:
    monkeypatch.setattr(journal_room, "_GROWTH_LINES_MIN", 10)
    monkeypatch.setattr(journal_room, "_GROWTH_MAX", 0)
    monkeypatch.setattr(journal_room, "_SLICE_LINES", 3)
    path, clock = path_later
    store = open_store(path, clock)
    await store.start()
    claims = claims_at(clock, 30)
    await commit(store, claims)
    assert path.with_name("nonces.new").exists()
    if clean:
        await store.close()
        assert not path.with_name("nonces.new").exists()
    else:
        crash(store)
    assert await outcome_after(path, clock, claims) == [DUPLICATE] * 30


async def test_a_disk_error_gives_the_file_up_and_a_whole_one_is_written_later(
    path_later: tuple[Path, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = path_later
    store = open_store(path, clock)
    await store.start()
    first, second, third = claims_at(clock, 3)
    with monkeypatch.context() as full:
        full.setattr(os, "write", raise_no_space)
        await commit(store, [first])
    assert store.errors == 1
    assert not path.exists()
    assert await status(store, first) is DUPLICATE
    await commit(store, [second])
    assert not path.exists()
    clock.seconds += 6
    await commit(store, [third])
    await commit(store, claims_at(clock, 1, "last"))
    assert path.exists()
    crash(store)
    assert await outcome_after(path, clock, [first, second, third]) == [DUPLICATE] * 3


async def test_a_disk_that_takes_a_part_of_a_write_is_a_disk_error(
    path_later: tuple[Path, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = path_later
    store = open_store(path, clock)
    await store.start()
    write = os.write
    with monkeypatch.context() as short:
        short.setattr(os, "write", lambda fd, data: write(fd, data[:-10]))
        await commit(store, claims_at(clock, 1))
    assert store.errors == 1
    assert not path.exists()
    await store.close()


async def test_a_close_that_can_not_be_written_is_no_clean_one(
    path_later: tuple[Path, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = path_later
    store = open_store(path, clock)
    await store.start()
    with monkeypatch.context() as full:
        full.setattr(os, "write", raise_no_space)
        await store.close()
    assert store.errors == 1
    assert await outcome_after(path, clock, claims_at(clock, 1), boot="another") == [HORIZON]


COMMITTER = """
import asyncio, sys, time
from pathlib import Path
from sealgate.stores import open_store
from support.claims import grant, make_claim

async def main():
    store = open_store("memory", deployment="d", max_age_s=300, clock_skew_s=0, journal=sys.argv[1])
    await store.start()
    number = 0
    while True:
        claim = make_claim(f"n{number}", int(time.time()) + 5)
        await grant(store, [claim])
        store.settle([claim], [])
        await asyncio.sleep(0)
        print(number, claim.created, flush=True)
        number += 1

asyncio.run(main())
"""


@pytest.mark.system
async def test_a_killed_process_has_forgotten_nothing_it_told(tmp_path: Path) -> None:
    path = tmp_path / "nonces"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", COMMITTER, str(path)], stdout=subprocess.PIPE, text=True, env=env
    ) as child:
        assert child.stdout is not None
        told = [child.stdout.readline().split() for _ in range(300)]
        child.send_signal(signal.SIGKILL)
        told += [words for line in child.stdout if len(words := line.split()) == 2]
    claims = [make_claim(f"n{number}", int(created)) for number, created in told]
    store = MemoryStore(max_age_s=300, clock_skew_s=0, entries_max=100_000, journal=Journal(path, boot_id()))
    await store.start()
    assert await statuses(store, *claims) == [DUPLICATE] * len(claims)
    await store.close()


def line_of(crc: int, text: bytes) -> tuple[int, bytes]:
    crc = zlib.crc32(text, crc)
    return crc, b"%08x %b\n" % (crc, text)


def text_of(claim: Claim) -> bytes:
    before, _, nonce = claim.nonce_key.rpartition(b":")
    name = before + b":" + urlsafe_b64decode(nonce + b"==")
    return b"%d %b %b" % (claim.remember_until, name.hex().encode(), claim.digest.hex().encode())


async def test_a_file_of_an_earlier_version_is_read_and_rewritten_in_the_same_form(
    path_later: tuple[Path, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line by line, put together here; nonces of every length are whole again after a rewrite."""
    path, clock = path_later
    created = int(clock.seconds)
    claims = [
        Claim(nonce_name("prod", f"k{size % 2}", bytes(range(size))), bytes([size] * 32), created, until, ())
        for size in range(16, 24)
        for until in (created + 365 + size,)
    ]
    crc, written = 0, b""
    for text in (b"sealgate-journal-1 6f1c 0", *map(text_of, claims), b"closed"):
        crc, line = line_of(crc, text)
        written += line
    path.write_bytes(written)
    store = open_store(path, clock)
    await store.start()
    assert await statuses(store, *claims) == [DUPLICATE] * len(claims)
    lines = path.read_bytes().splitlines()
    assert lines[0][9:] == b"sealgate-journal-1 6f1c 0"
    assert sorted(line[9:] for line in lines[1:]) == sorted(map(text_of, claims))
    await commit(store, claims_at(clock, 1))
    assert path.read_bytes().splitlines()[-1][9:] == text_of(claims_at(clock, 1)[0])
    crash(store)


@pytest.mark.parametrize(
    "text",
    [
        b"%d 6e6f %b" % (NOW * 2, b"00" * 32),
        b"%d 313a643a6b3a%b %b" % (NOW * 2, b"00" * 24, b"00" * 32),
        b"%d 313a643a6b3a%b %b" % (NOW * 2, b"00" * 16, b"00" * 31),
        b"%d 313a643a6b3a%b %b" % (1 << 40, b"00" * 16, b"00" * 32),
        b"%d 6e6f %b R" % (NOW * 2, b"00" * 32),
    ],
)
async def test_a_line_that_no_store_wrote_is_damage(path_later: tuple[Path, Clock], text: bytes) -> None:
    path, clock = path_later
    writer = journal_room._Writer(path)
    writer.write([b"sealgate-journal-1 6f1c 0", text, b"closed"])
    os.close(writer.fd)
    assert await outcome_after(path, clock, [make_claim("n", int(clock.seconds))]) == [HORIZON]


# Rates whose messages may wait


def paced_claims(clock: Clock, *names: str, nonce: bool = True) -> list[Claim]:
    """Of messages that may wait for a token a minute."""
    created = int(clock.seconds)
    return [
        waiting(make_claim(name if nonce else "", created, paced("b", 1, 1, period_s=60))) for name in names
    ]


async def waits_of(store: MemoryStore, claims: list[Claim]) -> list[tuple[bool, int]]:
    """(whether it goes through the queue, seconds) of granted claims."""
    outcomes = await ask(store, *claims)
    assert {outcome.status for outcome in outcomes} == {GRANTED}
    return [(outcome.held, round(outcome.wait_us / 1_000_000)) for outcome in outcomes]


@pytest.mark.parametrize("clean", [True, False])
async def test_a_schedule_goes_on_after_a_restart(path: Path, clean: bool) -> None:
    clock = later()
    store = open_store(path, clock)
    await store.start()
    assert await waits_of(store, paced_claims(clock, "a", "b", "c")) == [(False, 0), (True, 60), (True, 120)]
    if clean:
        await store.close()
    else:
        # As SIGKILL leaves it: what was granted is in the file, whatever else was to be done.
        assert b" B " in path.read_bytes()
        store._journal.close()  # type: ignore[union-attr]
    clock.seconds += 30
    again = open_store(path, clock)
    await again.start()
    assert await waits_of(again, paced_claims(clock, "d")) == [(True, 150)]
    clock.seconds += 211
    assert await waits_of(again, paced_claims(clock, "e")) == [(False, 0)]
    await again.close()


async def test_a_schedule_is_written_before_the_message_may_leave(path: Path) -> None:
    clock = later()
    store = open_store(path, clock)
    await store.start()
    seen: list[int] = []
    store.claim(
        paced_claims(clock, "a", "b", nonce=False), lambda _: seen.append(path.read_bytes().count(b" B "))
    )
    assert seen == [1]
    await store.close()


async def test_claims_that_may_not_wait_write_nothing_of_their_buckets(path: Path) -> None:
    clock = later()
    store = open_store(path, clock)
    await store.start()
    await grant(store, [make_claim("a", int(clock.seconds), paced("b", 1, 1))])
    await store.close()
    assert b" B " not in path.read_bytes()


async def test_what_is_full_again_is_not_kept_and_a_rewritten_file_has_the_rest(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_room, "_GROWTH_LINES_MIN", 5)
    clock = later()
    store = open_store(path, clock)
    await store.start()
    for number in range(40):
        (claim,) = paced_claims(clock, f"n{number}")
        assert len(await waits_of(store, [claim])) == 1
        store.settle([], [claim])
    await store.close()
    assert path.read_bytes().count(b" B ") < 40
    clock.seconds += 60
    again = open_store(path, clock)
    await again.start()
    assert await waits_of(again, paced_claims(clock, "z")) == [(True, 39 * 60)]
    await again.close()
    clock.seconds += 100_000
    await start_and_close(path, clock)
    assert b" B " not in path.read_bytes()


async def test_a_clock_that_was_set_back_between_two_starts_delays_nobody_for_longer_than_a_wait(
    path: Path,
) -> None:
    clock = later()
    store = open_store(path, clock)
    await store.start()
    await waits_of(store, paced_claims(clock, "a", "b"))
    await store.close()
    clock.seconds -= 500_000
    again = open_store(path, clock)
    await again.start()
    (outcome,) = await ask(again, *paced_claims(clock, "", nonce=False))
    # A day is the longest that a message may wait for this bucket, whatever this one may.
    assert outcome.status is ClaimStatus.LIMITED and outcome.wait_us <= 86_400_000_000 + 120_000_000
    await again.close()


async def test_a_line_of_a_bucket_that_no_store_wrote_costs_the_journal_its_word(path: Path) -> None:
    clock = later()
    lines = path.read_bytes().splitlines()[:-1]
    for text in (b"B zz 1 2 0", b"B 62 1 2", b"B 62 x 2 1"):
        crc = zlib.crc32(text, int(lines[-1][:8], 16))
        path.write_bytes(b"\n".join([*lines, b"%08x %b" % (crc, text), b""]))
        store = open_store(path, clock)
        await store.start()
        assert await statuses(store, *claims_at(clock, 1)) == [HORIZON]
        await store.close()
