from __future__ import annotations

import tomllib

import pytest

from sealgate.config.loading import load
from sealgate.config.printing import print_settings, redacted


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://h:5672/v", "amqp://h:5672/v"),
        ("amqp://user@h", "amqp://user@h"),
        ("amqp://user:secret@h/v", "amqp://user:***@h/v"),
        ("redis://:secret@h:6379/0", "redis://:***@h:6379/0"),
        ("amqp://user:se:cr@et@h", "amqp://user:***@h"),
        ("redis://h/0?password=secret", "redis://h/0?***"),
        ("memory", "memory"),
    ],
)
def test_redacted_url_keeps_all_but_the_password(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize(
    ("password", "shown"), [("hunter2", "***"), ("env:B", "env:B"), ("file:/b", "file:/b")]
)
def test_password_of_the_broker_is_not_printed_and_its_reference_is(password: str, shown: str) -> None:
    loaded = load(None, {"credentials.password": ("--set", password)}, environ={"B": "hunter2"})
    printed = "\n".join(print_settings(loaded))
    assert tomllib.loads(printed)["credentials"]["password"] == shown
    assert "hunter2" not in printed
    assert "hunter2" not in repr(loaded.settings)


@pytest.mark.parametrize("name", ["token", "role_id", "secret_id"])
def test_login_of_a_secret_store_is_not_printed(name: str) -> None:
    loaded = load(None, {f"vault.{name}": ("--set", "hunter2")}, environ={})
    printed = "\n".join(print_settings(loaded))
    assert tomllib.loads(printed)["vault"][name] == "***"
    assert "hunter2" not in printed
    assert "hunter2" not in repr(loaded.settings)


def test_text_with_quotes_and_controls_reads_back() -> None:
    name = 'a"b\\c\x7f\u00e9\n'
    loaded = load(None, {"deployment": ("--deployment", name)}, environ={})
    assert tomllib.loads("\n".join(print_settings(loaded)))["deployment"] == name
