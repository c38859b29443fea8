"""The properties around a header table, known by what they share with those of the message before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from sealgate.wire.constants import BODY_SIZE_LOWER_AT
from sealgate.wire.numbers import joined, u32
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
_is_ascii: Final = bytes.isascii


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
        "_no_changes",
        "_parts",
        "_properties",
        "head",
    )

    def __init__(self, header: ContentHeader, section_p: SectionP, changing: frozenset[int]) -> None:
        assert header.table_at >= 0  # the caller looked
        self._changing: Final = changing
        self._flags: Final = header.flags
        self._fields: Final = header.fields.copy()
        #: Flags, content type and content encoding: from the flags to the table's length.
        self.head: Final = header.data[header.start + FLAGS_AT : header.table_at]
        #: Of section P. What is in the gaps is the last message's.
        self._parts: Final[list[bytes]] = [b""]
        self._properties: Final[list[_Property]] = []
        self._last: Final = self._cut(section_p)
        self._indices: Final = [changing.index for changing in self._properties]
        self._no_changes: Final = [b""] * len(self._properties)

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
        self, data: bytes, start: i64, end: i64, table: Table, table_at: i64, table_stop: i64
    ) -> ContentHeader | None:
        """The whole header, `data[start:end]`, its table read; None when the rest is not of this shape.

        The table lies from `table_at` on, its length included, to `table_stop`.
        """
        at = table_stop
        parts = self._parts
        changes = self._no_changes.copy()
        number: i64 = 0
        for changing in self._properties:
            run_end = at + changing.size
            if run_end >= end or data[at:run_end] != changing.run:
                return None
            if changing.index == TIMESTAMP:
                at = run_end + _TIMESTAMP_BYTES
                if at > end:
                    return None
                changes[number] = data[run_end:at]
                number += 1
                continue
            size: i64 = data[run_end]
            at = run_end + 1 + size
            if at > end:
                return None
            piece = data[run_end:at]
            # Its length is plain text as well, or the text is looked at by the scanner.
            if size and (0 in piece or not _is_ascii(piece)):
                return None
            changes[number] = piece
            number += 1
            if changing.place >= 0:
                parts[changing.place] = piece
        if data[at:end] != self._last:
            return None
        return ContentHeader(
            data,
            start,
            end,
            u32(data, start + BODY_SIZE_LOWER_AT),
            self._flags,
            self._fields,
            table,
            table_at,
            table_stop,
            joined(parts),
            self,
            self._indices,
            changes,
        )
