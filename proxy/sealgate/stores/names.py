"""Names of nonces of one fixed length, made from the store's long ones and turned back into them.

`nonce_key` is `deployment length : deployment : kid : nonce` (`verify.seals.nonce_name`), the nonce in
base64url, as the token has it: nobody has to decode it who remembers it in memory. What stands before it is
the same for every message of a key, so it is kept once, under a number. Nothing is hashed: no two nonces
share a name, whatever a signer chooses. Redis and journals have the nonce's octets in its place (`to_keep`).
"""

from __future__ import annotations

from typing import Final

from sealgate.signing.base64url import b64url_encode, decode_known

#: The number of what stood before the nonce, zeros up to the length of the longest one, the nonce.
NAME_BYTES: Final = 34
#: Every stored nonce has as many characters at least, those of 16 octets, and nearly all have no more: these
#: end its `nonce_key`.
NONCE_CHARACTERS_MIN: Final = 22
#: Those of 23 octets.
_NONCE_CHARACTERS_MAX: Final = 31
#: Sixteen million (deployment, kid, length of nonce) since the start; there are as many as keys.
_NUMBER_BYTES: Final = 3


class Names:
    """As many entries as keys that were used since the start, times the lengths of their nonces."""

    __slots__ = ("_before", "_head", "_known", "_numbers", "_usual")

    def __init__(self) -> None:
        #: The name up to the nonce, by what stood before it: for nonces of 22 characters. As what stands
        #: there is whole, up to the colon before the nonce, cutting off 22 finds no longer nonce in here.
        self._usual: Final[dict[bytes, bytes]] = {}
        #: The last of these.
        self._before = b""
        self._head = b""
        self._numbers: Final[dict[tuple[bytes, int], int]] = {}
        self._known: Final[list[tuple[bytes, int]]] = []

    def short(self, nonce_key: bytes) -> bytes:
        """The name of `nonce_key`. Raises ValueError for what is no name that `nonce_name` makes."""
        return self.head(nonce_key) + nonce_key[-NONCE_CHARACTERS_MIN:]

    def head(self, nonce_key: bytes) -> bytes:
        """The same, up to the last 22 characters."""
        before = self._before
        size = len(nonce_key) - NONCE_CHARACTERS_MIN
        if size > 0 and size == len(before) and nonce_key.startswith(before):
            return self._head
        before = nonce_key[:-NONCE_CHARACTERS_MIN]
        head = self._usual.get(before)
        if head is None:
            return self._first(nonce_key)[:-NONCE_CHARACTERS_MIN]
        self._before = before
        self._head = head
        return head

    def _first(self, nonce_key: bytes) -> bytes:
        """The same for a key that is new here, and for nonces of another length."""
        before = _before_nonce(nonce_key)
        nonce = nonce_key[len(before) :]
        size = len(nonce)
        if not NONCE_CHARACTERS_MIN <= size <= _NONCE_CHARACTERS_MAX:
            raise ValueError("no name of a stored nonce")
        number = self._numbers.get((before, size))
        if number is None:
            number = self._numbers[before, size] = len(self._known)
            self._known.append((before, size))
        head = number.to_bytes(_NUMBER_BYTES, "big") + bytes(_NONCE_CHARACTERS_MAX - size)
        if size == NONCE_CHARACTERS_MIN:
            self._usual[before] = head
        return head + nonce

    def long(self, name: bytes) -> bytes:
        """The `nonce_key` that `name` was made of."""
        before, size = self._known[int.from_bytes(name[:_NUMBER_BYTES], "big")]
        return before + name[-size:]


def _before_nonce(nonce_key: bytes) -> bytes:
    """All up to the nonce; reads nothing behind the colon before it. Raises ValueError where none is."""
    length, colon, _ = nonce_key.partition(b":")
    if not colon or not length.isdigit() or str(int(length)).encode() != length:
        raise ValueError("no name of a nonce: no length")
    deployment_end = len(length) + 1 + int(length)
    if nonce_key[deployment_end : deployment_end + 1] != b":":
        raise ValueError("no name of a nonce: no deployment of that length")
    # A kid has no colon (seal1.md, "The token").
    return nonce_key[: nonce_key.index(b":", deployment_end + 1) + 1]


def to_keep(nonce_key: bytes) -> bytes:
    """`nonce_key` with the octets of its nonce, as Redis and journals have always had it."""
    start = nonce_key.rindex(b":") + 1
    return nonce_key[:start] + decode_known(nonce_key[start:])


def of_kept(name: bytes) -> bytes:
    """The `nonce_key` that `to_keep` made `name` of. Raises ValueError where there is none."""
    before = _before_nonce(name)
    return before + b64url_encode(name[len(before) :])
