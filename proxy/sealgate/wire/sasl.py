"""SASL responses of the mechanisms that name a user: PLAIN, AMQPLAIN, and RabbitMQ's demonstration one.

Read as RabbitMQ 3.10 reads them (measured): PLAIN with an empty authzid and two elements exactly, AMQPLAIN as
a table with long strings LOGIN and PASSWORD.
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError
from sealgate.wire.table import Table, scan_table

PLAIN: Final = "PLAIN"
AMQPLAIN: Final = "AMQPLAIN"
EXTERNAL: Final = "EXTERNAL"
#: Of rabbitmq_auth_mechanism_ssl's kin in RabbitMQ's own source: the response is the name alone.
_RABBIT_CR_DEMO: Final = "RABBIT-CR-DEMO"

#: One more than a short string holds, and a user's name in a users file or a user_id may have.
USER_BYTES_MAX: Final = 256

_LONG_TEXT: Final = b"S"
_LENGTH_BYTES: Final = 4
_NO_NAMES: Final[frozenset[str]] = frozenset()


def read_login(mechanism: str, response: bytes) -> tuple[bytes, bytes] | None:
    """(user, password) of a PLAIN or AMQPLAIN response; None for another mechanism or what fits neither."""
    if mechanism == PLAIN:
        parts = response.split(b"\x00")
        return (parts[1], parts[2]) if len(parts) == 3 and not parts[0] else None
    if mechanism == AMQPLAIN:
        try:
            table = scan_table(response, 0, len(response), _NO_NAMES, _NO_NAMES)
        except GateError:
            return None
        user, password = _long_text(table, "LOGIN"), _long_text(table, "PASSWORD")
        return (user, password) if user is not None and password is not None else None
    return None


def sasl_user(mechanism: str, response: bytes) -> str:
    """The user a SASL response names; empty for a mechanism or a response that does not say."""
    if mechanism == _RABBIT_CR_DEMO:
        return shown(response)
    login = read_login(mechanism, response)
    return "" if login is None else shown(login[0])


def shown(user: bytes) -> str:
    """A user's name as text: it is remembered and logged, so one longer than any is cut.

    What is not UTF-8 becomes replacement characters, which no known user has.
    """
    return user[:USER_BYTES_MAX].decode(errors="replace")


def encode_plain(user: str, password: str) -> bytes:
    """A PLAIN response."""
    return b"\x00" + user.encode() + b"\x00" + password.encode()


def _long_text(table: Table, name: str) -> bytes | None:
    """The bytes of the long string called `name`; None when there is none, or it is of another type."""
    for entry in table.entries:
        if entry.name == name:
            kind = entry.start + 1 + len(name)
            start = kind + 1 + _LENGTH_BYTES
            return table.raw[start : entry.end] if table.raw[kind : kind + 1] == _LONG_TEXT else None
    return None
