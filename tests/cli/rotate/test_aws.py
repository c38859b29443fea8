"""`keys rotate` by the stages of a secret in AWS Secrets Manager, which is moto's server here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from sealgate.cli.keys.keyfiles import read_files, write_files
from sealgate.config.errors import ConfigError
from sealgate.config.loading import load
from sealgate.config.reload import KeySource
from sealgate.config.settings import Settings
from sealgate.signing.keyring import Keyring
from sealgate.signing.material import generate_ed25519, generate_hmac
from support.aws_server import ENVIRONMENT, REGION, AwsServer, private_aws
from support.http_stand_in import saying, stand_in
from support.rotating import GatewayOf, Rotate, a_key

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsServer]:
    with private_aws() as server:
        server.secret("shop/one", json.dumps({"kid": "k1", "secret": a_secret()}))
        server.secret("shop/ring", f"k1={a_secret()}")
        yield server


@pytest.fixture
def config(aws: AwsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return _config(tmp_path, aws.url)


def _config(folder: Path, url: str) -> Path:
    file = folder / "sealgate.toml"
    file.write_text(
        '[upstream]\nurls = ["amqp://127.0.0.1"]\n[admin]\nenabled = false\n'
        f'[aws]\nregion = "{REGION}"\nendpoint = "{url}"\n'
    )
    return file


def a_secret() -> str:
    return generate_hmac(os.urandom(32))


def ring(aws: AwsServer, name: str) -> Keyring:
    tables = {"keys": {"source": f"aws:{name}"}, "aws": {"region": REGION, "endpoint": aws.url}}
    return KeySource(Settings.model_validate(tables), {}).load()


def states(aws: AwsServer, name: str) -> dict[str, str]:
    return {key.kid: key.state.value for key in ring(aws, name)}


def test_key_with_grants_goes_through_a_whole_rotation(
    aws: AwsServer, config: Path, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    fields = {"kid": "web1-a", "secret": a_secret(), "tasks": ["shop.*"], "max_lifetime": "1h"}
    aws.secret("shop/web1", json.dumps({**fields, "not_after": "2099-01-01T00:00:00Z"}))
    given = ("aws:shop/web1", "-c", config)
    begun = rotate("begin", *given, "--kid", "web1-a", "--ends-in", "90d")
    assert (begun.exit_code, begun.stdout) == (0, ""), begun.output
    assert states(aws, "shop/web1") == {"web1-a": "active", "web1-b": "verify"}
    new = ring(aws, "shop/web1").get("web1-b")
    assert new is not None
    assert (new.tasks, new.max_lifetime_s, new.replaces) == (("shop.*",), 3600, "web1-a")
    assert new.not_after is not None and new.created is not None
    assert new.not_after - new.created == 90 * 86400
    assert 'publish.sign_with = "web1-*"' in begun.stderr

    again = rotate("begin", *given, "--kid", "web1-a")
    assert (again.exit_code, "web1-b is AWSPENDING" in again.stderr) == (78, True)
    early = rotate("promote", *given, "--kid", "web1-b")
    assert (early.exit_code, "no gateway was asked" in early.stderr) == (69, True)
    wrong = rotate("promote", *given, "--kid", "web1-a")
    assert (wrong.exit_code, "web1-a is AWSCURRENT, and not AWSPENDING" in wrong.stderr) == (78, True)
    ready = gateway_of(a_key("web1-a", "verify"), a_key("web1-b", "verify"))
    assert rotate("promote", *given, "--kid", "web1-b", *ready.gateway).exit_code == 0
    assert states(aws, "shop/web1") == {"web1-b": "active", "web1-a": "verify"}
    assert "nothing to do" in rotate("promote", *given, "--kid", "web1-b").stdout

    unfinished = rotate("begin", *given, "--kid", "web1-b")
    assert (unfinished.exit_code, "retire it first" in unfinished.stderr) == (78, True)
    told = rotate("status", *given, *ready.gateway)
    assert told.exit_code == 0
    assert "web1-a -> web1-b" in told.stdout and "next: retire web1-a" in told.stdout
    busy = gateway_of(a_key("web1-a", "verify", messages_last_hour=3, last_used=time.time()), a_key("web1-b"))
    refused = rotate("retire", *given, "--kid", "web1-a", *busy.gateway)
    assert (refused.exit_code, "3 messages in the last hour" in refused.stderr) == (69, True)
    signing = rotate("retire", *given, "--kid", "web1-b", "--force")
    assert (signing.exit_code, "web1-b is AWSCURRENT" in signing.stderr) == (78, True)
    assert rotate("retire", *given, "--kid", "web1-a", *ready.gateway).exit_code == 0
    assert states(aws, "shop/web1") == {"web1-b": "active"}


def test_bare_secret_stays_bare_and_its_keys_are_named_by_version(
    aws: AwsServer, config: Path, rotate: Rotate
) -> None:
    first = f"web2-{aws.secret('shop/web2', a_secret())[:8]}"
    given = ("aws:shop/web2", "-c", config)
    assert rotate("begin", *given, "--kid", first, "--new", "web2-b").exit_code == 64
    assert rotate("begin", *given, "--kid", first).exit_code == 0
    (second,) = [kid for kid, state in states(aws, "shop/web2").items() if state == "verify"]
    assert aws.client.get_secret_value(SecretId="shop/web2", VersionStage="AWSPENDING")[
        "SecretString"
    ].startswith("sgk_h_")
    assert rotate("promote", *given, "--kid", second, "--force").exit_code == 0
    versions = aws.client.list_secret_version_ids(SecretId="shop/web2")["Versions"]
    assert sorted(version["VersionStages"] for version in versions) == [["AWSCURRENT"], ["AWSPREVIOUS"]]
    assert states(aws, "shop/web2") == {second: "active", first: "verify"}


def test_key_file_in_a_secret_is_rotated_as_any_other(aws: AwsServer, config: Path, rotate: Rotate) -> None:
    table = f'# Ours.\n[[key]]\nkid = "k1"\nalg = "hmac-sha256"\nsecret = "{a_secret()}"\n'
    aws.secret("shop/file", table)
    given = ("aws:shop/file", "-c", config)
    assert rotate("begin", *given, "--kid", "k1").exit_code == 0
    assert rotate("promote", *given, "--kid", "k2", "--force").exit_code == 0
    assert states(aws, "shop/file") == {"k1": "verify", "k2": "active"}
    assert "next: retire k1" in rotate("status", *given).stdout
    text = aws.client.get_secret_value(SecretId="shop/file")["SecretString"]
    assert text.startswith("# Ours.\n")
    versions = aws.client.list_secret_version_ids(SecretId="shop/file")["Versions"]
    stages = [stage for version in versions for stage in version["VersionStages"]]
    assert sorted(stages) == ["AWSCURRENT", "AWSPREVIOUS"]
    read = read_files([Path("aws:shop/file")], load(config, {}, ()).settings)
    read[0].text.change("k1", {"state": "revoked"})
    aws.promote("shop/file", aws.add("shop/file", table, "AWSPENDING"))
    with pytest.raises(ConfigError, match="changed by somebody else meanwhile"):
        write_files(read)
    assert aws.client.get_secret_value(SecretId="shop/file")["SecretString"] == table


def test_leaked_key_is_revoked_behind_its_successor(aws: AwsServer, config: Path, rotate: Rotate) -> None:
    aws.secret("shop/web3", json.dumps({"kid": "k1", "secret": a_secret()}))
    given = ("aws:shop/web3", "-c", config)
    refused = rotate("revoke", "k1", *given)
    assert (refused.exit_code, "begin, promote --force" in refused.stderr) == (78, True)
    assert rotate("begin", *given, "--kid", "k1").exit_code == 0
    assert rotate("promote", *given, "--kid", "k2", "--force").exit_code == 0
    assert rotate("revoke", "k1", *given).exit_code == 0
    assert states(aws, "shop/web3") == {"k2": "active"}


def test_ed25519_signers_secret_gets_a_private_key(aws: AwsServer, config: Path, rotate: Rotate) -> None:
    private, public = generate_ed25519(os.urandom(32))
    aws.secret("shop/signer", json.dumps({"kid": "e1", "private": private}))
    aws.secret("shop/gateway", json.dumps({"kid": "e1", "public": public}))
    assert rotate("begin", "aws:shop/signer", "-c", config, "--kid", "e1").exit_code == 0
    new = ring(aws, "shop/signer").get("e2")
    assert new is not None and new.algorithm.can_sign
    half = generate_ed25519(os.urandom(32))[1]
    given = ("aws:shop/gateway", "-c", config, "--kid", "e1", "--public")
    assert rotate("begin", *given, "sgp_e_x").exit_code == 64
    assert rotate("begin", *given, half).exit_code == 0
    new = ring(aws, "shop/gateway").get("e2")
    assert new is not None and not new.algorithm.can_sign


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("aws:shop/none",), 78, "there is no such secret"),
        (("aws:",), 64, "aws: must be followed by"),
        (("aws:shop/ring",), 78, "holds no key file"),
        (("aws:shop/one", "aws:shop/ring"), 64, "alone"),
        (("aws:shop/one", "--secret", "env:X"), 64, "goes to AWS"),
        (("aws:shop/ring?stage=AWSCURRENT",), 64, "a secret of its own"),
        (("aws:shop/one", "--new", "k1"), 64, "--new"),
        (("aws:shop/one",), 64, "there is no key k9"),
        (("vault:secret/data/sealgate",), 64, "that: vault:secret/data/sealgate#keys"),
    ],
)
def test_wrong_calls_are_told(
    aws: AwsServer, config: Path, rotate: Rotate, arguments: tuple[str, ...], code: int, told: str
) -> None:
    kid = "k9" if "no key" in told else "k1"
    refused = rotate("begin", *arguments, "-c", config, "--kid", kid)
    assert (refused.exit_code, told in refused.stderr) == (code, True), refused.output
    assert len(aws.client.list_secret_version_ids(SecretId="shop/one")["Versions"]) == 1


def test_credentials_that_may_only_read_are_a_permission_error(
    aws: AwsServer, config: Path, rotate: Rotate, tmp_path: Path
) -> None:
    version = {"VersionId": "v" * 32, "SecretString": json.dumps({"kid": "k1", "secret": a_secret()})}

    def answer(handler: BaseHTTPRequestHandler) -> None:
        action = handler.headers["X-Amz-Target"].rpartition(".")[2]
        if action == "GetSecretValue":
            saying({**version, "ARN": "arn", "Name": "shop/web"})(handler)
        else:
            saying({"__type": "AccessDeniedException", "Message": "no"}, 400)(handler)

    with stand_in(answer) as url:
        refused = rotate("begin", "aws:shop/web", "-c", _config(tmp_path, url), "--kid", "k1")
    assert (refused.exit_code, "may not be changed with these credentials" in refused.stderr) == (77, True)
