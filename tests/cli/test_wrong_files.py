"""Wrong configurations: each is answered at once with all its errors, naming file and key, and exit 78."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from sealgate.cli import main
from support.config_files import GOOD, SECRET, environment, write
from support.wrong_files import FILES, SECRETS, Wrong


def laid_out(wrong: Wrong, directory: Path) -> tuple[list[str], dict[str, str], list[str]]:
    """Arguments, environment and expected errors, with the files in place."""
    keys = write(directory / "keys.toml", wrong.keys)
    users = write(directory / "users.toml", wrong.users)
    text = (wrong.text if wrong.whole else GOOD + wrong.text).replace("file:USERS", f"file:{users}")
    file = directory / "sealgate.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    environ = {"TEST_K1": SECRET, **wrong.environ}
    if "source" not in text:
        environ["SEALGATE__KEYS__SOURCE"] = f"file:{keys}"
    places = {"FILE": str(file), "KEYS: ": f"{keys}: ", "USERS: ": f"{users}: "}
    errors = list(wrong.errors)
    for place, path in places.items():
        errors = [error.replace(place, path) for error in errors]
    return ["check-config", str(file), *wrong.arguments], environ, errors


def check_answer(status: int, output: str, errors: list[str]) -> None:
    assert status == 78, output
    told = [line for line in output.splitlines() if not line.startswith("warning: ")]
    for error in errors:
        assert [line for line in told if line.startswith(error)], (error, told)
    assert len(told) == len(errors), told
    assert not [secret for secret in SECRETS if secret in output]


@pytest.mark.parametrize("wrong", FILES, ids=str)
def test_wrong_file_is_told_everything(wrong: Wrong, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, environ, errors = laid_out(wrong, tmp_path)
    for name in [name for name in os.environ if name.startswith("SEALGATE")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, arguments, env=environ)
    assert result.stdout == ""
    check_answer(result.exit_code, result.stderr, errors)


@pytest.mark.parametrize("wrong", [FILES[0], FILES[3], FILES[-1]], ids=str)
@pytest.mark.parametrize("command", ["check-config", "run"])
def test_process_ends_with_78_before_it_listens(wrong: Wrong, command: str, tmp_path: Path) -> None:
    arguments, environ, errors = laid_out(wrong, tmp_path)
    arguments = [command, "--config", *arguments[1:]]
    process = subprocess.run(
        [sys.executable, "-m", "sealgate", *arguments],
        env=environment(**environ),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert process.stdout == ""
    check_answer(process.returncode, process.stderr, errors)


def test_there_are_at_least_25_wrong_files() -> None:
    assert len(FILES) >= 25
    assert len({wrong.name for wrong in FILES}) == len(FILES)
