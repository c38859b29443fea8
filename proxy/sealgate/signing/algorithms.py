"""HMAC-SHA-256 and Ed25519: the two algorithms of seal1, and nothing else in version 1 (seal1.md, "Keys").

A key holds one algorithm object, so there is nothing in a message that could choose another. Material never
shows in a repr.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final, Protocol

from sealgate.signing.base64url import decoded, encodes_32
from sealgate.signing.hashing import copy_of, digest_of, feed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

HMAC_SHA256: Final = "hmac-sha256"
ED25519: Final = "ed25519"
HMAC_SECRET_BYTES_MIN: Final = 32
ED25519_KEY_BYTES: Final = 32
_BLOCK_BYTES: Final = 64  # of SHA-256
_IPAD: Final = bytes(octet ^ 0x36 for octet in range(256))
_OPAD: Final = bytes(octet ^ 0x5C for octet in range(256))
#: The one comparison of secrets and signatures in this code base: its time tells not where they differ.
same_bytes: Final = hmac.compare_digest


class Algorithm(Protocol):
    """`name` is part of the signing input; `signature_bytes` is the one length a signature may have."""

    @property
    def name(self) -> str: ...

    @property
    def signature_bytes(self) -> int: ...

    @property
    def can_sign(self) -> bool: ...

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`. Only where `can_sign`."""

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Whether `signature` is one of `data`. Takes the same time wherever a signature is wrong."""

    def fingerprint(self, data: bytes) -> bytes:
        """What tells `data` from other data under this key as surely as SHA-256; no part of a signature."""

    def proven(self, data: bytes, text: bytes) -> bytes:
        """The `fingerprint` of `data` where `verify` is true of a signature in canonical base64url, else b"".

        Any other text is no signature.
        """


class HmacSha256:
    """HMAC-SHA-256 under `secret` (at least 32 bytes). Every holder can sign as well as verify.

    Its two hashes (RFC 2104) are keyed once and copied for each message: half the time of a copied object of
    the module `hmac`, a quarter of starting from the secret.
    """

    __slots__ = ("_inner", "_outer")

    name: Final = HMAC_SHA256
    signature_bytes: Final = 32
    can_sign: Final = True

    def __init__(self, secret: bytes) -> None:
        if len(secret) < HMAC_SECRET_BYTES_MIN:
            raise ValueError(f"an HMAC secret is at least {HMAC_SECRET_BYTES_MIN} bytes")
        block = secret if len(secret) <= _BLOCK_BYTES else hashlib.sha256(secret).digest()
        block = block.ljust(_BLOCK_BYTES, b"\x00")
        self._inner: Final = hashlib.sha256(block.translate(_IPAD))
        self._outer: Final = hashlib.sha256(block.translate(_OPAD))

    def __repr__(self) -> str:
        return "HmacSha256(...)"

    def sign(self, data: bytes) -> bytes:
        return self._signature(self.fingerprint(data))

    def verify(self, data: bytes, signature: bytes) -> bool:
        return same_bytes(self.sign(data), signature)

    def fingerprint(self, data: bytes) -> bytes:
        # The inner hash is at hand of each verification. Who has it still needs the secret for the outer one.
        inner = copy_of(self._inner)
        feed(inner, data)
        return digest_of(inner)

    def proven(self, data: bytes, text: bytes) -> bytes:
        fingerprint = self.fingerprint(data)
        # Encoding the right one costs less than decoding the other.
        right, given = encodes_32(self._signature(fingerprint), text)
        return fingerprint if same_bytes(right, given) else b""

    def _signature(self, fingerprint: bytes) -> bytes:
        outer = copy_of(self._outer)
        feed(outer, fingerprint)
        return digest_of(outer)


class Ed25519:
    """Ed25519 with a public key, and a private key where it may sign. Made by `of_private` or `of_public`."""

    __slots__ = ("_private", "_public", "can_sign")

    name: Final = ED25519
    signature_bytes: Final = 64

    def __init__(self, public: Ed25519PublicKey, private: Ed25519PrivateKey | None = None) -> None:
        self._public: Final = public
        self._private: Final = private
        self.can_sign: Final = private is not None

    @classmethod
    def of_private(cls, seed: bytes) -> Ed25519:
        """From the 32-byte private seed. Raises ValueError for another length."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(private.public_key(), private)

    @classmethod
    def of_public(cls, public: bytes) -> Ed25519:
        """From the 32-byte public key. Raises ValueError for another length."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return cls(Ed25519PublicKey.from_public_bytes(public))

    def __repr__(self) -> str:
        return "Ed25519(...)"

    @property
    def public_bytes(self) -> bytes:
        """The 32-byte public key, which is no secret."""
        return self._public.public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        assert self._private is not None
        return self._private.sign(data)

    def verify(self, data: bytes, signature: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            self._public.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def fingerprint(self, data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    def proven(self, data: bytes, text: bytes) -> bytes:
        signature = decoded(text)
        if signature is None or len(signature) != self.signature_bytes or not self.verify(data, signature):
            return b""
        return self.fingerprint(data)
