from __future__ import annotations

from pathlib import Path

import pytest

from sealgate.config.errors import ConfigError
from sealgate.config.reload import KeySource
from sealgate.config.settings import Settings
from support.config_files import KEYS, SECRET, write

TWO = KEYS + KEYS.replace("k1", "k2").replace("TEST_K1", "TEST_K2")


def source(path: Path, now: float = 0.0, **publish: str) -> KeySource:
    settings = Settings.model_validate({"keys": {"source": f"file:{path}"}, "publish": publish})
    return KeySource(settings, {"TEST_K1": SECRET}, lambda: now)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return write(tmp_path / "keys.toml", KEYS)


def test_keys_unchanged_are_not_read_again(keys: Path) -> None:
    read = source(keys)
    assert read.load().kids() == ("k1",)
    assert not read.changed()


def test_changed_file_is_noticed_and_read(keys: Path) -> None:
    read = source(keys)
    read.load()
    write(keys, KEYS.replace("k1", "other"))
    assert read.changed()
    assert read.reload() == ""
    assert read.keyring is not None
    assert read.keyring.kids() == ("other",)
    assert not read.changed()


def test_replaced_file_of_the_same_size_is_noticed(keys: Path, tmp_path: Path) -> None:
    read = source(keys)
    read.load()
    write(tmp_path / "new", KEYS.replace("k1", "k9")).replace(keys)
    assert read.changed()


def test_swapped_directory_of_a_kubernetes_volume_is_noticed_every_time(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"..{number}").mkdir()
        write(tmp_path / f"..{number}" / "keys.toml", KEYS.replace('"k1"', f'"k{number}"'))
    data = tmp_path / "..data"
    data.symlink_to("..0")
    (tmp_path / "keys.toml").symlink_to("..data/keys.toml")
    read = source(tmp_path / "keys.toml")
    read.load()
    for number in (1, 2):
        (tmp_path / "..tmp").symlink_to(f"..{number}")
        (tmp_path / "..tmp").rename(data)
        assert read.changed()
        assert read.load().kids() == (f"k{number}",)


def test_changed_secret_behind_a_reference_is_noticed(keys: Path, tmp_path: Path) -> None:
    secret = write(tmp_path / "k1", SECRET)
    write(keys, KEYS.replace("env:TEST_K1", f"file:{secret}"))
    read = source(keys)
    read.load()
    write(secret, SECRET + "\n")
    assert read.changed()


def test_broken_file_keeps_the_last_good_keys_until_it_is_mended(keys: Path) -> None:
    read = source(keys)
    good = read.load()
    write(keys, "key = {")
    assert read.reload().startswith(f"{keys}: not TOML: ")
    assert read.keyring is good
    assert not read.changed()
    write(keys, KEYS.replace("k1", "k3"))
    assert read.changed()
    assert read.load().kids() == ("k3",)


def test_removed_file_keeps_the_last_good_keys_until_it_is_back(keys: Path) -> None:
    read = source(keys)
    good = read.load()
    keys.unlink()
    assert read.changed()
    assert "can not be read" in read.reload()
    assert read.keyring is good
    write(keys, KEYS)
    assert read.changed()
    assert read.reload() == ""


def test_missing_secret_file_that_appears_is_noticed(keys: Path, tmp_path: Path) -> None:
    write(keys, KEYS.replace("env:TEST_K1", f"file:{tmp_path / 'k1'}"))
    read = source(keys)
    with pytest.raises(ConfigError, match=r"key\[0\]\.secret: file:.* can not be read"):
        read.load()
    assert read.keyring is None
    write(tmp_path / "k1", SECRET)
    assert read.changed()
    assert read.load().kids() == ("k1",)


def test_first_load_of_bad_keys_raises_all_of_it(keys: Path) -> None:
    write(keys, TWO.replace("hmac-sha256", "md5"))
    with pytest.raises(ConfigError) as caught:
        source(keys).load()
    assert [problem.message.partition(":")[0] for problem in caught.value.problems] == [
        "key[0].alg",
        "key[1].alg",
    ]


def test_reload_that_takes_away_the_signing_key_is_refused(keys: Path) -> None:
    read = source(keys, action="sign", sign_with="k1")
    good = read.load()
    write(keys, KEYS.replace('"k1"', '"k7"'))
    assert read.reload() == 'publish.sign_with: "k1" can not sign: no such key to sign with (keys: k7)'
    assert read.keyring is good


def test_signing_key_outside_its_time_is_refused(keys: Path) -> None:
    write(keys, KEYS + "not_after = 2020-01-01T00:00:00Z\n")
    source(keys, now=1_500_000_000.0, action="sign", sign_with="k1").load()
    with pytest.raises(ConfigError, match="no longer valid"):
        source(keys, now=1_700_000_000.0, action="sign", sign_with="k1").load()


def test_warnings_are_those_of_the_last_good_reading(keys: Path) -> None:
    read = source(write(keys, KEYS, 0o644))
    read.load()
    assert len(read.warnings) == 1
    write(keys, KEYS, 0o600)
    read.load()
    assert read.warnings == []
