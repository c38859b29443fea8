"""A running gateway whose keys are in a store on the network: rotated, and while the store fails."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key
from sealgate.signing.material import MaterialKind, generate_hmac, parse_secret
from support.aws_server import ENVIRONMENT, REGION, AwsServer, private_aws
from support.explained import frames
from support.gateway import GatewayProcess, gateway, key
from support.processes import wait_until
from support.publisher import answers
from support.rabbitmq_server import RabbitMQServer
from support.sealed import a_message, sealed
from support.vault_server import VaultServer, private_vault

pytestmark = pytest.mark.system
SECONDS_MAX = 30


@pytest.fixture(scope="module")
def vault() -> Iterator[VaultServer]:
    with private_vault() as server:
        yield server


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsServer]:
    with private_aws() as server:
        yield server


class Ring:
    """Keys by kid; `accepted` asks the gateway whether it knows one."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def new(self, kid: str) -> str:
        self.texts[kid] = generate_hmac(secrets.token_bytes(32))
        return self.texts[kid]

    def accepted(self, process: GatewayProcess, kid: str) -> bool:
        key = Key(kid, HmacSha256(parse_secret(self.texts[kid], MaterialKind.HMAC_SECRET)))
        created, nonce = int(time.time()), secrets.token_bytes(16)
        message = sealed(a_message(routing_key="nowhere"), key=key, created=created, nonce=nonce)
        return asyncio.run(answers(process.port, "/", [frames(message)])) == ["Basic.Ack"]


def settings(source: str, **tables: dict[str, object]) -> dict[str, object]:
    return {
        "keys": {"source": source, "refresh": "1s"},
        "replay": {"clock_skew": "0s"},
        "quarantine": {"enabled": False},
        "log": {"level": "debug"},
        **tables,
    }


def unlogged(process: GatewayProcess, *secret: str) -> bool:
    """Whether none of these is in the log, which is at its finest level."""
    text = process.log_text()
    return not [one for one in secret if one in text or one.removeprefix("sgk_h_") in text]


def trouble(process: GatewayProcess) -> str:
    """What /readyz says of the keyring; "ok" when nothing is wrong with it."""
    (line,) = [text for text in process.get("/readyz?verbose")[1].splitlines() if "]keyring " in text]
    return line.partition("]keyring ")[2]


def test_keys_in_a_vault(rabbitmq: RabbitMQServer, vault: VaultServer, tmp_path: Path) -> None:
    """Rotated without restart; while the Vault fails the old keys stay, and it is told; then it recovers."""
    ring = Ring()
    vault.put("gateway", web1=ring.new("web1"))
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(vault.new_token())
    tables = settings(
        "vault:secret/data/gateway",
        vault={"address": vault.url, "token": f"file:{token}", "timeout": "2s"},
    )
    with gateway(tmp_path / "gateway", rabbitmq.port, [], tables) as process:

        def told(words: str) -> None:
            wait_until(lambda: words in trouble(process), SECONDS_MAX, f"the keyring to tell: {words}")

        def mended() -> None:
            failing_since = "sealgate_keyring_failing_since_timestamp_seconds"
            wait_until(lambda: process.metric(failing_since) == 0, SECONDS_MAX, "the source to be good")
            told("ok")

        def takes(kid: str) -> None:
            wait_until(lambda: ring.accepted(process, kid), SECONDS_MAX, f"{kid} to be in force")

        takes("web1")
        vault.put("gateway", web1=ring.texts["web1"], web2=ring.new("web2"))
        takes("web2")
        mended()

        failing = time.time()
        vault.pause()
        try:
            told("no answer in time")
            assert trouble(process).startswith("failing since 2")
            assert process.ready()
            assert ring.accepted(process, "web1")
            since = process.metric("sealgate_keyring_failing_since_timestamp_seconds")
            assert failing - 1 < since <= time.time()
            assert process.metric("sealgate_keyring_age_seconds") >= time.time() - since
            assert process.metric("sealgate_config_reloads_total", result="failed") >= 1
        finally:
            vault.resume()
        mended()

        vault.put("gateway", web1=ring.texts["web1"], web2="")
        told("vault:secret/data/gateway#web2 is empty")
        vault.put("gateway", web1="hunter2", web2=ring.texts["web2"])
        told("is no key: want sgk_h_")
        assert "hunter2" not in process.log_text()
        vault.api("DELETE", "secret/data/gateway")
        told("its last version is deleted")
        assert ring.accepted(process, "web1")
        assert ring.accepted(process, "web2")

        vault.put("gateway", web2=ring.texts["web2"])
        told("ok")
        wait_until(lambda: not ring.accepted(process, "web1"), SECONDS_MAX, "web1 to be gone")

        vault.api("POST", "auth/token/revoke", {"token": token.read_text()})
        told("the login is over, or its policy does not permit it")
        assert ring.accepted(process, "web2")
        token.write_text(vault.new_token())
        told("ok")
        assert process.log_text().count('"keys.failed"') < 15
        assert unlogged(process, *ring.texts.values(), token.read_text())


def test_stages_of_a_secret_in_aws(rabbitmq: RabbitMQServer, aws: AwsServer, tmp_path: Path) -> None:
    """begin, promote, retire by moving stages: a gateway and a signing sidecar follow without restart."""
    ring = Ring()
    first = f"web1-{aws.secret('shop/web1', ring.new('first'))[:8]}"
    ring.texts[first] = ring.texts["first"]
    where = {"region": REGION, "endpoint": aws.url, "timeout": "5s"}
    tables = settings("aws:shop/web1", aws=where)
    signing = settings("aws:shop/web1", aws=where, publish={"action": "sign", "sign_with": "web1-*"})
    with (
        gateway(tmp_path / "gateway", rabbitmq.port, [], tables, env=ENVIRONMENT) as process,
        gateway(tmp_path / "sidecar", process.port, [], signing, env=ENVIRONMENT) as sidecar,
    ):

        def signs_with(kid: str) -> bool:
            """Whether a message that the sidecar seals now is accepted under `kid`."""
            before = process.metric("sealgate_key_messages_total", kid=kid, verdict="accepted")
            asyncio.run(answers(sidecar.port, "/", [frames(a_message(routing_key="nowhere"))]))
            return process.metric("sealgate_key_messages_total", kid=kid, verdict="accepted") > before

        wait_until(lambda: ring.accepted(process, first), SECONDS_MAX, "the first key to be in force")
        assert signs_with(first)

        version = aws.add("shop/web1", ring.new("second"), "AWSPENDING")
        second = f"web1-{version[:8]}"
        ring.texts[second] = ring.texts["second"]
        wait_until(lambda: ring.accepted(process, second), SECONDS_MAX, "the pending key to verify")
        assert signs_with(first)

        aws.promote("shop/web1", version)
        wait_until(lambda: signs_with(second), SECONDS_MAX, "the sidecar to sign with the new key")
        assert ring.accepted(process, first)

        third = aws.add("shop/web1", ring.new("third"), "AWSPENDING")
        aws.promote("shop/web1", third)
        wait_until(lambda: not ring.accepted(process, first), SECONDS_MAX, "the first key to be gone")
        assert ring.accepted(process, second)

        aws.client.delete_secret(SecretId="shop/web1")
        wait_until(lambda: "AWS said" in trouble(process), SECONDS_MAX, "the deleted secret to be told")
        assert ring.accepted(process, second)
        aws.client.restore_secret(SecretId="shop/web1")
        wait_until(lambda: trouble(process) == "ok", SECONDS_MAX, "the source to be good again")
        assert process.refusals().keys() <= {"sig.kid", "store.horizon"}
        assert unlogged(process, *ring.texts.values())
        assert unlogged(sidecar, *ring.texts.values())


def test_vault_that_is_away_ends_the_start_with_69(tmp_path: Path) -> None:
    tables = settings("vault:secret/data/x", vault={"address": "http://127.0.0.1:1", "token": "t"})
    process = GatewayProcess(tmp_path / "gateway", 1, [], tables)
    with pytest.raises(AssertionError, match="the Vault can not be reached"):
        process.start()
    assert process.stop() == 69


def test_keys_in_a_file(rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    """Half a file, an empty one, a wrong one, none: the last good keyring stays, it is told, and mended."""
    ring = Ring()
    one = key("k1", ring.new("k1"))
    tables = {name: table for name, table in settings("").items() if name != "keys"}
    with gateway(tmp_path / "gateway", rabbitmq.port, [one], tables) as process:
        file = process.keys_file
        good = file.read_text()

        def told(words: str) -> None:
            wait_until(lambda: words in trouble(process), SECONDS_MAX, f"the keyring to tell: {words}")

        for text, words in (
            (good[: len(good) // 2], "not TOML"),
            ("", "is empty"),
            (good.replace('"kid"', '"kidd"'), "is not known"),
        ):
            fresh = file.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_text(text)
            fresh.replace(file)
            told(words)
            assert ring.accepted(process, "k1")
        file.unlink()
        told("No such file or directory")
        assert process.metric("sealgate_keyring_failing_since_timestamp_seconds") > 0
        process.write_keys([one, key("k2", ring.new("k2"))])
        told("ok")
        assert process.metric("sealgate_keyring_failing_since_timestamp_seconds") == 0
        assert ring.accepted(process, "k2")
        assert unlogged(process, *ring.texts.values())
