"""Reads the content headers of one peer, most of which are like the one before.

A producer writes the same names in the same order, and most of the values are the same. What equals the last
header byte for byte means the same, so it is compared and not read again: a header costs what differs in it.
All else is read by the strict scanner, and all that is refused is refused by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sealgate.wire.constants import CONTENT_BEGINNING
from sealgate.wire.numbers import u32
from sealgate.wire.properties import FLAGS_AT, ContentHeader, scan_content_header
from sealgate.wire.property_shape import PropertyShape, SectionP
from sealgate.wire.table import Table, scan_table
from sealgate.wire.table_shape import TableShape
from sealgate.wire.values import LENGTH_BYTES

if TYPE_CHECKING:
    from mypy_extensions import i64

#: A larger table is read anew each time: what is remembered is memory for as long as its connection lives.
_TABLE_BYTES_MAX: Final = 4096
#: Values at all levels: each is an object, however few octets it has on the wire.
_VALUES_MAX: Final = 64
_TAIL_BYTES_MAX: Final = 1024
#: Some messages without a kind take turns on a connection: results, events, control.
_SHAPES_MAX: Final = 4
#: Kinds that are known by name, of smaller tables: about 6 KiB each, 12 at most, and a task of Celery's takes
#: one. A producer with more of them has the rest read as what they have in common.
_KINDS_MAX: Final = 32
_KIND_TABLE_BYTES_MAX: Final = 2048
_KIND_BYTES_MAX: Final = 255
_BEGINNING_UPPER: Final = u32(CONTENT_BEGINNING, 0)


class HeaderReader:
    """Reads content headers as `scan_content_header` does, and remembers what they look like.

    The first three arguments are those of `scan_content_header`; `section_p` gives section P of seal1, and
    `kind_name` names the header that tells kinds of messages apart, if there is one. `scans` counts the
    tables that were like none that is remembered.
    """

    __slots__ = (
        "_absolute",
        "_kind_at",
        "_kind_name",
        "_kinds",
        "_last",
        "_omitted",
        "_properties",
        "_section_p",
        "_shapes",
        "_token_name",
        "scans",
    )

    def __init__(
        self,
        omitted: frozenset[str],
        absolute: frozenset[str],
        token_name: str,
        section_p: SectionP,
        kind_name: str = "",
    ) -> None:
        self._omitted: Final = omitted
        self._absolute: Final = absolute
        self._token_name: Final = token_name
        self._section_p: Final = section_p
        self._kind_name: Final = kind_name
        self.scans = 0
        self._properties: PropertyShape | None = None
        #: The one that was used last.
        self._last: TableShape | None = None
        #: By the octets of their kind, length and text, which lie `_kind_at` octets into a table.
        self._kinds: Final[dict[bytes, TableShape]] = {}
        self._kind_at = -1
        #: Of tables without a kind, or of so many that they have to share: the last one used comes first.
        self._shapes: Final[list[TableShape]] = []

    def read(self, payload: bytes) -> ContentHeader:
        """Raises `GateError` as `scan_content_header` does."""
        return self.read_in(payload, 0, len(payload))

    def read_in(self, data: bytes, start: int, stop: int) -> ContentHeader:
        """As `read`, of `data[start:stop]`, to which what is read may hold on: see `ContentHeader.part`."""
        shape = self._properties
        if shape is not None:
            header = self._read_alike(data, start, stop, shape)
            if header is not None:
                return header
        payload = data[start:stop]
        header = scan_content_header(payload, self._omitted, self._absolute, self._token_name)
        self._learn(header.table)
        if header.table_at >= 0 and len(payload) - len(header.table.raw) <= _TAIL_BYTES_MAX:
            grown = None if shape is None else shape.grown(header, self._section_p)
            self._properties = grown or PropertyShape(header, self._section_p, frozenset())
        return header

    def _read_alike(self, data: bytes, start: i64, end: i64, shape: PropertyShape) -> ContentHeader | None:
        head = shape.head
        flags_at = start + FLAGS_AT
        at = flags_at + len(head)
        table_at = at + LENGTH_BYTES
        if (
            end < table_at
            or u32(data, start) != _BEGINNING_UPPER
            or u32(data, start + 4) != 0
            or data[flags_at:at] != head
        ):
            return None
        table_stop = table_at + u32(data, at)
        if table_stop > end:
            return None
        table = self._table(data, table_at, table_stop)
        return shape.read(data, start, end, table, at, table_stop)

    def _table(self, payload: bytes, start: i64, stop: i64) -> Table:
        last = self._last
        table: Table | None = None
        if last is not None:
            table = last.read(payload, start, stop)
            if table is not None:
                return table
        shape = self._of_kind(payload, start, stop)
        if shape is not None and shape is not last:
            table = shape.read(payload, start, stop)
            if table is not None:
                self._last = shape
                return table
        shapes = self._shapes
        for index in range(len(shapes)):
            shape = shapes[index]
            if shape is last:
                continue
            table = shape.read(payload, start, stop)
            if table is not None:
                self._last = shape
                if index:
                    shapes.insert(0, shapes.pop(index))
                return table
        table = scan_table(payload, start, stop, self._omitted, self._absolute, self._token_name)
        self._learn(table)
        return table

    def _of_kind(self, payload: bytes, start: i64, stop: i64) -> TableShape | None:
        """The shape to try: whatever lies where a kind would, it is compared with all of the table."""
        if self._kind_at < 0:
            return None
        at = start + self._kind_at
        if at + LENGTH_BYTES > stop:
            return None
        size = u32(payload, at)
        if size > _KIND_BYTES_MAX:
            return None
        return self._kinds.get(payload[at : at + LENGTH_BYTES + size])

    def _learn(self, table: Table) -> None:
        self.scans += 1
        self._last = None
        values = table.values
        if len(table.raw) > _TABLE_BYTES_MAX or table.layout.count > _VALUES_MAX or table.traits:
            return
        if not self._absolute.isdisjoint(values):
            return
        changing = frozenset({self._token_name}) if self._token_name in values else frozenset()
        if self._learn_kind(table, changing):
            return
        for index, shape in enumerate(self._shapes):
            grown = shape.grown(table)
            if grown is not None:
                del self._shapes[index]
                self._shapes.insert(0, grown)
                return
        self._shapes.insert(0, TableShape(table, self._omitted, changing))
        del self._shapes[_SHAPES_MAX:]

    def _learn_kind(self, table: Table, changing: frozenset[str]) -> bool:
        """Remember a table by its kind; False for one that has none, or for which there is no room."""
        kind = table.values.get(self._kind_name)
        raw = table.raw
        if not isinstance(kind, str) or len(raw) > _KIND_TABLE_BYTES_MAX:
            return False
        at = -1
        for name, start, _ in table.entries:
            if name == self._kind_name:
                at = start + 1 + raw[start] + 1
        octets = len(kind.encode()).to_bytes(LENGTH_BYTES, "big") + kind.encode()
        if raw[at : at + len(octets)] != octets or len(octets) > LENGTH_BYTES + _KIND_BYTES_MAX:
            return False
        if not self._kinds:
            self._kind_at = at
        known = self._kinds.get(octets)
        if at != self._kind_at or (known is None and len(self._kinds) >= _KINDS_MAX):
            return False
        shape = TableShape(table, self._omitted, changing) if known is None else known.grown(table)
        if shape is None:
            return False
        self._kinds[octets] = shape
        return True
