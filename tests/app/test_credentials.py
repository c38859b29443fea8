from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sealgate.app.credentials import Credentials
from sealgate.app.errors import StartError
from sealgate.session.records import Tally
from sealgate.signing.keyring import Keyring, KeyState
from support.certificates import Authority
from support.gateway import key, new_secret
from support.home import Home, events


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


class Applied(list[Keyring]):
    def __call__(self, keyring: Keyring) -> None:
        self.append(keyring)


def reload(credentials: Credentials, applied: Applied) -> None:
    """As SIGHUP has it done."""
    asyncio.run(credentials.reload_keys(applied))


def poll(credentials: Credentials, applied: Applied) -> None:
    """Two looks: a file that was written in place counts when it was the same at both."""
    for _ in range(2):
        asyncio.run(credentials.poll_keys(applied))


def kids(applied: Applied) -> list[list[str]]:
    return [list(keyring.kids()) for keyring in applied]


# Keys


def test_new_key_is_in_force_after_a_reload(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    tally, applied = Tally(), Applied()
    credentials = Credentials(home.settings(), tally)
    assert list(credentials.keyring.kids()) == ["k1"]
    home.write_keys(home.k1, key("k2", new_secret()))
    reload(credentials, applied)
    assert kids(applied) == [["k1", "k2"]]
    assert dict(tally.config_reloads) == {"ok": 1}
    assert events(caplog.records)[-1] == "keys.reloaded"


def test_change_of_the_file_is_noticed_once(home: Home) -> None:
    applied = Applied()
    credentials = Credentials(home.settings(), Tally())
    poll(credentials, applied)
    assert applied == []
    home.write_keys({**home.k1, "state": "revoked"}, key("k2", new_secret()))
    for _ in range(3):
        poll(credentials, applied)
    (keyring,) = applied
    revoked = keyring.get("k1")
    assert revoked is not None
    assert revoked.state is KeyState.REVOKED


def test_broken_file_keeps_the_last_good_keyring_and_says_so_until_it_is_mended(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tally, applied = Tally(), Applied()
    credentials = Credentials(home.settings(), tally)
    home.keys_file.write_text("[[key]\nthis is no TOML")
    poll(credentials, applied)
    assert applied == []
    assert "keys.toml" in credentials.keys_trouble
    assert dict(tally.config_reloads) == {"failed": 1}
    (line,) = [record for record in caplog.records if record.levelname != "WARNING"]
    assert (line.levelname, events([line])) == ("ERROR", ["keys.failed"])
    home.write_keys(home.k1)
    poll(credentials, applied)
    assert kids(applied) == [["k1"]]
    assert credentials.keys_trouble == ""


def test_keys_without_a_signer_are_in_force_for_verifying_and_told_until_there_is_one(home: Home) -> None:
    tally, applied = Tally(), Applied()
    credentials = Credentials(home.settings(publish={"action": "sign", "sign_with": "k*"}), tally)
    home.write_keys({**home.k1, "state": "revoked"}, key("k2", new_secret(), state="verify"))
    reload(credentials, applied)
    assert kids(applied) == [["k1", "k2"]]
    assert "publish.sign_with" in credentials.keys_trouble
    assert dict(tally.config_reloads) == {"failed": 1}
    home.write_keys({**home.k1, "state": "revoked"}, key("k2", new_secret()))
    reload(credentials, applied)
    assert kids(applied) == [["k1", "k2"]] * 2
    assert credentials.keys_trouble == ""


def test_signer_that_is_there_when_its_time_comes_is_taken_without_another_change(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied = Applied()
    credentials = Credentials(home.settings(publish={"action": "sign", "sign_with": "k1"}), Tally())
    home.write_keys({**home.k1, "not_before": "2100-01-01T00:00:00Z"})
    reload(credentials, applied)
    assert "is not valid yet" in credentials.keys_trouble
    assert credentials.keys is not None
    monkeypatch.setattr(credentials.keys._source, "_clock", lambda: 2.0**33)
    monkeypatch.setattr(credentials.keys, "_next_at", 0.0)
    poll(credentials, applied)
    assert credentials.keys_trouble == ""
    assert kids(applied) == [["k1"]] * 2


def test_gate_that_neither_signs_nor_verifies_reads_no_keys(home: Home) -> None:
    home.keys_file.unlink()
    applied = Applied()
    tally = Tally()
    credentials = Credentials(home.settings(publish={"action": "pass"}), tally)
    reload(credentials, applied)
    poll(credentials, applied)
    assert (applied, credentials.keys_trouble, dict(tally.config_reloads)) == ([], "", {})


def test_keys_that_do_not_serve_at_start_end_it(home: Home) -> None:
    home.keys_file.write_text("")
    with pytest.raises(StartError, match=r"keys\.source") as refused:
        Credentials(home.settings(), Tally())
    assert refused.value.exit_code == 78


def test_what_deserves_a_warning_is_told_at_each_reload(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """At the start the configuration's own check has told it."""
    home.keys_file.chmod(0o644)
    credentials = Credentials(home.settings(), Tally())
    assert caplog.records == []
    reload(credentials, Applied())
    assert set(events(caplog.records)) == {"keys.warning"}
    assert any("chmod o-r" in record.getMessage() for record in caplog.records)


# Certificates


def test_renewed_certificates_make_contexts_for_the_next_handshakes(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    authority = Authority(home.folder)
    pair = authority.issue("gateway")
    settings = home.settings(
        listen={"tls": {"cert": pair.cert, "key": pair.key}},
        upstream={"urls": ["amqps://broker"], "tls": {"ca": authority.ca}},
    )
    tally = Tally()
    credentials = Credentials(settings, tally)
    listen = credentials.listen_tls
    credentials.poll_certificates()
    assert caplog.records == []
    assert credentials.listen_tls is listen
    authority.issue("gateway")
    credentials.poll_certificates()
    credentials.poll_certificates()
    assert events(caplog.records) == ["certificates.reloaded"]
    assert dict(tally.config_reloads) == {"ok": 1}
    assert credentials.listen_tls is not listen
    assert credentials.upstream_tls is not None
    assert len(credentials.upstream_tls.get_ca_certs()) == 1


def test_certificate_of_each_name_is_looked_at(home: Home) -> None:
    authority = Authority(home.folder)
    pair, other = authority.issue("gateway"), authority.issue("other")
    names = [{"names": ["other.example.com"], "cert": other.cert, "key": other.key}]
    tally = Tally()
    settings = home.settings(listen={"tls": {"cert": pair.cert, "key": pair.key, "names": names}})
    credentials = Credentials(settings, tally)
    good = credentials.listen_tls
    assert good is not None
    assert good.sni_callback is not None
    Path(other.key).write_text(Path(pair.key).read_text())
    credentials.poll_certificates()
    assert credentials.certificates_trouble.startswith("listen.tls.names[0]: ")
    assert credentials.listen_tls is good
    authority.issue("other")
    credentials.poll_certificates()
    assert credentials.certificates_trouble == ""
    assert credentials.listen_tls is not good


def test_authority_is_gone_from_the_context_when_it_is_gone_from_the_file(home: Home) -> None:
    authority, other = Authority(home.folder), Authority(home.folder / "other", "other")
    pair = authority.issue("gateway")
    bundle = home.folder / "clients.pem"
    bundle.write_text(Path(authority.ca).read_text() + Path(other.ca).read_text())
    tls = {"cert": pair.cert, "key": pair.key, "client_ca": str(bundle)}
    upstream = {"urls": ["amqps://broker"], "tls": {"ca": str(bundle)}}
    credentials = Credentials(home.settings(listen={"tls": tls}, upstream=upstream), Tally())

    def believed() -> list[int]:
        contexts = (credentials.listen_tls, credentials.upstream_tls)
        return [len(context.get_ca_certs()) for context in contexts if context is not None]

    assert believed() == [2, 2]
    bundle.write_text(Path(authority.ca).read_text())
    credentials.poll_certificates()
    assert believed() == [1, 1]


@pytest.mark.parametrize("broken", ["nonsense", "another key", "gone"])
def test_broken_certificate_keeps_the_last_good_one_and_says_so_until_it_is_mended(
    home: Home, broken: str
) -> None:
    authority = Authority(home.folder)
    pair = authority.issue("gateway")
    tally = Tally()
    credentials = Credentials(home.settings(listen={"tls": {"cert": pair.cert, "key": pair.key}}), tally)
    good = Path(pair.key).read_text()
    if broken == "gone":
        Path(pair.key).unlink()
    else:
        other = Path(authority.issue("other").key).read_text()
        Path(pair.key).write_text("nonsense" if broken == "nonsense" else other)
    credentials.poll_certificates()
    assert credentials.certificates_trouble.startswith("listen.tls: ")
    assert dict(tally.config_reloads) == {"failed": 1}
    Path(pair.key).write_text(good)
    credentials.poll_certificates()
    assert credentials.certificates_trouble == ""
    assert dict(tally.config_reloads) == {"failed": 1, "ok": 1}
