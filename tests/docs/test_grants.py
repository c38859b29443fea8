"""The keys in docs/grants.md: they load, nothing is doubtful about them, and each may do what it is for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from sealgate.cli import main
from sealgate.reason import GateError
from sealgate.signing.keyfile import load_keyring
from sealgate.signing.keyring import Key
from sealgate.signing.material import generate_hmac
from sealgate.verify.authority import TaskGrant, check_class, check_command
from sealgate.verify.classes import MessageClass
from support.documented import documented_keys

KIDS = ("web", "beat", "worker", "monitor")


@pytest.fixture
def keys() -> dict[str, Key]:
    keyring, warnings = load_keyring(documented_keys(), lambda name: generate_hmac(os.urandom(32)))
    assert warnings == []
    return {key.kid: key for key in keyring}


def test_keys_check_finds_nothing_to_say(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.touch(mode=0o600)
    file.write_text(documented_keys())
    secrets = {f"SEALGATE_{kid.upper()}": generate_hmac(os.urandom(32)) for kid in KIDS}
    checked = CliRunner().invoke(main, ["keys", "check", str(file)], env=secrets)
    assert (checked.exit_code, checked.stdout) == (0, f"{file}: 4 keys, ok\n")
    assert checked.stderr == ""


@pytest.mark.parametrize(
    ("kid", "message_class", "may"),
    [
        ("web", MessageClass.TASK, True),
        ("web", MessageClass.RESULT, False),
        ("web", MessageClass.EVENT, False),
        ("web", MessageClass.CONTROL, False),
        ("beat", MessageClass.TASK, True),
        ("beat", MessageClass.CONTROL, False),
        ("worker", MessageClass.TASK, True),
        ("worker", MessageClass.RESULT, True),
        ("worker", MessageClass.EVENT, True),
        ("monitor", MessageClass.TASK, False),
        ("monitor", MessageClass.EVENT, False),
        ("monitor", MessageClass.CONTROL, True),
    ],
)
def test_each_sends_its_classes(
    kid: str, message_class: MessageClass, may: bool, keys: dict[str, Key]
) -> None:
    assert permitted(lambda: check_class(keys[kid], message_class)) is may


@pytest.mark.parametrize(
    ("kid", "command", "may"),
    [
        ("worker", "reply", True),
        ("worker", "hello", True),
        ("worker", "shutdown", False),
        ("monitor", "ping", True),
        ("monitor", "shutdown", False),
        ("monitor", "revoke", False),
    ],
)
def test_each_sends_its_commands(kid: str, command: str, may: bool, keys: dict[str, Key]) -> None:
    assert permitted(lambda: check_command(keys[kid], command)) is may


def test_web_processes_send_the_tasks_of_the_shop_alone(keys: dict[str, Key]) -> None:
    assert permitted(lambda: TaskGrant(keys["web"]).check("shop.order"))
    assert not permitted(lambda: TaskGrant(keys["web"]).check("celery.map"))


def permitted(check: object) -> bool:
    assert callable(check)
    try:
        check()
    except GateError:
        return False
    return True
