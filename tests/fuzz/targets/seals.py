"""Targets for the room `signing`: tokens of anybody, and files that an operator has written."""

from __future__ import annotations

import hashlib
import re
import tomllib
from base64 import urlsafe_b64decode, urlsafe_b64encode

from fuzz.targets.answers import answer, require, tell
from sealgate.reason import Reason
from sealgate.signing.base64url import b64url_decode
from sealgate.signing.canonical import encode_snapshot
from sealgate.signing.keyfile import KeyfileError, load_keyring, parse_duration
from sealgate.signing.keyring import Keyring
from sealgate.signing.material import (
    MaterialError,
    MaterialKind,
    algorithm_of,
    format_material,
    is_material,
    kind_of,
    parse_secret,
)
from sealgate.signing.token import finish_token, is_kid, parse_token, token_prefix

_KINDS = tuple(MaterialKind)
#: What `env:NAME` stands for in a key file here.
_RANDOM = hashlib.sha256(b"a secret that everybody may know").digest()
_SECRETS = {
    "env:A": format_material(MaterialKind.HMAC_SECRET, _RANDOM),
    "env:E": format_material(MaterialKind.ED25519_PRIVATE, _RANDOM),
}


def token(data: bytes) -> None:
    """The value of an `x-seal` header."""
    found, refused = answer(parse_token, data)
    right = _is_token(data)
    if found is None:
        require(refused in (Reason.SIG_VERSION, Reason.SIG_PROFILE, Reason.SIG_MALFORMED), f"{refused}")
        require(not right, "a right token is refused")
    else:
        require(right, "a wrong token is accepted")
        target = found.target
        snapshot = encode_snapshot(target.exchange, target.routing_key, target.expiration, target.timestamp)
        require(snapshot == found.snapshot, "two snapshots for one target")
        prefix = token_prefix(found.kid, found.created, found.expires, found.nonce, snapshot)
        require(prefix == found.prefix, "another text is signed")
        require(finish_token(prefix, found.signature) == data, "two texts for one token")
    text, refused = answer(b64url_decode, data)
    require((text is not None) == _is_base64url(data), f"base64url: {refused}")


def _is_base64url(data: bytes) -> bool:
    """Canonical, by encoding again."""
    if re.fullmatch(rb"[A-Za-z0-9_-]*", data) is None or len(data) % 4 == 1:
        return False
    return urlsafe_b64encode(_decoded(data)).rstrip(b"=") == data


def _decoded(data: bytes) -> bytes:
    return urlsafe_b64decode(data + b"=" * (-len(data) % 4))


def _is_token(data: bytes) -> bool:
    """The grammar of seal1.md, field by field."""
    fields = data.split(b".")
    if len(data) > 1024 or len(fields) != 8 or fields[0] != b"seal1" or fields[5] != b"c1":
        return False
    if not re.fullmatch(rb"[A-Za-z0-9_-]{1,64}", fields[1]):
        return False
    if not all(re.fullmatch(rb"0|[1-9][0-9]{0,11}", fields[at]) for at in (2, 3)):
        return False
    if not all(fields[at] and _is_base64url(fields[at]) for at in (4, 6, 7)):
        return False
    if not int(fields[2]) < int(fields[3]):
        return False
    return 16 <= len(_decoded(fields[4])) <= 24 and _is_snapshot(_decoded(fields[6]))


def _is_snapshot(data: bytes) -> bool:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if at + 2 > len(data) or data[at] <= max(found, default=0) or data[at] > 4:
            return False
        stop = at + 2 + data[at + 1]
        if stop > len(data):
            return False
        found[data[at]] = data[at + 2 : stop]
        at = stop
    if not found.keys() >= {1, 2} or len(found.get(4, bytes(8))) != 8:
        return False
    try:
        return all(found[tag].decode() is not None for tag in (1, 2))
    except UnicodeDecodeError:
        return False


def keyfile(data: bytes) -> None:
    """The text of a key file."""
    text = data.decode(errors="replace")
    try:
        keyring, told = load_keyring(text, _resolve)
    except KeyfileError as error:
        tell(error)
        require(error.errors and all(error.errors), "refused without a word")
        told = error.errors
    else:
        tell([list(keyring), told])
        _check_keyring(keyring)
    for secret in _written_secrets(text):
        require(not any(secret in line for line in told), "a secret is told")


def _resolve(reference: str) -> str:
    return _SECRETS[reference] if reference in _SECRETS else _missing(reference)


def _missing(reference: str) -> str:
    raise ValueError(f"{reference.partition(':')[0]}: is not set")


def _check_keyring(keyring: Keyring) -> None:
    for key in keyring:
        require(is_kid(key.kid) and keyring.get(key.kid) is key, "a kid that is none")
        require(0 < key.max_lifetime_s <= 366 * 86400, "a lifetime out of range")
        if key.not_before is not None and key.not_after is not None:
            require(key.not_before < key.not_after, "a key that is never valid")
        if key.algorithm.can_sign:
            require(key.algorithm.verify(b"x", key.algorithm.sign(b"x")), "a key that does not verify itself")
        require(not key.algorithm.verify(b"x", bytes(key.algorithm.signature_bytes)), "anything verifies")


def _written_secrets(text: str) -> list[str]:
    """Material written into the file, where it stands nowhere else in it."""
    try:
        tables = tomllib.loads(text).get("key")
    except (tomllib.TOMLDecodeError, RecursionError):
        return []
    found = []
    for entry in tables if isinstance(tables, list) else []:
        for name in ("secret", "private") if isinstance(entry, dict) else ():
            value = entry.get(name)
            if isinstance(value, str) and is_material(value) and len(value) > 16 and text.count(value) == 1:
                found.append(value)
    return found


def material(data: bytes) -> None:
    """The first octet chooses the kind, the rest is a key as it is printed, or a duration."""
    if not data:
        return
    text = data[1:].decode("utf-8", "replace")
    kind = _KINDS[data[0] % len(_KINDS)]
    try:
        found = parse_secret(text, kind)
    except MaterialError as error:
        require(len(text) < 32 or text[8:] not in str(error), "material is told")
    else:
        require(text.startswith("hex:") or kind_of(text) is kind, "material of another kind")
        require(parse_secret(format_material(kind, found), kind) == found, "printed, it is another key")
        algorithm = algorithm_of(kind, found)
        require(not algorithm.verify(b"x", bytes(algorithm.signature_bytes)), "anything verifies")
        if algorithm.can_sign:
            require(algorithm.verify(b"x", algorithm.sign(b"x")), "a key that does not verify itself")
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    require(0 < seconds < 10**15 and text[:-1].isdecimal(), "a duration out of range")
