"""pamqp as oracle: what it encodes is taken with equal values; noise gives `GateError` and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pamqp.decode
import pamqp.encode
from hypothesis import given
from hypothesis import strategies as st

from sealgate.reason import GateError
from sealgate.wire.entries import without
from sealgate.wire.table import Table, scan_table
from sealgate.wire.values import Timestamp, Value

NO_NAMES: frozenset[str] = frozenset()

names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
    | st.binary(max_size=20).map(bytearray)
    # pamqp takes later seconds for milliseconds when it decodes.
    | st.integers(0, 2**32 - 1).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
tables = st.dictionaries(names, values, max_size=8)


def scan(data: bytes) -> Table:
    return scan_table(data, 0, len(data), NO_NAMES, NO_NAMES)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def as_pamqp(value: Value) -> object:
    """Our value in pamqp's types."""
    if isinstance(value, dict):
        return {name: as_pamqp(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_pamqp(inner) for inner in value]
    if isinstance(value, Timestamp):
        return datetime.fromtimestamp(value.seconds, UTC)
    return bytearray(value) if isinstance(value, bytes) else value


@given(tables.filter(lambda table: depth(table) <= 9))
def test_what_pamqp_encodes_is_taken_with_equal_values(table: dict[str, object]) -> None:
    encoded = pamqp.encode.field_table(table)  # type: ignore[arg-type]
    found = scan(encoded[4:])
    _, decoded = pamqp.decode.field_table(encoded)
    assert as_pamqp(found.values) == decoded
    assert as_pamqp(found.values) == table


@given(tables, st.randoms(use_true_random=False))
def test_canonical_form_does_not_depend_on_the_order_of_entries(
    table: dict[str, object], dice: object
) -> None:
    shuffled = list(table.items())
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    # pamqp sorts by name itself, so the entries are encoded one at a time.
    raw = b"".join(pamqp.encode.field_table({name: value})[4:] for name, value in shuffled)  # type: ignore[dict-item]
    assert scan(raw).canonical == scan(pamqp.encode.field_table(table)[4:]).canonical  # type: ignore[arg-type]


@given(tables, st.data())
def test_without_is_the_table_that_never_had_the_names(table: dict[str, object], data: st.DataObject) -> None:
    removed = frozenset(data.draw(st.sets(st.sampled_from(sorted(table)))) if table else ())
    found = scan(pamqp.encode.field_table(table)[4:])  # type: ignore[arg-type]
    left = {name: value for name, value in table.items() if name not in removed}
    assert without(found, removed) == pamqp.encode.field_table(left)[4:]  # type: ignore[arg-type]
    assert found.canonical_without(removed) == scan(without(found, removed)).canonical


def scan_or_refuse(data: bytes) -> None:
    """Nothing but `GateError` leaves the scanner, and what it took covers all bytes."""
    try:
        table = scan(data)
    except GateError:
        return
    assert b"".join(table.raw[start:end] for _, start, end in table.entries) == data


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_gate_error(noise: bytes) -> None:
    scan_or_refuse(noise)


type_octets = st.sampled_from(b"VtbBsuIilLfdDTSxAFZ\x00")
lengths = st.integers(0, 12).map(lambda size: size.to_bytes(4, "big")) | st.binary(min_size=4, max_size=4)
likely = st.builds(
    lambda key, kind, size, rest: bytes((len(key),)) + key + bytes((kind,)) + size + rest,
    st.binary(max_size=3),
    type_octets,
    lengths,
    st.binary(max_size=12),
)


@given(st.lists(likely, max_size=6).map(b"".join))
def test_almost_tables_raise_nothing_but_gate_error(noise: bytes) -> None:
    scan_or_refuse(noise)


@given(tables, st.data())
def test_tables_with_a_changed_octet_raise_nothing_but_gate_error(
    table: dict[str, object], data: st.DataObject
) -> None:
    encoded = bytearray(pamqp.encode.field_table(table)[4:])  # type: ignore[arg-type]
    if encoded:
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    scan_or_refuse(bytes(encoded))
