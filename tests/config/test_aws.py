"""`aws:` references, against moto's Secrets Manager: what works, and what each failure says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from sealgate.config.errors import ConfigError, SourceError
from sealgate.config.reload import KeySource
from sealgate.config.settings import Settings
from sealgate.config.sources import Sources, new_remotes
from sealgate.config.store_settings import Aws, Vault
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.signing.material import generate_ed25519, generate_hmac
from support.aws_server import ENVIRONMENT, REGION, AwsServer, private_aws
from support.config_files import RANDOM, SECRET
from support.http_stand_in import Answer, saying, stand_in
from support.vault_server import needs

pytestmark = pytest.mark.system
OTHER = generate_hmac(RANDOM[::-1])
THIRD = generate_hmac(RANDOM[16:] + RANDOM[:16])
PRIVATE, PUBLIC = generate_ed25519(RANDOM[::-1])


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsServer]:
    with private_aws() as server:
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def sources(url: str, **settings: Any) -> Sources:
    given = {"region": REGION, "endpoint": url, **settings}
    return Sources({}, new_remotes(Vault(), Aws.model_validate(given), {}))


def refusal(url: str, reference: str, **settings: Any) -> SourceError:
    with pytest.raises(SourceError) as refused:
        sources(url, **settings).resolve(reference)
    assert SECRET not in str(refused.value)
    return refused.value


def keyring(aws: AwsServer, source: str) -> Keyring:
    tables = {"keys": {"source": source}, "aws": {"region": REGION, "endpoint": aws.url}}
    return KeySource(Settings.model_validate(tables), {}).load()


def states(ring: Keyring) -> dict[str, str]:
    return {key.kid: key.state.value for key in ring}


def the(ring: Keyring, kid: str) -> Key:
    key = ring.get(kid)
    assert key is not None
    return key


# Reading


def test_secret_is_read(aws: AwsServer) -> None:
    aws.secret("plain", f" {SECRET}\n")
    assert sources(aws.url).resolve("aws:plain") == SECRET


def test_secret_is_read_by_its_arn_in_the_region_it_names(aws: AwsServer) -> None:
    arn = aws.client.create_secret(Name="shop/by-arn", SecretString=SECRET)["ARN"]
    assert sources(aws.url, region=None).resolve(f"aws:{arn}") == SECRET


def test_field_of_a_json_secret_is_read(aws: AwsServer) -> None:
    aws.secret("fields", f'{{"k1": "{SECRET}", "number": 7, "empty": ""}}')
    assert sources(aws.url).resolve("aws:fields#k1") == SECRET


def test_stage_may_be_named(aws: AwsServer) -> None:
    aws.secret("staged", SECRET)
    aws.add("staged", OTHER, "AWSPENDING")
    assert sources(aws.url).resolve("aws:staged") == SECRET
    assert sources(aws.url).resolve("aws:staged?stage=AWSPENDING") == OTHER


def test_secret_may_hold_a_whole_key_file_or_pairs(aws: AwsServer) -> None:
    text = '[[key]]\nkid = "k1"\nalg = "hmac-sha256"\nsecret = "aws:fields-of-file#k1"\nstate = "verify"\n'
    aws.secret("file", text)
    aws.secret("fields-of-file", f'{{"k1": "{SECRET}"}}')
    aws.secret("pairs", f"a={SECRET},b={OTHER}")
    assert states(keyring(aws, "aws:file")) == {"k1": "verify"}
    assert states(keyring(aws, "aws:pairs")) == {"a": "active", "b": "active"}


# Rotation


def test_stages_of_a_secret_are_the_states_of_a_rotation(aws: AwsServer) -> None:
    first = f"web1-{aws.secret('shop/web1', SECRET)[:8]}"
    assert states(keyring(aws, "aws:shop/web1")) == {first: "active"}

    version = aws.add("shop/web1", OTHER, "AWSPENDING")
    second = f"web1-{version[:8]}"
    assert states(keyring(aws, "aws:shop/web1")) == {first: "active", second: "verify"}

    aws.promote("shop/web1", version)
    promoted = keyring(aws, "aws:shop/web1")
    assert states(promoted) == {second: "active", first: "verify"}
    assert promoted.first_signer("web1-*", 0.0).kid == second

    version = aws.add("shop/web1", THIRD, "AWSPENDING")
    aws.promote("shop/web1", version)
    third = f"web1-{version[:8]}"
    assert states(keyring(aws, "aws:shop/web1")) == {third: "active", second: "verify"}


def test_secret_may_be_a_key_with_all_that_it_may_do(aws: AwsServer) -> None:
    text = '{"kid": "%s", "alg": "hmac-sha256", "secret": "%s", "tasks": ["shop.*"], "max_lifetime": "1h"}'
    aws.secret("shop/full", text % ("full-1", SECRET))
    aws.add("shop/full", text % ("full-2", OTHER), "AWSPENDING")
    ring = keyring(aws, "aws:shop/full")
    assert states(ring) == {"full-1": "active", "full-2": "verify"}
    assert (the(ring, "full-2").tasks, the(ring, "full-2").max_lifetime_s) == (("shop.*",), 3600)


def test_ed25519_keys_rotate_as_well(aws: AwsServer) -> None:
    version = aws.secret("shop/signer", PRIVATE)
    key = the(keyring(aws, "aws:shop/signer"), f"signer-{version[:8]}")
    assert (key.algorithm.name, key.state) == ("ed25519", KeyState.ACTIVE)


def test_kid_is_made_of_the_name_without_what_an_arn_adds(aws: AwsServer) -> None:
    answer = aws.client.create_secret(Name="shop/a.b", SecretString=SECRET)
    assert keyring(aws, f"aws:{answer['ARN']}").kids() == (f"a-b-{answer['VersionId'][:8]}",)


def test_state_is_told_by_the_stage_alone(aws: AwsServer) -> None:
    aws.secret("shop/stated", f'{{"secret": "{SECRET}", "state": "active"}}')
    with pytest.raises(ConfigError, match="state is told by its stage"):
        keyring(aws, "aws:shop/stated")


def test_version_that_is_no_key_spoils_the_keyring(aws: AwsServer) -> None:
    """A half-made rotation: nothing new is taken, and the last good keyring stays."""
    aws.secret("shop/half", SECRET)
    aws.add("shop/half", "not yet", "AWSPENDING")
    with pytest.raises(ConfigError, match="is no key: want sgk_h_"):
        keyring(aws, "aws:shop/half")


# What each failure says


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("aws:nowhere", "there is no such secret, or none in this stage"),
        ("aws:wrong?stage=AWSPENDING", "there is no such secret, or none in this stage"),
        ("aws:wrong#other", "there is no such field"),
        ("aws:wrong#number", "#number is int, and no text"),
        ("aws:wrong#empty", "#empty is empty"),
        ("aws:text#k", "the secret is no JSON object"),
        ("aws:blank", "aws:blank is empty"),
        ("aws:binary", "aws:binary is binary, and no text"),
        ("aws:deleted", "AWS said InvalidRequestException"),
    ],
)
def test_secret_that_is_none_is_named(aws: AwsServer, reference: str, message: str) -> None:
    name = reference.partition(":")[2].partition("?")[0].partition("#")[0]
    texts = {"wrong": '{"number": 7, "empty": " "}', "text": SECRET, "blank": " ", "deleted": SECRET}
    known = {entry["Name"] for entry in aws.client.list_secrets()["SecretList"]}
    if name in texts and name not in known:
        aws.secret(name, texts[name])
    if name == "binary":
        aws.client.create_secret(Name=name, SecretBinary=b"\x00\x01")
    if name == "deleted":
        aws.client.delete_secret(SecretId=name)
    assert message in str(refusal(aws.url, reference))


def test_missing_credentials_region_and_profile_are_told(
    aws: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "aws.region is not set" in str(refusal(aws.url, "aws:plain", region=None))
    assert "there is no such profile" in str(refusal(aws.url, "aws:plain", profile="nobody"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "no credentials for AWS are found" in str(refusal(aws.url, "aws:plain"))


def test_nobody_there_is_away(aws: AwsServer) -> None:
    error = refusal("http://127.0.0.1:1", "aws:plain", timeout="1s")
    assert error.away
    assert "AWS can not be reached (EndpointConnectionError)" in str(error)
    tables = {"keys": {"source": "aws:x"}, "aws": {"region": REGION, "endpoint": "http://127.0.0.1:1"}}
    with pytest.raises(ConfigError) as failed:
        KeySource(Settings.model_validate(tables), {}).load()
    assert failed.value.exit_code == 69


def silent(handler: BaseHTTPRequestHandler) -> None:
    """Takes the question and never answers; ends when the client does."""
    handler.connection.settimeout(30)
    handler.rfile.read(1)


def aws_error(code: str, status: int = 400) -> Answer:
    return saying({"__type": code, "message": f"secret {SECRET}"}, status)


@pytest.mark.parametrize(
    ("answer", "message", "permission", "away"),
    [
        (aws_error("AccessDeniedException"), "may not be read with these credentials", True, False),
        (aws_error("ExpiredTokenException"), "the credentials are wrong or over", True, False),
        (aws_error("UnrecognizedClientException"), "the credentials are wrong or over", True, False),
        (aws_error("DecryptionFailure"), "AWS said DecryptionFailure", False, False),
        (aws_error("InternalServiceError", 500), "AWS said", False, True),
        (silent, "no answer in time (aws.timeout)", False, True),
        (saying({"SecretString": "x" * 1_048_577, "VersionId": "v"}), "is over 1048576 bytes", False, False),
        (saying({"SecretString": None}), "the answer has no text", False, False),
        (saying(b"<html>"), "the answer has no text", False, False),
    ],
)
def test_answer_that_is_none_is_told_without_what_is_in_it(
    answer: Answer, message: str, permission: bool, away: bool
) -> None:
    needs("boto3")
    with stand_in(answer) as url:
        error = refusal(url, "aws:plain", timeout="1s" if answer is silent else "30s")
    assert message in str(error)
    assert (error.permission, error.away) == (permission, away)


def test_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.setitem(sys.modules, "boto3.session", None)
    with pytest.raises(SourceError, match=r'need boto3: pip install "sealgate\[aws\]"'):
        sources("http://127.0.0.1:1").resolve("aws:plain")
