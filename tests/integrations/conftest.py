"""Keys of applications that sign themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.gateway import key, new_secret, toml


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    """A key file with one key, `k1`."""
    path = tmp_path / "keys.toml"
    write_keys(path, [key("k1", new_secret())])
    return path


def write_keys(path: Path, keys: list[dict[str, object]]) -> None:
    """As deployments do it: a new file moved over the old one."""
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(toml({"key": keys}))
    fresh.replace(path)
