"""A source that fails: the last good value stays, since when is told, and it is tried again."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from sealgate.app import refreshing
from sealgate.app.refreshing import RETRY_S_MAX, UNENDED_MAX, Refresher
from sealgate.config.errors import ConfigError, Problem
from sealgate.config.reload import Reading, Watched
from sealgate.config.settings import Settings
from sealgate.config.sources import Sources
from sealgate.session.records import Tally
from support.config_files import write
from support.home import events


class Given(Watched[str]):
    """Gives what it is told to, or raises it."""

    def __init__(self, file: Path) -> None:
        super().__init__(Settings(), {})
        self.file = file
        self.gate: threading.Event | None = None
        self.broken: BaseException | None = None
        self.readings = 0
        self.remote = False
        self.renew_in_s = float("inf")

    def read(self) -> Reading[str]:
        return replace(super().read(), remote=self.remote, renew_in_s=self.renew_in_s)

    def _value(self, sources: Sources) -> str:
        self.readings += 1
        if self.gate is not None:
            self.gate.wait(30)
        if self.broken is not None:
            raise self.broken
        try:
            return sources.resolve(f"file:{self.file}")
        except ValueError as error:
            raise ConfigError([Problem("", "keys.source", str(error))]) from None


class Fixture:
    def __init__(self, folder: Path) -> None:
        self.file = write(folder / "secret", "one")
        self.source = Given(self.file)
        self.source.load()
        self.tally = Tally()
        self.now = 0.0
        self.used: list[str] = []
        self.refresher = Refresher("keys", self.source, self.tally, 60.0, lambda: self.now, lambda: 0.0)

    def replace(self, text: str) -> None:
        write(self.file.with_name("new"), text).replace(self.file)

    async def poll(self) -> None:
        await self.refresher.poll(self.used.append)


@pytest.fixture
def given(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path)


def test_new_value_is_used_once(given: Fixture) -> None:
    async def look() -> None:
        await given.poll()
        given.replace("two")
        for _ in range(3):
            await given.poll()

    asyncio.run(look())
    assert given.used == ["two"]
    assert dict(given.tally.config_reloads) == {"ok": 1}


def test_failure_is_told_with_since_when_until_it_is_mended(
    given: Fixture, caplog: pytest.LogCaptureFixture
) -> None:
    refresher = given.refresher
    good_at = refresher.good_at

    async def look() -> None:
        given.file.unlink()
        await given.poll()
        since = refresher.failing_since
        assert since >= good_at
        assert refresher.told.startswith("failing since 2")
        assert "keys.source: file:" in refresher.told
        found_good = refresher.good_at
        given.now = RETRY_S_MAX
        await given.poll()
        assert (refresher.failing_since, refresher.good_at) == (since, found_good)
        given.replace("two")
        await given.poll()

    asyncio.run(look())
    assert (refresher.told, refresher.failing_since, given.used) == ("", 0.0, ["two"])
    assert dict(given.tally.config_reloads) == {"failed": 2, "ok": 1}
    # The same trouble twice is one line of the log.
    assert events([record for record in caplog.records if record.levelname == "ERROR"]) == ["keys.failed"]


def test_age_counts_from_when_the_source_was_last_found_good(
    given: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = 1000.0
    monkeypatch.setattr(refreshing.time, "time", lambda: wall)
    refresher = given.refresher

    async def at(moment: float, **source: object) -> float:
        nonlocal wall
        wall = moment
        for name, value in source.items():
            setattr(given.source, name, value)
        await (refresher.reload(given.used.append) if source else given.poll())
        return refresher.good_at

    async def look() -> None:
        assert await at(1010.0) == 1010.0  # a file that has not changed is good
        assert await at(1020.0, broken=ConfigError([Problem("", "", "away")])) == 1010.0
        assert await at(1021.0) == 1010.0  # not yet tried again
        assert refresher.failing_since == 1020.0
        assert await at(1030.0, broken=None, remote=True) == 1030.0
        assert await at(1040.0) == 1030.0  # a store that was not asked again may be anything
        given.now = 70.0
        assert await at(1050.0) == 1050.0

    asyncio.run(look())


def test_store_is_asked_again_after_its_time_or_when_its_login_wants_it(given: Fixture) -> None:
    async def asked(until: float) -> list[float]:
        moments = []
        while given.now < until:
            before = given.source.readings
            await given.poll()
            if given.source.readings > before:
                moments.append(given.now)
            given.now += 1.0
        return moments

    async def look() -> None:
        given.source.remote = True
        await given.refresher.reload(given.used.append)
        assert await asked(200.0) == [54.0, 108.0, 162.0]  # 60 s less a tenth: the dice shows 0
        given.source.renew_in_s = 5.0
        await given.refresher.reload(given.used.append)
        assert await asked(212.0) == [205.0, 210.0]
        given.source.renew_in_s = 0.0
        await given.refresher.reload(given.used.append)
        assert await asked(215.0) == [213.0, 214.0]  # once a second at most

    asyncio.run(look())


def test_several_problems_are_told_on_one_line(given: Fixture) -> None:
    """/readyz has a line for each check."""
    texts = ("key[0].kid: is missing", "key[0].kidd: is not known")
    given.source.broken = ConfigError([Problem("keys.toml", "", text) for text in texts])
    asyncio.run(given.refresher.reload(given.used.append))
    assert given.refresher.told.endswith(
        ": keys.toml: key[0].kid: is missing; keys.toml: key[0].kidd: is not known"
    )


def test_same_value_that_is_good_again_is_told(given: Fixture) -> None:
    """A disk that comes back changes no file."""

    async def look() -> None:
        given.source.broken = ConfigError([Problem("", "keys.source", "the disk is gone")])
        await given.refresher.reload(given.used.append)
        given.source.broken = None
        await given.poll()
        assert given.refresher.told != ""
        given.now = 1.0
        await given.poll()

    asyncio.run(look())
    assert (given.refresher.told, given.used) == ("", ["one"])


def test_failing_source_is_tried_ever_less_often(given: Fixture) -> None:
    given.source.broken = ConfigError([Problem("", "keys.source", "away")])
    tries = []

    async def look() -> None:
        await given.refresher.reload(given.used.append)
        for second in range(400):
            before = given.source.readings
            given.now = float(second)
            await given.poll()
            if given.source.readings > before:
                tries.append(second)

    asyncio.run(look())
    assert tries == [1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363]


def test_readers_do_not_come_back_at_the_same_moment(given: Fixture) -> None:
    given.source.broken = ConfigError([Problem("", "keys.source", "away")])
    early = Refresher("keys", given.source, Tally(), 60.0, lambda: 0.5, lambda: 1.0)

    async def look() -> None:
        await early.reload(given.used.append)
        before = given.source.readings
        await early.poll(given.used.append)  # at 0.5 s: half of the pause of one second
        assert given.source.readings == before
        early._next_at -= 0.5
        await early.poll(given.used.append)
        assert given.source.readings == before + 1

    asyncio.run(look())


def test_bug_in_a_reading_is_a_failure_and_not_the_end(
    given: Fixture, caplog: pytest.LogCaptureFixture
) -> None:
    async def look() -> None:
        given.source.broken = KeyError("secret")
        await given.refresher.reload(given.used.append)
        assert "KeyError while reading" in given.refresher.told
        given.source.broken = None
        await given.refresher.reload(given.used.append)

    asyncio.run(look())
    assert (given.refresher.told, given.used) == ("", ["one"])


def test_loop_turns_while_a_source_does_not_answer(given: Fixture) -> None:
    async def look() -> None:
        given.source.gate = threading.Event()
        reading = asyncio.create_task(given.refresher.reload(given.used.append))
        turns = 0
        while not given.source.readings > 1:
            await asyncio.sleep(0)
            turns += 1
        await given.poll()  # one at a time: this one does not wait
        assert given.source.readings == 2
        given.source.gate.set()
        await reading

    asyncio.run(look())
    assert given.used == ["one"]


def test_reading_without_end_is_given_up_and_few_of_them_are_begun(
    given: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refreshing, "READING_S_MAX", 0.01)
    given.source.gate = threading.Event()

    async def look() -> None:
        for _ in range(UNENDED_MAX + 3):
            await given.refresher.reload(given.used.append)
        assert "no answer within" in given.refresher.told
        assert given.source.readings == 1 + UNENDED_MAX
        assert given.source.gate is not None
        given.source.gate.set()
        while given.refresher.told:
            await asyncio.sleep(0.01)
            await given.refresher.reload(given.used.append)

    asyncio.run(look())
    assert given.used == ["one"]
