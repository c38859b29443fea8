"""Entries of field tables as bytes: encoded anew, taken out of a table, or put into one.

Every byte of a table that is not concerned stays the original's.
"""

from __future__ import annotations

import struct
from typing import Final

from sealgate.wire.constants import KEY_BYTES_MAX
from sealgate.wire.table import Scanner, Table

#: An array's item that stands for nothing.
ITEM_VOID: Final = b"V"
_ARRAY: Final = ord("A")
_U32: Final = struct.Struct(">I")
_INTEGER_PIECE: Final = struct.Struct(">cq")
_DOUBLE_PIECE: Final = struct.Struct(">cd")
_I32_MIN: Final = -(2**31)
_I32_MAX: Final = 2**31 - 1


def without(table: Table, names: frozenset[str]) -> bytes:
    """The table's own bytes without the top-level entries called `names`."""
    if names.isdisjoint(table.values):
        return table.raw
    raw = table.raw
    return b"".join([raw[start:end] for name, start, end in table.entries if name not in names])


def with_entries(table: Table, changed: dict[str, bytes]) -> bytes:
    """The table's own bytes with `changed`, encoded entries by name, in the place of those called so.

    What is not there yet comes last. Every other byte is the original's.
    """
    raw = table.raw
    parts: list[bytes] = []
    for name, start, end in table.entries:
        parts.append(changed[name] if name in changed else raw[start:end])
    values = table.values
    for name, entry in changed.items():
        if name not in values:
            parts.append(entry)
    return b"".join(parts)


def array_items(table: Table, name: str) -> list[bytes]:
    """The items of the array called `name`, each as it is on the wire: its type octet, and its value.

    An empty list where there is no such array.
    """
    raw = table.raw
    for entry in table.entries:
        kind_at = entry.start + 1 + raw[entry.start]
        if entry.name == name and raw[kind_at] == _ARRAY:
            scanner = Scanner(raw, kind_at + 1 + _U32.size, "")
            items: list[bytes] = []
            while scanner.at < entry.end:
                start = scanner.at
                scanner.value(entry.end, 1)
                items.append(raw[start : scanner.at])
            return items
    return []


def entry_longstr(name: str, value: bytes) -> bytes:
    """The bytes of a top-level entry of type S."""
    return _entry(name, b"S", value)


def entry_array(name: str, items: list[bytes]) -> bytes:
    """The bytes of an entry of type A that holds the encoded `items`."""
    return _entry(name, b"A", b"".join(items))


def entry_number(name: str, value: float) -> bytes:
    """The bytes of an entry that holds a number."""
    key = name.encode()
    assert 0 < len(key) <= KEY_BYTES_MAX
    return bytes((len(key),)) + key + encode_number(value)


def encode_number(value: float) -> bytes:
    """A number as a table holds it, with its type octet: whole ones as I or l, others as d."""
    if value != int(value):
        return _DOUBLE_PIECE.pack(b"d", value)
    whole = int(value)
    if _I32_MIN <= whole <= _I32_MAX:
        return b"I" + whole.to_bytes(4, "big", signed=True)
    return _INTEGER_PIECE.pack(b"l", whole)


def entry_bytes(name: str, value: bytes) -> bytes:
    """The bytes of an entry of type x."""
    return _entry(name, b"x", value)


def entry_table(name: str, content: bytes) -> bytes:
    """The bytes of an entry of type F that holds the encoded entries `content`."""
    return _entry(name, b"F", content)


def _entry(name: str, kind: bytes, value: bytes) -> bytes:
    key = name.encode()
    assert 0 < len(key) <= KEY_BYTES_MAX
    return bytes((len(key),)) + key + kind + _U32.pack(len(value)) + value
