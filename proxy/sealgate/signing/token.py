"""The token in `x-seal` and `x-countersign`, and the nonces it carries (seal1.md, "The token" and "Replay").

seal1.KID.CREATED.EXPIRES.NONCE.PROFILE.SNAPSHOT.SIGNATURE
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sealgate.layout import mypyc_attr
from sealgate.reason import GateError, Reason
from sealgate.signing.base64url import b64url_encode, decode_known
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

_KID: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")
#: Byte patterns know ASCII digits only. A nonce of 16 to 24 bytes is 22 to 32 characters.
_FIELDS: Final = re.compile(
    rb"seal1\.([A-Za-z0-9_-]{1,64})\.(0|[1-9][0-9]{0,11})\.(0|[1-9][0-9]{0,11})"
    rb"\.([A-Za-z0-9_-]{22,32})\.c1\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)"
)
#: What stands between a nonce and the snapshot.
MIDDLE: Final = b".%b." % PROFILE
#: From here on a sequence is more than a machine's integer holds, with its sign.
_I31: Final = 2**31
#: How the session nonces of one connection begin: its challenge, and the upper two octets of a sequence.
CONSTANT_BYTES: Final = 18
COUNT_MASK: Final = 2**48 - 1


@mypyc_attr(acyclic=True, free_list_len=1)
class Token:
    """A token whose grammar was right; nothing in it is to be believed before its signature was checked.

    `created` and `expires` are Unix seconds; `nonce_text` is the nonce as it stands there; `target` is
    `snapshot` parsed; `prefix` is the text before the last dot, which is what the signature covers.
    `signature_text` is what stands behind it; `signature` is that decoded, and empty where `TokenShape` left
    it as text. `sequence` is that of a session nonce, -1 for any other.
    """

    __slots__ = (
        "constant",
        "created",
        "expires",
        "kid",
        "nonce_text",
        "prefix",
        "profile",
        "sequence",
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
        nonce_text: bytes,
        snapshot: bytes,
        target: Snapshot,
        signature: bytes,
        signature_text: bytes,
        prefix: bytes,
        constant: bytes = b"",
        sequence: int = -1,
    ) -> None:
        """`nonce_text` may be empty where `constant`, the nonce but for its last six octets, and `sequence`
        tell it."""
        self.kid: Final = kid
        self.created: Final = created
        self.expires: Final = expires
        self.nonce_text: Final = nonce_text
        self.constant: Final = constant
        self.sequence: Final = sequence
        self.profile: Final = "c1"
        self.snapshot: Final = snapshot
        self.target: Final = target
        self.signature: Final = signature
        self.signature_text: Final = signature_text
        self.prefix: Final = prefix

    @property
    def nonce(self) -> bytes:
        """The nonce, decoded."""
        if len(self.nonce_text) > 0:
            return decode_known(self.nonce_text)
        return self.constant + (self.sequence & COUNT_MASK).to_bytes(6, "big")

    def answers(self, challenge: bytes) -> bool:
        """Whether its nonce is one of the session that was given `challenge`, 16 octets."""
        return (
            self.sequence >= 0 and len(challenge) == CHALLENGE_BYTES and self.constant.startswith(challenge)
        )

    def __repr__(self) -> str:
        return f"Token(kid={self.kid!r}, created={self.created}, expires={self.expires})"


def parse_token(value: bytes) -> Token:
    """Read a header's token. Raises `GateError` sig.version, sig.profile or sig.malformed.

    The length is checked before all else, then scheme and profile, as another version may have another
    grammar.
    """
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
    sequence = sequence_of(nonce) if is_session_nonce(nonce) else -1
    return Token(
        kid,
        created,
        expires,
        match[4],
        snapshot,
        target,
        signature,
        match[6],
        prefix,
        nonce[:CONSTANT_BYTES],
        sequence,
    )


def token_prefix(kid: str, created: int, expires: int, nonce: bytes, snapshot: bytes) -> bytes:
    """The text of a token before its last dot; times are Unix seconds.

    Raises `GateError` (sig.malformed) for what the grammar has no place for.
    """
    return join_prefix(token_head(kid, created, expires), nonce, b64url_encode(snapshot))


def token_head(kid: str, created: int, expires: int) -> bytes:
    """What stands before the nonce. Raises `GateError` as `token_prefix` does."""
    if not 0 <= created < expires <= SECONDS_MAX:
        raise GateError(Reason.SIG_MALFORMED, "expires is not after created")
    if not is_kid(kid):
        raise GateError(Reason.SIG_MALFORMED, "kid")
    return b"%b.%b.%d.%d." % (SCHEME, kid.encode(), created, expires)


def join_prefix(head: bytes, nonce: bytes, snapshot_text: bytes) -> bytes:
    """The text of a token before its last dot, of a `token_head`, a nonce and a snapshot in base64url.

    Raises `GateError` as `token_prefix` does.
    """
    if not NONCE_BYTES_MIN <= len(nonce) <= SESSION_NONCE_BYTES:
        raise GateError(Reason.SIG_MALFORMED, "a nonce is 16 to 24 bytes")
    return b"%b%b%b%b" % (head, b64url_encode(nonce), MIDDLE, snapshot_text)


def finish_token(prefix: bytes, signature: bytes) -> bytes:
    """The whole token. Raises sig.malformed when it is over 1,024 bytes (very long targets)."""
    token = b"%b.%b" % (prefix, b64url_encode(signature))
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
    return challenge + sequence.to_bytes(8, "big")


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
