from __future__ import annotations

import struct
from collections.abc import Mapping
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import (
    ABSOLUTE_NAMES,
    OMITTED_FOR_COUNTERSIGN,
    OMITTED_FOR_SEAL,
    TOKEN_NAME,
)
from sealgate.signing.table import Decimal, Timestamp, canonical_table
from sealgate.wire.table import scan_table
from support.vectors import VECTORS


def wire_value(value: object) -> bytes:
    """An AMQP field with its type octet, as a client would send it."""
    match value:
        case None:
            return b"V"
        case bool():
            return b"t" + bytes((value,))
        case int():
            return b"l" + struct.pack(">q", value)
        case float():
            return b"d" + struct.pack(">d", value)
        case str():
            return b"S" + struct.pack(">I", len(value.encode())) + value.encode()
        case bytes():
            return b"x" + struct.pack(">I", len(value)) + value
        case Timestamp(seconds):
            return b"T" + struct.pack(">Q", seconds)
        case Decimal(scale, unscaled):
            return b"D" + struct.pack(">BI", scale, unscaled)
        case list():
            items = b"".join(wire_value(item) for item in value)
            return b"A" + struct.pack(">I", len(items)) + items
        case dict():
            entries = wire_entries(value)
            return b"F" + struct.pack(">I", len(entries)) + entries
        case _:
            raise AssertionError(value)


def wire_entries(values: Mapping[str, object]) -> bytes:
    entries = b""
    for name, value in values.items():
        entries += bytes((len(name.encode()),)) + name.encode() + wire_value(value)
    return entries


def refusal(values: Mapping[str, object]) -> Reason:
    with pytest.raises(GateError) as caught:
        canonical_table(values)
    return caught.value.reason


def nested(levels: int) -> dict[str, object]:
    table: dict[str, object] = {}
    for _ in range(levels):
        table = {"t": table}
    return table


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20) | st.sampled_from(
    sorted(OMITTED_FOR_SEAL | ABSOLUTE_NAMES)
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.binary(max_size=20)
    | st.builds(Timestamp, st.integers(0, 2**64 - 1))
    | st.builds(Decimal, st.integers(0, 255), st.integers(0, 2**32 - 1))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_python_values_and_their_wire_bytes_give_the_same_section(values: dict[str, object]) -> None:
    wire = wire_entries(values)
    scanned = scan_table(wire, 0, len(wire), OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
    assert canonical_table(values) == scanned.canonical


def test_vector_with_every_type_comes_out_of_python_values() -> None:
    values = {
        "z": None,
        "t2": True,
        "b": -5,
        "B": 250,
        "s": -300,
        "u": 65000,
        "I": -7,
        "i": 4_000_000_000,
        "l": -8,
        "L": 1 << 40,
        "f": 1.5,
        "d": -0.0,
        "D": Decimal(2, 1234),
        "T": Timestamp(1_700_000_000),
        "S": "h\u00e9",
        "Sbad": b"\xff",
        "x": b"\xff\x00",
        "A": [1, None, True],
        "F": {"b": None, "a": 1},
        "x-delay": -5000,
        "x-death": [],
        "x-delivery-count": 1,
    }
    assert canonical_table(values).hex() == VECTORS["all-types"].canonical_headers.hex()


def test_keys_are_in_the_order_of_their_bytes() -> None:
    table = canonical_table({"b": None, "\u00e9": None, "a": None, "B": None, "aa": None})
    names = [b"B", b"a", b"aa", b"b", "\u00e9".encode()]
    assert table == b"\x00\x00\x00\x05" + b"".join(struct.pack(">I", len(n)) + n + b"V" for n in names)


def test_negative_zero_stays() -> None:
    assert canonical_table({"d": -0.0}) != canonical_table({"d": 0.0})


def test_names_the_broker_writes_are_left_out_at_the_top_only() -> None:
    for name in OMITTED_FOR_SEAL:
        assert canonical_table({name: 1}) == bytes(4)
    assert canonical_table({"t": {"x-death": 1}}) != canonical_table({"t": {}})
    assert canonical_table({"X-Death": 1}) != bytes(4)


def test_countersignature_covers_the_seal() -> None:
    assert canonical_table({TOKEN_NAME: "seal1..."}, OMITTED_FOR_COUNTERSIGN) != bytes(4)
    assert canonical_table({"x-countersign": "seal1..."}, OMITTED_FOR_COUNTERSIGN) == bytes(4)


def test_delay_is_signed_without_its_sign_at_the_top_only() -> None:
    assert canonical_table({"x-delay": -5}) == canonical_table({"x-delay": 5})
    assert canonical_table({"t": {"x-delay": -5}}) != canonical_table({"t": {"x-delay": 5}})
    assert canonical_table({"x-delay": -5.0}) != canonical_table({"x-delay": 5.0})
    assert refusal({"x-delay": -(2**63)}) is Reason.HEADER_X_DELAY


@pytest.mark.parametrize("number", [nan, inf, -inf])
def test_numbers_that_are_not_finite_are_refused(number: float) -> None:
    assert refusal({"a": [number]}) is Reason.HEADER_FLOAT


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        object(),
        {1, 2},
        1j,
        Timestamp(-1),
        Timestamp(2**64),
        Decimal(256, 0),
        Decimal(0, 2**32),
    ],
)
def test_values_without_an_amqp_type_are_refused(value: object) -> None:
    assert refusal({"a": value}) is Reason.HEADER_TYPE


def test_integers_at_both_ends_of_64_bits_are_signed() -> None:
    assert canonical_table({"a": 2**63 - 1}).endswith(b"i\x7f" + b"\xff" * 7)
    assert canonical_table({"a": -(2**63)}).endswith(b"i\x80" + b"\x00" * 7)


@pytest.mark.parametrize("name", ["", "k" * 129, "\u00e9" * 65, "\ud800"])
def test_names_a_gateway_would_refuse_are_refused(name: str) -> None:
    assert refusal({name: 1}) is Reason.HEADER_KEY
    assert refusal({"t": {name: 1}}) is Reason.HEADER_KEY


def test_name_of_128_bytes_is_signed() -> None:
    assert b"k" * 128 in canonical_table({"k" * 128: 1})


def test_text_that_is_not_utf8_is_refused() -> None:
    assert refusal({"a": "\ud800"}) is Reason.HEADER_UTF8


def test_nesting_of_8_is_signed_and_9_refused_as_on_the_wire() -> None:
    deepest = nested(8)
    wire = wire_entries(deepest)
    assert canonical_table(deepest) == scan_table(wire, 0, len(wire), frozenset(), frozenset()).canonical
    assert refusal(nested(9)) is Reason.HEADER_DEPTH
    assert refusal({"a": [[[[[[[[[]]]]]]]]]}) is Reason.HEADER_DEPTH


def test_table_that_holds_itself_is_refused() -> None:
    table: dict[str, object] = {}
    table["again"] = table
    assert refusal(table) is Reason.HEADER_DEPTH


def test_256_entries_in_all_are_signed_and_257_refused() -> None:
    assert canonical_table({"a": [None] * 255})
    assert refusal({"a": [None] * 256}) is Reason.HEADER_COUNT
    assert refusal({f"k{i}": None for i in range(257)}) is Reason.HEADER_COUNT


def test_table_of_64_kib_is_signed_and_one_byte_more_refused() -> None:
    room = 64 * 1024 - len(canonical_table({"a": ""}))
    assert len(canonical_table({"a": "s" * room})) == 64 * 1024
    assert refusal({"a": "s" * (room + 1)}) is Reason.HEADER_SIZE
