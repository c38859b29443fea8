"""The demo against a gateway that lets everything pass: it must notice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sealgate.app import Gate
from sealgate.cli import stack
from sealgate.cli.demo.report import Report
from sealgate.cli.demo.scenario import Demo, Plan

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]


def test_demo_in_front_of_a_gateway_that_only_observes_is_not_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = stack.gateway

    def observing(*arguments: Any, **sections: Any) -> Gate:
        return original(*arguments, mode={"default": "observe"}, **sections)

    monkeypatch.setattr(stack, "gateway", observing)
    phases: list[str] = []

    def changed(report: Report) -> None:
        if report.phase not in phases:
            phases.append(report.phase)

    report = asyncio.run(Demo(Plan(None, tasks=40, seconds=3, finish_s_max=2), tmp_path, changed).run())
    assert not report.ok
    reached = {result.attack.kind: result.reached for result in report.attacks}
    for kind in ("unsigned", "unsigned command", "swapped task", "replayed", "too old", "other exchange"):
        assert reached[kind] > 0, reached
    assert report.legitimate.uncalled > 0 or not report.worker_alive
    assert phases == ["attacking", "finishing", "done"]
