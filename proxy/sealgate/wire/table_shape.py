"""Header tables with the same names, known by what they share.

A table that equals the last one byte for byte, but for the values that have differed before, is compared and
not scanned again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sealgate.reason import GateError
from sealgate.wire.constants import TABLE_BYTES_MAX
from sealgate.wire.numbers import joined, u32
from sealgate.wire.table import Scanner, Table, scan_table
from sealgate.wire.values import LENGTH_BYTES, Alike, Likeness, Value

if TYPE_CHECKING:
    from mypy_extensions import i64

_LONG_TEXT: Final = ord("S")
_NO_NAMES: Final[frozenset[str]] = frozenset()
_ASCII_MAX: Final = 127
#: A shape keeps the pieces of the last table, as it keeps the first: for as long as its connection lives.
_KEPT_BYTES_MAX: Final = 4096
# Called so, a method of a value is not looked up each time.
_is_ascii: Final = bytes.isascii


class _Gap:
    """A table entry whose value changes. `run` is what stands before the value, from the last gap on."""

    __slots__ = ("index", "name", "place", "run", "size", "text")

    def __init__(self, run: bytes, name: str, text: bool, index: int, place: int) -> None:
        self.run: Final = run
        self.size: Final = len(run)
        self.name: Final = name
        #: A long string, whose type is the last octet of `run`; else the type is read with the value.
        self.text: Final = text
        #: Which of those that are.
        self.index: Final = index
        #: Where its canonical bytes go among the parts of section H, -1 when it is left out.
        self.place: Final = place


class TableShape:
    """A header table as it was, with gaps where tables with the same names have differed so far."""

    __slots__ = (
        "_changing",
        "_foreign",
        "_gaps",
        "_last",
        "_likeness",
        "_names",
        "_no_texts",
        "_omitted",
        "_parts",
        "_raw",
        "_size",
    )

    def __init__(self, table: Table, omitted: frozenset[str], changing: frozenset[str]) -> None:
        self._omitted: Final = omitted
        self._changing: Final = changing
        self._foreign: Final = table.foreign
        self._size: Final = table.size
        self._raw: Final = table.raw
        #: Of section H. What is in the gaps is the last table's.
        self._parts: Final[list[bytes]] = [b""]
        self._gaps: Final[list[_Gap]] = []
        #: As many as there are gaps for text.
        self._no_texts: Final[list[bytes]] = []
        raws = _raws(table)
        places = self._canonical(table, raws)
        run = b""
        for name, raw in raws.items():
            if name not in changing:
                run += raw
                continue
            text = _is_text(table, name, raw)
            run += raw[: 1 + raw[0] + text]
            index = len(self._no_texts)
            if text:
                self._no_texts.append(b"")
            self._gaps.append(_Gap(run, name, text, index, places.get(name, -1)))
            run = b""
        self._last: Final = run
        texts = [gap.name for gap in self._gaps if gap.text]
        runs = [gap.size for gap in self._gaps] if len(texts) == len(self._gaps) else None
        self._likeness: Final = Likeness(table.values, changing, texts, runs)

    def _canonical(self, table: Table, raws: dict[str, bytes]) -> dict[str, int]:
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
                parts[-1] = constant + piece[: 4 + len(name.encode()) + _is_text(table, name, raws[name])]
                places[name] = len(parts)
                parts.append(b"")
                parts.append(b"")
                constant = b""
            else:
                constant += piece
        parts[-1] = constant
        return places

    def grown(self, table: Table) -> TableShape | None:
        """The shape of this table and that one; None when their names differ."""
        if list(table.values) != list(self._likeness.values):
            return None
        # Seldom asked: what can be had from the octets is not kept beside them.
        before = _raws(scan_table(self._raw, 0, len(self._raw), _NO_NAMES, _NO_NAMES))
        differ = {name for name, raw in _raws(table).items() if raw != before[name]}
        return TableShape(table, self._omitted, self._changing | differ)

    def read(self, data: bytes, start: i64, end: i64) -> Table | None:
        """The table in `data[start:end]`; None when it is not of this shape, or may be refused."""
        if end - start > TABLE_BYTES_MAX:
            return None
        at = start
        # The pieces of a large one are not to be kept.
        parts = self._parts if end - start <= _KEPT_BYTES_MAX else self._parts.copy()
        texts = self._no_texts.copy()
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
            length = u32(data, stop)
            at += length
            if at > end:
                return None
            piece = data[stop:at]
            # Its length is plain text as well, or the text is looked at alone.
            if (length > _ASCII_MAX or not _is_ascii(piece)) and not _is_utf8(piece):
                return None
            texts[gap.index] = piece
            if gap.place >= 0:
                parts[gap.place] = piece
        if data[at:end] != self._last:
            return None
        return Table(
            data,
            start,
            end,
            joined(parts),
            self._size,
            self._foreign,
            alike=Alike(self._likeness, texts, others),
        )

    def _value(
        self, data: bytes, at: i64, end: i64, gap: _Gap, others: dict[str, Value], parts: list[bytes]
    ) -> i64:
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


def _raws(table: Table) -> dict[str, bytes]:
    """The octets of each entry, name and all, in the order of the wire."""
    raw = table.raw
    return {name: raw[start:end] for name, start, end in table.entries}


def _is_text(table: Table, name: str, raw: bytes) -> bool:
    return raw[1 + raw[0]] == _LONG_TEXT and isinstance(table.values[name], str)


def _is_utf8(long_text: bytes) -> bool:
    """Whether a long string, its length in front, is text."""
    text = long_text[LENGTH_BYTES:]
    if _is_ascii(text):
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
