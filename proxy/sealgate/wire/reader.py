"""Reads the content headers of one peer, most of which are like the one before.

A producer writes the same names in the same order, and most of the values are the same. What equals the last
header byte for byte means the same, so it is compared and not read again: a header costs what differs in it.
All else is read by the strict scanner, and all that is refused is refused by it.
"""

from __future__ import annotations

from typing import Final

from sealgate.wire.constants import BODY_SIZE_LOWER_AT, CONTENT_BEGINNING
from sealgate.wire.numbers import u32
from sealgate.wire.properties import FLAGS_AT, ContentHeader, scan_content_header
from sealgate.wire.property_shape import PropertyShape, SectionP
from sealgate.wire.table import Table, scan_table
from sealgate.wire.table_shape import TableShape
from sealgate.wire.values import LENGTH_BYTES

#: A larger table is read anew each time: what is remembered is memory for as long as its connection lives.
_TABLE_BYTES_MAX: Final = 4096
_ENTRIES_MAX: Final = 64
_TAIL_BYTES_MAX: Final = 1024
#: Some kinds of messages take turns on a connection: tasks with and without an ETA, results, events.
_SHAPES_MAX: Final = 4


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
        self._properties: PropertyShape | None = None
        #: The last one used comes first.
        self._tables: Final[list[TableShape]] = []

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
            self._properties = grown or PropertyShape(header, self._section_p, frozenset())
        return header

    def _read_alike(self, payload: bytes, shape: PropertyShape) -> ContentHeader | None:
        head = shape.head
        at = FLAGS_AT + len(head)
        start = at + LENGTH_BYTES
        if (
            len(payload) < start
            or payload[:BODY_SIZE_LOWER_AT] != CONTENT_BEGINNING
            or payload[FLAGS_AT:at] != head
        ):
            return None
        stop = start + u32(payload, at)
        if stop > len(payload):
            return None
        table = self._table(payload, start, stop)
        return shape.read(payload, u32(payload, BODY_SIZE_LOWER_AT), table, (at, stop))

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
        self._tables.insert(0, TableShape(table, self._omitted, changing))
        del self._tables[_SHAPES_MAX:]
