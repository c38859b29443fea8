"""`sealgate sign` and `sealgate verify`: one message as JSON, its token and its section digests."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, NoReturn, TypeVar

import click

from sealgate.cli.exits import EXIT_FAILED
from sealgate.cli.message_json import JSON_BYTES_MAX, Digests, JsonMessage, MessageError, parse_message
from sealgate.config.fields import is_reference
from sealgate.config.sources import Sources, read_keyring
from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import (
    COUNTERSIGN_NAME,
    OMITTED_FOR_COUNTERSIGN,
    OMITTED_FOR_SEAL,
    TOKEN_NAME,
)
from sealgate.signing.keyfile import parse_duration
from sealgate.signing.keyring import Key, Keyring
from sealgate.signing.token import Token, finish_token, parse_token, token_prefix

KEYS_DEFAULT: Final = "env:SEALGATE_KEYS"
LIFETIME_S_DEFAULT: Final = 24 * 3600
SKEW_S_DEFAULT: Final = "30s"
NONCE_BYTES: Final = 16

_FORMAT: Final = """
    \b
    The message:
      {"exchange": "", "routing_key": "celery", "vhost": "/", "deployment": "prod",
       "properties": {"content_type": "application/json", "content_encoding": "utf-8",
                      "delivery_mode": 2, "timestamp": 1767225600},
       "headers": {"task": "app.add", "id": "5b3f...", "retries": 0,
                   "sent": {"type": "timestamp", "value": 1767225600}},
       "body": "[[1, 2], {}, {}]"}

    vhost is "/" and deployment "prod" unless said; properties and headers may be left out. A body that is not
    text goes into body_base64. Header values are JSON values, or {"type": T, "value": V} where T is timestamp
    (Unix seconds), bytes (base64), double, table, or decimal (with "scale").
"""

F = TypeVar("F", bound=Callable[..., Any])


def _shared_options(command: F) -> F:
    """What `sign` and `verify` have in common."""
    if command.__doc__ is not None:
        command.__doc__ += _FORMAT
    keys = click.option(
        "--keys",
        "source",
        metavar="FILE",
        default=KEYS_DEFAULT,
        show_default=True,
        help="The key file, or env:NAME.",
    )
    counter = click.option(
        "--countersign", is_flag=True, help="Header x-countersign, which covers x-seal, in place of x-seal."
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
    return keys(counter(as_json(command)))


@click.command()
@click.option("--kid", default="", help="The key to sign with. Needed when more than one can.")
@click.option("--lifetime", metavar="DURATION", help="How long the seal is good, such as 1h.  [default: 24h]")
@_shared_options
def sign(kid: str, lifetime: str | None, source: str, countersign: bool, as_json: bool) -> None:
    """Seal one message: JSON on standard input, its token and section digests on standard output.

    The token is for the header x-seal. A seal that the message already has is not looked at.

    \b
    Exit codes: 0 sealed, 1 can not be sealed (with the reason), 64 the JSON is no message,
    77 or 78 the keys can not be read.
    """
    lifetime_s = _lifetime(lifetime)
    message = _read_message()
    keyring = _read_keyring(source)
    now = time.time()
    try:
        key = keyring.signer(kid or _only_signer(keyring, now), now)
        created = int(now)
        expires = created + (
            min(LIFETIME_S_DEFAULT, key.max_lifetime_s) if lifetime_s is None else lifetime_s
        )
        if expires - created > key.max_lifetime_s:
            raise GateError(Reason.SIG_LIFETIME, f"key {key.kid} allows {key.max_lifetime_s} s")
        prefix = token_prefix(key.kid, created, expires, os.urandom(NONCE_BYTES), message.snapshot())
        digests = message.digests(_omitted(countersign))
        signed = digests.signing_input(key.algorithm.name, message.deployment, message.vhost, prefix)
        token = finish_token(prefix, key.algorithm.sign(signed))
    except GateError as error:
        _refuse(error, as_json)
    values: dict[str, object] = {"header": _name(countersign), "token": token.decode()}
    _print(values | _shown(digests, signed), as_json)


@click.command()
@click.option(
    "--skew", metavar="DURATION", default=SKEW_S_DEFAULT, show_default=True, help="What clocks may differ."
)
@_shared_options
def verify(skew: str, source: str, countersign: bool, as_json: bool) -> None:
    """Check the seal of one message: JSON on standard input, with the token in its header x-seal.

    Checks what is checked at a consumer: grammar, key, signature, expiry and target; not freshness, replay,
    content, or what the key may do. Prints the section digests, to be held against those that `sign` printed.

    \b
    Exit codes: 0 the seal is good, 1 it is not (with the reason), 64 the JSON is no message,
    77 or 78 the keys can not be read.
    """
    skew_s = _duration(skew, "--skew")
    message = _read_message()
    keyring = _read_keyring(source)
    values: dict[str, object] = {}
    try:
        token = parse_token(_token_of(message, _name(countersign)))
        key = _key_of(keyring, token)
        digests = message.digests(_omitted(countersign))
        signed = digests.signing_input(key.algorithm.name, message.deployment, message.vhost, token.prefix)
        values = _shown(digests, signed)
        _check(keyring, key, token, message, signed, time.time(), skew_s)
    except GateError as error:
        _refuse(error, as_json, values)
    _print({"verdict": Reason.OK.value, "kid": key.kid} | values, as_json)


def _check(
    keyring: Keyring, key: Key, token: Token, message: JsonMessage, signed: bytes, now: float, skew_s: int
) -> None:
    """The checks at the consumer, in the order of seal1.md. Raises `GateError`."""
    keyring.check_for_verify(key, token, now)
    if now > token.expires + skew_s:
        raise GateError(Reason.TIME_EXPIRED, f"{int(now - token.expires)} s ago")
    if not key.algorithm.verify(signed, token.signature):
        raise GateError(Reason.SIG_BAD, "compare the digests; deployment, vhost and secret count as well")
    if token.target != message.target:
        raise GateError(Reason.TARGET_MISMATCH, "exchange, routing_key, expiration or timestamp")


def _token_of(message: JsonMessage, name: str) -> bytes:
    value = message.headers.get(name)
    if value is None:
        raise GateError(Reason.SIG_MISSING, f"no header {name}")
    if isinstance(value, str):
        return value.encode(errors="replace")
    if isinstance(value, bytes):
        return value
    raise GateError(Reason.SIG_MALFORMED, f"header {name} is no text")


def _key_of(keyring: Keyring, token: Token) -> Key:
    key = keyring.get(token.kid)
    if key is None:
        raise GateError(Reason.SIG_KID, "no such key")
    return key


def _only_signer(keyring: Keyring, now: float) -> str:
    """The kid of the one key that can sign now; which one is asked for when there are several or none."""
    kids = [kid for kid in keyring.kids() if _can_sign(keyring, kid, now)]
    if len(kids) != 1:
        found = ", ".join(kids) or "none"
        raise click.UsageError(f"say which key with --kid; those that can sign now: {found}")
    return kids[0]


def _can_sign(keyring: Keyring, kid: str, now: float) -> bool:
    try:
        keyring.signer(kid, now)
    except GateError:
        return False
    return True


def _name(countersign: bool) -> str:
    return COUNTERSIGN_NAME if countersign else TOKEN_NAME


def _omitted(countersign: bool) -> frozenset[str]:
    return OMITTED_FOR_COUNTERSIGN if countersign else OMITTED_FOR_SEAL


def _lifetime(text: str | None) -> int | None:
    return None if text is None else _duration(text, "--lifetime")


def _duration(text: str, option: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def _read_message() -> JsonMessage:
    data = sys.stdin.buffer.read(JSON_BYTES_MAX + 1)
    try:
        return parse_message(data)
    except MessageError as error:
        raise click.UsageError(f"the message on standard input: {error}") from None


def _read_keyring(source: str) -> Keyring:
    """Raises `ConfigError`, which `main` tells."""
    sources = Sources(os.environ)
    try:
        return read_keyring(source if is_reference(source) else f"file:{source}", sources)
    finally:
        for warning in sources.warnings:
            click.echo(f"warning: {warning}", err=True)


def _shown(digests: Digests, signed: bytes) -> dict[str, object]:
    return {
        "properties_sha256": digests.properties.hex(),
        "headers_sha256": digests.headers.hex(),
        "body_sha256": digests.body.hex(),
        "body_bytes": digests.body_bytes,
        "signing_input_sha256": sha256(signed).hexdigest(),
    }


def _refuse(error: GateError, as_json: bool, values: dict[str, object] | None = None) -> NoReturn:
    verdict: dict[str, object] = {"verdict": error.reason.value, "detail": error.detail}
    _print(verdict | (values or {}), as_json)
    sys.exit(EXIT_FAILED)


def _print(values: dict[str, object], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(values))
        return
    width = max(len(name) for name in values)
    for name, value in values.items():
        click.echo(f"{name.ljust(width)}  {value}")
