from __future__ import annotations

import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sealgate.cli import main
from sealgate.cli.message_json import parse_message
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import OMITTED_FOR_SEAL
from sealgate.signing.material import generate_ed25519, generate_hmac
from sealgate.signing.token import finish_token, parse_token, token_prefix
from support.vectors import VECTORS

RANDOM = bytes.fromhex("8f1d3ac0527be966044ecd91b82f70a35d16e83bf4297ac5016b9edf4480d237")
OTHER = RANDOM[::-1]
PRIVATE, PUBLIC = generate_ed25519(OTHER)
ONE = "k1=" + generate_hmac(RANDOM)
MESSAGE: dict[str, Any] = {
    "exchange": "",
    "routing_key": "celery",
    "properties": {"content_type": "application/json", "expiration": "60000"},
    "headers": {"task": "app.add", "retries": 0},
    "body": "[[1, 2], {}, {}]",
}


def run(command: str, message: object, *arguments: str, keys: str | None = ONE) -> Result:
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    result = CliRunner().invoke(main, [command, *arguments], input=data, env={"SEALGATE_KEYS": keys})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def signed(message: dict[str, Any], *arguments: str, keys: str = ONE) -> dict[str, Any]:
    """What `sign --json` prints."""
    result = run("sign", message, "--json", *arguments, keys=keys)
    assert result.exit_code == 0, result.output
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def with_header(message: dict[str, Any], name: str, value: object) -> dict[str, Any]:
    return message | {"headers": message["headers"] | {name: value}}


def sealed(message: dict[str, Any], *arguments: str, keys: str = ONE) -> dict[str, Any]:
    values = signed(message, *arguments, keys=keys)
    return with_header(message, values["header"], values["token"])


def verdict(message: dict[str, Any], *arguments: str, keys: str = ONE) -> str:
    """The reason `verify` gives; its exit code must agree."""
    result = run("verify", message, "--json", *arguments, keys=keys)
    values = json.loads(result.stdout)
    assert result.exit_code == (0 if values["verdict"] == "ok" else 1)
    return str(values["verdict"])


def keyfile(path: Path, *lines: str) -> str:
    file = path / "keys.toml"
    file.touch(mode=0o600)
    file.write_text("\n".join(["[[key]]", 'kid = "k1"', 'alg = "hmac-sha256"', *lines]))
    return str(file)


def test_sealed_message_verifies() -> None:
    assert verdict(sealed(MESSAGE)) == "ok"


def test_ed25519_seal_verifies_with_the_public_key() -> None:
    message = sealed(MESSAGE, keys="k2=" + PRIVATE)
    assert verdict(message, keys="k2=" + PUBLIC) == "ok"


def test_sign_and_verify_print_the_same_digests() -> None:
    printed = signed(MESSAGE)
    again = json.loads(run("verify", with_header(MESSAGE, "x-seal", printed["token"]), "--json").stdout)
    names = ("properties_sha256", "headers_sha256", "body_sha256", "body_bytes", "signing_input_sha256")
    assert [again[name] for name in names] == [printed[name] for name in names]
    assert again["kid"] == "k1"


def test_plain_output_has_a_line_for_each_value() -> None:
    result = run("sign", MESSAGE)
    lines = dict(line.split(None, 1) for line in result.stdout.splitlines())
    assert lines["header"] == "x-seal"
    assert parse_token(lines["token"].encode()).kid == "k1"
    assert len(lines["signing_input_sha256"]) == 64
    assert lines["body_bytes"] == "16"


def test_seal_is_good_for_a_day_unless_said() -> None:
    before = int(time.time())
    token = parse_token(signed(MESSAGE)["token"].encode())
    assert before <= token.created <= int(time.time())
    assert token.expires - token.created == 86400
    assert len(token.nonce) == 16
    token = parse_token(signed(MESSAGE, "--lifetime", "90s")["token"].encode())
    assert token.expires - token.created == 90


def test_lifetime_stays_under_the_keys_maximum(tmp_path: Path) -> None:
    file = keyfile(tmp_path, 'secret = "env:SEALGATE_KEYS"', 'max_lifetime = "1h"')
    token = parse_token(signed(MESSAGE, "--keys", file, keys=generate_hmac(RANDOM))["token"].encode())
    assert token.expires - token.created == 3600
    result = run("sign", MESSAGE, "--keys", file, "--lifetime", "2h", keys=generate_hmac(RANDOM))
    assert result.exit_code == 1
    assert "sig.lifetime" in result.stdout


def test_two_seals_of_one_message_have_two_nonces() -> None:
    assert signed(MESSAGE)["token"] != signed(MESSAGE)["token"]


def test_old_seals_do_not_count_when_signing() -> None:
    message = with_header(with_header(MESSAGE, "x-seal", "old"), "x-countersign", "old")
    assert signed(message)["headers_sha256"] == signed(MESSAGE)["headers_sha256"]


def test_countersignature_covers_the_seal() -> None:
    message = sealed(sealed(MESSAGE), "--countersign")
    assert verdict(message) == "ok"
    assert verdict(message, "--countersign") == "ok"
    message["headers"]["x-seal"] = message["headers"]["x-seal"].swapcase()
    assert verdict(message, "--countersign") == "sig.bad"


@pytest.mark.parametrize(
    "change",
    [
        {"body": "[[1, 3], {}, {}]"},
        {"vhost": "/b"},
        {"deployment": "staging"},
        {"properties": {"content_type": "application/x-python-serialize", "expiration": "60000"}},
        {"headers": {"task": "app.evil", "retries": 0}},
        {"headers": {"task": "app.add", "retries": 0, "more": None}},
        {"headers": {"task": "app.add"}},
    ],
)
def test_any_change_breaks_the_seal(change: dict[str, Any]) -> None:
    token = signed(MESSAGE)["token"]
    assert verdict(with_header(MESSAGE | change, "x-seal", token)) == "sig.bad"


@pytest.mark.parametrize(
    "change",
    [
        {"exchange": "ex"},
        {"routing_key": "other"},
        {"properties": {"content_type": "application/json"}},
        {"properties": {"content_type": "application/json", "expiration": "60000", "timestamp": 1}},
    ],
)
def test_another_target_is_told_apart_from_a_bad_seal(change: dict[str, Any]) -> None:
    token = signed(MESSAGE)["token"]
    assert verdict(with_header(MESSAGE | change, "x-seal", token)) == "target.mismatch"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("seal2.x", "sig.version"),
        ("seal1.x", "sig.malformed"),
        ("seal1.\ud800", "sig.malformed"),
        (5, "sig.malformed"),
        (None, "sig.missing"),
    ],
)
def test_wrong_token_is_told(value: object, reason: str) -> None:
    assert verdict(with_header(MESSAGE, "x-seal", value)) == reason


def test_token_may_be_a_byte_array() -> None:
    message = sealed(MESSAGE)
    assert verdict(with_header(message, "x-seal", {"type": "bytes", "value": "c2VhbDI="})) == "sig.version"


def test_missing_token_and_unknown_key_are_told() -> None:
    assert verdict(MESSAGE) == "sig.missing"
    assert verdict(sealed(MESSAGE), keys="k9=" + generate_hmac(OTHER)) == "sig.kid"
    assert verdict(sealed(MESSAGE), keys="k1=" + generate_hmac(OTHER)) == "sig.bad"


def test_expired_seal_is_told_after_the_skew() -> None:
    created = int(time.time()) - 100
    message = parse_message(json.dumps(MESSAGE).encode())
    prefix = token_prefix("k1", created, created + 40, bytes(range(16)), message.snapshot())
    data = message.digests(OMITTED_FOR_SEAL).signing_input("hmac-sha256", "prod", "/", prefix)
    token = finish_token(prefix, HmacSha256(RANDOM).sign(data)).decode()
    assert verdict(with_header(MESSAGE, "x-seal", token)) == "time.expired"
    assert verdict(with_header(MESSAGE, "x-seal", token), "--skew", "1h") == "ok"


def test_refused_message_still_shows_the_digests_of_the_vector() -> None:
    vector = VECTORS["other-vhost"]
    headers = {"x-seal": vector.token.decode()}
    message = {"exchange": "", "routing_key": "celery", "headers": headers, "vhost": vector.vhost}
    message |= {"deployment": vector.deployment, "body": vector.body.decode()}
    values = json.loads(run("verify", message, "--json", "--skew", "99999d").stdout)
    assert values["verdict"] == "sig.bad"
    assert values["body_sha256"] == sha256(vector.body).hexdigest()


def test_revoked_key_is_told(tmp_path: Path) -> None:
    file = keyfile(tmp_path, 'secret = "env:SEALGATE_KEYS"', 'state = "revoked"')
    assert verdict(sealed(MESSAGE), "--keys", file, keys=generate_hmac(RANDOM)) == "sig.key_state"
    result = run("sign", MESSAGE, "--kid", "k1", "--keys", file, keys=generate_hmac(RANDOM))
    assert (result.exit_code, "sig.key_state" in result.stdout) == (1, True)


def test_headers_a_gateway_would_refuse_are_not_sealed() -> None:
    result = run("sign", with_header(MESSAGE, "", 1))
    assert result.exit_code == 1
    assert "header.key" in result.stdout


def test_key_must_be_named_when_several_can_sign() -> None:
    keys = f"{ONE},k2={PRIVATE}"
    result = run("sign", MESSAGE, keys=keys)
    assert result.exit_code == 64
    assert "those that can sign now: k1, k2" in result.stderr
    assert parse_token(signed(MESSAGE, "--kid", "k2", keys=keys)["token"].encode()).kid == "k2"
    assert "can sign now: none" in run("sign", MESSAGE, keys="k2=" + PUBLIC).stderr


def test_unknown_kid_is_told() -> None:
    result = run("sign", MESSAGE, "--kid", "k9")
    assert (result.exit_code, "sig.kid" in result.stdout) == (1, True)


@pytest.mark.parametrize("command", ["sign", "verify"])
@pytest.mark.parametrize(
    ("message", "arguments", "keys", "status", "error"),
    [
        (b"{", (), ONE, 64, "the message on standard input: is not JSON"),
        (MESSAGE, (), None, 78, "env:SEALGATE_KEYS is not set"),
        (MESSAGE, ("--keys", "none.toml"), ONE, 78, "none.toml"),
        (MESSAGE, (), "k1=sgk_h_AAAA", 78, "at least 32 random ones"),
    ],
)
def test_wrong_input_and_wrong_keys_are_told_apart(
    command: str, message: object, arguments: tuple[str, ...], keys: str | None, status: int, error: str
) -> None:
    result = run(command, message, *arguments, keys=keys)
    assert result.exit_code == status
    assert error in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(("command", "option"), [("sign", "--lifetime"), ("verify", "--skew")])
def test_wrong_duration_is_a_usage_error(command: str, option: str) -> None:
    result = run(command, MESSAGE, option, "soon")
    assert result.exit_code == 64
    assert option in result.stderr


@pytest.mark.parametrize("command", ["sign", "verify"])
def test_help_shows_an_example_message(command: str) -> None:
    help_text = run(command, b"", "--help").stdout
    example = help_text[help_text.index('{"exchange"') : help_text.index('{}, {}]"}') + len('{}, {}]"}')]
    assert signed(json.loads(example))["body_bytes"] == 16
