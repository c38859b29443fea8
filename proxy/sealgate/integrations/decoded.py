"""Deliveries of libraries that hand out decoded values only: as octets again, to be judged like any other.

What the application will see is what is judged. Where a library loses something (pika makes whole numbers of
floats) the signature is not of that, and the delivery is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from sealgate.reason import GateError, Reason
from sealgate.wire.constants import CLASS_BASIC
from sealgate.wire.properties import DELIVERY_MODE, HEADERS, PRIORITY, TIMESTAMP

_FIRST_FLAG: Final = 0x8000
#: Far above what a gateway lets pass (8); below what would exhaust the interpreter's stack.
_DEPTH_MAX: Final = 32


def content_header(values: Sequence[Any], body_bytes: int) -> bytes:
    """The payload of a content header with these values by AMQP index, None for an absent one.

    Raises `GateError` header.type for what can not have been received.
    """
    flags = 0
    parts = []
    try:
        for index, value in enumerate(values):
            if value is not None:
                flags |= _FIRST_FLAG >> index
                parts.append(_property(index, value))
    except (struct.error, ValueError, TypeError, AttributeError, OverflowError):
        raise GateError(Reason.HEADER_TYPE, "a value that is none of AMQP's") from None
    return struct.pack(">HHQH", CLASS_BASIC, 0, body_bytes, flags) + b"".join(parts)


def _property(index: int, value: Any) -> bytes:
    if index == HEADERS:
        return _long(_table(value, 0))
    if index in (DELIVERY_MODE, PRIORITY):
        return struct.pack(">B", int(value))
    if index == TIMESTAMP:
        return struct.pack(">Q", value)
    text = value.encode() if isinstance(value, str) else bytes(value)
    return struct.pack(">B", len(text)) + text


def _table(values: Mapping[str, Any], depth: int) -> bytes:
    parts = []
    for name, value in values.items():
        key = name.encode()
        parts.append(struct.pack(">B", len(key)) + key + _value(value, depth))
    return b"".join(parts)


def _value(value: Any, depth: int) -> bytes:
    if depth > _DEPTH_MAX:
        raise GateError(Reason.HEADER_DEPTH, f"nested over {_DEPTH_MAX} deep")
    match value:
        case None:
            return b"V"
        case bool():
            return b"t\x01" if value else b"t\x00"
        case int():
            return b"l" + struct.pack(">q", value)
        case float():
            return b"d" + struct.pack(">d", value)
        case str():
            return b"S" + _long(value.encode())
        case bytes() | bytearray() | memoryview():
            return b"x" + _long(bytes(value))
        case datetime():
            return b"T" + struct.pack(">Q", _seconds(value))
        case Decimal():
            sign, digits, exponent = value.as_tuple()
            unscaled = int("".join(map(str, digits)))
            return b"D" + struct.pack(">BI", -int(exponent), (-unscaled if sign else unscaled) & 0xFFFFFFFF)
        case list() | tuple():
            return b"A" + _long(b"".join([_value(item, depth + 1) for item in value]))
    return b"F" + _long(_table(value, depth + 1))


def _seconds(moment: datetime) -> int:
    """Unix seconds; without a zone it is UTC, as AMQP has it."""
    return int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp())


def _long(octets: bytes) -> bytes:
    return struct.pack(">I", len(octets)) + octets
