"""A message that is written as JSON, as the publish a client would send: method, content header, body.

Integers become type l, numbers with a point d, texts S: the canonical form of seal1 is that of any other
type of the same value.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from sealgate.cli.message_json import JsonMessage
from sealgate.signing.table import Decimal, Timestamp
from sealgate.wire.constants import BASIC_PUBLISH, CLASS_BASIC
from sealgate.wire.properties import DELIVERY_MODE, HEADERS, PRIORITY, PROPERTIES, TIMESTAMP

_U32: Final = struct.Struct(">I")
_FIXED: Final = struct.Struct(">HHQH")
_FIXED_SIZE: Final = (DELIVERY_MODE, PRIORITY, TIMESTAMP)


def encode_method(message: JsonMessage) -> bytes:
    """The payload of its `basic.publish`. Raises ValueError for a target over 255 bytes."""
    targets = [_short(text.encode()) for text in (message.exchange, message.routing_key)]
    return _U32.pack(BASIC_PUBLISH) + b"\0\0" + b"".join(targets) + b"\0"


def encode_header(message: JsonMessage) -> bytes:
    """The payload of its content header. Raises ValueError for a header no table can hold."""
    flags, octets = 0, b""
    for index in range(PROPERTIES):
        value = message.fields[index]
        if index == HEADERS:
            table = _table(message.headers)
            value = _long(table) if message.headers else None
        elif value is not None and index not in _FIXED_SIZE:
            value = _short(value)
        if value is not None:
            flags |= 0x8000 >> index
            octets += value
    return _FIXED.pack(CLASS_BASIC, 0, len(message.body), flags) + octets


def _table(values: Mapping[str, object]) -> bytes:
    return b"".join([_short(name.encode()) + _value(value) for name, value in values.items()])


def _value(value: object) -> bytes:
    match value:
        case None:
            return b"V"
        case bool():
            return b"t\x01" if value else b"t\x00"
        case int() if -(2**63) <= value < 2**63:
            return b"l" + struct.pack(">q", value)
        case float():
            return b"d" + struct.pack(">d", value)
        case str():
            return b"S" + _long(value.encode())
        case bytes():
            return b"x" + _long(value)
        case Timestamp(seconds):
            return b"T" + struct.pack(">Q", seconds)
        case Decimal(scale, unscaled):
            return b"D" + struct.pack(">BI", scale, unscaled)
        case list():
            return b"A" + _long(b"".join([_value(item) for item in value]))
        case Mapping():
            return b"F" + _long(_table(value))
        case _:
            raise ValueError("a header is an integer of more than 64 bits")


def _short(data: bytes) -> bytes:
    if len(data) > 255:
        raise ValueError("a name is over 255 bytes")
    return bytes((len(data),)) + data


def _long(data: bytes) -> bytes:
    return _U32.pack(len(data)) + data
