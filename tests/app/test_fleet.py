"""A fleet of small programs in the place of workers: what becomes of it when they die."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sealgate.app import fleet, slot
from sealgate.app.fleet import BARREN_MAX, Fleet, FleetHealth
from sealgate.app.slot import State
from sealgate.ops.health import LoopLag
from support.home import events

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the standard input of a worker is a socket")

#: Is told in the first line, by its number, what to do; "drain" ends it with 0, "cut" with 1.
_WORKER = """
import json, os, socket, sys
link = socket.socket(fileno=0)
lines = link.makefile("r")
orders = json.loads(lines.readline())
mine = orders["plan"].get(sys.argv[-1], {})
marks = orders["folder"] + "/" + sys.argv[-1]
with open(marks, "a") as file:
    file.write("x")
starts = os.path.getsize(marks)
tally = {"messages": [[["publish", "accepted", "ok"], 10 * starts]], "client_connections": 1}
ready = {"checks": {"upstream": mine.get("trouble", "")}, "advisory": []}
report = {
    "tally": tally, "store": [0, 0], "tasks": 1, "upstreams": {}, "process": {},
    "observed": [], "parking": {"wanted": [], "empty": []},
    "keys": {"source": "", "keys": []},
    "live": {"checks": {}, "advisory": []}, "ready": ready, "listening": True,
}
if starts <= mine.get("silent", 0):
    lines.read()
if starts <= mine.get("barren", 0) or starts in mine.get("fails", []):
    sys.exit(mine["code"])
link.sendall(json.dumps(report).encode() + b"\\n")
for line in lines:
    order = json.loads(line)
    if order == "drain" and mine.get("deaf"):
        continue
    if order in ("drain", "cut"):
        sys.exit(order == "cut")
    if order == "reload":
        sys.exit(mine.get("code", 7))
    if starts > mine.get("mute", 0):
        link.sendall(json.dumps(report).encode() + b"\\n")
"""


class Played:
    """A fleet whose workers do as `plan` says, by number: to end `barren` times with `code` before they
    listen, to be in `trouble`, or to end with `code` when they are told to reload."""

    def __init__(self, folder: Path, plan: dict[str, dict[str, object]], workers: int = 2) -> None:
        self.folder = folder
        self.in_service: list[bool] = []
        script = folder / "worker.py"
        script.write_text(_WORKER)

        def orders(in_service: bool) -> bytes:
            self.in_service.append(in_service)
            return json.dumps({"plan": plan, "folder": str(folder)}).encode() + b"\n"

        self.fleet = Fleet(workers, [sys.executable, str(script)], orders, 5.0)
        self.health = FleetHealth(LoopLag(), self.fleet)
        self.running = asyncio.create_task(self.fleet.run())

    def starts(self, number: int) -> int:
        """How often a worker of this number was started."""
        marks = self.folder / str(number)
        return marks.stat().st_size if marks.exists() else 0

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                assert not self.running.done(), "it ended"
                await asyncio.sleep(0.01)

    def all_listen(self) -> bool:
        return all(slot.state is State.LISTENING for slot in self.fleet.slots)

    async def ended(self) -> int:
        async with asyncio.timeout(30):
            return await self.running

    async def drained(self) -> int:
        self.fleet.drain()
        return await self.ended()


@pytest.mark.asyncio
async def test_all_start_and_a_drain_ends_all(tmp_path: Path) -> None:
    played = Played(tmp_path, {}, workers=3)
    await played.until(played.all_listen)
    assert played.health.ready().ok
    assert await played.drained() == 0
    assert [played.starts(number) for number in (1, 2, 3)] == [1, 1, 1]


@pytest.mark.asyncio
async def test_cut_ends_with_1(tmp_path: Path) -> None:
    played = Played(tmp_path, {})
    await played.until(played.all_listen)
    played.fleet.cut()
    assert await played.ended() == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [69, 77, 78])
@pytest.mark.parametrize("number", ["1", "2"])
async def test_first_start_that_can_not_succeed_ends_with_the_worker_s_code(
    number: str, code: int, tmp_path: Path
) -> None:
    """Whichever it is: the others would end the same way a little later."""
    trouble = {name: {"trouble": "unreachable"} for name in ("1", "2")}
    played = Played(tmp_path, {**trouble, number: {"barren": 99, "code": code}})
    assert await played.ended() == code
    assert played.starts(int(number)) == 1
    if number == "1":
        assert played.starts(2) == 0, "the first one starts alone"


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [1, 70, 3])
async def test_workers_that_never_listen_are_given_up_with_70(
    code: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    played = Played(tmp_path, {"1": {"barren": 99, "code": code}})
    assert await played.ended() == 70
    assert played.starts(1) == BARREN_MAX
    assert "gate.given_up" in events(caplog.records)


@pytest.mark.asyncio
async def test_few_deaths_before_it_listens_are_borne(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    played = Played(tmp_path, {"1": {"barren": 3, "code": 70}})
    await played.until(played.all_listen)
    assert (played.starts(1), played.fleet.restarts[1]) == (4, 3)
    assert "worker.failing" in events(caplog.records)
    assert await played.drained() == 0


@pytest.mark.asyncio
async def test_worker_that_can_not_start_later_stops_nobody_else(tmp_path: Path) -> None:
    """Also with a code that would end a first start: the gateway is in service."""
    played = Played(tmp_path, {"2": {"code": 78}})
    await played.until(played.all_listen)
    pid = played.fleet.slots[0].pid
    for times in range(4):
        await played.until(lambda: played.fleet.slots[1].state is State.LISTENING)
        await played.fleet.refresh()
        assert played.fleet.sum.tally.messages["publish", "accepted", "ok"] == 10 + 10 * sum(range(times + 2))
        played.fleet.slots[1].order("reload")
        await played.until(lambda times=times: played.fleet.slots[1].state is not State.LISTENING)  # type: ignore[misc]
    assert "exit code 78" in played.health.ready().checks["worker 2"]
    assert played.health.ready().failing == ["worker 2"]
    assert played.health.live().ok
    assert played.fleet.slots[0].pid == pid
    assert played.in_service[0] is False and played.in_service[-1] is True
    assert await played.drained() == 0


@pytest.mark.asyncio
async def test_drain_does_not_wait_for_a_pause(tmp_path: Path) -> None:
    played = Played(tmp_path, {"2": {"barren": 99, "code": 70}})
    await played.until(lambda: played.starts(2) >= 4 and played.fleet.slots[1].state is State.WAITING)
    assert await played.drained() == 0


@pytest.mark.asyncio
async def test_not_ready_says_which_worker_and_why(tmp_path: Path) -> None:
    played = Played(tmp_path, {"2": {"trouble": "unreachable"}})
    await played.until(played.all_listen)
    ready = played.health.ready()
    assert (ready.failing, ready.checks["worker 2"]) == (["worker 2"], "upstream unreachable")
    assert await played.drained() == 0


@pytest.mark.asyncio
async def test_worker_that_does_not_drain_in_time_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "OVERTIME_S", -4.9)
    played = Played(tmp_path, {"2": {"deaf": True}})
    await played.until(played.all_listen)
    assert await played.drained() == 1


@pytest.mark.asyncio
async def test_worker_that_does_not_answer_any_more_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(slot, "UNANSWERED_MAX", 6)
    played = Played(tmp_path, {"2": {"mute": 1}})
    await played.until(lambda: played.fleet.restarts[2] == 1 and played.all_listen())
    assert "worker.stuck" in events(caplog.records)
    await played.fleet.refresh()
    assert played.fleet.restarts == {1: 0, 2: 1}
    assert await played.drained() == 0


@pytest.mark.asyncio
async def test_worker_that_does_not_come_to_listen_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(slot, "STARTING_S_MAX", 2.0)
    played = Played(tmp_path, {"2": {"silent": 1}})
    await played.until(played.all_listen)
    assert "worker.not_listening" in events(caplog.records)
    assert played.fleet.restarts[2] >= 1
    assert await played.drained() == 0


@pytest.mark.asyncio
async def test_deaths_of_many_at_once_are_no_reason_to_give_up(tmp_path: Path) -> None:
    """Each fails to come back once, or twice: more deaths in a row than one worker alone is allowed."""
    workers = BARREN_MAX
    plan: dict[str, dict[str, object]] = {str(n + 1): {"code": 70, "fails": [2, 3]} for n in range(workers)}
    played = Played(tmp_path, plan, workers)
    await played.until(played.all_listen)
    for one in played.fleet.slots:
        one.kill()
    await played.until(lambda: all(played.starts(n + 1) >= 4 for n in range(workers)) and played.all_listen())
    assert await played.drained() == 0


@pytest.mark.asyncio
async def test_workers_that_can_not_come_back_are_given_up(tmp_path: Path) -> None:
    plan: dict[str, dict[str, object]] = {
        name: {"code": 69, "fails": list(range(2, 99))} for name in ("1", "2")
    }
    played = Played(tmp_path, plan)
    await played.until(lambda: played.all_listen() and played.health.ready().ok)
    for one in played.fleet.slots:
        one.kill()
    assert await played.ended() == 69
    assert played.starts(1) + played.starts(2) >= 2 * BARREN_MAX
