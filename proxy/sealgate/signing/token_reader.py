"""Reads the tokens of one producer, most of which are like the one before."""

from __future__ import annotations

from typing import Final

from sealgate.signing.base64url import decoded, number_48
from sealgate.signing.token import CONSTANT_BYTES, COUNT_MASK, SCHEME, Token, parse_token

#: Keys that take turns on one connection and are remembered, once their seals were good: about 1 KiB each.
KIDS_MAX: Final = 1024
_KID_AT: Final = len(SCHEME) + 1
_KID_BYTES_MAX: Final = 64
#: Which of the fields.
_NONCE: Final = 4
#: `CONSTANT_BYTES` as characters.
_CONSTANT_TEXT: Final = 24


class TokenShape:
    """The text of one token but for nonce and signature, which another one may share."""

    __slots__ = (
        "head",
        "kid",
        "middle",
        "nonce_end",
        "nonce_start",
        "nonce_text",
        "sequence_start",
        "signature_at",
        "size",
        "token",
    )

    def __init__(self, value: bytes, token: Token) -> None:
        self.token: Final = token
        fields = value.split(b".")
        nonce_at = len(b".".join(fields[:_NONCE])) + 1
        nonce_end = nonce_at + len(fields[_NONCE])
        signature_at = len(token.prefix) + 1
        #: Up to the nonce, and from there to the signature.
        self.head: Final = value[:nonce_at]
        self.nonce_end: Final = nonce_end
        self.middle: Final = value[nonce_end:signature_at]
        self.signature_at: Final = signature_at
        self.size: Final = len(value)
        self.kid: Final = token.kid.encode()
        #: What session nonces of one connection begin with, as text and as octets; none of another nonce.
        is_session = token.sequence >= 0
        self.nonce_text: Final = value[nonce_at : nonce_at + _CONSTANT_TEXT] if is_session else b""
        self.nonce_start: Final = token.nonce[:CONSTANT_BYTES] if is_session else b""
        self.sequence_start: Final = token.sequence & ~COUNT_MASK if is_session else 0

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
        nonce = b""
        sequence = -1
        if self.nonce_text:
            count_at = nonce_at + _CONSTANT_TEXT
            if text[nonce_at:count_at] != self.nonce_text:
                return None
            count: int = number_48(text, count_at)
            if count < 0:
                return None
            sequence = self.sequence_start + count
        else:
            octets = decoded(text[nonce_at:nonce_end])
            if octets is None:
                return None
            nonce = octets
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
            self.nonce_start,
            sequence,
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
                    token.nonce[:CONSTANT_BYTES],
                    token.sequence,
                )
        token = parse_token(value)
        self._last = TokenShape(value, token)
        return token

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
