"""Conversations as tests: each is played on every way at once, and compared with the broker's own words."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import pytest

from sealgate.wire.constants import REPLY_NAMES
from support.speaker import Speaker, Way, play
from support.transcript import Transcript, difference
from support.ways import DIRECT, GATED

Script = Callable[[Speaker], None]
#: Most of a conversation is waiting.
PLAYERS = 16
PLAYED_S_MAX = 100.0


@dataclass(frozen=True)
class Refused:
    """Sealgate closes the connection where the broker says something else, or the same in other words.

    Everything up to there is the broker's own. `why` is the reason for the difference.
    """

    code: int
    reason: str
    why: str

    def check(self, direct: Transcript, gated: Transcript) -> None:
        """Fails when anything else differs."""
        text = f"{REPLY_NAMES[self.code]} - sealgate: {self.reason}"
        said = f"Connection.Close(reply_code={self.code}, reply_text='{text}"
        assert any(line.startswith(said) for line in gated.streams["client 0"]), show(direct, gated)
        assert gated.endings["client"] != "not at all", show(direct, gated)
        for name, lines in gated.streams.items():
            common = [line for line in lines if not line.startswith(said)]
            assert direct.streams.get(name, [])[: len(common)] == common, show(direct, gated)


@dataclass(frozen=True)
class Instead:
    """Sealgate says something else, for a reason: `lines` must be among what the client hears."""

    lines: tuple[str, ...]
    why: str

    def check(self, direct: Transcript, gated: Transcript) -> None:
        heard = [line for lines in gated.streams.values() for line in lines]
        for wanted in self.lines:
            assert any(wanted in line for line in heard), f"no {wanted}\n{show(direct, gated)}"


Difference = Refused | Instead


def show(direct: Transcript, gated: Transcript) -> str:
    return difference(direct, gated) or "the transcripts are equal:\n" + "\n".join(gated.text())


def conversation(
    gates: Difference | None = None, **ways: Difference
) -> Callable[[Script], Callable[..., None]]:
    """Make a script a test on every way. Differences are named by way, or in `gates` for all that judge."""
    differs = {**(dict.fromkeys(GATED[1:], gates) if gates else {}), **ways}

    def register(script: Script) -> Callable[..., None]:
        def test(stage: Stage, way: str) -> None:
            stage.compare(script, way, differs.get(way))

        test.__name__ = script.__name__
        test.__doc__ = script.__doc__
        test.__dict__["script"] = script
        marked: Callable[..., None] = pytest.mark.parametrize("way", GATED)(test)
        return marked

    return register


def scripts_of(items: list[Any]) -> dict[Script, set[str]]:
    """The scripts of collected tests, in order, and the ways they are asked for."""
    found: dict[Script, set[str]] = {}
    for item in items:
        script = getattr(getattr(item, "function", None), "script", None)
        if script is not None:
            found.setdefault(script, set()).add(item.callspec.params["way"])
    return found


class Stage:
    """Plays what was collected, several conversations at a time."""

    def __init__(self, ways: dict[str, Way], scripts: dict[Script, set[str]]) -> None:
        self._pool = ThreadPoolExecutor(PLAYERS)
        self._played: dict[tuple[Script, str], Future[Transcript]] = {}
        for script, asked in scripts.items():
            for name in (DIRECT, *[name for name in GATED if name in asked]):
                self._played[script, name] = self._pool.submit(play, ways[name], script)

    def compare(self, script: Script, way: str, differs: Difference | None) -> None:
        """Fails with both transcripts when they differ without a reason, or do not although one was given."""
        direct = self._played[script, DIRECT].result(PLAYED_S_MAX)
        gated = self._played[script, way].result(PLAYED_S_MAX)
        assert not direct.remarks, "directly on the broker:\n" + "\n".join(direct.text())
        if differs is not None:
            differs.check(direct, gated)
            return
        found = difference(direct, gated)
        assert not found, f"\n{found}"

    def wait(self) -> None:
        """Until every conversation is over."""
        wait(self._played.values(), PLAYED_S_MAX)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
