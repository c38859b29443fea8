"""Header tables, content headers and the signing input once more, written from seal1.md alone.

Slow and plain on purpose, and generous: it reads on past what a gate must refuse and notes each rule that was
broken. So it says of any bytes what they mean, and which reasons a refusal of them may give.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from sealgate.reason import Reason

#: Deeper than any limit, and shallow enough for this file's own recursion.
_DEPTH_READ_MAX = 40
_INTEGERS = {
    "b": ">b",
    "B": ">B",
    "s": ">h",
    "u": ">H",
    "I": ">i",
    "i": ">I",
    "l": ">q",
    "L": ">q",
}
#: Properties with a value of fixed size, in bytes; all others but the headers are short strings.
_FIXED_SIZES = {3: 1, 4: 1, 9: 8}
_SECTION_P = (0, 1, 3, 4, 5, 6, 8, 10, 11, 12, 13)
_BROKER_NAMES = (
    b"x-death x-first-death-exchange x-first-death-queue x-first-death-reason x-last-death-exchange "
    b"x-last-death-queue x-last-death-reason x-delivery-count x-acquired-count x-received-from x-shovelled "
    b"x-shovelled-timestamp x-routed-by timestamp_in_ms x-opt-rabbitmq-received-time "
    b"x-opt-rabbitmq-sent-time x-stream-offset x-mqtt-publish-qos x-opt-mqtt-client-id"
)
#: Never covered by the producer's own signature (seal1.md, "What is covered").
NOT_COVERED = frozenset((b"x-seal", b"x-countersign", *_BROKER_NAMES.split()))


@dataclass(frozen=True)
class Node:
    """A value as it is on the wire.

    `kind` is its type letter; `value` an integer, a float, bytes (S, x), (scale, unscaled) for D, a list of
    nodes (A), a list of (name, node) (F), None (V).
    """

    kind: str
    value: object


Entries = list[tuple[bytes, Node]]


@dataclass
class Header:
    """What a content header says: `fields` are raw property values by index, `entries` its header table."""

    body_size: int = 0
    fields: dict[int, bytes] = field(default_factory=dict)
    entries: Entries = field(default_factory=list)
    has_table: bool = False
    broken: set[Reason] = field(default_factory=set)


class _UnreadableError(Exception):
    """Nothing behind this octet has a meaning."""


class Reader:
    """Reads values from `data`; `broken` gathers the reasons for which a gate may refuse them."""

    def __init__(self, data: bytes, at: int = 0, sealed: bool = True) -> None:
        self.data = data
        self.at = at
        self.count = 0
        self.broken: set[Reason] = set()
        self.sealed = sealed

    def take(self, size: int, end: int) -> bytes:
        if self.at + size > end:
            self.broken.add(Reason.HEADER_TRUNCATED)
            raise _UnreadableError
        self.at += size
        return self.data[self.at - size : self.at]

    def top(self, end: int) -> Entries:
        """The table from `at` to `end`; what was read of it when it can not be read to its end."""
        entries: Entries = []
        if end - self.at > 64 * 1024:
            self.broken.add(Reason.HEADER_SIZE)
        with contextlib.suppress(_UnreadableError):
            self.table(end, 0, entries)
        for name, node in entries:
            if name == b"x-delay" and node.kind in _INTEGERS and node.value == -(2**63) and self.sealed:
                self.broken.add(Reason.HEADER_X_DELAY)
        return entries

    def table(self, end: int, depth: int, entries: Entries) -> None:
        while self.at < end:
            size = self.take(1, end)[0]
            if not 1 <= size <= 128:
                self.broken.add(Reason.HEADER_KEY)
            name = self.take(size, end)
            if not is_utf8(name):
                self.broken.add(Reason.HEADER_KEY)
            if any(name == other for other, _ in entries):
                token = depth == 0 and name == b"x-seal" and self.sealed
                self.broken.add(Reason.SIG_DUPLICATE if token else Reason.HEADER_DUPLICATE)
            entries.append((name, self.value(end, depth)))

    def value(self, end: int, depth: int) -> Node:
        self.count += 1
        if self.count > 256:
            self.broken.add(Reason.HEADER_COUNT)
        kind = chr(self.take(1, end)[0])
        if kind in _INTEGERS:
            layout = struct.Struct(_INTEGERS[kind])
            return Node(kind, layout.unpack(self.take(layout.size, end))[0])
        if kind in "fd":
            number = struct.unpack(">" + kind, self.take(4 if kind == "f" else 8, end))[0]
            if not math.isfinite(number):
                self.broken.add(Reason.HEADER_FLOAT)
            return Node(kind, number)
        if kind == "V":
            return Node(kind, None)
        if kind == "t":
            return Node(kind, self.take(1, end)[0])
        if kind == "T":
            return Node(kind, int.from_bytes(self.take(8, end), "big"))
        if kind == "D":
            return Node(kind, struct.unpack(">BI", self.take(5, end)))
        if kind not in "SxAF":
            self.broken.add(Reason.HEADER_TYPE)
            raise _UnreadableError
        if kind in "AF" and depth >= 8:
            self.broken.add(Reason.HEADER_DEPTH)
            if depth >= _DEPTH_READ_MAX:
                raise _UnreadableError
        size = int.from_bytes(self.take(4, end), "big")
        if kind in "Sx":
            return Node(kind, self.take(size, end))
        if self.at + size > end:
            self.broken.add(Reason.HEADER_TRUNCATED)
            raise _UnreadableError
        stop = self.at + size
        if kind == "F":
            entries: Entries = []
            self.table(stop, depth + 1, entries)
            return Node(kind, entries)
        items: list[Node] = []
        while self.at < stop:
            items.append(self.value(stop, depth + 1))
        return Node(kind, items)


def read_header(payload: bytes) -> Header:
    """What the payload of a content header frame says, as far as it can be read."""
    header = Header()
    if len(payload) < 14:
        header.broken.add(Reason.FRAME_TRUNCATED)
        return header
    class_id, weight, header.body_size, flags = struct.unpack(">HHQH", payload[:14])
    if class_id != 60 or weight:
        header.broken.add(Reason.FRAME_CLASS)
    if flags & 3:
        header.broken.add(Reason.PROPS_FLAGS)
    at = 14
    for index in range(14):
        if not flags & 0x8000 >> index:
            continue
        prefix = 4 if index == 2 else 0 if index in _FIXED_SIZES else 1
        start = at + prefix
        size = _FIXED_SIZES.get(index, int.from_bytes(payload[at:start], "big"))
        if start > len(payload) or start + size > len(payload):
            header.broken |= {Reason.HEADER_TRUNCATED} if index == 2 else set()
            header.broken.add(Reason.PROPS_TRUNCATED)
            return header
        at = start + size
        if index == 2:
            reader = Reader(payload, start)
            header.entries = reader.top(at)
            header.has_table = True
            header.broken |= reader.broken
            continue
        value = header.fields[index] = payload[start:at]
        if index not in _FIXED_SIZES and (0 in value or not is_utf8(value)):
            header.broken.add(Reason.PROPS_UTF8)
    if at != len(payload):
        header.broken.add(Reason.PROPS_TRUNCATED)
    return header


def canonical_table(entries: Entries, left_out: Iterable[bytes] = (), absolute: bool = True) -> bytes:
    """Section H. `absolute`: whether an integer `x-delay` counts without its sign, as it does at the top."""
    covered = sorted((name, node) for name, node in entries if name not in left_out)
    parts = [struct.pack(">I", len(covered))]
    for name, node in covered:
        if absolute and name == b"x-delay" and node.kind in _INTEGERS:
            node = Node("l", abs(int(str(node.value))))
        parts += [_lp(name), canonical_value(node)]
    return b"".join(parts)


def canonical_value(node: Node) -> bytes:
    value = node.value
    if node.kind in _INTEGERS:
        return b"i" + struct.pack(">q", value)
    if node.kind in "fd":
        return b"d" + struct.pack(">d", value)
    if node.kind == "V":
        return b"V"
    if node.kind == "t":
        return b"t" + (b"\x01" if value else b"\x00")
    if node.kind == "T":
        return b"T" + struct.pack(">Q", value)
    if isinstance(value, tuple):
        return b"D" + struct.pack(">BI", *value)
    if isinstance(value, bytes):
        return (b"s" if node.kind == "S" and is_utf8(value) else b"x") + _lp(value)
    assert isinstance(value, list)
    if node.kind == "F":
        return b"F" + canonical_table(value, (), False)
    return b"A" + struct.pack(">I", len(value)) + b"".join([canonical_value(item) for item in value])


def section_p(header: Header) -> bytes:
    parts = []
    for index in _SECTION_P:
        value = header.fields.get(index)
        if value is None:
            continue
        if index == 6 and value.startswith(b"amq.rabbitmq.reply-to"):
            value = b"amq.rabbitmq.reply-to"
        parts += [bytes((index,)), _lp(value)]
    return b"".join(parts)


def snapshot(header: Header, exchange: str, routing_key: str) -> bytes:
    """The target as a token would claim it."""
    parts = [b"\x01", _short(exchange.encode()), b"\x02", _short(routing_key.encode())]
    if 7 in header.fields:
        parts += [b"\x03", _short(header.fields[7])]
    if 9 in header.fields:
        parts += [b"\x04", _short(header.fields[9])]
    return b"".join(parts)


def signing_input(alg: str, deployment: str, vhost: str, prefix: bytes, header: Header, body: bytes) -> bytes:
    """What a seal with the token text `prefix` signs."""
    digests = [section_p(header), canonical_table(header.entries, NOT_COVERED)]
    return b"".join(
        (
            b"seal1/amqp-0-9-1/message\n",
            *[_lp(text.encode()) for text in (alg, deployment, vhost)],
            _lp(prefix),
            *[hashlib.sha256(digest).digest() for digest in digests],
            struct.pack(">Q", len(body)),
            hashlib.sha256(body).digest(),
        )
    )


def is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _lp(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _short(value: bytes) -> bytes:
    return bytes((len(value),)) + value
