"""The field-table scanner: one pass that checks a table and gives its values and its seal1 canonical form.

Types are RabbitMQ's (`s` is a 16-bit integer, `L` is signed). What it refuses and what the canonical form is:
seal1.md, "Canonical encoding".
"""

from __future__ import annotations

import struct
from math import isfinite
from typing import Final

from sealgate.layout import mypyc_attr
from sealgate.reason import GateError, Reason
from sealgate.wire.constants import (
    KEY_BYTES_MAX,
    TABLE_BYTES_MAX,
    TABLE_DEPTH_MAX,
    TABLE_ENTRIES_MAX,
    TIMESTAMP_S_MAX,
)
from sealgate.wire.values import Alike, Decimal, Entry, Timestamp, Value

#: What a table holds at any level that some profiles refuse; bits of `Table.traits`.
DECIMAL: Final = 1
NOT_UTF8: Final = 2
FAR_TIMESTAMP: Final = 4

_VOID: Final = ord("V")
_BOOL: Final = ord("t")
_DOUBLE: Final = ord("d")
_FLOAT: Final = ord("f")
_DECIMAL: Final = ord("D")
_TIMESTAMP: Final = ord("T")
_LONG_TEXT: Final = ord("S")
_BYTES: Final = ord("x")
_ARRAY: Final = ord("A")
_TABLE: Final = ord("F")
_INTEGERS: Final[dict[int, struct.Struct]] = {
    ord("I"): struct.Struct(">i"),
    ord("l"): struct.Struct(">q"),
    ord("L"): struct.Struct(">q"),
    ord("b"): struct.Struct(">b"),
    ord("B"): struct.Struct(">B"),
    ord("s"): struct.Struct(">h"),
    ord("u"): struct.Struct(">H"),
    ord("i"): struct.Struct(">I"),
}
_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")
_F32: Final = struct.Struct(">f")
_F64: Final = struct.Struct(">d")
_SCALED: Final = struct.Struct(">BI")
_INTEGER_PIECE: Final = struct.Struct(">cq")
_DOUBLE_PIECE: Final = struct.Struct(">cd")
_I64_MIN: Final = -(2**63)
_NO_NAMES: Final[frozenset[str]] = frozenset()


@mypyc_attr(acyclic=True, free_list_len=1)
class Table:
    """A table that was checked.

    `canonical` is section H of seal1; `traits` flags over all levels; `size` counts the top-level entries and
    `foreign` those among them that are outside the canonical form, the token apart. `alike` is set where the
    table is known by what it has in common with others.
    """

    __slots__ = (
        "_data",
        "_layout",
        "_start",
        "_stop",
        "_values",
        "alike",
        "canonical",
        "foreign",
        "size",
        "traits",
    )

    def __init__(
        self,
        data: bytes,
        start: int,
        stop: int,
        canonical: bytes,
        size: int,
        foreign: int,
        *,
        traits: int = 0,
        values: dict[str, Value] | None = None,
        layout: Layout | None = None,
        alike: Alike | None = None,
    ) -> None:
        assert values is not None or alike is not None
        self._data = data
        self._start = start
        self._stop = stop
        self._values = values
        self._layout = layout
        self.canonical: Final = canonical
        self.size: Final = size
        self.foreign: Final = foreign
        self.traits: Final = traits
        self.alike: Final = alike

    @property
    def raw(self) -> bytes:
        """Its bytes without the length prefix."""
        return self._data[self._start : self._stop]

    def part(self, data: bytes, start: int) -> None:
        """From now on it lies in `data` from `start` on."""
        self._stop += start - self._start
        self._start = start
        self._data = data

    @property
    def values(self) -> dict[str, Value]:
        """Every top-level entry by name, in the order of the wire, whether canonical or not."""
        values = self._values
        if values is None:
            assert self.alike is not None  # one of the two is there
            values = self._values = self.alike.values()
        return values

    def value(self, name: str) -> Value:
        """The entry of that name, None where there is none. Does not read the others where it need not."""
        alike = self.alike
        if self._values is None and alike is not None and name not in alike.likeness.changing:
            return alike.likeness.values.get(name)
        return self.values.get(name)

    @property
    def layout(self) -> Layout:
        """Where its entries lie. A table that was read without it is scanned for it."""
        layout = self._layout
        if layout is None:
            layout = scan_table(self._data, self._start, self._stop, _NO_NAMES, _NO_NAMES)._layout
            assert layout is not None  # a scan leaves one
            self._layout = layout
        return layout

    @property
    def entries(self) -> list[Entry]:
        """The top-level entries in the order of the wire."""
        starts = self.layout.starts
        ends = [*starts, self._stop - self._start][1:]
        return [Entry(*entry) for entry in zip(self.values, starts, ends, strict=True)]

    def canonical_without(self, omitted: frozenset[str]) -> bytes:
        """The canonical form with other names left out than those the table was scanned with."""
        return _join(self.layout.pieces, omitted)


class Layout:
    """What a scan finds beside the values: canonical bytes per top-level entry, where each begins in
    `Table.raw`, and how many values there are at all levels."""

    __slots__ = ("count", "pieces", "starts")

    def __init__(self, pieces: dict[str, bytes], starts: list[int], count: int) -> None:
        self.pieces: Final = pieces
        self.starts: Final = starts
        self.count: Final = count


class Scanner:
    """One pass over one table. `at` is the next octet; `piece` the canonical bytes of the value last read."""

    __slots__ = ("at", "count", "data", "piece", "token_name", "traits")

    def __init__(self, data: bytes, start: int, token_name: str) -> None:
        self.data: Final = data
        self.token_name: Final = token_name
        self.at = start
        self.count = 0
        self.traits = 0
        self.piece = b""

    def table(self, end: int, depth: int, pieces: dict[str, bytes], starts: list[int]) -> dict[str, Value]:
        """The entries from `at` to `end`; their canonical bytes go to `pieces`, their offsets to `starts`."""
        data = self.data
        values: dict[str, Value] = {}
        at = self.at
        while at < end:
            size = data[at]
            middle = at + 1 + size
            if size == 0 or size > KEY_BYTES_MAX:
                raise GateError(Reason.HEADER_KEY, f"a name of {size} bytes")
            if middle >= end:
                raise _truncated()
            try:
                name = data[at + 1 : middle].decode()
            except UnicodeDecodeError:
                raise GateError(Reason.HEADER_KEY, "a name is not UTF-8") from None
            if name in values:
                raise self.duplicate(name, depth)
            self.at = middle
            values[name] = self.value(end, depth)
            # A name has one length octet on the wire and four in the canonical form.
            pieces[name] = b"\x00\x00\x00" + data[at:middle] + self.piece
            starts.append(at)
            at = self.at
        return values

    def value(self, end: int, depth: int) -> Value:
        """The value whose type octet is at `at`, which must be below `end`."""
        self.count += 1
        if self.count > TABLE_ENTRIES_MAX:
            raise GateError(Reason.HEADER_COUNT, f"over {TABLE_ENTRIES_MAX} entries")
        data = self.data
        at = self.at + 1
        kind = data[at - 1]
        if kind == _LONG_TEXT:
            return self.long_text(at, end)
        if kind == _VOID:
            self.at = at
            self.piece = b"V"
            return None
        integer = _INTEGERS.get(kind)
        if integer is not None:
            self.at = _within(at + integer.size, end)
            number: int = integer.unpack_from(data, at)[0]
            self.piece = _INTEGER_PIECE.pack(b"i", number)
            return number
        if kind == _BOOL:
            self.at = _within(at + 1, end)
            truth = data[at] != 0
            self.piece = b"t\x01" if truth else b"t\x00"
            return truth
        if kind == _TABLE:
            return self.nested_table(at, end, depth + 1)
        if kind == _ARRAY:
            return self.nested_array(at, end, depth + 1)
        return self.rare(kind, at, end)

    def rare(self, kind: int, at: int, end: int) -> Value:
        """The types that hardly any message has."""
        data = self.data
        if kind == _DOUBLE:
            self.at = _within(at + 8, end)
            return self.double(_F64.unpack_from(data, at)[0])
        if kind == _FLOAT:
            self.at = _within(at + 4, end)
            return self.double(_F32.unpack_from(data, at)[0])
        if kind == _BYTES:
            stop = self.at = self.stop(at, end)
            self.piece = b"x" + data[at:stop]
            return data[at + 4 : stop]
        if kind == _TIMESTAMP:
            stop = self.at = _within(at + 8, end)
            self.piece = b"T" + data[at:stop]
            seconds = _U64.unpack_from(data, at)[0]
            if seconds > TIMESTAMP_S_MAX:
                self.traits |= FAR_TIMESTAMP
            return Timestamp(seconds)
        if kind == _DECIMAL:
            stop = self.at = _within(at + 5, end)
            self.piece = b"D" + data[at:stop]
            self.traits |= DECIMAL
            return Decimal(*_SCALED.unpack_from(data, at))
        raise GateError(Reason.HEADER_TYPE, f"field type 0x{kind:02x}")

    def long_text(self, at: int, end: int) -> str | bytes:
        """A long string: str when it is UTF-8, else bytes, as canonical form and trait say as well."""
        stop = self.at = self.stop(at, end)
        data = self.data
        text = data[at + 4 : stop]
        try:
            value = text.decode()
        except UnicodeDecodeError:
            self.traits |= NOT_UTF8
            self.piece = b"x" + data[at:stop]
            return text
        self.piece = b"s" + data[at:stop]
        return value

    def double(self, number: float) -> float:
        if not isfinite(number):
            raise GateError(Reason.HEADER_FLOAT, "a float is no finite number")
        self.piece = _DOUBLE_PIECE.pack(b"d", number)
        return number

    def nested_table(self, at: int, end: int, depth: int) -> dict[str, Value]:
        stop = self.descend(at, end, depth)
        pieces: dict[str, bytes] = {}
        values = self.table(stop, depth, pieces, [])
        self.piece = b"F" + _join(pieces, _NO_NAMES)
        return values

    def nested_array(self, at: int, end: int, depth: int) -> list[Value]:
        stop = self.descend(at, end, depth)
        parts = [b""]
        values: list[Value] = []
        while self.at < stop:
            values.append(self.value(stop, depth))
            parts.append(self.piece)
        parts[0] = b"A" + _U32.pack(len(values))
        self.piece = b"".join(parts)
        return values

    def descend(self, at: int, end: int, depth: int) -> int:
        """Step into the table or array whose length prefix is at `at`; returns its end."""
        if depth > TABLE_DEPTH_MAX:
            raise GateError(Reason.HEADER_DEPTH, f"nested over {TABLE_DEPTH_MAX} deep")
        stop = self.stop(at, end)
        self.at = at + 4
        return stop

    def stop(self, at: int, end: int) -> int:
        """The end of what begins with a four-byte length at `at`."""
        start = _within(at + 4, end)
        size: int = _U32.unpack_from(self.data, at)[0]
        return _within(start + size, end)

    def duplicate(self, name: str, depth: int) -> GateError:
        if depth == 0 and name == self.token_name:
            return GateError(Reason.SIG_DUPLICATE, "two signature headers")
        return GateError(Reason.HEADER_DUPLICATE, "a name is there twice")


def scan_table(
    data: bytes, start: int, end: int, omitted: frozenset[str], absolute: frozenset[str], token_name: str = ""
) -> Table:
    """Check and read the table content in `data[start:end]`, the span without its length prefix.

    Top-level names in `omitted` are left out of the canonical form; top-level integers under names in
    `absolute` count there as their absolute value. `token_name` twice is sig.duplicate, any other name twice
    header.duplicate. Raises `GateError` (header.*).
    """
    assert 0 <= start <= end <= len(data)
    if end - start > TABLE_BYTES_MAX:
        raise GateError(Reason.HEADER_SIZE, f"header table of {end - start} bytes, over {TABLE_BYTES_MAX}")
    scanner = Scanner(data, start, token_name)
    pieces: dict[str, bytes] = {}
    starts: list[int] = []
    values = scanner.table(end, 0, pieces, starts)
    for name in absolute:
        number = values.get(name)
        if type(number) is int and number < 0:
            pieces[name] = _absolute_piece(name, number)
    if start:
        starts = [at - start for at in starts]
    layout = Layout(pieces, starts, scanner.count)
    canonical = _join(pieces, omitted)
    left_out: int = len(pieces) - _U32.unpack_from(canonical)[0]
    foreign = left_out - (token_name in values and token_name in omitted)
    return Table(
        data,
        start,
        end,
        canonical,
        len(values),
        foreign,
        traits=scanner.traits,
        values=values,
        layout=layout,
    )


def _absolute_piece(name: str, number: int) -> bytes:
    if number == _I64_MIN:
        raise GateError(Reason.HEADER_X_DELAY, "an integer has no absolute value in 64 bits")
    key = name.encode()
    return _U32.pack(len(key)) + key + _INTEGER_PIECE.pack(b"i", -number)


def _join(pieces: dict[str, bytes], omitted: frozenset[str]) -> bytes:
    """The canonical table of `pieces`. Names sort as their bytes do: UTF-8 keeps the order of code points."""
    parts = [b""]
    for name in sorted(pieces):
        if name not in omitted:
            parts.append(pieces[name])
    parts[0] = _U32.pack(len(parts) - 1)
    return b"".join(parts)


def _within(stop: int, end: int) -> int:
    if stop > end:
        raise _truncated()
    return stop


def _truncated() -> GateError:
    return GateError(Reason.HEADER_TRUNCATED, "a length is past its container")


EMPTY_TABLE: Final = Table(b"", 0, 0, _join({}, _NO_NAMES), 0, 0, values={}, layout=Layout({}, [], 0))
