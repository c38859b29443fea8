"""`vault:` references, against a real OpenBao: what works, and what each failure says."""

from __future__ import annotations

import os
import sys
import urllib.error
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from sealgate.config.errors import ConfigError, SourceError
from sealgate.config.reload import KeySource
from sealgate.config.settings import Settings
from sealgate.config.sources import Sources, new_remotes
from sealgate.config.store_settings import Aws, Vault
from sealgate.config.vault import VaultStore
from sealgate.signing.material import generate_ed25519, generate_hmac
from support.certificates import Authority
from support.config_files import RANDOM, SECRET, write
from support.http_stand_in import Answer, saying, stand_in
from support.processes import wait_until
from support.vault_server import ROOT_TOKEN, VaultServer, needs, private_vault

pytestmark = pytest.mark.system
OTHER = generate_hmac(RANDOM[::-1])
PRIVATE, PUBLIC = generate_ed25519(RANDOM[::-1])


@pytest.fixture(scope="module")
def vault() -> Iterator[VaultServer]:
    with private_vault() as server:
        server.api("POST", "sys/auth/approle", {"type": "approle"})
        options = {"token_policies": ["reader"], "token_ttl": "1h", "token_max_ttl": "4h"}
        server.api("POST", "auth/approle/role/gateway", options)
        yield server


def sources(vault: VaultServer, **settings: Any) -> Sources:
    given = {"address": vault.url, "token": ROOT_TOKEN, **settings}
    return Sources({}, new_remotes(Vault.model_validate(given), Aws(), {}))


def store(vault: VaultServer, now: Callable[[], float] = lambda: 0.0, **settings: Any) -> VaultStore:
    given = {"address": vault.url, "token": ROOT_TOKEN, **settings}
    return VaultStore(Vault.model_validate(given), {}, Sources({}).resolve, now)


def refusal(vault: VaultServer, reference: str, **settings: Any) -> SourceError:
    with pytest.raises(SourceError) as refused:
        sources(vault, **settings).resolve(reference)
    assert SECRET not in str(refused.value)
    return refused.value


def approle(vault: VaultServer) -> dict[str, str]:
    role = vault.api("GET", "auth/approle/role/gateway/role-id")["data"]["role_id"]
    secret = vault.api("POST", "auth/approle/role/gateway/secret-id", {})["data"]["secret_id"]
    return {"auth": "approle", "role_id": role, "secret_id": secret}


# Reading


def test_field_of_a_secret_is_read(vault: VaultServer) -> None:
    vault.put("one", web1=f" {SECRET}\n")
    assert sources(vault).resolve("vault:secret/data/one#web1") == SECRET


def test_secret_in_a_folder_of_another_mount_is_read(vault: VaultServer) -> None:
    vault.api("POST", "sys/mounts/team/kv", {"type": "kv", "options": {"version": "2"}})

    def written() -> bool:
        try:
            vault.api("POST", "team/kv/data/a/b", {"data": {"k": SECRET}})
        except urllib.error.HTTPError:  # a new mount is upgraded to version 2 for a moment
            return False
        return True

    wait_until(written, 20, "the new mount")
    assert sources(vault).resolve("vault:team/kv/data/a/b#k") == SECRET


def test_each_field_of_a_secret_is_a_key(vault: VaultServer) -> None:
    vault.put("ring", web1=SECRET, web2=OTHER, signer=PRIVATE)
    settings = Settings.model_validate(
        {"keys": {"source": "vault:secret/data/ring"}, "vault": {"address": vault.url, "token": ROOT_TOKEN}}
    )
    keyring = KeySource(settings, {}).load()
    assert sorted(keyring.kids()) == ["signer", "web1", "web2"]
    assert [key.algorithm.name for key in keyring if key.kid == "signer"] == ["ed25519"]


def test_field_may_hold_a_whole_key_file(vault: VaultServer) -> None:
    text = (
        '[[key]]\nkid = "k1"\nalg = "hmac-sha256"\nsecret = "vault:secret/data/file#k1"\nstate = "verify"\n'
    )
    vault.put("file", keys=text, k1=SECRET)
    settings = Settings.model_validate(
        {
            "keys": {"source": "vault:secret/data/file#keys"},
            "vault": {"address": vault.url, "token": ROOT_TOKEN},
        }
    )
    assert KeySource(settings, {}).load().kids() == ("k1",)


def test_environment_of_the_vault_command_is_enough(vault: VaultServer) -> None:
    vault.put("one", web1=SECRET)
    environ = {"VAULT_ADDR": vault.url, "VAULT_TOKEN": ROOT_TOKEN}
    assert Sources(environ).resolve("vault:secret/data/one#web1") == SECRET


def test_one_reading_asks_once_for_each_secret(vault: VaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.put("many", **{f"k{number}": SECRET for number in range(20)})
    asked = []
    read = VaultStore._read
    monkeypatch.setattr(VaultStore, "_read", lambda self, *path: asked.append(path) or read(self, *path))
    one = store(vault)
    for _ in range(2):
        one.begin()
        for number in range(20):
            one.text(f"secret/data/many#k{number}")
    assert asked == [("secret", "many")] * 2


def test_newest_version_counts(vault: VaultServer) -> None:
    one = store(vault)
    for value in (SECRET, OTHER):
        vault.put("versions", k=value)
        one.begin()
        assert one.text("secret/data/versions#k") == value


def test_namespace_is_that_of_the_settings(vault: VaultServer) -> None:
    vault.api("POST", "sys/namespaces/shop", {})
    vault.api("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}}, namespace="shop")

    def written() -> bool:
        try:
            vault.put("one", namespace="shop", web1=OTHER)
        except urllib.error.HTTPError:
            return False
        return True

    wait_until(written, 20, "the new mount")
    assert sources(vault, namespace="shop").resolve("vault:secret/data/one#web1") == OTHER


# Logins


def test_approle_logs_in(vault: VaultServer) -> None:
    vault.put("one", web1=SECRET)
    assert sources(vault, **approle(vault)).resolve("vault:secret/data/one#web1") == SECRET


def test_approle_with_a_wrong_secret_id_is_told(vault: VaultServer) -> None:
    error = refusal(vault, "vault:secret/data/one#web1", **{**approle(vault), "secret_id": "no-such-id"})
    assert "the login (approle) was refused as wrong" in str(error)
    assert error.permission


def test_secrets_of_the_login_come_from_references(vault: VaultServer, tmp_path: Path) -> None:
    vault.put("one", web1=SECRET)
    role = approle(vault)
    file = write(tmp_path / "secret-id", role["secret_id"] + "\n")
    given = {**role, "secret_id": f"file:{file}"}
    assert sources(vault, **given).resolve("vault:secret/data/one#web1") == SECRET
    file.unlink()
    assert "vault.secret_id: file:" in str(refusal(vault, "vault:secret/data/one#web1", **given))


def token_review(handler: BaseHTTPRequestHandler) -> None:
    """What the API server of Kubernetes answers to a TokenReview of a service account it knows."""
    user = {"username": "system:serviceaccount:shop:gateway", "uid": "u", "groups": []}
    saying({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "status": {"authenticated": True, "user": user}}, 201)(handler)  # fmt: skip


#: A service account's token: its claims are read by the Vault, its signature by the (stand-in) API server.
JWT = (
    "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9."
    "eyJpc3MiOiJrdWJlcm5ldGVzL3NlcnZpY2VhY2NvdW50Iiwia3ViZXJuZXRlcy5pby9zZXJ2aWNlYWNjb3VudC9uYW1lc3BhY2UiOiJzaG9wIiwia3Vi"
    "ZXJuZXRlcy5pby9zZXJ2aWNlYWNjb3VudC9zZWNyZXQubmFtZSI6InRva2VuIiwia3ViZXJuZXRlcy5pby9zZXJ2aWNlYWNjb3VudC9zZXJ2aWNlLWFj"
    "Y291bnQubmFtZSI6ImdhdGV3YXkiLCJrdWJlcm5ldGVzLmlvL3NlcnZpY2VhY2NvdW50L3NlcnZpY2UtYWNjb3VudC51aWQiOiJ1Iiwic3ViIjoic3lz"
    "dGVtOnNlcnZpY2VhY2NvdW50OnNob3A6Z2F0ZXdheSJ9.c2ln"
)


def test_kubernetes_logs_in(vault: VaultServer, tmp_path: Path) -> None:
    vault.put("one", web1=SECRET)
    with stand_in(token_review) as cluster:
        vault.api("POST", "sys/auth/kubernetes", {"type": "kubernetes"})
        authority = Path(Authority(tmp_path).ca).read_text()
        config = {"kubernetes_host": cluster, "disable_local_ca_jwt": True, "kubernetes_ca_cert": authority}
        vault.api("POST", "auth/kubernetes/config", config)
        role = {"bound_service_account_names": ["gateway"], "bound_service_account_namespaces": ["shop"]}
        vault.api("POST", "auth/kubernetes/role/sealgate", {**role, "token_policies": ["reader"]})
        given = {"auth": "kubernetes", "role": "sealgate", "jwt": str(write(tmp_path / "token", JWT))}
        assert sources(vault, **given).resolve("vault:secret/data/one#web1") == SECRET
        wrong = {**given, "role": "other"}
        assert "the login (kubernetes)" in str(refusal(vault, "vault:secret/data/one#web1", **wrong))
        absent = {**given, "jwt": str(tmp_path / "nowhere")}
        assert "vault.jwt: file:" in str(refusal(vault, "vault:secret/data/one#web1", **absent))


def test_login_that_has_ended_is_made_anew(vault: VaultServer) -> None:
    """The lease of a login runs out on the server, for whatever reason, before it was renewed."""
    vault.put("one", web1=SECRET)
    one = store(vault, **approle(vault))
    one.text("secret/data/one#web1")
    vault.api("POST", "auth/token/revoke", {"token": one._client.token})
    assert not vault.is_good(one._client.token)
    one.begin()
    assert one.text("secret/data/one#web1") == SECRET


def test_login_is_renewed_before_it_ends(vault: VaultServer) -> None:
    vault.put("one", web1=SECRET)
    now = 0.0
    one = store(vault, lambda: now, **approle(vault))
    one.text("secret/data/one#web1")
    token = one._client.token
    assert one.renew_in() == pytest.approx(2400)  # two thirds of the hour
    now = 2401.0
    one.begin()
    one.text("secret/data/one#web1")
    assert one._client.token == token
    assert one.renew_in() == pytest.approx(2400)
    renewed = vault.api("GET", "auth/token/lookup-self", token=token)["data"]
    assert renewed.get("last_renewal") is not None


def test_login_that_nears_its_longest_is_made_anew(vault: VaultServer) -> None:
    vault.put("one", web1=SECRET)
    options = {
        "token_policies": ["reader"],
        "token_ttl": "1h",
        "token_max_ttl": "1h",
        "token_explicit_max_ttl": "1h",
    }
    vault.api("POST", "auth/approle/role/short", options)
    role = vault.api("GET", "auth/approle/role/short/role-id")["data"]["role_id"]
    secret = vault.api("POST", "auth/approle/role/short/secret-id", {})["data"]["secret_id"]
    now = 0.0
    one = store(vault, lambda: now, auth="approle", role_id=role, secret_id=secret)
    one.text("secret/data/one#web1")
    token, one._first_ttl_s = one._client.token, 3 * 3600.0
    now = 2401.0
    one.begin()
    assert one.text("secret/data/one#web1") == SECRET
    assert one._client.token != token


def test_token_is_read_again_when_it_is_refused(vault: VaultServer, tmp_path: Path) -> None:
    """As an agent has it that writes a new one beside us."""
    vault.put("one", web1=SECRET)
    token = vault.new_token()
    file = write(tmp_path / "token", token)
    one = store(vault, token=f"file:{file}")
    assert one.text("secret/data/one#web1") == SECRET
    vault.api("POST", "auth/token/revoke", {"token": token})
    one.begin()
    with pytest.raises(SourceError, match="the login is over, or its policy does not permit it") as refused:
        one.text("secret/data/one#web1")
    assert refused.value.permission
    write(file, vault.new_token())
    assert one.text("secret/data/one#web1") == SECRET


def test_token_that_may_not_ask_about_itself_will_do(vault: VaultServer) -> None:
    vault.put("one", web1=SECRET)
    token = vault.new_token(no_default_policy=True)
    one = store(vault, token=token)
    assert one.text("secret/data/one#web1") == SECRET
    assert one.renew_in() == float("inf")


# What each failure says


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("vault:secret/data/none#k", "there is no such secret, or its last version is deleted"),
        ("vault:secret/data/wrong#other", "there is no such field"),
        ("vault:secret/data/wrong", "names no field"),
        ("vault:secret/data/wrong#number", "#number is int, and no text"),
        ("vault:secret/data/wrong#list", "#list is list, and no text"),
        ("vault:secret/data/wrong#void", "#void is nothing, and no text"),
        ("vault:secret/data/wrong#empty", "#empty is empty"),
        ("vault:old/data/one#k", "is no secret of KV version 2|there is no such secret"),
        ("vault:nowhere/data/one#k", "there is no such secret|is not allowed"),
    ],
)
def test_secret_that_is_none_is_named(vault: VaultServer, reference: str, message: str) -> None:
    vault.put("wrong", number=7, list=[SECRET], void=None, empty=" ")
    if "old" not in vault.api("GET", "sys/mounts")["data"].get("old/", {}).get("type", "") and (
        "old/" not in vault.api("GET", "sys/mounts")["data"]
    ):
        vault.api("POST", "sys/mounts/old", {"type": "kv", "options": {"version": "1"}})
        vault.api("POST", "old/data/one", {"k": SECRET})
    with pytest.raises(SourceError, match=message):
        sources(vault).resolve(reference)


def test_deleted_secret_is_told(vault: VaultServer) -> None:
    vault.put("gone", k=SECRET)
    vault.api("DELETE", "secret/data/gone")
    assert "its last version is deleted" in str(refusal(vault, "vault:secret/data/gone#k"))


def test_policy_that_does_not_permit_it_is_told(vault: VaultServer) -> None:
    vault.put("one", web1=SECRET)
    error = refusal(vault, "vault:secret/data/one#web1", token=vault.new_token(policies=["default"]))
    assert error.permission
    assert "policy does not permit it" in str(error)


def test_sealed_vault_is_away(vault: VaultServer) -> None:
    vault.put("one", web1=SECRET)
    one = store(vault)
    one.text("secret/data/one#web1")
    vault.seal()
    try:
        one.begin()
        with pytest.raises(SourceError, match="sealed or in maintenance") as refused:
            one.text("secret/data/one#web1")
        assert refused.value.away
    finally:
        vault.unseal()
    assert one.text("secret/data/one#web1") == SECRET


def test_vault_that_does_not_answer_is_away(vault: VaultServer) -> None:
    vault.put("one", web1=SECRET)
    one = store(vault, timeout="2s")
    one.text("secret/data/one#web1")
    vault.pause()
    try:
        one.begin()
        with pytest.raises(SourceError, match="no answer in time") as refused:
            one.text("secret/data/one#web1")
        assert refused.value.away
    finally:
        vault.resume()
    assert one.text("secret/data/one#web1") == SECRET


def test_certificate_is_held_against_the_ca(tmp_path: Path) -> None:
    with private_vault(tls=True) as vault:
        good = sources(vault, ca=vault.ca)
        assert "no such secret" in _refused(good)
        other = write(tmp_path / "ca.pem", Path(os.path.realpath(__file__)).read_text())
        assert "certificate" in _refused(sources(vault, ca=str(other))) or "can not be read" in _refused(
            sources(vault, ca=str(other))
        )
        assert "its certificate is not good for this address and CA" in _refused(sources(vault))
        assert "is no file" in _refused(sources(vault, ca=str(tmp_path / "nowhere")))


def _refused(given: Sources) -> str:
    with pytest.raises(SourceError) as refused:
        given.resolve("vault:secret/data/none#k")
    return str(refused.value)


# Against a server that is no well-kept Vault


def trickling(handler: BaseHTTPRequestHandler) -> None:
    """One octet at a time, without end."""
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" " * 20_000)
    except OSError:
        return


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (saying({"data": {"data": {"k": SECRET * 30_000}, "metadata": {}}}), "is over 1048576 bytes"),
        (trickling, "the answer is over 1048576 bytes"),
        (saying(b"<html>"), "the answer can not be read|is no secret of KV version 2"),
        (saying({"data": SECRET}), "is no secret of KV version 2"),
        (saying([SECRET]), "is no secret of KV version 2"),
        (saying({"errors": [SECRET]}, 500), "failed"),
        (saying({"errors": [SECRET]}, 418), "failed"),
        (saying(b"\xff\xfe", 502), "failed"),
    ],
)  # fmt: skip
def test_answer_that_is_none_is_told_without_what_is_in_it(answer: Answer, message: str) -> None:
    needs("hvac")
    with stand_in(answer) as url:
        settings = Vault.model_validate({"address": url, "token": ROOT_TOKEN, "timeout": "5s"})
        with pytest.raises(SourceError, match=message) as refused:
            Sources({}, new_remotes(settings, Aws(), {})).resolve("vault:secret/data/one#k")
    assert SECRET not in str(refused.value)


def test_nobody_there_is_away(tmp_path: Path) -> None:
    needs("hvac")
    environ = {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "t"}
    with pytest.raises(SourceError, match="the Vault can not be reached") as refused:
        Sources(environ).resolve("vault:secret/data/one#k")
    assert refused.value.away
    settings = Settings.model_validate({"keys": {"source": "vault:secret/data/one"}})
    with pytest.raises(ConfigError) as failed:
        KeySource(settings, environ).load()
    assert failed.value.exit_code == 69


def test_address_and_token_must_be_told() -> None:
    needs("hvac")
    with pytest.raises(SourceError, match=r"vault\.address is not set, nor is VAULT_ADDR"):
        Sources({}).resolve("vault:secret/data/one#k")
    with pytest.raises(SourceError, match=r"vault\.token: env:VAULT_TOKEN is not set"):
        Sources({"VAULT_ADDR": "http://127.0.0.1:1"}).resolve("vault:secret/data/one#k")


def test_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hvac", None)
    with pytest.raises(SourceError, match=r'need hvac: pip install "sealgate\[vault\]"'):
        Sources({"VAULT_ADDR": "http://127.0.0.1:1"}).resolve("vault:secret/data/one#k")
