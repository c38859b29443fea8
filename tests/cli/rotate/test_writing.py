"""Several files at once, all or none: what keeps them from being written, and what is left then."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealgate.cli.keys.writing import Change, NewSecret, carry_out
from sealgate.config.errors import ConfigError
from sealgate.config.sources import stamp_of
from support.rotating import Keys, Rotate

NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may look into."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def change(path: Path, new: bytes) -> Change:
    return Change(path, stamp_of(path), path.read_bytes(), new)


def test_all_files_are_put_back_when_one_can_not_be_written(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "two", "three")]
    for file in files:
        file.write_bytes(file.name.encode())
    before = listing(tmp_path)
    changes = [change(file, b"new") for file in files]
    files[2].write_bytes(b"edited meanwhile")
    with pytest.raises(ConfigError, match="three: was changed by somebody else"):
        carry_out(changes, [NewSecret(tmp_path / "secret", "x", files[0])])
    assert listing(tmp_path) == {**before, "three": b"edited meanwhile"}


def test_all_files_and_secrets_are_there_in_the_end(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "two")]
    for file in files:
        file.write_bytes(b"old")
    carry_out(
        [change(file, file.name.encode()) for file in files], [NewSecret(tmp_path / "s", "x", files[0])]
    )
    assert listing(tmp_path) == {"one": b"one", "two": b"two", "s": b"x\n"}


def test_file_that_vanished_is_told(tmp_path: Path) -> None:
    file = tmp_path / "one"
    file.write_bytes(b"old")
    wanted = change(file, b"new")
    file.unlink()
    with pytest.raises(ConfigError, match="can not be written: No such file"):
        carry_out([wanted])
    assert listing(tmp_path) == {}


def test_file_that_another_command_is_changing_is_left_alone(keys: Keys, rotate: Rotate) -> None:
    before = keys.text()
    with keys.path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = rotate("begin", keys.path, "--kid", "web1-a")
    assert (refused.exit_code, "is changing it now" in refused.stderr) == (69, True)
    assert keys.text() == before
    assert rotate("begin", keys.path, "--kid", "web1-a").exit_code == 0


def test_two_commands_at_once_begin_one_rotation(keys: Keys) -> None:
    """Whichever comes second is told, and never undoes the first."""
    command = [sys.executable, "-m", "sealgate", "keys", "rotate", "begin", str(keys.path), "--kid"]
    environ = {name: value for name, value in os.environ.items() if name != "SEALGATE_CONFIG"}
    both = [
        subprocess.Popen([*command, kid], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for kid in ("web1-a", "web1-a")
    ]
    codes = []
    for process in both:
        _, told = process.communicate(timeout=60)
        codes.append(process.returncode)
        assert process.returncode in (0, 69, 78), told
    assert codes.count(0) == 1
    assert list(keys.states()) == ["web1-a", "web1-b", "worker"]
    assert not [path for path in keys.path.parent.iterdir() if path.name.startswith(".")]


def test_symbolic_link_is_not_replaced(keys: Keys, rotate: Rotate) -> None:
    """As Kubernetes puts a Secret: keys.toml -> ..data/keys.toml, ..data -> ..2026."""
    real = keys.path.parent / "..2026"
    real.mkdir()
    keys.path.rename(real / "keys.toml")
    (keys.path.parent / "..data").symlink_to("..2026")
    keys.path.symlink_to("..data/keys.toml")
    before = keys.text()
    refused = rotate("begin", keys.path, "--kid", "web1-a")
    assert refused.exit_code == 77
    assert "symbolic link to ..data/keys.toml" in refused.stderr and "Kubernetes" in refused.stderr
    assert (keys.text(), keys.path.is_symlink()) == (before, True)


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
@pytest.mark.parametrize("readable", [True, False])
def test_files_of_somebody_else_are_a_permission_error(
    open_folder: Path, rotate: Rotate, readable: bool
) -> None:
    keys = Keys(open_folder)
    keys.path.chmod(0o644 if readable else 0o600)
    before = listing(open_folder)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        codes = [
            rotate("begin", keys.path, "--kid", "web1-a").exit_code,
            rotate("revoke", "web1-a", keys.path).exit_code,
            rotate("retire", keys.path, "--kid", "web1-a", "--force").exit_code,
        ]
    finally:
        os.seteuid(0)
        os.setegid(0)
    assert codes == [77, 77, 77]
    assert listing(open_folder) == before


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_one_file_that_may_not_be_written_keeps_the_other_as_it_is(
    open_folder: Path, tmp_path: Path, rotate: Rotate
) -> None:
    theirs, mine = Keys(open_folder / "theirs"), Keys(open_folder / "mine")
    mine.write_secret(theirs.secret.read_text().strip())
    theirs.path.chmod(0o644)
    for path in (mine.path.parent, mine.path, mine.secret):
        os.chown(path, NOBODY, NOBODY)
    before = listing(theirs.path.parent), listing(mine.path.parent)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        refused = rotate("begin", mine.path, theirs.path, "--kid", "web1-a")
        alone = rotate("begin", mine.path, "--kid", "web1-a")
    finally:
        os.seteuid(0)
        os.setegid(0)
    assert refused.exit_code == 77
    assert f"may not write into {theirs.path.parent}" in refused.stderr
    assert (listing(theirs.path.parent), alone.exit_code) == (before[0], 0)


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("[[key]\n", 78, "not TOML"),
        ('[[key]]\nkid = "web1-a"\nalg = "x"\n', 78, "key[0].alg"),
        ('key = [{kid = "web1-a", alg = "hmac-sha256", secret = "env:X"}]\n', 78, "plain [[key]] tables"),
        ("", 78, "is empty"),
    ],
)
def test_file_that_is_wrong_already_is_told_first(
    keys: Keys, rotate: Rotate, text: str, code: int, told: str
) -> None:
    keys.write(text)
    refused = rotate("begin", keys.path, "--kid", "web1-a")
    assert (refused.exit_code, told in refused.stderr) == (code, True), refused.output
    assert keys.text() == text


def test_missing_and_foreign_files_are_told_together(keys: Keys, rotate: Rotate) -> None:
    missing = keys.path.with_name("none.toml")
    refused = rotate("promote", missing, keys.path.parent, "--kid", "web1-a")
    assert refused.exit_code == 78
    assert "none.toml can not be read" in refused.stderr and "Is a directory" in refused.stderr
