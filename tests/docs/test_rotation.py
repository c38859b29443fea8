"""Every `keys rotate` command that documents and help tell to type is one that can be typed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sealgate.cli.keys import keys
from sealgate.cli.keys.rotate import rotate

ROOT = Path(__file__).parents[2]
_COMMAND = re.compile(r"sealgate keys rotate ([^\n`)|]+)")


def _texts() -> dict[str, str]:
    texts = {"keys.md": (ROOT / "docs" / "keys.md").read_text()}
    for name, command in {"rotate": rotate, **rotate.commands}.items():
        texts[name] = (command.epilog or "").replace("\\\n", " ")
    return texts


TYPED = [(name, line) for name, text in _texts().items() for line in _COMMAND.findall(text)]


def test_there_are_commands_to_look_at() -> None:
    found = {line.split()[0] for _, line in TYPED}
    assert found >= {"begin", "promote", "retire", "revoke", "status"}
    assert {name for name, _ in TYPED} >= {"keys.md", "rotate", *rotate.commands}


@pytest.mark.parametrize(("name", "line"), TYPED)
def test_command_is_understood(name: str, line: str) -> None:
    words = shlex.split(line.partition(" || ")[0])
    command = rotate.commands[words[0]]
    try:
        with command.make_context(words[0], words[1:]):
            pass
    except click.UsageError as error:
        pytest.fail(f"{name}: {line}: {error.message}")


def test_what_only_rotations_need_is_imported_by_them_alone() -> None:
    code = "import sys, sealgate.cli.keys; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "click" in found
    assert not {"tomlkit", "boto3", "hvac", "asyncio"} & set(found)


def test_help_of_the_group_names_every_step() -> None:
    assert set(rotate.commands) == {"begin", "promote", "retire", "revoke", "status"}
    assert keys.commands["rotate"] is rotate
