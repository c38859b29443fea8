from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sealgate.config.errors import ConfigError
from sealgate.config.reload import KeySource
from sealgate.config.settings import Settings
from sealgate.signing.material import generate_hmac
from support.config_files import KEYS, RANDOM, SECRET, write

TWO = KEYS + KEYS.replace("k1", "k2").replace("TEST_K1", "TEST_K2")


def source(path: Path, now: float = 0.0, **publish: str) -> KeySource:
    settings = Settings.model_validate({"keys": {"source": f"file:{path}"}, "publish": publish})
    return KeySource(settings, {"TEST_K1": SECRET, "TEST_K2": SECRET}, lambda: now)


def changed(read: KeySource) -> bool:
    """Whether it is noticed by the second look."""
    return read.changed() or read.changed()


def reload(read: KeySource) -> str:
    """What a running gateway does; "" when the new keys are good, else what is wrong with them."""
    reading = read.read()
    read.take(reading)
    return str(reading.error or "")


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
    assert changed(read)
    assert reload(read) == ""
    assert read.value is not None
    assert read.value.kids() == ("other",)
    assert not read.changed()


def test_replaced_file_of_the_same_size_is_noticed(keys: Path, tmp_path: Path) -> None:
    read = source(keys)
    read.load()
    write(tmp_path / "new", KEYS.replace("k1", "k9")).replace(keys)
    assert changed(read)


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
        assert changed(read)
        assert read.load().kids() == (f"k{number}",)


def test_changed_secret_behind_a_reference_is_noticed(keys: Path, tmp_path: Path) -> None:
    secret = write(tmp_path / "k1", SECRET)
    write(keys, KEYS.replace("env:TEST_K1", f"file:{secret}"))
    read = source(keys)
    read.load()
    write(secret, SECRET + "\n")
    assert changed(read)


def test_broken_file_keeps_the_last_good_keys_until_it_is_mended(keys: Path) -> None:
    read = source(keys)
    good = read.load()
    write(keys, "key = {")
    assert reload(read).startswith(f"{keys}: not TOML: ")
    assert read.value is good
    assert not read.changed()
    write(keys, KEYS.replace("k1", "k3"))
    assert changed(read)
    assert read.load().kids() == ("k3",)


def test_removed_file_keeps_the_last_good_keys_until_it_is_back(keys: Path) -> None:
    read = source(keys)
    good = read.load()
    keys.unlink()
    assert changed(read)
    assert "can not be read" in reload(read)
    assert read.value is good
    write(keys, KEYS)
    assert changed(read)
    assert reload(read) == ""


def test_missing_secret_file_that_appears_is_noticed(keys: Path, tmp_path: Path) -> None:
    write(keys, KEYS.replace("env:TEST_K1", f"file:{tmp_path / 'k1'}"))
    read = source(keys)
    with pytest.raises(ConfigError, match=r"key\[0\]\.secret: file:.* can not be read"):
        read.load()
    assert read.value is None
    write(tmp_path / "k1", SECRET)
    assert changed(read)
    assert read.load().kids() == ("k1",)


def test_first_load_of_bad_keys_raises_all_of_it(keys: Path) -> None:
    write(keys, TWO.replace("hmac-sha256", "md5"))
    with pytest.raises(ConfigError) as caught:
        source(keys).load()
    assert [problem.message.partition(":")[0] for problem in caught.value.problems] == [
        "key[0].alg",
        "key[1].alg",
    ]


def test_keys_of_which_none_can_sign_are_taken_for_the_rest_and_told(keys: Path) -> None:
    """A key that is revoked beside it must not be accepted on and on."""
    read = source(keys, action="sign", sign_with="k1")
    read.load()
    write(keys, KEYS.replace('"k1"', '"k7"'))
    assert reload(read) == 'publish.sign_with: "k1" can not sign: no such key to sign with (keys: k7)'
    assert read.value is not None
    assert read.value.kids() == ("k7",)


def test_signing_key_outside_its_time_is_refused_at_the_start(keys: Path) -> None:
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


def test_file_that_is_being_written_in_place_is_left_alone_until_it_is_not(keys: Path) -> None:
    """Half of a file may well be TOML: the first of two keys alone."""
    read = source(keys)
    read.load()
    for text in (TWO[: TWO.index("[[key]]", 1)] + " ", TWO[:-5], TWO):
        write(keys, text)
        assert not read.changed()
    assert read.changed()
    assert read.load().kids() == ("k1", "k2")


def test_file_replaced_at_once_needs_no_second_look(keys: Path, tmp_path: Path) -> None:
    read = source(keys)
    read.load()
    write(tmp_path / "new", TWO).replace(keys)
    assert read.changed()


def test_change_of_permissions_alone_is_noticed(keys: Path) -> None:
    """A file that could not be read is as old as before when it can be."""
    read = source(keys)
    read.load()
    keys.chmod(0o400)
    assert changed(read)


def test_same_texts_are_nothing_new(keys: Path, tmp_path: Path) -> None:
    read = source(keys)
    read.load()
    write(tmp_path / "new", KEYS).replace(keys)
    assert changed(read)
    assert not read.take(read.read())
    write(tmp_path / "new", KEYS.replace('"k1"', '"k2"')).replace(keys)
    assert read.take(read.read())


def test_changed_secret_behind_an_unchanged_file_is_new(keys: Path, tmp_path: Path) -> None:
    secret = write(tmp_path / "k1", SECRET)
    write(keys, KEYS.replace("env:TEST_K1", f"file:{secret}"))
    read = source(keys)
    read.load()
    write(secret, generate_hmac(RANDOM[::-1]))
    assert read.take(read.read())


def test_file_that_changes_while_it_is_read_is_refused(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = source(keys)
    good = read.load()
    stamps = iter([(1, 1, 1, 1), (1, 2, 1, 2)])
    monkeypatch.setattr("sealgate.config.sources.stamp_of", lambda path: next(stamps))
    assert "changed while it was read" in reload(read)
    assert read.value is good


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root, whom no permission stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_file_that_may_not_be_read_keeps_the_last_good_keys_until_it_may(keys: Path) -> None:
    read = source(keys)
    good = read.load()
    keys.chmod(0)
    with nobody():
        assert changed(read)
        assert "may not be read by this user" in reload(read)
        assert read.value is good
        reading = read.read()
    assert reading.error is not None
    assert reading.error.exit_code == 77
    keys.chmod(0o600)
    assert changed(read)
    assert reload(read) == ""
