"""What a field table holds: values in Python, and what tables have in common that are alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from sealgate.layout import mypyc_attr

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
    that are text, in the order of the wire. `runs` are the octets before each of these texts, from the end of
    the last one on; None where anything else changes, so that they do not tell where a text lies.
    """

    __slots__ = ("_asked", "_entries", "_lacked", "changing", "runs", "texts", "values")

    def __init__(
        self, values: dict[str, Value], changing: frozenset[str], texts: list[str], runs: list[int] | None
    ) -> None:
        self.values: Final = values
        self.changing: Final = changing
        self.texts: Final = texts
        self.runs: Final = runs
        #: The answer to the last question of `entries`.
        self._asked: frozenset[str] | None = None
        self._entries: list[int] | None = None
        #: Those of the last question of `lacks` that was answered with yes.
        self._lacked: frozenset[str] | None = None

    def lacks(self, names: frozenset[str]) -> bool:
        """Whether there is no entry of these names."""
        if self._lacked is names:
            return True
        if not names.isdisjoint(self.values):
            return False
        self._lacked = names
        return True

    def entries(self, names: frozenset[str]) -> list[int] | None:
        """For each text how many octets its entry has before it, or 0 for those that `names` does not hold.

        None when that does not tell where all entries of these names lie.
        """
        if self._asked is not names:
            self._asked = names
            found = names.intersection(self.values)
            known = self.runs is not None and found.issubset(self.texts)
            # The name, its length, and the type.
            heads = [len(name.encode()) + 2 if name in names else 0 for name in self.texts]
            self._entries = heads if known else None
        return self._entries


@mypyc_attr(acyclic=True, free_list_len=1)
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

    def without(self, raw: bytes, names: frozenset[str]) -> bytes | None:
        """The table, whose bytes are `raw`, without the entries of these names.

        None when it has to be scanned for that.
        """
        heads = self.likeness.entries(names)
        runs = self.likeness.runs
        if heads is None or runs is None:
            return None
        parts: list[bytes] = []
        start = at = 0
        for index, text in enumerate(self.texts):
            at += runs[index]
            head = heads[index]
            if head:
                parts.append(raw[start : at - head])
                start = at + len(text)
            at += len(text)
        parts.append(raw[start:])
        return b"".join(parts)
