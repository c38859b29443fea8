"""Reads tokens that are like one before, as most of one client's are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sealgate.signing.base64url import decoded, is_decodable, number_48
from sealgate.signing.token import COUNT_MASK, SCHEME, TOKEN_BYTES_MAX, Token, parse_token

if TYPE_CHECKING:
    from mypy_extensions import i64

#: Where a token's kid begins, and what it and the dot behind it have at most.
KID_AT: Final = len(SCHEME) + 1
KID_BYTES_MAX: Final = 65
#: `CONSTANT_BYTES` as characters.
_CONSTANT_TEXT: Final = 24
#: As in `token`.
_TIMES: Final = re.compile(rb"(0|[1-9][0-9]{0,11})\.(0|[1-9][0-9]{0,11})\.")


class TokenShape:
    """The text of one token but for its kid, nonce and signature, which another one may share.

    What equals it byte for byte is not parsed again. Where the times alone differ, it takes them over.
    """

    __slots__ = (
        "_created",
        "_expires",
        "_head",
        "_is_session",
        "_middle",
        "_nonce_end",
        "_nonce_start",
        "_sequence_start",
        "_signature_at",
        "_times_bytes",
        "_token",
        "kid",
        "start",
    )

    def __init__(self, value: bytes, token: Token) -> None:
        self._token: Final = token
        self._created = token.created
        self._expires = token.expires
        self.kid: Final = token.kid
        #: Up to the kid, and the dot behind it. All that follows is counted from there.
        self.start: Final = value[: value.index(b".", KID_AT) + 1]
        rest = value[len(self.start) :]
        created, expires, nonce = rest.split(b".")[:3]
        times_bytes = len(created) + len(expires) + 2
        nonce_end = times_bytes + len(nonce)
        signature_at = len(token.prefix) + 1 - len(self.start)
        is_session = token.sequence >= 0
        self._times_bytes: Final = times_bytes
        #: The times, and of session nonces what those of one connection begin with.
        self._head = rest[: times_bytes + _CONSTANT_TEXT if is_session else times_bytes]
        self._nonce_end: Final = nonce_end
        #: From the nonce to the signature.
        self._middle: Final = rest[nonce_end:signature_at]
        self._signature_at: Final = signature_at
        self._is_session: Final = is_session
        #: What that beginning stands for.
        self._nonce_start: Final = token.constant if is_session else b""
        self._sequence_start: Final = token.sequence & ~COUNT_MASK if is_session else 0

    def read(self, text: bytes, at: i64, kid: str, rest_at: i64) -> Token | None:
        """The token `text[at:]`, its signature left as text; None when it differs in more, or is wrong.

        It is known to be of `kid` up to `rest_at`, behind the dot that ends it. The text of the signature
        must be compared with one that is right.
        """
        if len(text) - at > TOKEN_BYTES_MAX:
            return None
        count_at = rest_at + len(self._head)
        nonce_end = rest_at + self._nonce_end
        signature_at = rest_at + self._signature_at
        if text[nonce_end:signature_at] != self._middle:
            return None
        if text[rest_at:count_at] != self._head and not self._take_times(text, rest_at, count_at):
            return None
        nonce_text = b""
        sequence = -1
        if self._is_session:
            count: int = number_48(text, count_at)
            if count < 0:
                return None
            sequence = self._sequence_start + count
        else:
            if not is_decodable(text, count_at, nonce_end):
                return None
            nonce_text = text[count_at:nonce_end]
        like = self._token
        return Token(
            kid,
            self._created,
            self._expires,
            nonce_text,
            like.snapshot,
            like.target,
            b"",
            text[signature_at:],
            text[at : signature_at - 1],
            self._nonce_start,
            sequence,
        )

    def _take_times(self, text: bytes, at: i64, count_at: i64) -> bool:
        """Take over the times at `at`; False when more differs, or they are none."""
        nonce_at = at + self._times_bytes
        if text[nonce_at:count_at] != self._head[self._times_bytes :]:
            return False
        match = _TIMES.fullmatch(text, at, nonce_at)
        if match is None:
            return False
        created, expires = int(match[1]), int(match[2])
        if expires <= created:
            return False
        self._created = created
        self._expires = expires
        self._head = text[at:count_at]
        return True


class TokenReader:
    """Reads the tokens of one client, whoever they say they are of: most are like the one before."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: TokenShape | None = None

    def read(self, value: bytes) -> Token:
        """As `parse_token`."""
        last = self._last
        if last is not None and value.startswith(last.start):
            token = last.read(value, 0, last.kid, len(last.start))
            if token is not None:
                signature = decoded(token.signature_text)
                # None has no characters at all.
                if signature:
                    return Token(
                        token.kid,
                        token.created,
                        token.expires,
                        token.nonce_text,
                        token.snapshot,
                        token.target,
                        signature,
                        token.signature_text,
                        token.prefix,
                        token.constant,
                        token.sequence,
                    )
        token = parse_token(value)
        self._last = TokenShape(value, token)
        return token
