"""The bytes that are signed of a message (seal1.md), for whoever checks a seal and whoever makes one.

Applications that sign in process import it: nothing it needs is outside the standard library.
"""

from __future__ import annotations

from typing import Final

from sealgate.signing.canonical import signing_input_in
from sealgate.signing.hashing import sha256
from sealgate.verify.message import Message


def covered_by(context: bytes, message: Message, token_prefix: bytes) -> bytes:
    """The bytes that are signed of a message."""
    return signing_input_in(
        context,
        token_prefix,
        sha256(message.section_p),
        sha256(message.header.table.canonical),
        len(message.body),
        message.body_sha256,
    )


class Inputs:
    """Makes signing inputs within one `signing_context`, as `covered_by`, of messages mostly alike."""

    __slots__ = ("_body_bytes", "_context", "_head", "_prefix_bytes", "_size")

    def __init__(self, context: bytes) -> None:
        self._context: Final = context
        #: What is signed up to the token's prefix, for one of `_prefix_bytes`.
        self._head = b""
        self._prefix_bytes = -1
        #: The length of the last body, as it is signed.
        self._size = b""
        self._body_bytes = -1

    def covered_by(self, message: Message, prefix: bytes) -> bytes:
        """The bytes that are signed of a message; `prefix` is its token's."""
        if len(prefix) != self._prefix_bytes:
            self._prefix_bytes = len(prefix)
            self._head = self._context + len(prefix).to_bytes(4, "big")
        if len(message.body) != self._body_bytes:
            self._body_bytes = len(message.body)
            self._size = self._body_bytes.to_bytes(8, "big")
        return b"%b%b%b%b%b%b" % (
            self._head,
            prefix,
            sha256(message.section_p),
            sha256(message.header.table.canonical),
            self._size,
            message.body_sha256,
        )
