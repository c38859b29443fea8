from __future__ import annotations

from pathlib import Path

import pytest

from sealgate.app.share import share_of
from sealgate.config.fields import Address
from support.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_what_must_hold_for_the_whole_is_divided_and_no_share_is_nothing(home: Home) -> None:
    settings = home.settings(
        listen={"workers": 4},
        limits={
            "login_failures_max": 10,
            "login_workers": 2,
            "process_bytes_max": 400_000_000,
            "gateways": 3,
        },
    )
    limits = share_of(settings, 1234, False).limits
    assert (limits.login_failures_max, limits.login_workers) == (3, 1)
    assert limits.process_bytes_max == 100_000_000
    assert limits.gateways == 12


def test_share_of_memory_has_room_for_one_connection(home: Home) -> None:
    settings = home.settings(listen={"workers": 100})
    limits = share_of(settings, 1234, False).limits
    assert limits.process_bytes_max == limits.connection_bytes_max


def test_worker_has_the_reserved_port_and_no_admin_address(home: Home) -> None:
    share = share_of(home.settings(listen={"workers": 2}), 1234, False)
    assert share.listen.address == Address("127.0.0.1", 1234)
    assert not share.admin.enabled


def test_worker_in_service_outlives_its_broker(home: Home) -> None:
    settings = home.settings(listen={"workers": 2})
    assert share_of(settings, 1, False).upstream.start_timeout == 30.0
    assert share_of(settings, 1, True).upstream == settings.upstream.model_copy(update={"start_timeout": 0.0})


def test_all_else_is_the_same(home: Home) -> None:
    settings = home.settings(listen={"workers": 2})
    share = share_of(settings, 1234, False)
    changed = {"listen", "limits", "admin", "upstream"}
    names = set(type(settings).model_fields) - changed
    assert [name for name in names if getattr(share, name) != getattr(settings, name)] == []
