"""Keys by kid: what each may do, when, and whether it may sign (seal1.md, "Keys").

A keyring never changes; a reload builds another one. Keys are named, never tried one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.algorithms import Algorithm
from sealgate.signing.token import Token

MAX_LIFETIME_S_DEFAULT: Final = 7 * 24 * 3600
#: Message classes; a key may also name single control commands: `control:ping`.
CLASSES: Final = ("task", "result", "control", "event")


@unique
class KeyState(Enum):
    """ACTIVE signs and verifies, VERIFY verifies only, REVOKED does neither."""

    ACTIVE = "active"
    VERIFY = "verify"
    REVOKED = "revoked"


@dataclass(slots=True, frozen=True)
class Key:
    """One key and what it may do. Times are Unix seconds, `max_lifetime_s` seconds from created to expires.

    The pattern lists are exact names or globs; None permits anything, an empty list nothing. `created`,
    `state_since` (since when it has its state) and `replaces` (the kid it takes over from) are what the file
    says of a rotation; no check asks for them.
    """

    kid: str
    algorithm: Algorithm
    state: KeyState = KeyState.ACTIVE
    not_before: int | None = None
    not_after: int | None = None
    max_lifetime_s: int = MAX_LIFETIME_S_DEFAULT
    vhosts: tuple[str, ...] | None = None
    users: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    exchanges: tuple[str, ...] | None = None
    routing_keys: tuple[str, ...] | None = None
    reply_to: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    created: int | None = None
    state_since: int | None = None
    replaces: str | None = None

    def check_time(self, now: float) -> None:
        """Raises `GateError` (sig.key_state) outside not_before..not_after, both included."""
        if self.not_before is not None and now < self.not_before:
            raise GateError(Reason.SIG_KEY_STATE, f"key {self.kid} is not valid yet")
        if self.not_after is not None and now > self.not_after:
            raise GateError(Reason.SIG_KEY_STATE, f"key {self.kid} is no longer valid")


class Keyring:
    """Keys by kid, in the order of the file. Raises ValueError for a kid that is there twice."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        by_kid: dict[str, Key] = {}
        for key in keys:
            if key.kid in by_kid:
                raise ValueError(f"kid {key.kid} twice")
            by_kid[key.kid] = key
        self._keys: Final = by_kid

    def get(self, kid: str) -> Key | None:
        """The key of that name, whatever its state."""
        return self._keys.get(kid)

    def kids(self) -> tuple[str, ...]:
        """All names, in the order of the file."""
        return tuple(self._keys)

    def __iter__(self) -> Iterator[Key]:
        """All keys, in the order of the file."""
        return iter(self._keys.values())

    def signer(self, kid: str, now: float) -> Key:
        """The key to sign with. Raises `GateError` sig.kid, or sig.key_state when it may or can not sign
        now."""
        key = self._keys.get(kid)
        if key is None:
            raise GateError(Reason.SIG_KID, "no such key to sign with")
        if key.state is not KeyState.ACTIVE:
            raise GateError(Reason.SIG_KEY_STATE, f"key {kid} is in state {key.state.value}")
        if not key.algorithm.can_sign:
            raise GateError(Reason.SIG_KEY_STATE, f"key {kid} has no private part")
        key.check_time(now)
        return key

    def first_signer(self, name: str, now: float) -> Key:
        """As `signer`; for a name that ends in `*` the first key, as the file has them, that can sign now."""
        if not name.endswith("*"):
            return self.signer(name, now)
        refused = GateError(Reason.SIG_KID, "no such key to sign with")
        for kid in self._keys:
            if not kid.startswith(name[:-1]):
                continue
            try:
                return self.signer(kid, now)
            except GateError as error:
                refused = error
        raise refused

    def check_for_verify(self, key: Key, token: Token, now: float) -> None:
        """What can be known of a token from its key before the signature is computed.

        Raises `GateError` sig.key_state, sig.malformed (a length that is not the algorithm's: no HMAC is ever
        tried for an Ed25519 key) or sig.lifetime.
        """
        check_now(key, now)
        if len(token.signature) != key.algorithm.signature_bytes:
            raise GateError(Reason.SIG_MALFORMED, "signature length")
        check_lifetime(key, token)


def check_now(key: Key, now: float) -> None:
    """Raises `GateError` (sig.key_state) for a key that verifies nothing at `now`."""
    if key.state is KeyState.REVOKED:
        raise GateError(Reason.SIG_KEY_STATE, f"key {key.kid} is revoked")
    key.check_time(now)


def check_lifetime(key: Key, token: Token) -> None:
    """Raises `GateError` (sig.lifetime) for a token that is to last longer than the key lets it."""
    if token.expires - token.created > key.max_lifetime_s:
        raise GateError(Reason.SIG_LIFETIME, f"lifetime over key {key.kid}'s {key.max_lifetime_s} s")
