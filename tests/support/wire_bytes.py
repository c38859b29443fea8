"""Tables and content headers built octet by octet, wrong ones included."""

from __future__ import annotations

import struct

U32 = struct.Struct(">I")


def entry(name: str | bytes, kind: str, value: bytes = b"") -> bytes:
    """An entry of a table: `value` is what follows the type octet, length prefixes included."""
    key = name.encode() if isinstance(name, str) else name
    return bytes((len(key),)) + key + kind.encode("latin-1") + value


def long(value: bytes) -> bytes:
    """`value` behind its four-byte length, right for the types S, x, A and F."""
    return U32.pack(len(value)) + value


def short(value: bytes) -> bytes:
    """`value` behind its one-byte length."""
    return bytes((len(value),)) + value


def nested(depth: int) -> bytes:
    """A table's content with `depth` tables inside one another."""
    content = b""
    for _ in range(depth):
        content = entry("a", "F", long(content))
    return content


def content_header(
    flags: int = 0, properties: bytes = b"", body_size: int = 0, class_id: int = 60, weight: int = 0
) -> bytes:
    """The payload of a content header frame."""
    return struct.pack(">HHQH", class_id, weight, body_size, flags) + properties


def headers_only(table: bytes) -> bytes:
    """The payload of a content header that has nothing but a header table with this content."""
    return content_header(0x2000, long(table))
