"""The token in `x-seal` and `x-countersign`, and the nonces it carries (seal1.md, "The token" and "Replay").

seal1.KID.CREATED.EXPIRES.NONCE.PROFILE.SNAPSHOT.SIGNATURE
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final

from sealgate.reason import GateError, Reason
from sealgate.signing.base64url import b64url_encode, decode_known, decoded
from sealgate.signing.canonical import Snapshot, parse_snapshot

if TYPE_CHECKING:
    from mypy_extensions import i64

SCHEME: Final = b"seal1"
PROFILE: Final = b"c1"
TOKEN_BYTES_MAX: Final = 1024
TOKEN_FIELDS: Final = 8
SECONDS_MAX: Final = 999_999_999_999  # twelve digits
NONCE_BYTES_MIN: Final = 16  # 128 bits: random nonces must not meet
CHALLENGE_BYTES: Final = 16
SESSION_NONCE_BYTES: Final = 24  # a challenge and a u64 sequence
#: Keys that take turns on one connection and are remembered: about 1 KiB each.
KIDS_MAX: Final = 256

_KID: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")
#: Byte patterns know ASCII digits only. A nonce of 16 to 24 bytes is 22 to 32 characters.
_FIELDS: Final = re.compile(
    rb"seal1\.([A-Za-z0-9_-]{1,64})\.(0|[1-9][0-9]{0,11})\.(0|[1-9][0-9]{0,11})"
    rb"\.([A-Za-z0-9_-]{22,32})\.c1\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)"
)
_SESSION: Final = struct.Struct(">16sQ")
#: From here on a sequence is more than a machine's integer holds, with its sign.
_I31: Final = 2**31
_KID_AT: Final = len(SCHEME) + 1
_KID_BYTES_MAX: Final = 64
#: What all session nonces of a connection share: the challenge and the two upper octets of the sequence,
#: which are 24 characters.
_CONSTANT_BYTES: Final = 18
_CONSTANT_TEXT: Final = 24


class Token:
    """A token whose grammar was right; nothing in it is to be believed before its signature was checked.

    `created` and `expires` are Unix seconds; `target` is `snapshot` parsed; `prefix` is the text before the
    last dot, which is what the signature covers. `signature_text` is what stands behind it; `signature` is
    that decoded, and empty where `TokenReader.alike` left it as text.
    """

    __slots__ = (
        "created",
        "expires",
        "kid",
        "nonce",
        "prefix",
        "profile",
        "signature",
        "signature_text",
        "snapshot",
        "target",
    )

    def __init__(
        self,
        kid: str,
        created: int,
        expires: int,
        nonce: bytes,
        snapshot: bytes,
        target: Snapshot,
        signature: bytes,
        signature_text: bytes,
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
        self.signature_text: Final = signature_text
        self.prefix: Final = prefix

    def __repr__(self) -> str:
        return f"Token(kid={self.kid!r}, created={self.created}, expires={self.expires})"


def parse_token(value: bytes) -> Token:
    """Read a header's token. Raises `GateError` sig.version, sig.profile or sig.malformed.

    The length is checked before all else, then scheme and profile, as another version may have another
    grammar.
    """
    return TokenReader().read(value)


class TokenShape:
    """The text of one token but for nonce and signature, which another one may share."""

    __slots__ = (
        "head",
        "kid",
        "middle",
        "nonce_end",
        "nonce_start",
        "nonce_text",
        "signature_at",
        "size",
        "token",
    )

    def __init__(self, value: bytes, token: Token, nonce_at: int, nonce_end: int, signature_at: int) -> None:
        self.token: Final = token
        #: Up to the nonce, and from there to the signature.
        self.head: Final = value[:nonce_at]
        self.nonce_end: Final = nonce_end
        self.middle: Final = value[nonce_end:signature_at]
        self.signature_at: Final = signature_at
        self.size: Final = len(value)
        self.kid: Final = token.kid.encode()
        #: What session nonces of one connection begin with, as text and as octets; none of another nonce.
        is_session = len(token.nonce) == SESSION_NONCE_BYTES
        self.nonce_text: Final = value[nonce_at : nonce_at + _CONSTANT_TEXT] if is_session else b""
        self.nonce_start: Final = token.nonce[:_CONSTANT_BYTES] if is_session else b""

    def read(self, text: bytes, at: int) -> Token | None:
        """The token `text[at:]`, its signature left as text; None when it differs in more, or is wrong."""
        if len(text) - at != self.size:
            return None
        head = self.head
        nonce_at = at + len(head)
        nonce_end = at + self.nonce_end
        signature_at = at + self.signature_at
        if text[at:nonce_at] != head or text[nonce_end:signature_at] != self.middle:
            return None
        nonce: bytes | None
        if self.nonce_text:
            count_at = nonce_at + _CONSTANT_TEXT
            if text[nonce_at:count_at] != self.nonce_text:
                return None
            nonce = decoded(text[count_at:nonce_end])
            if nonce is None:
                return None
            nonce = self.nonce_start + nonce
        else:
            nonce = decoded(text[nonce_at:nonce_end])
            if nonce is None:
                return None
        like = self.token
        return Token(
            like.kid,
            like.created,
            like.expires,
            nonce,
            like.snapshot,
            like.target,
            b"",
            text[signature_at:],
            text[at : signature_at - 1],
        )


class TokenReader:
    """Reads the tokens of one producer, most of which differ in nonce and signature alone within a second.

    What equals the text of a remembered one byte for byte is not parsed again. That is the last one, whoever
    made it, and of those that were kept because they were good the last of each key.
    """

    __slots__ = ("_kept", "_last")

    def __init__(self) -> None:
        self._last: TokenShape | None = None
        #: By kid.
        self._kept: Final[dict[bytes, TokenShape]] = {}

    def read(self, value: bytes) -> Token:
        """As `parse_token`."""
        token = self.alike(value, 0)
        if token is not None:
            signature = decoded(token.signature_text)
            if signature is not None:
                return Token(
                    token.kid,
                    token.created,
                    token.expires,
                    token.nonce,
                    token.snapshot,
                    token.target,
                    signature,
                    token.signature_text,
                    token.prefix,
                )
        return self._parse(value)

    def alike(self, text: bytes, at: int) -> Token | None:
        """The token `text[at:]` if it is like a remembered one, else None.

        Its signature is left as text, of the grammar or not: it must be compared with one that is.
        """
        last = self._last
        if last is None:
            return None
        token = last.read(text, at)
        if token is not None or not self._kept:
            return token
        kid_at = at + _KID_AT
        shape = self._kept.get(text[kid_at : text.find(b".", kid_at, kid_at + _KID_BYTES_MAX + 1)])
        if shape is None or shape is last:
            return None
        token = shape.read(text, at)
        if token is not None:
            self._last = shape
        return token

    def keep(self) -> None:
        """The last token was good: remember it when those of other keys come between."""
        last = self._last
        if last is None or self._kept.get(last.kid) is last:
            return
        if last.kid not in self._kept and len(self._kept) >= KIDS_MAX:
            self._kept.clear()
        self._kept[last.kid] = last

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
        snapshot = decode_known(match[5])
        nonce = decode_known(match[4])
        target = parse_snapshot(snapshot)
        signature = decode_known(match[6])
        kid: str = match[1].decode()
        prefix = value[: match.end(5)]
        token = Token(kid, created, expires, nonce, snapshot, target, signature, match[6], prefix)
        self._last = TokenShape(value, token, match.start(4), match.end(4), match.start(6))
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
    return challenge, sequence_of(nonce)


def sequence_of(nonce: bytes) -> int:
    """The sequence of a session nonce."""
    upper: i64 = 0
    lower: i64 = 0
    for at in range(CHALLENGE_BYTES, CHALLENGE_BYTES + 4):
        upper = upper << 8 | nonce[at]
        lower = lower << 8 | nonce[at + 4]
    if upper < _I31:
        return upper << 32 | lower
    return int(upper) << 32 | int(lower)


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
