"""Section H from Python values, for who signs without a wire (seal1.md, "Canonical encoding").

The wire scanner makes the same bytes from a received header table; a test holds the two against each other.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL

#: Limits of a header table, the same as the wire scanner's (seal1.md, "Refused, never normalised").
TABLE_BYTES_MAX: Final = 64 * 1024
TABLE_ENTRIES_MAX: Final = 256
TABLE_DEPTH_MAX: Final = 8
KEY_BYTES_MAX: Final = 128
_I64_MAX: Final = 2**63 - 1
_U64_MAX: Final = 2**64 - 1

_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")
_I64: Final = struct.Struct(">q")
_F64: Final = struct.Struct(">d")


@dataclass(slots=True, frozen=True)
class Timestamp:
    """A header value of AMQP type T, in Unix seconds."""

    seconds: int


@dataclass(slots=True, frozen=True)
class Decimal:
    """A header value of AMQP type D: `unscaled / 10**scale`, with `unscaled` as the 32 bits on the wire."""

    scale: int
    unscaled: int


def canonical_table(values: Mapping[str, object], omitted: frozenset[str] = OMITTED_FOR_SEAL) -> bytes:
    """Section H from Python values.

    None, bool, int, float, str, bytes, `Timestamp`, `Decimal`, lists and mappings are taken; str is a long
    string, bytes a byte array. Names in `omitted` are left out at the top level, as are signs of
    `ABSOLUTE_NAMES`. Raises `GateError` (header.*) for what a gateway would refuse. Names in `omitted` do not
    count towards the limits, and the size is that of the canonical form, which is never under the size on the
    wire.
    """
    covered: dict[str, object] = {}
    for name, value in values.items():
        if name in omitted:
            continue
        if name in ABSOLUTE_NAMES and type(value) is int:
            value = _absolute(value)
        covered[name] = value
    parts: list[bytes] = []
    _write_table(parts, covered, 0, 0)
    table = b"".join(parts)
    if len(table) > TABLE_BYTES_MAX:
        raise GateError(Reason.HEADER_SIZE, f"header table over {TABLE_BYTES_MAX} bytes")
    return table


def _absolute(number: int) -> int:
    if number == -_I64_MAX - 1:
        raise GateError(Reason.HEADER_X_DELAY, "an integer has no absolute value in 64 bits")
    return abs(number)


def _write_table(parts: list[bytes], values: Mapping[str, object], depth: int, entries: int) -> int:
    """Append the canonical table; returns `entries`, the count so far, with this table's added."""
    if depth > TABLE_DEPTH_MAX:
        raise GateError(Reason.HEADER_DEPTH, f"header table over {TABLE_DEPTH_MAX} deep")
    keyed: dict[bytes, object] = {}
    for name, value in values.items():
        keyed[_key(name)] = value
    parts.append(_U32.pack(len(keyed)))
    for key in sorted(keyed):
        parts.append(_lp(key))
        entries = _write_value(parts, keyed[key], depth, _counted(entries))
    return entries


def _write_array(parts: list[bytes], values: Sequence[object], depth: int, entries: int) -> int:
    if depth > TABLE_DEPTH_MAX:
        raise GateError(Reason.HEADER_DEPTH, f"header table over {TABLE_DEPTH_MAX} deep")
    parts.append(_U32.pack(len(values)))
    for value in values:
        entries = _write_value(parts, value, depth, _counted(entries))
    return entries


def _write_value(parts: list[bytes], value: object, depth: int, entries: int) -> int:
    if isinstance(value, Mapping):
        parts.append(b"F")
        return _write_table(parts, value, depth + 1, entries)
    if isinstance(value, list | tuple):
        parts.append(b"A")
        return _write_array(parts, value, depth + 1, entries)
    parts.append(_scalar(value))
    return entries


def _scalar(value: object) -> bytes:
    match value:
        case None:
            return b"V"
        case bool():
            return b"t\x01" if value else b"t\x00"
        case int() if -_I64_MAX - 1 <= value <= _I64_MAX:
            return b"i" + _I64.pack(value)
        case float():
            if not isfinite(value):
                raise GateError(Reason.HEADER_FLOAT, "not a finite number")
            return b"d" + _F64.pack(value)
        case str():
            try:
                return b"s" + _lp(value.encode())
            except UnicodeEncodeError:
                raise GateError(Reason.HEADER_UTF8, "a header value is not UTF-8") from None
        case bytes():
            return b"x" + _lp(value)
        case Timestamp(seconds) if 0 <= seconds <= _U64_MAX:
            return b"T" + _U64.pack(seconds)
        case Decimal(scale, unscaled) if 0 <= scale <= 255 and 0 <= unscaled < 2**32:
            return b"D" + bytes((scale,)) + _U32.pack(unscaled)
        case _:
            raise GateError(Reason.HEADER_TYPE, f"no AMQP type for {type(value).__name__}")


def _key(name: str) -> bytes:
    try:
        key = name.encode()
    except UnicodeEncodeError:
        raise GateError(Reason.HEADER_KEY, "a header name is not UTF-8") from None
    if not 1 <= len(key) <= KEY_BYTES_MAX:
        raise GateError(Reason.HEADER_KEY, f"a header name is not 1 to {KEY_BYTES_MAX} bytes")
    return key


def _counted(entries: int) -> int:
    if entries >= TABLE_ENTRIES_MAX:
        raise GateError(Reason.HEADER_COUNT, f"over {TABLE_ENTRIES_MAX} header entries")
    return entries + 1


def _lp(data: bytes) -> bytes:
    return _U32.pack(len(data)) + data
