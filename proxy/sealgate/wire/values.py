"""What a field table holds: values in Python, and what tables have in common that are alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

#: Of a long string's, table's or array's length.
LENGTH_BYTES: Final = 4


@dataclass(slots=True, frozen=True)
class Timestamp:
    """A value of type T, in Unix seconds."""

    seconds: int


@dataclass(slots=True, frozen=True)
class Decimal:
    """A value of type D: `unscaled / 10**scale`, with `unscaled` as the 32 bits on the wire."""

    scale: int
    unscaled: int


#: A table's value in Python; bytes are a byte array, or a long string that is not UTF-8.
Value: TypeAlias = (
    "bool | int | float | str | bytes | Decimal | Timestamp | list[Value] | dict[str, Value] | None"
)


class Entry(NamedTuple):
    """A top-level entry: its name, and where its bytes (name, type and value) lie in `Table.raw`."""

    name: str
    start: int
    end: int


class Likeness:
    """What tables have in common that differ in the values of some entries only.

    `values` are those of one of them; `changing` names the entries that differ, and `texts` those of them
    that are text, in the order of the wire.
    """

    __slots__ = ("changing", "texts", "values")

    def __init__(self, values: dict[str, Value], changing: frozenset[str], texts: list[str]) -> None:
        self.values: Final = values
        self.changing: Final = changing
        self.texts: Final = texts


class Alike:
    """How one table differs from those that it has `likeness` with.

    `texts` are the long strings under the names in `likeness.texts`, with their lengths; `others` the values
    of all other entries that change.
    """

    __slots__ = ("likeness", "others", "texts")

    def __init__(self, likeness: Likeness, texts: list[bytes], others: dict[str, Value] | None) -> None:
        self.likeness: Final = likeness
        self.texts: Final = texts
        self.others: Final = others

    def values(self) -> dict[str, Value]:
        """All entries, in the order of the wire."""
        values = self.likeness.values.copy()
        for name, text in zip(self.likeness.texts, self.texts, strict=True):
            values[name] = text[LENGTH_BYTES:].decode()
        if self.others is not None:
            values.update(self.others)
        return values
