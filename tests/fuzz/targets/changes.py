"""Bytes as a list of changes to a signed message, so that what a fuzzer makes stays close to one.

Each change is an octet that names it and the octets of its operands. Anything is a list of changes: operands
are taken modulo what there is, and what is missing at the end is zero.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from fuzz.oracles.reference import NOT_COVERED, Node, Reader

_FIXED = struct.Struct(">HHQH")
_SHORT_PROPERTIES = (0, 1, 5, 6, 7, 8, 10, 11, 12, 13)
_SIZES = {3: 1, 4: 1, 9: 8}
_TEXTS = (
    b"",
    b"a",
    b"\xff",
    b"app.add",
    b"evil.task",
    b"\x00",
    b"amq.rabbitmq.reply-to",
    b"60000",
    b"celery",
)
_NAMES = (
    *(
        b"task",
        b"id",
        b"x-seal",
        b"x-countersign",
        b"CC",
        b"BCC",
        b"x-delay",
        b"X-Seal",
        b"compression",
        b"n",
    ),
    *sorted(NOT_COVERED),
)
_INTEGERS = {"b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q", "L": ">q"}


@dataclass(frozen=True)
class Signed:
    """A publish as it is on the wire, and where it goes."""

    exchange: str
    routing_key: str
    header: bytes
    body: bytes


class Operands:
    """The octets of the changes, in order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        return self._at < len(self._data)

    def octet(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def place(self, size: int) -> int:
        """A position in something of `size`."""
        return (self.octet() << 8 | self.octet()) % size if size else 0

    def some(self) -> bytes:
        """A few octets."""
        size = self.octet() % 24
        self._at += size
        return self._data[self._at - size : self._at]


def changed(message: Signed, operands: Operands) -> Signed:
    """`message` after one change."""
    kind = operands.octet() % 12
    if kind < 3:
        return replace(message, header=_edited(message.header, kind, operands))
    if kind < 6:
        return replace(message, body=_edited(message.body, kind - 3, operands))
    if kind == 6:
        return replace(message, exchange=_text(operands))
    if kind == 7:
        return replace(message, routing_key=_text(operands))
    if kind == 8:
        return replace(message, header=_with_property(message.header, operands))
    return replace(message, header=_with_entries(message.header, kind - 9, operands))


def _text(operands: Operands) -> str:
    return _TEXTS[operands.octet() % len(_TEXTS)].decode(errors="ignore")


def _edited(data: bytes, kind: int, operands: Operands) -> bytes:
    """Octets set, put in or taken out somewhere."""
    at = operands.place(len(data))
    if kind == 0:
        return data[:at] + bytes((operands.octet(),)) + data[at + 1 :]
    if kind == 1:
        return data[:at] + operands.some() + data[at:]
    return data[:at] + data[at + 1 + operands.octet() % 8 :]


def _parts(header: bytes) -> tuple[int, int, int, dict[int, bytes]]:
    """Class, weight and size of a header that can be read, and its encoded properties by index."""
    class_id, weight, size, flags = _FIXED.unpack_from(header)
    at = _FIXED.size
    found: dict[int, bytes] = {}
    for index in range(14):
        if not flags & 0x8000 >> index:
            continue
        prefix = 4 if index == 2 else 0 if index in _SIZES else 1
        value_size = _SIZES.get(index, int.from_bytes(header[at : at + prefix], "big"))
        found[index] = header[at : at + prefix + value_size]
        at += prefix + value_size
    return class_id, weight, size, found


def _joined(class_id: int, weight: int, size: int, found: dict[int, bytes]) -> bytes:
    flags = sum(0x8000 >> index for index in found)
    return _FIXED.pack(class_id, weight, size, flags) + b"".join([found[index] for index in sorted(found)])


def _with_property(header: bytes, operands: Operands) -> bytes:
    """One property taken out, put in, or given another value."""
    if len(header) < _FIXED.size:
        return header
    class_id, weight, size, found = _parts(header)
    index = operands.octet() % 14
    if operands.octet() % 3 == 0:
        found.pop(index, None)
    elif index in _SIZES:
        found[index] = (bytes(8) + operands.some())[-_SIZES[index] :]
    elif index in _SHORT_PROPERTIES:
        value = _TEXTS[operands.octet() % len(_TEXTS)]
        found[index] = bytes((len(value),)) + value
    return _joined(class_id, weight, size, found)


def _with_entries(header: bytes, kind: int, operands: Operands) -> bytes:
    """Top-level entries repeated, moved, taken out, added, or written in another type."""
    if len(header) < _FIXED.size:
        return header
    class_id, weight, size, found = _parts(header)
    table = found.get(2, bytes(4))[4:]
    reader = Reader(table)
    pieces: list[bytes] = []
    start = 0
    for name, node in reader.top(len(table)):
        # A name and a value take as many octets when they are written again.
        end = start + len(_entry(name, node))
        pieces.append(table[start:end])
        start = end
    rest = table[start:]
    if kind == 0:
        _rearrange(pieces, operands)
    elif kind == 1 and pieces:
        at = operands.octet() % len(pieces)
        pieces[at] = _otherwise(pieces[at], operands)
    else:
        name = _NAMES[operands.octet() % len(_NAMES)]
        pieces.insert(operands.octet() % (len(pieces) + 1), _entry(name, _value(operands)))
    content = b"".join(pieces) + rest
    found[2] = struct.pack(">I", len(content)) + content
    return _joined(class_id, weight, size, found)


def _rearrange(pieces: list[bytes], operands: Operands) -> None:
    how, size = operands.octet() % 3, len(pieces)
    if not size:
        return
    piece = pieces[operands.octet() % size]
    if how != 0:
        pieces.remove(piece)
    if how != 1:
        pieces.insert(operands.octet() % (len(pieces) + 1), piece)


def _otherwise(piece: bytes, operands: Operands) -> bytes:
    """An entry with another type letter for the same number or the same octets, or with another truth."""
    [(name, node)] = Reader(piece).top(len(piece)) or [(b"n", Node("V", None))]
    if node.kind in _INTEGERS:
        kind = "".join(_INTEGERS)[operands.octet() % len(_INTEGERS)]
        try:
            struct.pack(_INTEGERS[kind], node.value)
        except struct.error:
            return piece
        return _entry(name, Node(kind, node.value))
    if node.kind == "t":
        return _entry(name, Node("t", operands.octet()))
    if node.kind in "Sx":
        return _entry(name, Node("xS"["xS".index(node.kind) - 1], node.value))
    return piece


def _value(operands: Operands) -> Node:
    kind = "VtbBsuIilLfdDTSx"[operands.octet() % 16]
    octets = operands.some()
    if kind in "Sx":
        return Node(kind, octets)
    number = int.from_bytes(octets[-1:], "big") & 0x7F
    return Node(
        kind, {"V": None, "D": (number, number), "f": 0.5 * number, "d": -0.5 * number}.get(kind, number)
    )


def _entry(name: bytes, node: Node) -> bytes:
    return bytes((len(name),)) + name + encoded(node)


def encoded(node: Node) -> bytes:
    """A value as it is on the wire."""
    value = node.value
    letter = node.kind.encode()
    if node.kind in _INTEGERS:
        return letter + struct.pack(_INTEGERS[node.kind], value)
    if node.kind in "fd":
        return letter + struct.pack(">" + node.kind, value)
    if node.kind == "V":
        return letter
    if node.kind == "t":
        return letter + bytes((int(str(value)),))
    if node.kind == "T":
        return letter + struct.pack(">Q", value)
    if isinstance(value, tuple):
        return letter + struct.pack(">BI", *value)
    if isinstance(value, list):
        value = b"".join([_entry(*item) if node.kind == "F" else encoded(item) for item in value])
    assert isinstance(value, bytes)
    return letter + struct.pack(">I", len(value)) + value
