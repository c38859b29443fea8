from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sealgate.accounts.passwords import COST_DEFAULT, Cost, hash_password, is_password, parse_hash
from sealgate.cli import main
from support.config_files import environment, write

HASH = hash_password(b"wonder", bytes(16), Cost(14, 8, 1))
ALICE = f'[[user]]\nname = "alice"\npassword = "{HASH}"\n'
BOB = '[[user]]\nname = "bob"\ncertificate = "bob.example"\nstate = "disabled"\nvhosts = ["/", "team-*"]\n'
OWN = 'broker_user = "own"\nbroker_password = "env:OWN"\n'


NO_HASH = (
    "user[0].password: is no password hash: want $scrypt$ln=..,r=..,p=..$salt$hash as `users hash` prints it"
)


def run(*arguments: str, stdin: str | bytes | None = None, **environ: str) -> Result:
    result = CliRunner().invoke(main, ["users", *arguments], input=stdin, env=environ)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture
def userfile(tmp_path: Path) -> Path:
    return write(tmp_path / "users.toml", ALICE + BOB)


@pytest.mark.parametrize(
    "line", [b"correct horse battery\n", b"correct horse battery\r\n", "ünïcode".encode()]
)
def test_hash_of_the_first_line_of_stdin_is_printed_alone(line: bytes) -> None:
    result = run("hash", stdin=line + b"second line" if line.endswith(b"\n") else line)
    assert result.exit_code == 0
    known = parse_hash(result.stdout.strip())
    assert known.cost == COST_DEFAULT
    assert is_password(line.strip(), known)
    assert result.stdout.count("\n") == 1


def test_two_hashes_of_one_password_differ() -> None:
    assert run("hash", stdin="same password here").stdout != run("hash", stdin="same password here").stdout


def test_short_password_is_warned_about_and_not_repeated() -> None:
    result = run("hash", stdin="hunter2\n")
    assert result.exit_code == 0
    assert "warning: under 16 characters" in result.stderr
    assert "hunter2" not in result.output


@pytest.mark.parametrize("stdin", ["", "\n", "x" * 1025, "a\x00b\n"])
def test_what_is_no_password_is_a_usage_error(stdin: str) -> None:
    result = run("hash", stdin=stdin)
    assert result.exit_code == 64
    assert result.stdout == ""


def test_password_is_not_taken_from_the_command_line() -> None:
    result = run("hash", "hunter2")
    assert result.exit_code == 64
    assert result.stdout == ""


def test_terminal_asks_twice_and_shows_nothing() -> None:
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "sealgate", "users", "hash"],
            stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=environment(),
        )  # fmt: skip
        shown = b""
        for prompt in (b"Password: ", b"Repeat for confirmation: "):
            while prompt not in shown:
                shown += os.read(ours, 1000)
            os.write(ours, b"correct horse battery\n")
        printed, _ = process.communicate(timeout=30)
    finally:
        os.close(theirs)
        os.close(ours)
    assert process.returncode == 0
    assert b"horse" not in shown
    assert is_password(b"correct horse battery", parse_hash(printed.decode().strip()))


def test_list_shows_what_each_may_and_no_hash(userfile: Path) -> None:
    with userfile.open("a") as file:
        file.write(ALICE.replace("alice", "carol") + OWN)
    result = run("list", str(userfile))
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines == [
        ["NAME", "STATE", "PASSWORD", "CERTIFICATE", "BROKER", "USER", "VHOSTS"],
        ["alice", "active", "ln=14,r=8,p=1", "-", "-", "any"],
        ["bob", "disabled", "-", "bob.example", "-", "'/',", "'team-*'"],
        ["carol", "active", "ln=14,r=8,p=1", "-", "own", "any"],
    ]
    assert HASH.rpartition("$")[2] not in result.output


def test_check_says_ok(userfile: Path) -> None:
    result = run("check", str(userfile))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{userfile}: 2 users, ok\n"


def test_check_tells_every_error_with_its_place(userfile: Path) -> None:
    write(userfile, ALICE.replace(HASH, "hunter2") + BOB.replace("state", "stat") + OWN)
    result = run("check", str(userfile))
    assert result.exit_code == 78
    assert result.stderr.splitlines() == [
        f"{userfile}: {NO_HASH}",
        f"{userfile}: user[1].stat: is not known; did you mean state?",
        f"{userfile}: user[1].broker_password: env:OWN is not set",
    ]  # fmt: skip


def test_check_warns_of_a_file_that_others_can_read(userfile: Path) -> None:
    userfile.chmod(0o644)
    result = run("check", str(userfile))
    assert result.exit_code == 0
    assert "can be read by every user of this machine (mode 0644); chmod o-r" in result.stderr


def test_file_that_is_not_there_is_exit_78(tmp_path: Path) -> None:
    for command in ("check", "list"):
        result = run(command, str(tmp_path / "none.toml"))
        assert result.exit_code == 78
        assert "can not be read: No such file" in result.stderr


@pytest.mark.parametrize("command", ["hash", "list", "check"])
def test_help_teaches(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Exit codes:" in result.stdout
