from __future__ import annotations

from pathlib import Path

import pytest

from sealgate.config.errors import ConfigError
from sealgate.config.sources import SOURCE_BYTES_MAX, SourceError, Sources, permission_warnings, read_keyring
from sealgate.signing.material import generate_ed25519
from support.config_files import KEYS, RANDOM, SECRET, write

PRIVATE, PUBLIC = generate_ed25519(RANDOM[::-1])


def test_reference_gives_the_text_without_white_space_around(tmp_path: Path) -> None:
    file = write(tmp_path / "secret", f"\n{SECRET}\n")
    sources = Sources({"NAME": f" {SECRET}\n"})
    assert sources.resolve("env:NAME") == SECRET
    assert sources.resolve(f"file:{file}") == SECRET
    assert sources.resolve(SECRET) == SECRET
    assert sources.warnings == []


def test_credential_of_systemd_is_a_file_in_its_directory(tmp_path: Path) -> None:
    """systemd.exec(5): LoadCredential= puts them there, readable by the service alone."""
    write(tmp_path / "web1", SECRET, 0o400)
    sources = Sources({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert sources.resolve("cred:web1") == SECRET
    assert list(sources.stamps) == [tmp_path / "web1"]
    assert sources.warnings == []


def test_keys_may_be_a_credential(tmp_path: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "TEST_K1": SECRET}
    write(tmp_path / "keys", KEYS)
    write(tmp_path / "pairs", f"a={SECRET}")
    assert read_keyring("cred:keys", Sources(environ)).kids() == ("k1",)
    assert read_keyring("cred:pairs", Sources(environ)).kids() == ("a",)


def test_key_may_name_a_credential(tmp_path: Path) -> None:
    write(tmp_path / "web1", SECRET)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "KEYS": KEYS.replace("env:TEST_K1", "cred:web1")}
    assert read_keyring("env:KEYS", Sources(environ)).kids() == ("k1",)


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "/etc/passwd", "a b", "a" * 256])
def test_credential_names_no_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cred: must be followed by the name of a systemd credential"):
        Sources({"CREDENTIALS_DIRECTORY": str(tmp_path)}).resolve(f"cred:{name}")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("cred:web1", r"cred:web1 is not there: \$CREDENTIALS_DIRECTORY is not set"),
        ("env:NONE", "env:NONE is not set"),
        ("env:EMPTY", "env:EMPTY is empty"),
        ("file:/nowhere", "file:/nowhere can not be read: No such file or directory"),
        ("vault:secret/k1", "vault: must be followed by MOUNT/data/PATH#FIELD"),
        ("vault:a/data/../b#c", "vault: must be followed by MOUNT/data/PATH#FIELD"),
        ("vault:a/data/b?version=1#c", "vault: must be followed by MOUNT/data/PATH#FIELD"),
        ("vault:a//data/b#c", "vault: must be followed by MOUNT/data/PATH#FIELD"),
        ("aws:arn:aws:s3", "aws: must be followed by NAME"),
        ("aws:a b", "aws: must be followed by NAME"),
    ],
)
def test_reference_that_gives_nothing_is_named(reference: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        Sources({"EMPTY": " \n"}).resolve(reference)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\xff" + SECRET.encode(), "is no UTF-8 text"),
        (b"x" * (SOURCE_BYTES_MAX + 1), f"is over {SOURCE_BYTES_MAX} bytes"),
    ],
    ids=["empty", "binary", "large"],
)
def test_file_that_is_no_secret_is_refused_without_its_content(
    tmp_path: Path, data: bytes, message: str
) -> None:
    file = write(tmp_path / "secret", "")
    file.write_bytes(data)
    with pytest.raises(SourceError) as caught:
        Sources({}).resolve(f"file:{file}")
    assert str(caught.value) == f"file:{file} {message}"


def test_largest_file_is_read(tmp_path: Path) -> None:
    file = write(tmp_path / "secret", "x" * SOURCE_BYTES_MAX)
    assert len(Sources({}).resolve(f"file:{file}")) == SOURCE_BYTES_MAX


def test_directory_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="can not be read: Is a directory"):
        Sources({}).resolve(f"file:{tmp_path}")


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (0o600, []),
        (0o400, []),
        (0o440, []),
        (0o640, []),
        (0o604, ["read by every user"]),
        (0o660, ["changed by others"]),
        (0o602, ["changed by others"]),
        (0o666, ["read by every user", "changed by others"]),
    ],
)
def test_too_open_files_are_warned_about(mode: int, words: list[str]) -> None:
    found = permission_warnings(0o100000 | mode)
    assert len(found) == len(words)
    for warning, word in zip(found, words, strict=True):
        assert word in warning
        assert f"mode {mode:04o}" in warning


def test_warning_names_the_file_behind_a_reference(tmp_path: Path) -> None:
    file = write(tmp_path / "secret", SECRET, 0o644)
    sources = Sources({})
    sources.resolve(f"file:{file}")
    assert [problem.where for problem in sources.warnings] == [str(file)]


def test_keyring_from_a_file_with_references(tmp_path: Path) -> None:
    keys = write(tmp_path / "keys.toml", KEYS)
    assert read_keyring(f"file:{keys}", Sources({"TEST_K1": SECRET})).kids() == ("k1",)


def test_keyring_from_toml_in_the_environment() -> None:
    assert read_keyring("env:KEYS", Sources({"KEYS": KEYS, "TEST_K1": SECRET})).kids() == ("k1",)


def test_keyring_from_pairs_takes_the_algorithm_from_the_prefix() -> None:
    pairs = f" k1={SECRET}, k2 = {PRIVATE},k3={PUBLIC},k4=hex:{RANDOM[::-1].hex()}"
    sources = Sources({"KEYS": pairs})
    keyring = read_keyring("env:KEYS", sources)
    found = {
        kid: (key.algorithm.name, key.algorithm.can_sign)
        for kid in keyring.kids()
        if (key := keyring.get(kid))
    }
    assert found == {
        "k1": ("hmac-sha256", True),
        "k2": ("ed25519", True),
        "k3": ("ed25519", False),
        "k4": ("hmac-sha256", True),
    }
    assert not [warning for warning in sources.warnings if "written into" in warning.message]


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        ("k1", "KEYS: key[0]: want kid=secret"),
        (f"k1={SECRET},", "KEYS: key[1]: want kid=secret"),
        ("k1=hunter2", "KEYS: key[0].secret: is no key"),
        (f"k1={SECRET},k1={PRIVATE}", "KEYS: key[1].kid: k1 is there already"),
        (f"k/1={SECRET}", "KEYS: key[0].kid: want 1 to 64"),
    ],
)
def test_wrong_pairs_are_told_without_the_secret(pairs: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_keyring("env:KEYS", Sources({"KEYS": pairs}))
    assert str(caught.value).startswith(error)
    assert "hunter2" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_pairs_are_not_read_from_a_file(tmp_path: Path) -> None:
    keys = write(tmp_path / "keys.toml", f"k1={SECRET}")
    with pytest.raises(ConfigError, match="not TOML"):
        read_keyring(f"file:{keys}", Sources({}))
