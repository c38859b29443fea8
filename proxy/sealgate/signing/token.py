"""The token in `x-seal` and `x-countersign`, and the nonces it carries (seal1.md, "The token" and "Replay").

seal1.KID.CREATED.EXPIRES.NONCE.PROFILE.SNAPSHOT.SIGNATURE
"""

from __future__ import annotations

import re
import struct
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import Snapshot, parse_snapshot

SCHEME: Final = b"seal1"
PROFILE: Final = b"c1"
TOKEN_BYTES_MAX: Final = 1024
TOKEN_FIELDS: Final = 8
SECONDS_MAX: Final = 999_999_999_999  # twelve digits
NONCE_BYTES_MIN: Final = 16  # 128 bits: random nonces must not meet
CHALLENGE_BYTES: Final = 16
SESSION_NONCE_BYTES: Final = 24  # a challenge and a u64 sequence

_KID: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
#: Byte patterns know ASCII digits only. A nonce of 16 to 24 bytes is 22 to 32 characters.
_FIELDS: Final = re.compile(
    rb"seal1\.([A-Za-z0-9_-]{1,64})\.(0|[1-9][0-9]{0,11})\.(0|[1-9][0-9]{0,11})"
    rb"\.([A-Za-z0-9_-]{22,32})\.c1\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)"
)
#: Last characters that leave the unused bits zero, by the length of the text modulo 4.
_LAST_OF_TWO: Final = frozenset(b"AQgw")
_LAST_OF_THREE: Final = frozenset(b"AEIMQUYcgkosw048")
_TO_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_SESSION: Final = struct.Struct(">16sQ")


class Token:
    """A token whose grammar was right; nothing in it is to be believed before its signature was checked.

    `created` and `expires` are Unix seconds; `target` is `snapshot` parsed; `prefix` is the text before the
    last dot, which is what the signature covers.
    """

    __slots__ = ("created", "expires", "kid", "nonce", "prefix", "profile", "signature", "snapshot", "target")

    def __init__(
        self,
        kid: str,
        created: int,
        expires: int,
        nonce: bytes,
        snapshot: bytes,
        target: Snapshot,
        signature: bytes,
        prefix: bytes,
    ) -> None:
        self.kid: Final = kid
        self.created: Final = created
        self.expires: Final = expires
        self.nonce: Final = nonce
        self.profile: Final = "c1"
        self.snapshot: Final = snapshot
        self.target: Final = target
        self.signature: Final = signature
        self.prefix: Final = prefix

    def __repr__(self) -> str:
        return f"Token(kid={self.kid!r}, created={self.created}, expires={self.expires})"


def parse_token(value: bytes) -> Token:
    """Read a header's token. Raises `GateError` sig.version, sig.profile or sig.malformed.

    The length is checked before all else, then scheme and profile, as another version may have another
    grammar.
    """
    return TokenReader().read(value)


class TokenReader:
    """Reads the tokens of one producer, most of which differ in nonce and signature alone within a second.

    What equals the last token's text byte for byte is not parsed again.
    """

    __slots__ = ("_head", "_last", "_middle", "_nonce_end", "_size")

    def __init__(self) -> None:
        self._last: Token | None = None
        #: Of the last token: its text up to the nonce, that between nonce and signature, where the first of
        #: these ends in and how long the whole is.
        self._head = b""
        self._middle = b""
        self._nonce_end = 0
        self._size = 0

    def read(self, value: bytes) -> Token:
        """As `parse_token`."""
        last = self._last
        if last is not None and len(value) == self._size:
            nonce_at = len(self._head)
            middle_end = self._nonce_end + len(self._middle)
            nonce = value[nonce_at : self._nonce_end]
            signature = value[middle_end:]
            if (
                value[:nonce_at] == self._head
                and value[self._nonce_end : middle_end] == self._middle
                and not nonce.translate(None, _ALPHABET)
                and not signature.translate(None, _ALPHABET)
            ):
                return Token(
                    last.kid,
                    last.created,
                    last.expires,
                    _decode(nonce),
                    last.snapshot,
                    last.target,
                    _decode(signature),
                    value[: middle_end - 1],
                )
        return self._parse(value)

    def _parse(self, value: bytes) -> Token:
        if len(value) > TOKEN_BYTES_MAX:
            raise GateError(Reason.SIG_MALFORMED, f"token over {TOKEN_BYTES_MAX} bytes")
        match = _FIELDS.fullmatch(value)
        if match is None:
            raise _grammar_error(value)
        created = int(match[2])
        expires = int(match[3])
        if expires <= created:
            raise GateError(Reason.SIG_MALFORMED, "expires is not after created")
        snapshot = _decode(match[5])
        nonce = _decode(match[4])
        target = parse_snapshot(snapshot)
        signature = _decode(match[6])
        kid: str = match[1].decode()
        token = Token(kid, created, expires, nonce, snapshot, target, signature, value[: match.end(5)])
        self._head = value[: match.start(4)]
        self._nonce_end = match.end(4)
        self._middle = value[match.end(4) : match.start(6)]
        self._size = len(value)
        self._last = token
        return token


def token_prefix(kid: str, created: int, expires: int, nonce: bytes, snapshot: bytes) -> bytes:
    """The text of a token before its last dot; times are Unix seconds.

    Raises `GateError` (sig.malformed) for what the grammar has no place for.
    """
    if not 0 <= created < expires <= SECONDS_MAX:
        raise GateError(Reason.SIG_MALFORMED, "expires is not after created")
    if not NONCE_BYTES_MIN <= len(nonce) <= SESSION_NONCE_BYTES:
        raise GateError(Reason.SIG_MALFORMED, "a nonce is 16 to 24 bytes")
    if not is_kid(kid):
        raise GateError(Reason.SIG_MALFORMED, "kid")
    return b".".join(
        (
            SCHEME,
            kid.encode(),
            b"%d" % created,
            b"%d" % expires,
            b64url_encode(nonce),
            PROFILE,
            b64url_encode(snapshot),
        )
    )


def finish_token(prefix: bytes, signature: bytes) -> bytes:
    """The whole token. Raises sig.malformed when it is over 1,024 bytes (very long targets)."""
    token = prefix + b"." + b64url_encode(signature)
    if len(token) > TOKEN_BYTES_MAX:
        raise GateError(Reason.SIG_MALFORMED, f"token over {TOKEN_BYTES_MAX} bytes")
    return token


def is_kid(text: str) -> bool:
    """Whether `text` is in the grammar of a kid."""
    return text.isascii() and _KID.fullmatch(text.encode()) is not None


def is_session_nonce(nonce: bytes) -> bool:
    """Whether a gateway must read `nonce` as its own challenge and a sequence."""
    return len(nonce) == SESSION_NONCE_BYTES


def session_nonce(challenge: bytes, sequence: int) -> bytes:
    """The nonce of message `sequence` on the connection that was given `challenge` (16 bytes)."""
    assert len(challenge) == CHALLENGE_BYTES
    return _SESSION.pack(challenge, sequence)


def split_session_nonce(nonce: bytes) -> tuple[bytes, int]:
    """Challenge and sequence of a session nonce."""
    assert len(nonce) == SESSION_NONCE_BYTES
    challenge: bytes = nonce[:CHALLENGE_BYTES]
    return challenge, int.from_bytes(nonce[CHALLENGE_BYTES:], "big")


def b64url_encode(data: bytes) -> bytes:
    """base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=")


def b64url_decode(text: bytes) -> bytes:
    """Canonical base64url only: no padding, zero trailing bits, nothing outside the alphabet.

    Raises `GateError` (sig.malformed).
    """
    if text.translate(None, _ALPHABET):
        raise GateError(Reason.SIG_MALFORMED, "base64url alphabet")
    return _decode(text)


def _decode(text: bytes) -> bytes:
    """Decode text already known to be in the alphabet."""
    standard = text.translate(_TO_STANDARD)
    tail = len(text) & 3
    if tail == 0:
        return a2b_base64(standard)
    if tail == 2 and text[-1] in _LAST_OF_TWO:
        return a2b_base64(standard + b"==")
    if tail == 3 and text[-1] in _LAST_OF_THREE:
        return a2b_base64(standard + b"=")
    raise GateError(Reason.SIG_MALFORMED, "base64url is not canonical")


def _grammar_error(value: bytes) -> GateError:
    """Which of the three refusals a token outside the grammar gets."""
    fields = value.split(b".", TOKEN_FIELDS)
    if fields[0] != SCHEME:
        return GateError(Reason.SIG_VERSION, "scheme is not seal1")
    if len(fields) != TOKEN_FIELDS:
        return GateError(Reason.SIG_MALFORMED, "not eight fields")
    if fields[5] != PROFILE:
        return GateError(Reason.SIG_PROFILE, "profile is not c1")
    return GateError(Reason.SIG_MALFORMED, "token grammar")
