from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import sealgate.cli
from sealgate.cli import COMMANDS, main
from sealgate.config.errors import ConfigError, Problem


def command(monkeypatch: pytest.MonkeyPatch, raises: BaseException | None, returns: object = None) -> None:
    """Put a command called `version` in place that ends in that way."""

    @click.command()
    def ending() -> object:
        if raises is not None:
            raise raises
        return returns

    monkeypatch.setattr(sealgate.cli, "ending", ending, raising=False)
    monkeypatch.setitem(COMMANDS, "version", ("sealgate.cli:ending", ""))


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["version", "--no-such-option"], ["check-config", "a", "b"], ["--wrong"]]
)
def test_wrong_usage_exits_64(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 64
    assert "Usage:" in result.stderr


@pytest.mark.parametrize(
    ("raises", "code", "text"),
    [
        (RuntimeError("odd"), 70, "sealgate: a bug in sealgate: RuntimeError: odd\n"),
        (PermissionError(13, "Permission denied", "/x"), 77, "sealgate: permission denied: /x\n"),
        (ConfigError([Problem("f", "a.b", "x"), Problem("g", "", "y")]), 78, "f: a.b: x\ng: y\n"),
        (ConfigError([Problem("f", "", "x", permission=True)]), 77, "f: x\n"),
        (click.ClickException("no"), 1, "Error: no\n"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(69), 69, ""),
        (BrokenPipeError(), 0, ""),
        (OSError(28, "No space left on device"), 1, "sealgate: can not write: No space left on device\n"),
        (OSError(5, "Input/output error"), 70, "sealgate: a bug in sealgate: OSError: [Errno 5]"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_a_command_raises_becomes_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, raises: BaseException, code: int, text: str
) -> None:
    command(monkeypatch, raises)
    result = CliRunner().invoke(main, ["version"])
    assert result.exit_code == code
    assert text in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("value", [0, 1, 69, None])
def test_what_a_command_returns_is_the_exit_code(monkeypatch: pytest.MonkeyPatch, value: int | None) -> None:
    command(monkeypatch, None, value)
    assert CliRunner().invoke(main, ["version"]).exit_code == (value or 0)


@pytest.mark.parametrize(("arguments", "environ"), [(["--debug"], {}), ([], {"SEALGATE_DEBUG": "1"})])
def test_debug_shows_where_a_bug_is(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], environ: dict[str, str]
) -> None:
    command(monkeypatch, RuntimeError("odd"))
    result = CliRunner().invoke(main, [*arguments, "version"], env=environ)
    assert result.exit_code == 70
    assert "Traceback" in result.stderr


def test_help_names_every_command_and_the_exit_codes() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for word in (*COMMANDS, "64", "69", "70", "77", "78", "Examples"):
        assert word in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Usage:")


def test_import_of_the_command_line_is_cheap() -> None:
    program = "import sys, sealgate.cli; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    ).stdout.split()
    heavy = {"pydantic", "aio_pika", "aiohttp", "redis", "asyncio", "cryptography", "prometheus_client"}
    assert not heavy & set(modules)
