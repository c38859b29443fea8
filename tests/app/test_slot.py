"""A slot with a process of the test's own in the place of a worker."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sealgate.app.reports import CUT
from sealgate.app.slot import ASK_S, SHORT_REPORT_BYTES, Slot, State

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the standard input of a worker is a socket")

#: Reports, in answer to the first line and to each "report"; a cut ends it with 3.
_WORKER = """
import json, socket, sys
link = socket.socket(fileno=0)
lines = link.makefile("r")
report = {{
    "tally": {{"messages": [[["publish", "accepted", "x" * {size}], 1]]}}, "store": [0, 0], "tasks": 1,
    "upstreams": {{}}, "process": {{}}, "observed": [],
    "parking": {{"wanted": [], "empty": []}}, "keys": {{"source": "", "keys": []}},
    "live": {{"checks": {{}}, "advisory": []}},
    "ready": {{"checks": {{}}, "advisory": []}}, "listening": True,
}}
orders = json.loads(lines.readline())
link.sendall(json.dumps(report).encode() + b"\\n")
for line in lines:
    if json.loads(line) == "cut":
        sys.exit(3)
    link.sendall({answer})
"""
_REPORT = 'json.dumps(report).encode() + b"\\n"'


def slot_of(
    tmp_path: Path, answer: str = _REPORT, size: int = 1, clock: Callable[[], float] = time.monotonic
) -> Slot:
    script = tmp_path / "worker.py"
    script.write_text(_WORKER.format(answer=answer, size=size))
    return Slot(1, [sys.executable, str(script)], lambda _: None, clock)


async def listening(slot: Slot) -> None:
    async with asyncio.timeout(20):
        while slot.state is not State.LISTENING:
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_worker_is_heard_asked_and_told_to_end(tmp_path: Path) -> None:
    slot = slot_of(tmp_path)
    living = asyncio.create_task(slot.live(b'"orders"\n'))
    await listening(slot)
    assert slot.pid
    first = slot.report
    answer = slot.ask()
    assert answer is not None and slot.ask() is answer, "one question at a time"
    async with asyncio.timeout(20):
        await answer
    assert slot.report is not first
    slot.end(CUT)
    end = await living
    assert (end.code, end.listened, end.how, slot.pid) == (3, True, "exit code 3", 0)
    last = slot.report
    assert last is not None
    assert (slot.bury(), slot.bury()) == (last, None)


@pytest.mark.asyncio
async def test_order_to_end_reaches_who_is_just_being_started(tmp_path: Path) -> None:
    slot = slot_of(tmp_path)
    slot.end(CUT)
    assert (await slot.live(b'"orders"\n')).code == 3


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", ['b"[]\\n"', 'b"nonsense\\n"', 'b"\\xff\\n"', 'b"{}\\n"'])
async def test_worker_that_makes_no_sense_is_killed(answer: str, tmp_path: Path) -> None:
    slot = slot_of(tmp_path, answer)
    living = asyncio.create_task(slot.live(b'"orders"\n'))
    await listening(slot)
    slot.ask()
    async with asyncio.timeout(20):
        end = await living
    assert end.how == "killed by SIGKILL"


@pytest.mark.asyncio
async def test_question_to_who_dies_is_over(tmp_path: Path) -> None:
    slot = slot_of(tmp_path, answer='b""')
    living = asyncio.create_task(slot.live(b'"orders"\n'))
    await listening(slot)
    answer = slot.ask()
    assert answer is not None
    slot.kill()
    async with asyncio.timeout(20):
        await answer
        assert (await living).how == "killed by SIGKILL"


@pytest.mark.asyncio
async def test_program_that_is_not_there_is_an_end(tmp_path: Path) -> None:
    slot = Slot(1, [str(tmp_path / "nothing")], lambda _: None)
    end = await slot.live(b"\n")
    assert (end.code, end.listened) == (70, False)


@pytest.mark.asyncio
@pytest.mark.parametrize(("size", "asked"), [(1, True), (3 * SHORT_REPORT_BYTES, False)])
async def test_who_has_much_to_say_is_asked_less_often(size: int, asked: bool, tmp_path: Path) -> None:
    now = 1000.0
    slot = slot_of(tmp_path, size=size, clock=lambda: now)
    living = asyncio.create_task(slot.live(b'"orders"\n'))
    await listening(slot)
    answer = slot.ask()
    assert answer is not None
    async with asyncio.timeout(20):
        await answer
    first = slot.report
    now += ASK_S
    slot.ask_now_and_then()
    slot.end(CUT)
    await living
    assert (slot.report is not first) == asked
