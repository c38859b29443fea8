"""A message, and its properties as the octets that came.

Properties are never decoded and encoded again: consumers get the octets the publisher sent, but for the
fields a broker has to change (dead-lettering, direct reply-to).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from pamqp import common, decode
from pamqp.exceptions import PAMQPException

#: By property index: s short string, F table, o octet, T timestamp.
_KINDS: Final = "ssFoossssTssss"
HEADERS: Final = 2
PRIORITY: Final = 4
REPLY_TO: Final = 6
EXPIRATION: Final = 7
USER_ID: Final = 11
_U16: Final = struct.Struct(">H")
_U32: Final = struct.Struct(">I")
#: What pamqp raises on octets it can not decode.
BROKEN: Final = (ValueError, OverflowError, IndexError, KeyError, TypeError, struct.error, PAMQPException)


class PropertiesError(Exception):
    """The properties do not decode."""


@dataclass(slots=True)
class Properties:
    """The fields by index, each the octets of its value with its length prefix, or None."""

    fields: list[bytes | None]

    @classmethod
    def parse(cls, data: bytes) -> Properties:
        """Read flags and values. Raises `PropertiesError`."""
        if len(data) < _U16.size or _U16.unpack_from(data)[0] & 3:
            raise PropertiesError("flags")
        flags = _U16.unpack_from(data)[0]
        fields: list[bytes | None] = []
        at = _U16.size
        for index, kind in enumerate(_KINDS):
            if flags & 0x8000 >> index:
                size = _size(kind, data, at)
                fields.append(data[at : at + size])
                at += size
            else:
                fields.append(None)
        if at != len(data):
            raise PropertiesError("length")
        return cls(fields)

    def encode(self) -> bytes:
        flags = 0
        for index, value in enumerate(self.fields):
            if value is not None:
                flags |= 0x8000 >> index
        return _U16.pack(flags) + b"".join(value for value in self.fields if value is not None)

    def text(self, index: int) -> str | None:
        """A short string. Raises `PropertiesError` when it is not UTF-8."""
        value = self.fields[index]
        try:
            return None if value is None else value[1:].decode()
        except UnicodeDecodeError as error:
            raise PropertiesError("not UTF-8") from error

    def set_text(self, index: int, text: str) -> None:
        octets = text.encode()
        self.fields[index] = bytes((len(octets),)) + octets

    def octet(self, index: int) -> int | None:
        value = self.fields[index]
        return None if value is None else value[0]

    def headers(self) -> common.FieldTable:
        """The header table, decoded. Raises `PropertiesError`."""
        table = self.fields[HEADERS]
        try:
            return {} if table is None else decode.field_table(table)[1]
        except BROKEN as error:
            raise PropertiesError("headers") from error

    def replace_headers(self, removed: frozenset[str], added: bytes) -> None:
        """Take the entries named `removed` out and put the entry octets `added` in front of the others."""
        entries = _entries(self.fields[HEADERS] or _U32.pack(0))
        table = added + b"".join(raw for name, raw in entries if name not in removed)
        self.fields[HEADERS] = _U32.pack(len(table)) + table


def _size(kind: str, data: bytes, at: int) -> int:
    try:
        if kind == "s":
            size = 1 + data[at]
        elif kind == "F":
            size = 4 + int(_U32.unpack_from(data, at)[0])
        else:
            size = 1 if kind == "o" else 8
    except (IndexError, struct.error) as error:
        raise PropertiesError("truncated") from error
    if at + size > len(data):
        raise PropertiesError("truncated")
    return size


def _entries(table: bytes) -> list[tuple[str, bytes]]:
    """Name and octets of each entry at the top of a table that is known to decode."""
    found: list[tuple[str, bytes]] = []
    at = _U32.size
    while at < len(table):
        name_size, name = decode.short_str(table[at:])
        value_size, _ = decode.embedded_value(table[at + name_size :])
        found.append((name, table[at : at + name_size + value_size]))
        at += name_size + value_size
    return found


@dataclass(slots=True, frozen=True)
class Message:
    """What a publish means. `properties` are flags and values as in the content header."""

    exchange: str
    routing_key: str
    properties: bytes = field(repr=False)
    body: bytes = field(repr=False)
    priority: int = 0
    expiration_ms: int | None = None

    @property
    def size(self) -> int:
        """Octets it is counted for."""
        return len(self.body) + len(self.properties)
