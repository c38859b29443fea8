"""What hypothesis makes for the targets: typed header tables, broken ones, and inputs near a known one."""

from __future__ import annotations

import struct
from collections.abc import Callable

from hypothesis import strategies as st

from fuzz.oracles.reference import Node
from fuzz.targets.changes import encoded

_RANGES = {
    "b": (-7, 7),
    "B": (0, 8),
    "s": (-15, 15),
    "u": (0, 16),
    "I": (-31, 31),
    "i": (0, 32),
    "l": (-63, 63),
}


def _integers(kind: str) -> st.SearchStrategy[Node]:
    low, high = _RANGES["l" if kind == "L" else kind]
    return _of(kind, st.integers(-(2**-low) if low else 0, 2**high - 1))


def _of(kind: str, values: st.SearchStrategy[object]) -> st.SearchStrategy[Node]:
    # Not `builds`: it writes down what it was given, at every level again.
    return values.map(lambda value: Node(kind, value))


texts = st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass"))
octets = st.binary(max_size=12)
names = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12).map(str.encode),
    st.sampled_from((b"task", b"x-seal", b"x-death", b"x-delay", b"x-delivery-count", b"CC", b"k")),
)
singles = st.floats(width=32, allow_nan=False, allow_infinity=False)
doubles = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(
    *[_integers(kind) for kind in "bBsuIilL"],
    st.just(Node("V", None)),
    _of("t", st.integers(0, 255)),
    _of("f", singles),
    _of("d", doubles),
    _of("D", st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1))),
    _of("T", st.integers(0, 2**34)),
    _of("S", texts | octets),
    _of("x", octets),
)


def _once(entries: list[tuple[bytes, Node]]) -> list[tuple[bytes, Node]]:
    """Each name once. (`unique_by` would have every retry spell out the whole strategy.)"""
    return list(dict(entries).items())


def _containers(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    entries = st.lists(st.tuples(names, inner), max_size=4).map(_once)
    return _of("A", st.lists(inner, max_size=4)) | _of("F", entries)


nodes = st.recursive(scalars, _containers, max_leaves=16)
#: Tables whose names differ at the top, and such where they need not.
tables = st.lists(st.tuples(names, nodes), max_size=8).map(_once)
any_tables = st.lists(st.tuples(names | octets, nodes), max_size=8)


def table_bytes(entries: list[tuple[bytes, Node]]) -> bytes:
    """The content of a header table."""
    return encoded(Node("F", entries))[5:]


_SHORT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=8)
_PROPERTY = {
    3: octets.map(lambda data: (b"\x02" + data)[:1]),
    4: octets.map(lambda data: (b"\x05" + data)[-1:]),
    9: st.integers(0, 2**34).map(lambda seconds: struct.pack(">Q", seconds)),
}


@st.composite
def headers(draw: Callable[..., object], content: st.SearchStrategy[list[tuple[bytes, Node]]]) -> bytes:
    """The payload of a content header whose table is one of `content`."""
    flags = 0
    parts = []
    for index in range(14):
        if not draw(st.booleans()):
            continue
        flags |= 0x8000 >> index
        if index == 2:
            table = table_bytes(draw(content))  # type: ignore[arg-type]
            parts.append(struct.pack(">I", len(table)) + table)
        elif index in _PROPERTY:
            parts.append(draw(_PROPERTY[index]))
        else:
            text = str(draw(_SHORT)).encode()
            parts.append(bytes((len(text),)) + text)
    size = draw(st.integers(0, 2**64 - 1))
    return struct.pack(">HHQH", 60, 0, size, flags) + b"".join(parts)  # type: ignore[arg-type]


@st.composite
def near(draw: Callable[..., object], known: list[bytes]) -> bytes:
    """One of `known` after a few edits, so that hypothesis too starts from what is almost right."""
    data = bytearray(draw(st.sampled_from(known)))  # type: ignore[call-overload]
    for _ in range(int(str(draw(st.integers(0, 4))))):
        at = int(str(draw(st.integers(0, len(data)))))
        removed = int(str(draw(st.integers(0, 3))))
        data[at : at + removed] = draw(st.binary(max_size=3))  # type: ignore[call-overload]
    return bytes(data)
