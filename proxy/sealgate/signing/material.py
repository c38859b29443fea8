"""The printed form of key material: `sgk_h_`, `sgk_e_`, `sgp_e_` and base64url, or `hex:` (seal1.md, "Keys").

Nothing else is read, so that a password is never taken for a key. What is short, known or plainly not random
is refused. No message here holds any part of the material.
"""

from __future__ import annotations

import re
from enum import Enum, unique
from typing import Final

from sealgate.reason import GateError
from sealgate.signing.algorithms import (
    ED25519_KEY_BYTES,
    HMAC_SECRET_BYTES_MIN,
    Algorithm,
    Ed25519,
    HmacSha256,
)
from sealgate.signing.base64url import b64url_decode, b64url_encode

HEX_PREFIX: Final = "hex:"
HMAC_SECRET_BYTES_MAX: Final = 256  # longer ones are no stronger: HMAC-SHA-256 hashes what is over 64 bytes
#: 32 random bytes hold 30 different values on average; fewer than 16 happens once in 10^20.
DISTINCT_BYTES_MIN: Final = 16

_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+", re.ASCII)
#: Keys out of public test vectors (RFC 8032 section 7.1, RFC 7515 appendix A.1).
_KNOWN_SAMPLES: Final = frozenset(
    bytes.fromhex(sample)
    for sample in (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        (
            "0323354b2b0fa5bc837e0665777ba68f5ab328e6f054c928a90f84b2d2502ebf"
            "d3fb5a92d20647ef968ab4c377623d223d2e2172052e4f08c0cd9af567d080a3"
        ),
    )
)
#: Points of small order, sign bit cleared: anyone can sign for them.
_WEAK_POINTS: Final = frozenset(
    bytes.fromhex(point)
    for point in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


class MaterialError(ValueError):
    """Why key material was refused; the message is safe to print."""


@unique
class MaterialKind(Enum):
    """What a piece of material is; `value` is the prefix that secret scanners can find."""

    HMAC_SECRET = "sgk_h_"  # noqa: S105 - a prefix
    ED25519_PRIVATE = "sgk_e_"
    ED25519_PUBLIC = "sgp_e_"


def parse_secret(text: str, kind: MaterialKind) -> bytes:
    """The bytes of `text`, which must be of `kind`. Raises `MaterialError`."""
    if text.startswith(HEX_PREFIX):
        data = _from_hex(text.removeprefix(HEX_PREFIX))
    elif text.startswith(kind.value):
        data = _from_base64url(text.removeprefix(kind.value))
    elif (found := kind_of(text)) is not None:
        raise MaterialError(f"is a {_describe(found)}; a {_describe(kind)} is wanted here")
    else:
        raise MaterialError(
            f"is no key: want {kind.value}... as `keys generate` prints it, or hex: and digits"
        )
    _check(data, kind)
    return data


def kind_of(text: str) -> MaterialKind | None:
    """What the prefix of `text` says it is; None for `hex:` and for what is no material."""
    for kind in MaterialKind:
        if text.startswith(kind.value):
            return kind
    return None


def is_material(text: str) -> bool:
    """Whether `text` is written as material, good or not, rather than as a reference to it."""
    return text.startswith(HEX_PREFIX) or kind_of(text) is not None


def format_material(kind: MaterialKind, data: bytes) -> str:
    """`data` as `keys generate` prints it."""
    return kind.value + b64url_encode(data).decode()


def generate_hmac(random_bytes: bytes) -> str:
    """A printed HMAC secret from 32 or more random bytes."""
    _check(random_bytes, MaterialKind.HMAC_SECRET)
    return format_material(MaterialKind.HMAC_SECRET, random_bytes)


def generate_ed25519(random_bytes: bytes) -> tuple[str, str]:
    """A printed private key from 32 random bytes, and the public key that belongs to it."""
    _check(random_bytes, MaterialKind.ED25519_PRIVATE)
    public = Ed25519.of_private(random_bytes).public_bytes
    return (
        format_material(MaterialKind.ED25519_PRIVATE, random_bytes),
        format_material(MaterialKind.ED25519_PUBLIC, public),
    )


def algorithm_of(kind: MaterialKind, data: bytes) -> Algorithm:
    """The algorithm that material of `kind` is for, keyed with it."""
    match kind:
        case MaterialKind.HMAC_SECRET:
            return HmacSha256(data)
        case MaterialKind.ED25519_PRIVATE:
            return Ed25519.of_private(data)
        case MaterialKind.ED25519_PUBLIC:
            return Ed25519.of_public(data)


def _from_hex(digits: str) -> bytes:
    if _HEX.fullmatch(digits) is None:
        raise MaterialError("is not an even number of hexadecimal digits after hex:")
    return bytes.fromhex(digits)


def _from_base64url(text: str) -> bytes:
    try:
        return b64url_decode(text.encode())
    except (GateError, UnicodeEncodeError):
        raise MaterialError(
            "is not unpadded base64url after its prefix (cut short, or a typing error?)"
        ) from None


def _check(data: bytes, kind: MaterialKind) -> None:
    _check_length(data, kind)
    _check_strength(data, kind)


def _check_length(data: bytes, kind: MaterialKind) -> None:
    if kind is not MaterialKind.HMAC_SECRET:
        if len(data) != ED25519_KEY_BYTES:
            raise MaterialError(f"is {len(data)} bytes; an Ed25519 key is {ED25519_KEY_BYTES}")
    elif len(data) < HMAC_SECRET_BYTES_MIN:
        raise MaterialError(f"is {len(data)} bytes; at least {HMAC_SECRET_BYTES_MIN} random ones are wanted")
    elif len(data) > HMAC_SECRET_BYTES_MAX:
        raise MaterialError(f"is {len(data)} bytes; at most {HMAC_SECRET_BYTES_MAX} are taken")


def _check_strength(data: bytes, kind: MaterialKind) -> None:
    """Refuse what no random generator gives. Passing is no proof of randomness."""
    if kind is MaterialKind.ED25519_PUBLIC:
        if data[:-1] + bytes((data[-1] & 0x7F,)) in _WEAK_POINTS:
            raise MaterialError("is a public key of small order, for which anyone can sign")
        return
    if data in _KNOWN_SAMPLES or _is_counting(data):
        raise MaterialError("is a known sample, not a secret")
    if data.isascii() and data.decode().isprintable():
        raise MaterialError("is text, not random bytes")
    if len(set(data)) < DISTINCT_BYTES_MIN or _is_repeating(data):
        raise MaterialError("has too little randomness")


def _is_counting(data: bytes) -> bool:
    """Whether every byte differs from the one before by the same step (0 and 1 are the well-known ones)."""
    step = data[1] - data[0]
    return all((data[i] - data[i - 1] - step) % 256 == 0 for i in range(1, len(data)))


def _is_repeating(data: bytes) -> bool:
    """Whether `data` is a shorter piece over and over, the last time perhaps cut."""
    return any(data[period:] == data[:-period] for period in range(1, len(data) // 2 + 1))


def _describe(kind: MaterialKind) -> str:
    match kind:
        case MaterialKind.HMAC_SECRET:
            return "HMAC secret"
        case MaterialKind.ED25519_PRIVATE:
            return "private Ed25519 key"
        case MaterialKind.ED25519_PUBLIC:
            return "public Ed25519 key"
