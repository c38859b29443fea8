"""Reads the content headers of one peer, most of which are like the one before.

A producer writes the same names in the same order, and most of the values are the same. What equals the last
header byte for byte means the same, so it is compared and not read again: a header costs what differs in it.
All else is read by the strict scanner, and all that is refused is refused by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sealgate.reason import GateError
from sealgate.wire.constants import CLASS_BASIC, TABLE_BYTES_MAX
from sealgate.wire.properties import (
    CORRELATION_ID,
    DELIVERY_MODE,
    HEADERS,
    MESSAGE_ID,
    PRIORITY,
    PROPERTIES,
    TIMESTAMP,
    TYPE,
    ContentHeader,
    scan_content_header,
)
from sealgate.wire.table import LENGTH_BYTES, Alike, Likeness, Scanner, Table, Value, scan_table

#: Section P of seal1 from the raw property values: `signing.canonical_properties`.
SectionP = Callable[[Sequence[bytes | None]], bytes]

#: A larger table is read anew each time: what is remembered is memory for as long as its connection lives.
_TABLE_BYTES_MAX: Final = 4096
_ENTRIES_MAX: Final = 64
_TAIL_BYTES_MAX: Final = 1024
#: Two kinds of messages may take turns on a connection, such as tasks and events.
_SHAPES_MAX: Final = 2
_LONG_TEXT: Final = ord("S")
#: Class, weight, and the upper half of a body size: bodies of 4 GiB are far over every limit.
_BEGINNING: Final = CLASS_BASIC.to_bytes(2, "big") + bytes(6)
_SIZE_LOWER_AT: Final = 8
_FLAGS_AT: Final = 12
_TIMESTAMP_BYTES: Final = 8
#: Properties without a length on the wire.
_FIXED_WIDTH: Final = frozenset({DELIVERY_MODE, PRIORITY, TIMESTAMP})
#: Properties that differ from message to message. Another one that does is read anew each time.
_CHANGING: Final = frozenset({CORRELATION_ID, MESSAGE_ID, TIMESTAMP, TYPE})


def _u32(data: bytes, at: int) -> int:
    return (data[at] << 24) | (data[at + 1] << 16) | (data[at + 2] << 8) | data[at + 3]


class _Gap:
    """A table entry whose value changes. `run` is what stands before the value, from the last gap on."""

    __slots__ = ("name", "place", "run", "size", "text")

    def __init__(self, run: bytes, name: str, text: bool, place: int) -> None:
        self.run: Final = run
        self.size: Final = len(run)
        self.name: Final = name
        #: A long string, whose type is the last octet of `run`; else the type is read with the value.
        self.text: Final = text
        #: Where its canonical bytes go among the parts of section H, -1 when it is left out.
        self.place: Final = place


class _TableShape:
    """A header table as it was, with gaps where tables with the same names have differed so far."""

    __slots__ = (
        "_changing",
        "_foreign",
        "_gaps",
        "_last",
        "_likeness",
        "_names",
        "_omitted",
        "_parts",
        "_raws",
        "_values",
    )

    def __init__(self, table: Table, omitted: frozenset[str], changing: frozenset[str]) -> None:
        self._omitted: Final = omitted
        self._changing: Final = changing
        self._foreign: Final = table.foreign
        self._values: Final[dict[str, Value]] = table.values
        self._names: Final = list(table.values)
        raws = table.raw
        self._raws: Final = {name: raws[start:end] for name, start, end in table.entries}
        self._parts: Final[list[bytes]] = [b""]
        self._gaps: Final[list[_Gap]] = []
        places = self._canonical(table)
        run = b""
        for name in self._names:
            raw = self._raws[name]
            if name not in changing:
                run += raw
                continue
            text = self._is_text(name)
            run += raw[: 1 + raw[0] + text]
            self._gaps.append(_Gap(run, name, text, places.get(name, -1)))
            run = b""
        self._last: Final = run
        texts = [gap.name for gap in self._gaps if gap.text]
        self._likeness: Final = Likeness(table.values, changing, texts)

    def _is_text(self, name: str) -> bool:
        raw = self._raws[name]
        return raw[1 + raw[0]] == _LONG_TEXT and isinstance(self._values[name], str)

    def _canonical(self, table: Table) -> dict[str, int]:
        """Fill `_parts` with section H, a place left free for each gap; returns those places."""
        parts = self._parts
        pieces = table.layout.pieces
        names = [name for name in sorted(pieces) if name not in self._omitted]
        constant = len(names).to_bytes(4, "big")
        places: dict[str, int] = {}
        for name in names:
            piece = pieces[name]
            if name in self._changing:
                # The name with its length of four octets, and `s` where it is known to be text.
                parts[-1] = constant + piece[: 4 + len(name.encode()) + self._is_text(name)]
                places[name] = len(parts)
                parts.append(b"")
                parts.append(b"")
                constant = b""
            else:
                constant += piece
        parts[-1] = constant
        return places

    def grown(self, table: Table) -> _TableShape | None:
        """The shape of this table and that one; None when their names differ."""
        if list(table.values) != self._names:
            return None
        raw = table.raw
        differ = {name for name, start, end in table.entries if raw[start:end] != self._raws[name]}
        return _TableShape(table, self._omitted, self._changing | differ)

    def read(self, data: bytes, start: int, end: int) -> Table | None:
        """The table in `data[start:end]`; None when it is not of this shape, or may be refused."""
        if end - start > TABLE_BYTES_MAX:
            return None
        at = start
        parts = self._parts.copy()
        texts: list[bytes] = []
        others: dict[str, Value] | None = None
        for gap in self._gaps:
            stop = at + gap.size
            if data[at:stop] != gap.run:
                return None
            if not gap.text:
                if others is None:
                    others = {}
                at = self._value(data, stop, end, gap, others, parts)
                if at < 0:
                    return None
                continue
            at = stop + LENGTH_BYTES
            if at > end:
                return None
            at += _u32(data, stop)
            if at > end:
                return None
            piece = data[stop:at]
            if not piece.isascii() and not _is_utf8(piece):
                return None
            texts.append(piece)
            if gap.place >= 0:
                parts[gap.place] = piece
        if data[at:end] != self._last:
            return None
        return Table(
            data,
            start,
            end,
            b"".join(parts),
            len(self._names),
            self._foreign,
            alike=Alike(self._likeness, texts, others),
        )

    def _value(
        self, data: bytes, at: int, end: int, gap: _Gap, others: dict[str, Value], parts: list[bytes]
    ) -> int:
        """Read a value of any type; returns its end, -1 when the scanner must look at the whole table.

        It must for tables and arrays, whose values count as those of all others do.
        """
        if at >= end:
            return -1
        scanner = Scanner(data, at, "")
        try:
            value = scanner.value(end, 0)
        except GateError:
            return -1
        if scanner.traits or isinstance(value, (dict, list)):
            return -1
        others[gap.name] = value
        if gap.place >= 0:
            parts[gap.place] = scanner.piece
        return scanner.at


def _is_utf8(long_text: bytes) -> bool:
    """Whether a long string, its length in front, is text."""
    try:
        long_text[LENGTH_BYTES:].decode()
    except UnicodeDecodeError:
        return False
    return True


class _Property:
    """A property whose value changes; `run` is what stands before its encoding, from the last one on."""

    __slots__ = ("index", "place", "run", "size")

    def __init__(self, run: bytes, index: int, place: int) -> None:
        self.run: Final = run
        self.size: Final = len(run)
        self.index: Final = index
        #: Where its value goes among the parts of section P, -1 when it is left out.
        self.place: Final = place


class _PropertyShape:
    """All of a content header but its table: what stands before that, and behind it, with gaps."""

    __slots__ = ("_changing", "_fields", "_flags", "_last", "_parts", "_properties", "_tail", "head")

    def __init__(self, header: ContentHeader, section_p: SectionP, changing: frozenset[int]) -> None:
        assert header.table_span is not None  # the caller looked
        start, stop = header.table_span
        self._changing: Final = changing
        self._flags: Final = header.flags
        self._fields: Final = header.fields.copy()
        self._tail: Final = header.payload[stop:]
        #: Flags, content type and content encoding: from the flags to the table's length.
        self.head: Final = header.payload[_FLAGS_AT:start]
        self._parts: Final[list[bytes]] = [b""]
        self._properties: Final[list[_Property]] = []
        self._last: Final = self._cut(section_p)

    def _cut(self, section_p: SectionP) -> bytes:
        """Fill `_parts` with section P and `_properties` with the gaps; returns what is behind the last."""
        parts = self._parts
        run = b""
        for index in range(PROPERTIES):
            value = self._fields[index]
            if value is None:
                continue
            only: list[bytes | None] = [None] * PROPERTIES
            only[index] = b"" if index in self._changing else value
            covered = section_p(only)
            if index in self._changing:
                place = -1
                if covered:
                    # Its length has four octets in section P and one on the wire: the last.
                    parts[-1] += covered[:-1]
                    place = len(parts)
                    parts.append(b"")
                    parts.append(b"")
                self._properties.append(_Property(run, index, place))
                run = b""
            else:
                parts[-1] += covered
                run += self._encoded(index, value)
        return run

    def _encoded(self, index: int, value: bytes) -> bytes:
        """A property behind the table as it was on the wire: those before it are in `head`."""
        if index < HEADERS:
            return b""
        return value if index in _FIXED_WIDTH else bytes((len(value),)) + value

    def grown(self, header: ContentHeader, section_p: SectionP) -> _PropertyShape | None:
        """The shape of this header and that one; None when they differ in what seldom changes."""
        if header.flags != self._flags:
            return None
        differ = {index for index in range(PROPERTIES) if header.fields[index] != self._fields[index]}
        return _PropertyShape(header, section_p, (self._changing | differ) & _CHANGING)

    def read(
        self, payload: bytes, body_size: int, table: Table, span: tuple[int, int]
    ) -> ContentHeader | None:
        """The whole header, its table read; None when what is behind that is not of this shape."""
        at = span[1]
        end = len(payload)
        fields = self._fields.copy()
        parts = self._parts.copy()
        for changing in self._properties:
            stop = at + changing.size
            if payload[at:stop] != changing.run or stop >= end:
                return None
            if changing.index == TIMESTAMP:
                at = stop + _TIMESTAMP_BYTES
                if at > end:
                    return None
                fields[TIMESTAMP] = payload[stop:at]
                continue
            at = stop + 1 + payload[stop]
            if at > end:
                return None
            piece = payload[stop:at]
            value = piece[1:]
            if not value.isascii() or value.find(b"\x00") >= 0:
                return None
            fields[changing.index] = value
            if changing.place >= 0:
                parts[changing.place] = piece
        if payload[at:] != self._last:
            return None
        return ContentHeader(payload, body_size, self._flags, fields, table, span, b"".join(parts), self)


class HeaderReader:
    """Reads content headers as `scan_content_header` does, and remembers what they look like.

    The arguments are those of `scan_content_header`; `section_p` gives section P of seal1. `scans` counts the
    tables that were like none that is remembered.
    """

    __slots__ = ("_absolute", "_omitted", "_properties", "_section_p", "_tables", "_token_name", "scans")

    def __init__(
        self, omitted: frozenset[str], absolute: frozenset[str], token_name: str, section_p: SectionP
    ) -> None:
        self._omitted: Final = omitted
        self._absolute: Final = absolute
        self._token_name: Final = token_name
        self._section_p: Final = section_p
        self.scans = 0
        self._properties: _PropertyShape | None = None
        #: The last one used comes first.
        self._tables: Final[list[_TableShape]] = []

    def read(self, payload: bytes) -> ContentHeader:
        """Raises `GateError` as `scan_content_header` does."""
        shape = self._properties
        if shape is not None:
            header = self._read_alike(payload, shape)
            if header is not None:
                return header
        header = scan_content_header(payload, self._omitted, self._absolute, self._token_name)
        self._learn(header.table)
        if header.table_span is not None and len(payload) - len(header.table.raw) <= _TAIL_BYTES_MAX:
            grown = None if shape is None else shape.grown(header, self._section_p)
            self._properties = grown or _PropertyShape(header, self._section_p, frozenset())
        return header

    def _read_alike(self, payload: bytes, shape: _PropertyShape) -> ContentHeader | None:
        head = shape.head
        at = _FLAGS_AT + len(head)
        start = at + LENGTH_BYTES
        if len(payload) < start or payload[:_SIZE_LOWER_AT] != _BEGINNING or payload[_FLAGS_AT:at] != head:
            return None
        stop = start + _u32(payload, at)
        if stop > len(payload):
            return None
        table = self._table(payload, start, stop)
        return shape.read(payload, _u32(payload, _SIZE_LOWER_AT), table, (at, stop))

    def _table(self, payload: bytes, start: int, stop: int) -> Table:
        tables = self._tables
        for index in range(len(tables)):
            table = tables[index].read(payload, start, stop)
            if table is not None:
                if index:
                    tables.insert(0, tables.pop(index))
                return table
        table = scan_table(payload, start, stop, self._omitted, self._absolute, self._token_name)
        self._learn(table)
        return table

    def _learn(self, table: Table) -> None:
        self.scans += 1
        values = table.values
        if len(table.raw) > _TABLE_BYTES_MAX or table.size > _ENTRIES_MAX or table.traits:
            return
        if not self._absolute.isdisjoint(values):
            return
        for index, shape in enumerate(self._tables):
            grown = shape.grown(table)
            if grown is not None:
                del self._tables[index]
                self._tables.insert(0, grown)
                return
        changing = frozenset({self._token_name}) if self._token_name in values else frozenset()
        self._tables.insert(0, _TableShape(table, self._omitted, changing))
        del self._tables[_SHAPES_MAX:]
