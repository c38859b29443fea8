"""Which URL opens which store, and what is imported for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sealgate.stores import boot, open_store
from sealgate.stores.memory import MemoryStore
from sealgate.stores.redis import RedisStore
from sealgate.stores.times import HELD_S, LEASE_S


def test_memory_opens_the_memory_store(tmp_path: Path) -> None:
    for journal in (None, tmp_path / "nonces", str(tmp_path / "nonces")):
        store = open_store("memory", deployment="d", max_age_s=300, clock_skew_s=30, journal=journal)
        assert isinstance(store, MemoryStore)


@pytest.mark.parametrize("url", ["redis://localhost:6379/0", "rediss://user:password@redis.example/1"])
def test_redis_urls_open_the_redis_store(url: str) -> None:
    assert isinstance(open_store(url, deployment="d", max_age_s=300, clock_skew_s=30), RedisStore)


@pytest.mark.parametrize("url", ["memory", "redis://localhost:6379/0"])
def test_leases_are_held_where_what_is_in_doubt_is_refused(url: str, tmp_path: Path) -> None:
    """And only then the journal is written ahead."""
    for in_doubt, lease_s in (("takeover", LEASE_S), ("refuse", HELD_S)):
        journal = tmp_path / "nonces" if url == "memory" else None
        store = open_store(
            url, deployment="d", max_age_s=300, clock_skew_s=30, journal=journal, in_doubt=in_doubt
        )
        if isinstance(store, MemoryStore):
            assert store._lease_s == lease_s
            assert store._journal is not None
            assert store._journal.ahead == (in_doubt == "refuse")
        else:
            assert isinstance(store, RedisStore)
            assert store._holds_leases == (in_doubt == "refuse")


@pytest.mark.parametrize("scheme", ["redis+cluster", "redis+sentinel", "memcached"])
def test_other_urls_are_not_in_this_version_and_their_password_is_not_told(scheme: str) -> None:
    with pytest.raises(ValueError, match="not in this version") as caught:
        open_store(f"{scheme}://:secret@host:1", deployment="d", max_age_s=300, clock_skew_s=30)
    assert scheme in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_memory_store_pays_for_no_redis_client() -> None:
    code = (
        "import sys; from sealgate.stores import open_store;"
        "open_store('memory', deployment='d', max_age_s=1, clock_skew_s=1);"
        "assert 'redis' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_boot_is_known_and_stays_the_same() -> None:
    assert boot.boot_id()
    assert boot.boot_id() == boot.boot_id()


def test_without_proc_the_boot_is_asked_of_sysctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "_LINUX", tmp_path / "missing")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert boot.boot_id() == ""
    sysctl = tmp_path / "sysctl"
    sysctl.write_text('#!/bin/sh\n[ "$2" = kern.bootsessionuuid ] && echo 1234-abcd\n')
    sysctl.chmod(0o755)
    assert boot.boot_id() == "1234-abcd"
