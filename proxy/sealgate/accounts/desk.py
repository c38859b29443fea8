"""One login at a time: what can be said before its hash is computed, and what after.

A user who is not there, is disabled or has no password is given a hash of somebody's cost to fail against, so
that it takes the work that a wrong password takes.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

from sealgate.accounts.attempts import Attempts
from sealgate.accounts.login import Attempt, Grant, LoginResult, Outcome
from sealgate.accounts.passwords import (
    COST_DEFAULT,
    HASH_BYTES,
    PASSWORD_BYTES_MAX,
    SALT_BYTES,
    Cost,
    PasswordHash,
    is_password,
)
from sealgate.accounts.users import User, UserBook
from sealgate.signing.algorithms import same_bytes

KEY_BYTES: Final = 32


@dataclass(slots=True, frozen=True)
class Work:
    """A hash to be computed, outside of the event loop."""

    attempt: Attempt
    address: str
    known: PasswordHash

    def run(self) -> bool:
        """Whether the password fits the hash. Touches nothing else, so any thread may call it."""
        return is_password(self.attempt.password, self.known)


class Desk:
    """Judges logins by the book in force. Belongs to the event loop's thread, but for `Work.run`.

    A right password is remembered (as a keyed digest, until the users change), so that all the connections of
    a service that starts again cost one hash and not one each.
    """

    __slots__ = ("_attempts", "_book", "_key", "_known", "hashes")

    def __init__(self, book: UserBook, attempts: Attempts, key: bytes) -> None:
        """`key` is 32 random bytes of this process."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"want a key of {KEY_BYTES} bytes")
        self._book = book
        self._attempts: Final = attempts
        self._key: Final = key
        #: Name -> digest of the password that was right.
        self._known: Final[dict[str, bytes]] = {}
        #: Hashes asked for so far.
        self.hashes = 0

    @property
    def book(self) -> UserBook:
        return self._book

    def use(self, book: UserBook) -> None:
        """Put other users in force: what was remembered, locks included, was about the old ones."""
        self._book = book
        self._known.clear()
        self._attempts.clear()

    def is_suspect(self, address: str, now: float) -> bool:
        """Whether others should be served before this address."""
        return self._attempts.is_suspect(address, now)

    def at_once(self, attempt: Attempt, address: str, now: float) -> Outcome | None:
        """The outcome, where it takes no work. `address` is what the attempt is counted by."""
        if attempt.external:
            return self._certificate(attempt)
        if self._attempts.locked(attempt.user, address, now):
            return Outcome(LoginResult.LOCKED)
        if len(attempt.password) > PASSWORD_BYTES_MAX:
            return self._failed(attempt, address, now)
        user = self._book.get(attempt.user)
        if user is not None and user.active and self._is_known(attempt):
            return self._passed(user, address)
        return None

    def begin(self, attempt: Attempt, address: str, now: float) -> Outcome | Work:
        """The outcome, or the work it takes to tell."""
        outcome = self.at_once(attempt, address, now)
        if outcome is not None:
            return outcome
        user = self._book.get(attempt.user)
        self.hashes += 1
        if user is None or user.password is None:
            return Work(attempt, address, self._decoy(attempt.user))
        return Work(attempt, address, user.password)

    def settle(self, work: Work, fits: bool, now: float) -> Outcome:
        """The outcome, once the hash is computed."""
        attempt = work.attempt
        user = self._book.get(attempt.user)
        # A decoy fits nothing; and the users may have changed in the meantime.
        if not fits or user is None or user.password is not work.known or not user.active:
            return self._failed(attempt, work.address, now)
        self._known[user.name] = self._digest(attempt)
        return self._passed(user, work.address)

    def _certificate(self, attempt: Attempt) -> Outcome:
        """A verified certificate needs no password. Nobody may ask for another name than its own."""
        user = self._book.of_certificate(attempt.certificate)
        if user is None or attempt.user not in ("", user.name):
            return Outcome(LoginResult.CERTIFICATE)
        return Outcome(LoginResult.OK, _grant(user))

    def _passed(self, user: User, address: str) -> Outcome:
        self._attempts.succeeded(user.name, address)
        return Outcome(LoginResult.OK, _grant(user))

    def _failed(self, attempt: Attempt, address: str, now: float) -> Outcome:
        self._attempts.failed(attempt.user, address, now)
        user = self._book.get(attempt.user)
        if user is None:
            return Outcome(LoginResult.UNKNOWN)
        return Outcome(LoginResult.PASSWORD if user.active else LoginResult.DISABLED)

    def _is_known(self, attempt: Attempt) -> bool:
        digest = self._known.get(attempt.user)
        return digest is not None and same_bytes(digest, self._digest(attempt))

    def _digest(self, attempt: Attempt) -> bytes:
        return hmac.digest(self._key, attempt.user.encode() + b"\x00" + attempt.password, "sha256")

    def _decoy(self, name: str) -> PasswordHash:
        """A hash that no password fits, and that `name` gets each time: costs as those of the users."""
        drawn = hmac.digest(self._key, b"\x00" + name.encode(), "sha512")
        costs: tuple[Cost, ...] = self._book.costs or (COST_DEFAULT,)
        cost = costs[int.from_bytes(drawn[:8], "big") % len(costs)]
        return PasswordHash(cost, drawn[8 : 8 + SALT_BYTES], drawn[-HASH_BYTES:])


def _grant(user: User) -> Grant:
    return Grant(user.name, user.vhosts, user.broker)
