from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from sealgate.app.plan import OPTION, own_command, plan_of, taken_over
from sealgate.cli import main
from support.home import Home


def test_plan_is_taken_over_as_it_was_left(tmp_path: Path) -> None:
    settings = Home(tmp_path).settings(
        listen={"workers": 3, "address": "[::1]:5672"}, drain={"timeout": "7s"}
    )
    plan = plan_of(settings, {"deployment": "prod"})
    assert (plan.workers, plan.host, plan.port, plan.drain_s) == (3, "::1", 5672, 7.0)
    assert (plan.admin, plan.about["workers"]) == ("127.0.0.1:0", "3")
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        json.dump(asdict(plan), file)
    assert taken_over(reading) == plan


def test_plan_without_admin_address(tmp_path: Path) -> None:
    settings = Home(tmp_path).settings(listen={"workers": 3}, admin={"enabled": False})
    assert plan_of(settings, {}).admin == ""


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["run", "-c", "f"], ["run", "-c", "f"]),
        (["run", "-c", "f", OPTION, "3"], ["run", "-c", "f"]),
        (["run"], ["run"]),
    ],
)
def test_own_command_is_what_the_operator_gave(
    arguments: list[str], command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "dev", "-m", "sealgate", *arguments])
    assert own_command() == [sys.executable, "-X", "dev", "-m", "sealgate", *command]


@pytest.mark.parametrize("left", ["", "{}", "[1]", '{"values": {}}', "\x00"])
def test_descriptor_without_a_plan_is_a_wrong_usage(left: str) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        file.write(left)
    result = CliRunner().invoke(main, ["run", OPTION, str(reading)])
    assert result.exit_code == 64
    assert "--supervise is for sealgate itself to use" in result.stderr
