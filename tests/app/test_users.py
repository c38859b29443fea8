from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sealgate.app.errors import StartError
from sealgate.app.users import Users
from sealgate.config.settings import Settings
from sealgate.session.records import Tally
from support.home import Home, events
from support.logins import user, write_users

CREDENTIALS = {"mode": "replace", "user": "gateway", "password": "cheshire-4242"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "users.toml"
    write_users(file, user("alice", "wonder"))
    return file


def settings(file: Path, **more: Any) -> Settings:
    home = Home(file.parent)
    return home.settings(credentials={**CREDENTIALS, "users": f"file:{file}"}, **more)


def poll(users: Users) -> None:
    """Two looks: a file that was written in place counts when it was the same at both."""
    for _ in range(2):
        asyncio.run(users.poll())


def names(users: Users) -> list[str]:
    return [known.name for known in users.logins._desk.book]


def test_change_of_the_file_is_noticed_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    tally = Tally()
    users = Users(settings(file), tally)
    poll(users)
    assert caplog.records == []
    write_users(file, user("bob", "wonder"))
    for _ in range(3):
        poll(users)
    assert names(users) == ["bob"]
    assert dict(tally.config_reloads) == {"ok": 1}
    assert events(caplog.records)[-1] == "users.reloaded"
    users.close()


def test_broken_file_keeps_the_last_good_users_and_says_so_until_it_is_mended(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tally = Tally()
    users = Users(settings(file), tally)
    write_users(file, {"name": "alice", "password": "hunter2"})
    poll(users)
    assert names(users) == ["alice"]
    assert "user[0].password" in users.trouble
    assert events(caplog.records) == ["users.failed"]
    assert "hunter2" not in caplog.text
    write_users(file, user("carol", "wonder"))
    asyncio.run(users.reload())
    assert (names(users), users.trouble) == (["carol"], "")
    assert dict(tally.config_reloads) == {"failed": 1, "ok": 1}
    users.close()


def test_renewed_password_of_the_broker_is_taken_up(file: Path) -> None:
    secret = file.parent / "broker-password"
    secret.write_text("old")
    home = Home(file.parent)
    credentials = {**CREDENTIALS, "users": f"file:{file}", "password": f"file:{secret}"}
    users = Users(home.settings(credentials=credentials), Tally())
    secret.write_text("renewed")
    poll(users)
    (alice,) = users.logins._desk.book
    assert alice.broker.password == "renewed"
    users.close()


def test_users_that_do_not_serve_at_start_end_it(file: Path) -> None:
    file.write_text("")
    with pytest.raises(StartError, match=r"credentials\.users.*is empty") as refused:
        Users(settings(file), Tally())
    assert refused.value.exit_code == 78


def test_what_deserves_a_warning_is_told_at_each_reload(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_users(file, user("alice", "wonder"), user("bob", certificate="bob.example"))
    file.chmod(0o644)
    users = Users(settings(file), Tally())
    assert caplog.records == []
    asyncio.run(users.reload())
    assert set(events(caplog.records)) == {"users.warning"}
    told = "\n".join([record.getMessage() for record in caplog.records])
    assert "chmod o-r" in told
    assert "is cheap to guess through" in told
    assert "without listen.tls.client_ca nobody is asked for one" in told
    users.close()
