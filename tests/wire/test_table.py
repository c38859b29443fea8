"""Every field type, every limit on both sides, and the canonical form of the frozen vectors."""

from __future__ import annotations

import math
import struct

import pytest

from sealgate.reason import GateError, Reason
from sealgate.wire.constants import TABLE_BYTES_MAX, TABLE_DEPTH_MAX, TABLE_ENTRIES_MAX, TIMESTAMP_S_MAX
from sealgate.wire.entries import entry_bytes, entry_longstr, entry_table, without
from sealgate.wire.table import DECIMAL, EMPTY_TABLE, FAR_TIMESTAMP, NOT_UTF8, Table, scan_table
from sealgate.wire.values import Decimal, Timestamp, Value
from support.wire_bytes import U32, entry, long, nested

OMITTED = frozenset({"x-seal", "x-delivery-count"})
ABSOLUTE = frozenset({"x-delay"})


def scan(data: bytes) -> Table:
    """Scans `data`, and checks that the same bytes in the middle of others give the same."""
    table = scan_table(data, 0, len(data), OMITTED, ABSOLUTE, "x-seal")
    inside = scan_table(b"\xff" + data + b"\xff\xff", 1, 1 + len(data), OMITTED, ABSOLUTE, "x-seal")
    assert inside.raw == table.raw == data
    assert inside.values == table.values
    assert inside.canonical == table.canonical
    assert inside.entries == table.entries
    return table


def refusal(data: bytes) -> Reason:
    """Why `data` is refused, alone and with a tail that must not be read."""
    with pytest.raises(GateError) as alone:
        scan_table(data, 0, len(data), OMITTED, ABSOLUTE, "x-seal")
    with pytest.raises(GateError) as inside:
        scan_table(data + bytes(100), 0, len(data), OMITTED, ABSOLUTE, "x-seal")
    assert inside.value.reason is alone.value.reason
    return alone.value.reason


def canonical(*entries: bytes) -> bytes:
    return U32.pack(len(entries)) + b"".join(entries)


I64 = struct.Struct(">q")

TYPES = [
    ("V", b"", None, b"V"),
    ("t", b"\x00", False, b"t\x00"),
    ("t", b"\x01", True, b"t\x01"),
    ("t", b"\x02", True, b"t\x01"),
    ("b", b"\xfb", -5, b"i" + I64.pack(-5)),
    ("B", b"\xfb", 251, b"i" + I64.pack(251)),
    ("s", b"\xfe\xd4", -300, b"i" + I64.pack(-300)),
    ("u", b"\xfe\xd4", 65236, b"i" + I64.pack(65236)),
    ("I", b"\xff\xff\xff\xf9", -7, b"i" + I64.pack(-7)),
    ("i", b"\xff\xff\xff\xf9", 4294967289, b"i" + I64.pack(4294967289)),
    ("l", b"\x80" + bytes(7), -(2**63), b"i" + I64.pack(-(2**63))),
    ("L", b"\xff" * 8, -1, b"i" + I64.pack(-1)),
    ("f", struct.pack(">f", 1.5), 1.5, b"d" + struct.pack(">d", 1.5)),
    ("d", struct.pack(">d", 0.1), 0.1, b"d" + struct.pack(">d", 0.1)),
    ("D", b"\x02\xff\xff\xff\xff", Decimal(2, 2**32 - 1), b"D\x02\xff\xff\xff\xff"),
    ("T", bytes(7) + b"\x09", Timestamp(9), b"T" + bytes(7) + b"\x09"),
    ("S", long("é".encode()), "é", b"s" + long("é".encode())),
    ("S", long(b""), "", b"s" + long(b"")),
    ("S", long(b"\xff"), b"\xff", b"x" + long(b"\xff")),
    ("x", long(b"abc"), b"abc", b"x" + long(b"abc")),
    ("A", long(b"VI\x00\x00\x00\x01"), [None, 1], b"A" + U32.pack(2) + b"Vi" + I64.pack(1)),
    ("A", long(b""), [], b"A" + U32.pack(0)),
    ("F", long(b"\x01kV"), {"k": None}, b"F" + U32.pack(1) + long(b"k") + b"V"),
    ("F", long(b""), {}, b"F" + U32.pack(0)),
]


@pytest.mark.parametrize(("kind", "encoded", "value", "piece"), TYPES)
def test_each_field_type_gives_its_value_and_its_canonical_bytes(
    kind: str, encoded: bytes, value: Value, piece: bytes
) -> None:
    table = scan(entry("name", kind, encoded))
    assert table.values == {"name": value}
    assert type(table.values["name"]) is type(value)
    assert table.canonical == canonical(long(b"name") + piece)


@pytest.mark.parametrize(("kind", "encoded"), [(kind, encoded) for kind, encoded, _, _ in TYPES])
def test_a_value_cut_short_anywhere_is_refused(kind: str, encoded: bytes) -> None:
    whole = entry("name", kind, encoded)
    for end in range(1, len(whole)):
        assert refusal(whole[:end]) is Reason.HEADER_TRUNCATED


@pytest.mark.parametrize(("kind", "encoded"), [(kind, encoded) for kind, encoded, _, _ in TYPES])
def test_an_array_item_cut_short_anywhere_is_refused(kind: str, encoded: bytes) -> None:
    item = kind.encode() + encoded
    for end in range(1, len(item)):
        assert refusal(entry("a", "A", long(item[:end]))) is Reason.HEADER_TRUNCATED


def test_minus_zero_keeps_its_sign() -> None:
    table = scan(entry("d", "d", struct.pack(">d", -0.0)))
    assert table.canonical == canonical(long(b"d") + b"d" + struct.pack(">d", -0.0))
    assert math.copysign(1, table.values["d"]) == -1  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("kind", "packing"), [("d", ">d"), ("f", ">f")])
def test_float_that_is_no_finite_number_is_refused(kind: str, packing: str, number: float) -> None:
    assert refusal(entry("d", kind, struct.pack(packing, number))) is Reason.HEADER_FLOAT


@pytest.mark.parametrize("kind", ["Z", "U", "\x00", "v", "\xff"])
def test_unknown_field_type_is_refused(kind: str) -> None:
    assert refusal(entry("z", kind, bytes(8))) is Reason.HEADER_TYPE


def test_keys_are_sorted_by_their_bytes_at_every_level() -> None:
    names = ["z", "a", "é", "B", "aa", "\U0001f600", "\uffff"]
    inner = b"".join(entry(name, "V") for name in names)
    table = scan(inner + entry("t", "F", long(inner)))
    ordered = sorted(name.encode() for name in names)
    pieces = {key: long(key) + b"V" for key in ordered}
    pieces[b"t"] = long(b"t") + b"F" + canonical(*[pieces[key] for key in ordered])
    assert table.canonical == canonical(*[pieces[key] for key in sorted(pieces)])
    assert list(table.values) == [*names, "t"]


def test_duplicate_name_is_refused_at_every_level() -> None:
    twice = entry("task", "S", long(b"good")) + entry("task", "S", long(b"evil"))
    assert refusal(twice) is Reason.HEADER_DUPLICATE
    assert refusal(entry("t", "F", long(twice))) is Reason.HEADER_DUPLICATE
    assert refusal(entry("t", "A", long(b"F" + long(twice)))) is Reason.HEADER_DUPLICATE


def test_two_tokens_are_a_duplicate_signature_at_the_top_level_only() -> None:
    twice = entry("x-seal", "S", long(b"a")) + entry("x-seal", "S", long(b"b"))
    assert refusal(twice) is Reason.SIG_DUPLICATE
    assert refusal(entry("t", "F", long(twice))) is Reason.HEADER_DUPLICATE
    assert scan(entry("x-seal", "S", long(b"a")) + entry("X-Seal", "V")).values["x-seal"] == "a"


def test_omitted_names_are_values_but_not_canonical() -> None:
    table = scan(
        entry("x-delivery-count", "l", bytes(8)) + entry("a", "V") + entry("x-seal", "S", long(b"t"))
    )
    assert list(table.values) == ["x-delivery-count", "a", "x-seal"]
    assert table.canonical == canonical(long(b"a") + b"V")


def test_omitted_names_count_when_they_are_nested_or_spelt_otherwise() -> None:
    inner = entry("x-seal", "V")
    table = scan(entry("X-Seal", "V") + entry("t", "F", long(inner)))
    assert table.canonical == canonical(
        long(b"X-Seal") + b"V", long(b"t") + b"F" + canonical(long(b"x-seal") + b"V")
    )


def test_canonical_form_can_be_had_for_other_omitted_names() -> None:
    table = scan(entry("x-seal", "V") + entry("a", "V"))
    assert table.canonical_without(frozenset({"a"})) == canonical(long(b"x-seal") + b"V")
    assert table.canonical_without(OMITTED) == table.canonical


def test_x_delay_counts_as_its_absolute_value_at_the_top_level_only() -> None:
    negative = entry("x-delay", "I", struct.pack(">i", -5000))
    positive = entry("x-delay", "l", I64.pack(5000))
    assert scan(negative).canonical == scan(positive).canonical
    assert scan(negative).values == {"x-delay": -5000}
    assert scan(entry("t", "F", long(negative))).canonical != scan(entry("t", "F", long(positive))).canonical


def test_x_delay_of_another_type_is_signed_as_it_is() -> None:
    encoded = struct.pack(">d", -1.0)
    assert scan(entry("x-delay", "d", encoded)).canonical == canonical(long(b"x-delay") + b"d" + encoded)


def test_x_delay_without_an_absolute_value_is_refused() -> None:
    assert refusal(entry("x-delay", "l", I64.pack(-(2**63)))) is Reason.HEADER_X_DELAY
    assert scan(entry("x-delay", "l", I64.pack(1 - 2**63))).values == {"x-delay": 1 - 2**63}


def test_key_length_is_bounded() -> None:
    assert list(scan(entry("k" * 128, "V")).values) == ["k" * 128]
    assert refusal(entry("k" * 129, "V")) is Reason.HEADER_KEY
    assert refusal(entry("", "V")) is Reason.HEADER_KEY
    assert refusal(entry("t", "F", long(entry("", "V")))) is Reason.HEADER_KEY


def test_key_that_is_not_utf8_is_refused() -> None:
    assert refusal(entry(b"\xff", "V")) is Reason.HEADER_KEY
    assert refusal(entry(b"\xed\xa0\x80", "V")) is Reason.HEADER_KEY


def test_tables_nest_eight_deep_and_no_deeper() -> None:
    assert scan(nested(TABLE_DEPTH_MAX)).raw == nested(8)
    assert refusal(nested(TABLE_DEPTH_MAX + 1)) is Reason.HEADER_DEPTH
    assert refusal(nested(1200)) is Reason.HEADER_DEPTH


def test_arrays_nest_eight_deep_and_no_deeper() -> None:
    content = b""
    for _ in range(TABLE_DEPTH_MAX - 1):
        content = b"A" + long(content)
    assert scan(entry("a", "A", long(content))).values["a"]
    assert refusal(entry("a", "A", long(b"A" + long(content)))) is Reason.HEADER_DEPTH


def test_entries_are_counted_at_the_top_level() -> None:
    entries = [entry(f"k{number}", "V") for number in range(TABLE_ENTRIES_MAX + 1)]
    assert len(scan(b"".join(entries[:-1])).values) == 256
    assert refusal(b"".join(entries)) is Reason.HEADER_COUNT


def test_entries_are_counted_over_all_levels() -> None:
    inner = b"".join(entry(f"k{number}", "V") for number in range(100))
    largest = entry("t", "F", long(inner)) + entry("a", "A", long(b"V" * 154))
    assert len(scan(largest).values["a"]) == 154  # type: ignore[arg-type]
    assert refusal(largest + entry("z", "V")) is Reason.HEADER_COUNT
    assert refusal(entry("a", "A", long(b"V" * 256))) is Reason.HEADER_COUNT


def test_table_size_is_bounded() -> None:
    overhead = len(entry("k", "S", long(b"")))
    assert len(scan(entry("k", "S", long(bytes(TABLE_BYTES_MAX - overhead)))).raw) == 65_536
    assert refusal(entry("k", "S", long(bytes(TABLE_BYTES_MAX - overhead + 1)))) is Reason.HEADER_SIZE


@pytest.mark.parametrize("kind", ["S", "x", "A", "F"])
def test_length_past_its_container_is_refused(kind: str) -> None:
    assert refusal(entry("k", kind, U32.pack(100) + b"abc")) is Reason.HEADER_TRUNCATED
    assert refusal(entry("k", kind, U32.pack(2**32 - 1) + b"abc")) is Reason.HEADER_TRUNCATED


def test_length_past_its_inner_container_is_refused_though_the_outer_one_goes_on() -> None:
    inner = entry("s", "S", U32.pack(4) + b"abc")
    assert refusal(entry("t", "F", long(inner)) + entry("u", "V")) is Reason.HEADER_TRUNCATED
    assert (
        refusal(entry("t", "A", long(b"S" + U32.pack(4) + b"abc")) + entry("u", "V"))
        is Reason.HEADER_TRUNCATED
    )


def test_name_past_its_container_is_refused() -> None:
    assert refusal(b"\x04ab") is Reason.HEADER_TRUNCATED
    assert refusal(b"\x02ab") is Reason.HEADER_TRUNCATED


def test_traits_are_told_from_any_level() -> None:
    far = struct.pack(">Q", TIMESTAMP_S_MAX + 1)
    near = struct.pack(">Q", TIMESTAMP_S_MAX)
    assert scan(entry("t", "T", near) + entry("s", "S", long(b"text"))).traits == 0
    assert scan(entry("t", "F", long(entry("t", "T", far)))).traits == FAR_TIMESTAMP
    assert scan(entry("t", "A", long(b"S" + long(b"\xff")))).traits == NOT_UTF8
    assert scan(entry("t", "D", bytes(5)) + entry("u", "T", b"\xff" * 8)).traits == DECIMAL | FAR_TIMESTAMP


def test_entries_cover_the_table_without_a_gap() -> None:
    pieces = {
        "a": entry("a", "V"),
        "t": entry("t", "F", long(entry("k", "V"))),
        "é": entry("é", "S", long(b"x")),
    }
    table = scan(b"".join(pieces.values()))
    assert {found.name: table.raw[found.start : found.end] for found in table.entries} == pieces


def test_without_keeps_every_other_byte() -> None:
    pieces = [entry("a", "V"), entry("x-seal", "S", long(b"t")), entry("b", "t", b"\x02")]
    table = scan(b"".join(pieces))
    assert without(table, OMITTED) == pieces[0] + pieces[2]
    assert without(table, frozenset({"a", "b", "x-seal"})) == b""
    assert without(table, frozenset({"c"})) == table.raw


def test_encoded_entries_are_read_back() -> None:
    content = entry_longstr("s", b"text") + entry_bytes("x", b"text")
    assert scan(entry_table("t", content)).values == {"t": {"s": "text", "x": b"text"}}


def test_empty_table_is_that_of_no_bytes() -> None:
    table = scan(b"")
    assert table.canonical == EMPTY_TABLE.canonical == bytes(4)
    assert table.entries == []


def test_detail_of_a_refusal_shows_no_value() -> None:
    data = entry("secret", "S", long(b"secret")) * 2
    with pytest.raises(GateError) as refused:
        scan_table(data, 0, len(data), OMITTED, ABSOLUTE)
    assert "secret" not in str(refused.value)
