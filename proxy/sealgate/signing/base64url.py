"""base64url without padding, in its one canonical form (seal1.md, "The token")."""

from __future__ import annotations

from binascii import Error, a2b_base64, b2a_base64
from typing import TYPE_CHECKING, Final

from sealgate.reason import GateError, Reason

if TYPE_CHECKING:
    from mypy_extensions import i64

ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
#: By six bits.
CHARACTERS: Final = [ALPHABET[at : at + 1] for at in range(len(ALPHABET))]
#: Last characters that leave the unused bits zero, by the length of the text modulo 4.
_LAST_OF_TWO: Final = frozenset(b"AQgw")
_LAST_OF_THREE: Final = frozenset(b"AEIMQUYcgkosw048")
_TO_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
#: As that, and whatever is not in the alphabet becomes what is in neither.
_ONLY_TO_STANDARD: Final = bytes(
    _TO_STANDARD[octet] if octet in ALPHABET else ord("!") for octet in range(256)
)
_encode: Final = b2a_base64
_decode: Final = a2b_base64
#: The six bits of each character, and more than that for all others.
_BITS: Final = bytes(ALPHABET.index(octet) if octet in ALPHABET else 255 for octet in range(256))
_BITS_MAX: Final = 63
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
#: How much padding follows, by the length of the data modulo 3; and the padding, by that of a text modulo 4.
_PADDED: Final = (0, 2, 1)
_PADDING: Final = (b"", b"", b"==", b"=")


def b64url_encode(data: bytes) -> bytes:
    """base64url without padding."""
    # What is encoded is followed by its padding, and by the end of a line.
    return _encode(data).translate(_TO_URL)[: -1 - _PADDED[len(data) % 3]]


def b64url_decode(text: bytes) -> bytes:
    """Canonical base64url only: no padding, zero trailing bits, nothing outside the alphabet.

    Raises `GateError` (sig.malformed).
    """
    if text.translate(None, ALPHABET):
        raise GateError(Reason.SIG_MALFORMED, "base64url alphabet")
    return decode_known(text)


def decode_known(text: bytes) -> bytes:
    """Decode text already known to be in the alphabet. Raises `GateError` (sig.malformed)."""
    if not _is_canonical(text):
        raise GateError(Reason.SIG_MALFORMED, "base64url is not canonical")
    return _decode(text.translate(_TO_STANDARD) + _PADDING[len(text) & 3])


def decoded(text: bytes) -> bytes | None:
    """As `b64url_decode`, None for what that refuses: the fastest way for what is short."""
    if not _is_canonical(text):
        return None
    try:
        data = _decode(text.translate(_ONLY_TO_STANDARD) + _PADDING[len(text) & 3])
    except Error:
        return None
    # Other characters are skipped: each one less leaves six bits less.
    return data if len(data) == len(text) * 3 >> 2 else None


def is_decodable(text: bytes, start: i64, end: i64) -> bool:
    """Whether `b64url_decode` takes the octets from `start` to `end`, which are all there."""
    bits: i64 = 0
    seen: i64 = 0
    for place in range(start, end):
        bits = _BITS[text[place]]
        seen |= bits
    # What two or three characters have beyond whole octets is zero; one alone stands for none.
    tail: i64 = (end - start) & 3
    unused: i64 = 15 if tail == 2 else 3 if tail == 3 else 0
    return tail != 1 and seen <= _BITS_MAX and bits & unused == 0


def number_48(text: bytes, at: i64) -> i64:
    """The six bytes that eight characters at `at` stand for, as a number; -1 where they stand for none."""
    number: i64 = 0
    for place in range(at, at + 8):
        bits: i64 = _BITS[text[place]]
        if bits > _BITS_MAX:
            return -1
        number = number << 6 | bits
    return number


def encodes_32(data: bytes, text: bytes) -> tuple[bytes, bytes]:
    """Two texts that are the same just when `text` is the 32 bytes `data` in canonical base64url.

    The caller compares them, in constant time where `data` is a secret.
    """
    return _encode(data), text.translate(_ONLY_TO_STANDARD) + b"=\n"


def _is_canonical(text: bytes) -> bool:
    tail = len(text) & 3
    if tail == 0:
        return True
    return (tail == 2 and text[-1] in _LAST_OF_TWO) or (tail == 3 and text[-1] in _LAST_OF_THREE)
