from __future__ import annotations

import asyncio

import pytest

from sealgate.ops.health import LAG_S_MAX, TICK_S, Health, LoopLag, Report


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_without_checks_it_is_ready() -> None:
    assert Health(LoopLag()).ready().ok


def test_one_failing_check_makes_it_not_ready_and_is_named() -> None:
    health = Health(LoopLag())
    health.watch("upstream", lambda: "")
    health.watch("store", lambda: "no answer")
    report = health.ready()
    assert not report.ok
    assert report.text(verbose=False) == "failing: store\n"
    assert report.text(verbose=True) == "[+]upstream ok\n[-]store no answer\n[+]draining ok\nfailing: store\n"


def test_a_check_is_asked_each_time() -> None:
    health = Health(LoopLag())
    answers = iter(["away", ""])
    health.watch("upstream", lambda: next(answers))
    assert [health.ready().ok, health.ready().ok] == [False, True]


def test_draining_is_not_ready_but_alive() -> None:
    health = Health(LoopLag())
    health.draining = True
    assert not health.ready().ok
    assert health.live().ok


def test_a_check_that_raises_fails_alone_and_says_no_more_than_its_error() -> None:
    def broken() -> str:
        raise ValueError("amqp://user:secret@host")

    health = Health(LoopLag())
    health.watch("broken", broken)
    health.watch("good", lambda: "")
    assert dict(health.ready().checks) == {
        "broken": "the check failed: ValueError",
        "good": "",
        "draining": "",
    }


def test_a_report_that_is_well_says_ok() -> None:
    assert Report({"a": ""}).text(verbose=False) == "ok\n"


@pytest.mark.asyncio
async def test_a_loop_that_is_stuck_is_not_alive_and_one_that_turns_again_is() -> None:
    clock = Clock()
    lag = LoopLag(clock)
    health = Health(lag)
    assert health.live().ok
    lag.start()
    clock.now += TICK_S + LAG_S_MAX
    assert health.live().ok
    clock.now += 0.1
    assert dict(health.live().checks) == {"loop": "5.1 s behind"}
    await asyncio.sleep(TICK_S * 1.5)
    assert health.live().ok
    lag.stop()


@pytest.mark.asyncio
async def test_a_stopped_watch_is_not_behind() -> None:
    clock = Clock()
    lag = LoopLag(clock)
    lag.start()
    lag.stop()
    clock.now += 1000
    assert lag.seconds == 0
