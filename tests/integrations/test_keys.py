"""Keys that change under a running application."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path

import pytest

from integrations.conftest import write_keys
from sealgate.integrations.keys import REFRESH_S, SOURCE_BYTES_MAX, KeysError, KeySource
from sealgate.signing.material import generate_hmac
from support.gateway import key, new_secret


class Time:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def source_of(path: Path, time: Time) -> KeySource:
    return KeySource(f"file:{path}", {}, time)


def test_changed_file_is_read_again_and_not_before_its_time(keys_file: Path) -> None:
    time = Time()
    source = source_of(keys_file, time)
    assert source.keyring().kids() == ("k1",)
    write_keys(keys_file, [key("k2", new_secret())])
    time.now += REFRESH_S / 2
    assert source.keyring().kids() == ("k1",)
    time.now += REFRESH_S
    assert source.keyring().kids() == ("k2",)


def test_secret_behind_the_file_is_watched_as_well(tmp_path: Path) -> None:
    secret, path, time = tmp_path / "secret", tmp_path / "keys.toml", Time()
    secret.write_text(generate_hmac(secrets.token_bytes(32)))
    write_keys(path, [key("k1", f"file:{secret}")])
    source = source_of(path, time)
    first = source.keyring()
    fresh = tmp_path / "fresh"
    fresh.write_text(generate_hmac(secrets.token_bytes(32)))
    fresh.replace(secret)
    time.now += REFRESH_S
    assert source.keyring() is not first


def test_kubernetes_swap_of_a_symlink_is_seen(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_keys(tmp_path / name / "keys.toml", [key(name, new_secret())])
    link = tmp_path / "..data"
    link.symlink_to("one")
    time = Time()
    source = source_of(link / "keys.toml", time)
    assert source.keyring().kids() == ("one",)
    other = tmp_path / "..data_tmp"
    other.symlink_to("two")
    other.replace(link)
    time.now += REFRESH_S
    assert source.keyring().kids() == ("two",)


@pytest.mark.parametrize("text", ["", "[[key]]\nkid = ", "no = 'keys'"], ids=["empty", "half", "other"])
def test_last_good_keys_stay_while_a_file_is_broken(
    keys_file: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    time = Time()
    source = source_of(keys_file, time)
    good = keys_file.read_text()
    keys_file.write_text(text)
    with caplog.at_level(logging.WARNING, "sealgate"):
        for _ in range(5):
            time.now += REFRESH_S
            assert source.keyring().kids() == ("k1",)
    # Told once for each state of the file.
    assert caplog.text.count("the old keys stay in force") == 1
    keys_file.write_text(good.replace("k1", "k9"))
    time.now += REFRESH_S
    assert source.keyring().kids() == ("k1",)
    time.now += REFRESH_S
    assert source.keyring().kids() == ("k9",)


def test_file_that_is_written_in_place_counts_once_it_is_at_rest(keys_file: Path) -> None:
    """Half of a key file may be one with fewer keys in it."""
    time = Time()
    first = keys_file.read_text()
    keys_file.write_text(first + first.replace("k1", "k2"))
    source = source_of(keys_file, time)
    with keys_file.open("w") as file:
        for part in (first.replace("k1", "k8"), first.replace("k1", "k9")):
            file.write(part)
            file.flush()
            time.now += REFRESH_S
            assert source.keyring().kids() == ("k1", "k2")
    time.now += REFRESH_S
    assert source.keyring().kids() == ("k8", "k9")


def test_credential_of_systemd(keys_file: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(keys_file.parent)}
    source = KeySource(f"cred:{keys_file.name}", environ, Time())
    assert source.keyring().kids() == ("k1",)
    with pytest.raises(KeysError, match="CREDENTIALS_DIRECTORY is not set"):
        KeySource(f"cred:{keys_file.name}", {}, Time())


def test_first_reading_must_succeed(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    with pytest.raises(KeysError, match="can not be read"):
        source_of(path, Time())
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(KeysError, match="UTF-8"):
        source_of(path, Time())
    path.write_bytes(b"#" * (SOURCE_BYTES_MAX + 1))
    with pytest.raises(KeysError, match="over"):
        source_of(path, Time())
    with pytest.raises(KeysError, match=r"can not be read|no regular file"):
        source_of(tmp_path, Time())
    with pytest.raises(KeysError, match="no regular file"):
        source_of(Path(os.devnull), Time())
    write_keys(path, [key("k1", "vault:secret/k1")])
    with pytest.raises(KeysError, match="vault"):
        source_of(path, Time())


def test_environment_holds_toml_or_pairs() -> None:
    secret = generate_hmac(secrets.token_bytes(32))
    for text in (f"k1={secret}", '[[key]]\nkid = "k1"\nalg = "hmac-sha256"\nsecret = "env:S"'):
        source = KeySource("env:KEYS", {"KEYS": text, "S": secret}, Time())
        assert source.keyring().kids() == ("k1",)
    with pytest.raises(KeysError, match="not set"):
        KeySource("env:KEYS", {}, Time())
    with pytest.raises(KeysError, match="is empty"):
        KeySource("env:KEYS", {"KEYS": " "}, Time())


def test_no_error_holds_material(tmp_path: Path) -> None:
    material = generate_hmac(secrets.token_bytes(32))[:-4]
    with pytest.raises(KeysError) as caught:
        KeySource("env:KEYS", {"KEYS": f"k1={material}"}, Time())
    assert material[8:] not in str(caught.value)
