"""docs/doctor.md: its commands run, its table is the list of rules, its options exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sealgate.cli.doctor.catalogue import RULES
from support.doctor_apps import doctor, write_app
from support.doctor_configs import Place

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/doctor.md").read_text()
COMMANDS = re.findall(r"^(?:\$|   ) sealgate doctor ?(.*)$", TEXT, re.MULTILINE)


def test_the_table_is_the_list_of_rules() -> None:
    rows = re.findall(r"^\| `([a-z]+\.[a-z0-9-]+)` \| (\w+) \| (.*) \|$", TEXT, re.MULTILINE)
    assert rows == [(rule.id, rule.severity.word, rule.title) for rule in RULES]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an application and configurations that lack nothing, so that only what it ignores is idle."""
    Place(tmp_path)
    write_app(tmp_path)
    (tmp_path / "proj.py").write_text("from shop import app\n")
    (tmp_path / "celeryconfig.py").write_text((tmp_path / "shop_config.py").read_text())
    monkeypatch.chdir(tmp_path)
    result = doctor(*shlex.split(command))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "doctor.sarif").exists() == ("--output" in command)


def test_the_commands_were_found() -> None:
    assert len(COMMANDS) == 7


def test_every_option_it_names_exists() -> None:
    told = doctor("--help").stdout + doctor("celery", "--help").stdout
    named = set(re.findall(r"`(--[a-z-]+)", TEXT))
    assert len(named) > 10
    assert {name for name in named if name not in told} == set()
