"""The properties around a header table, known by what they share with those of the message before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from sealgate.wire.properties import (
    CORRELATION_ID,
    DELIVERY_MODE,
    FLAGS_AT,
    HEADERS,
    MESSAGE_ID,
    PRIORITY,
    PROPERTIES,
    TIMESTAMP,
    TYPE,
    ContentHeader,
)
from sealgate.wire.table import Table

if TYPE_CHECKING:
    from mypy_extensions import i64

#: Section P of seal1 from the raw property values: `signing.canonical_properties`.
SectionP = Callable[[Sequence[bytes | None]], bytes]

_TIMESTAMP_BYTES: Final = 8
#: Properties without a length on the wire.
_FIXED_WIDTH: Final = frozenset({DELIVERY_MODE, PRIORITY, TIMESTAMP})
#: Properties that differ from message to message. Another one that does is read anew each time.
_CHANGING: Final = frozenset({CORRELATION_ID, MESSAGE_ID, TIMESTAMP, TYPE})


class _Property:
    """A property whose value changes; `run` is what stands before its encoding, from the last one on."""

    __slots__ = ("index", "place", "run", "size")

    def __init__(self, run: bytes, index: int, place: int) -> None:
        self.run: Final = run
        self.size: Final = len(run)
        self.index: Final = index
        #: Where its value goes among the parts of section P, -1 when it is left out.
        self.place: Final = place


class PropertyShape:
    """All of a content header but its table: what stands before that, and behind it, with gaps."""

    __slots__ = (
        "_changing",
        "_fields",
        "_flags",
        "_indices",
        "_last",
        "_parts",
        "_properties",
        "_tail",
        "head",
    )

    def __init__(self, header: ContentHeader, section_p: SectionP, changing: frozenset[int]) -> None:
        start, stop = header.table_at, header.table_stop
        assert start >= 0  # the caller looked
        self._changing: Final = changing
        self._flags: Final = header.flags
        self._fields: Final = header.fields.copy()
        self._tail: Final = header.payload[stop:]
        #: Flags, content type and content encoding: from the flags to the table's length.
        self.head: Final = header.payload[FLAGS_AT:start]
        self._parts: Final[list[bytes]] = [b""]
        self._properties: Final[list[_Property]] = []
        self._last: Final = self._cut(section_p)
        self._indices: Final = [changing.index for changing in self._properties]

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

    def grown(self, header: ContentHeader, section_p: SectionP) -> PropertyShape | None:
        """The shape of this header and that one; None when they differ in what seldom changes."""
        if header.flags != self._flags:
            return None
        differ = {index for index in range(PROPERTIES) if header.fields[index] != self._fields[index]}
        return PropertyShape(header, section_p, (self._changing | differ) & _CHANGING)

    def read(
        self, payload: bytes, body_size: int, table: Table, start: i64, stop: i64
    ) -> ContentHeader | None:
        """The whole header, its table read; None when what is behind that is not of this shape.

        The table lies from `start` on, its length included, to `stop`.
        """
        at = stop
        end: i64 = len(payload)
        parts = self._parts.copy()
        changes: list[bytes] = []
        for changing in self._properties:
            run_end = at + changing.size
            if payload[at:run_end] != changing.run or run_end >= end:
                return None
            if changing.index == TIMESTAMP:
                at = run_end + _TIMESTAMP_BYTES
                if at > end:
                    return None
                changes.append(payload[run_end:at])
                continue
            size: i64 = payload[run_end]
            at = run_end + 1 + size
            if at > end:
                return None
            piece = payload[run_end:at]
            value = piece[1:]
            if 0 in value or not value.isascii():
                return None
            changes.append(value)
            if changing.place >= 0:
                parts[changing.place] = piece
        if payload[at:] != self._last:
            return None
        return ContentHeader(
            payload,
            body_size,
            self._flags,
            self._fields,
            table,
            start,
            stop,
            b"".join(parts),
            self,
            self._indices,
            changes,
        )
