"""The users in the `[[user]]` tables of a TOML file.

All that is wrong is found in one go, each error with its path: `user[0].password: ...`. No message holds a
password or a hash. Where secrets come from is not known here: the caller's `resolve` turns `env:NAME` into
text.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from typing import Final

from sealgate.accounts.passwords import WORK_MIN, HashError, PasswordHash, parse_hash
from sealgate.accounts.users import BrokerLogin, User, UserBook
from sealgate.signing.filetable import FileTable, suggest

#: Of user names, certificate names and virtual hosts: what a short string of AMQP holds.
NAME_BYTES_MAX: Final = 255
USERS_MAX: Final = 10_000
#: A broker takes it in a frame of 4,096 bytes, with the client's properties (protocol.md H10).
BROKER_PASSWORD_BYTES_MAX: Final = 1024

_REFERENCES: Final = ("env:", "file:", "vault:", "aws:")
_NAMES: Final = ("name", "password", "certificate", "vhosts", "state", "broker_user", "broker_password")


class UserfileError(ValueError):
    """All that is wrong with the users, one line each, with the path of the key in the file."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors: Final = errors


def load_users(text: str, resolve: Callable[[str], str], broker: BrokerLogin) -> tuple[UserBook, list[str]]:
    """The users in `text` (TOML), and warnings. `broker` is for users that name no broker login of their own.

    `resolve` gives the text behind a secret reference and raises ValueError with a message that is safe to
    print. Raises `UserfileError`.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserfileError([f"not TOML: {error}"]) from None
    reader = _Reader(resolve, broker)
    users = reader.read(tables)
    if reader.errors:
        raise UserfileError(reader.errors)
    return UserBook(users), reader.warnings


def check_broker_secret(text: str) -> None:
    """Raises ValueError for a password that could not be sent to a broker."""
    if "\x00" in text:
        raise ValueError("has a NUL, which can not be sent")
    if len(text.encode()) > BROKER_PASSWORD_BYTES_MAX:
        raise ValueError(f"is over {BROKER_PASSWORD_BYTES_MAX} bytes")


def _name_trouble(text: str) -> str:
    if not text:
        return "is empty"
    if len(text.encode()) > NAME_BYTES_MAX:
        return f"is over {NAME_BYTES_MAX} bytes"
    return "" if text.isprintable() and "\ufffd" not in text else "has characters that can not be shown"


class _Reader:
    """Reads the file's tables; gathers what is wrong and what deserves a warning."""

    __slots__ = ("_broker", "_certificates", "_names", "_resolve", "errors", "warnings")

    def __init__(self, resolve: Callable[[str], str], broker: BrokerLogin) -> None:
        self._resolve: Final = resolve
        self._broker: Final = broker
        #: Where each was met first.
        self._names: Final[dict[str, str]] = {}
        self._certificates: Final[dict[str, str]] = {}
        self.errors: Final[list[str]] = []
        self.warnings: Final[list[str]] = []

    def read(self, tables: Mapping[str, object]) -> list[User]:
        for name in tables:
            if name != "user":
                self.errors.append(f"{name}: is not known{suggest(name, ['user'])}")
        entries = tables.get("user")
        if not isinstance(entries, list) or not entries:
            self.errors.append("user: want at least one [[user]] table")
            return []
        if len(entries) > USERS_MAX:
            self.errors.append(f"user: there are over {USERS_MAX}")
            return []
        users = [self._entry(f"user[{index}]", entry) for index, entry in enumerate(entries)]
        found = [user for user in users if user is not None]
        costs = {user.password.cost for user in found if user.password is not None}
        if len(costs) > 1:
            self.warnings.append("user: passwords are hashed with different parameters; hash them alike")
        return found

    def _entry(self, path: str, entry: object) -> User | None:
        if not isinstance(entry, dict):
            self.errors.append(f"{path}: want a table")
            return None
        before = len(self.errors)
        table = _Table(path, entry, self.errors)
        table.check_names(_NAMES)
        name = self._unique(table, "name", self._names, required=True)
        certificate = self._unique(table, "certificate", self._certificates)
        password = self._password(table)
        if "password" not in entry and "certificate" not in entry:
            self.errors.append(f"{path}: want a password, a certificate or both")
        vhosts = table.vhosts()
        active = table.active()
        broker = self._broker_login(table)
        if len(self.errors) != before:
            return None
        return User(name, broker, password, certificate, vhosts, active)

    def _unique(self, table: _Table, key: str, seen: dict[str, str], required: bool = False) -> str:
        text = table.text(key, required)
        if text is None:
            return ""
        trouble = _name_trouble(text)
        first = seen.setdefault(text, table.path)
        if trouble:
            table.fail(key, trouble)
        elif first != table.path:
            table.fail(key, f"{text} is there already, at {first}")
        return text

    def _password(self, table: _Table) -> PasswordHash | None:
        text = table.text("password")
        if text is None:
            return None
        try:
            known = parse_hash(text)
        except HashError as error:
            table.fail("password", str(error))
            return None
        if known.cost.work < WORK_MIN:
            self.warnings.append(f"{table.path}.password: is cheap to guess through; hash it again")
        return known

    def _broker_login(self, table: _Table) -> BrokerLogin:
        """The user's own, or that of all."""
        user, secret = table.text("broker_user"), table.text("broker_password")
        if user is None and secret is None:
            return self._broker
        for key, value, other in (
            ("broker_user", user, "broker_password"),
            ("broker_password", secret, "broker_user"),
        ):
            if value is None and key not in table.entry:
                table.fail(key, f"is missing: it goes together with {other}")
        if user is not None and (trouble := _name_trouble(user)):
            table.fail("broker_user", trouble)
        return BrokerLogin(user or "", self._secret(table, secret) if secret is not None else "")

    def _secret(self, table: _Table, text: str) -> str:
        try:
            if text.startswith(_REFERENCES):
                text = self._resolve(text)
            elif text:
                self.warnings.append(
                    f"{table.path}.broker_password: is written into the file; use env: or file:"
                )
            else:
                raise ValueError("is empty")
            check_broker_secret(text)
        except ValueError as error:
            table.fail("broker_password", str(error))
        return text


class _Table(FileTable):
    """One `[[user]]` table."""

    __slots__ = ()

    def active(self) -> bool:
        text = self.text("state")
        if text not in (None, "active", "disabled"):
            self.fail("state", "want active or disabled")
        return text in (None, "active")

    def vhosts(self) -> tuple[str, ...] | None:
        values = self.texts("vhosts")
        for value in values or ():
            if trouble := _name_trouble(value):
                self.fail("vhosts", f"one {trouble}")
        return values
