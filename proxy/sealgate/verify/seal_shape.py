"""What seals have in common that are made of messages alike, within one second."""

from __future__ import annotations

from math import inf
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.base64url import b64url_encode
from sealgate.signing.keyring import Key, Keyring
from sealgate.signing.token import TOKEN_BYTES_MAX
from sealgate.verify.inputs import Inputs
from sealgate.verify.message import Message
from sealgate.wire.values import Likeness


class SealShape:
    """The text of a seal but for nonce and signature, which other messages' seals may share.

    Those of one `vhost` that have the `likeness`, shape and target of `message`, while `kid` of `keyring`
    signs, which is `key`, until the second `created` is over. `context` is the `signing_context`, `head` what
    stands before the nonce, `tail` what stands from there to the last dot.
    """

    __slots__ = (
        "_created",
        "_exchange",
        "_head",
        "_hmac",
        "_inputs",
        "_key",
        "_keyring",
        "_kid",
        "_prefix_bytes",
        "_routing_key",
        "_shape",
        "_tail",
        "_until",
        "_vhost",
        "expires",
        "likeness",
    )

    def __init__(
        self,
        message: Message,
        likeness: Likeness | None,
        vhost: str,
        keyring: Keyring,
        kid: str,
        key: Key,
        created: int,
        expires: int,
        context: bytes,
        head: bytes,
        tail: bytes,
    ) -> None:
        self.likeness: Final = likeness
        self._shape: Final = message.header.shape
        self._exchange: Final = message.exchange
        self._routing_key: Final = message.routing_key
        self._vhost: Final = vhost
        self._keyring: Final = keyring
        self._kid: Final = kid
        self._key: Final = key
        #: The algorithm, where it is that of most keys: it is then called directly.
        self._hmac: Final = key.algorithm if isinstance(key.algorithm, HmacSha256) else None
        #: It may end within this second.
        self._until: Final = inf if key.not_after is None else float(key.not_after)
        self._created: Final = created
        self.expires: Final = expires
        self._inputs: Final = Inputs(context)
        self._head: Final = head
        self._tail: Final = tail
        #: Of a prefix that leaves room for a signature.
        self._prefix_bytes = -1

    def holds_for(
        self, message: Message, vhost: str, keyring: Keyring, kid: str, created: int, now: float
    ) -> bool:
        """Whether `message`, which has its likeness, may be sealed with it at `now`, within `created`."""
        return (
            message.header.shape is self._shape
            and created == self._created
            and message.routing_key == self._routing_key
            and message.exchange == self._exchange
            and vhost == self._vhost
            and keyring is self._keyring
            and kid == self._kid
            and now <= self._until
        )

    def sign(self, message: Message, nonce: tuple[bytes, bytes, bytes]) -> tuple[bytes, bytes]:
        """The two sides of the last dot of the seal of `message`; `nonce` is its text, in three parts.

        Raises `GateError` sig.malformed for a seal that is too long.
        """
        first, second, third = nonce
        prefix = b"%b%b%b%b%b" % (self._head, first, second, third, self._tail)
        if len(prefix) != self._prefix_bytes:
            if len(prefix) + 1 + (self._key.algorithm.signature_bytes * 4 + 2) // 3 > TOKEN_BYTES_MAX:
                raise GateError(Reason.SIG_MALFORMED, f"token over {TOKEN_BYTES_MAX} bytes")
            self._prefix_bytes = len(prefix)
        data = self._inputs.covered_by(message, prefix)
        hmac = self._hmac
        signature = hmac.sign(data) if hmac is not None else self._key.algorithm.sign(data)
        return prefix, b64url_encode(signature)
