"""The users in force."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from sealgate.accounts.passwords import Cost, PasswordHash


@dataclass(slots=True, frozen=True)
class BrokerLogin:
    """What Sealgate logs in to the broker with."""

    user: str
    password: str = field(repr=False)


@dataclass(slots=True, frozen=True)
class User:
    """One user. `password` and `certificate` are each enough to log in; `vhosts` of None is all of them."""

    name: str
    broker: BrokerLogin
    password: PasswordHash | None = None
    certificate: str = ""
    vhosts: tuple[str, ...] | None = None
    active: bool = True


class UserBook:
    """Users by name and by certificate. Never changes: a new file makes a new book."""

    __slots__ = ("_by_certificate", "_by_name", "costs")

    def __init__(self, users: Iterable[User] = ()) -> None:
        """The caller has seen to it that names and certificates are each there once."""
        self._by_name: Final = {user.name: user for user in users}
        self._by_certificate: Final = {
            user.certificate: user for user in self._by_name.values() if user.certificate
        }
        #: Of each password; more than one when they were hashed differently.
        self.costs: Final[tuple[Cost, ...]] = tuple(
            [user.password.cost for user in self._by_name.values() if user.password is not None]
        )

    def __iter__(self) -> Iterator[User]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> User | None:
        return self._by_name.get(name)

    def of_certificate(self, names: Iterable[str]) -> User | None:
        """The active user one of the `names` in a verified certificate stands for.

        None as well when they stand for several: a certificate is one person's.
        """
        found = {name: self._by_certificate[name] for name in names if name in self._by_certificate}
        users = {user.name: user for user in found.values()}
        if len(users) != 1:
            return None
        (user,) = users.values()
        return user if user.active else None
