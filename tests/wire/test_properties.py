"""Content headers: the frozen vectors, each property whole and cut short, splices that leave the rest."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pamqp.commands
import pamqp.header
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.reason import GateError, Reason
from sealgate.wire.entries import entry_longstr
from sealgate.wire.properties import (
    APP_ID,
    CLUSTER_ID,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    CORRELATION_ID,
    DELIVERY_MODE,
    EXPIRATION,
    HEADERS,
    MESSAGE_ID,
    PRIORITY,
    PROPERTIES,
    REPLY_TO,
    TIMESTAMP,
    TYPE,
    USER_ID,
    ContentHeader,
    edit,
    read_body_size,
    restore,
    scan_content_header,
    splice,
    with_expiration,
)
from sealgate.wire.table import EMPTY_TABLE
from support.vectors import VECTORS, Vector
from support.wire_bytes import content_header, entry, headers_only, long, short

#: seal1.md, "Never covered", as far as the vectors use it.
OMITTED = frozenset({"x-seal", "x-countersign", "x-death", "x-delivery-count"})
ABSOLUTE = frozenset({"x-delay"})
NO_NAMES: frozenset[str] = frozenset()

TEXTS = (
    CONTENT_TYPE,
    CONTENT_ENCODING,
    CORRELATION_ID,
    REPLY_TO,
    EXPIRATION,
    MESSAGE_ID,
    TYPE,
    USER_ID,
    APP_ID,
    CLUSTER_ID,
)


def flag(*indices: int) -> int:
    return sum(0x8000 >> index for index in indices)


def scan(payload: bytes) -> ContentHeader:
    return scan_content_header(payload, OMITTED, ABSOLUTE, "x-seal")


def refusal(payload: bytes) -> Reason:
    with pytest.raises(GateError) as refused:
        scan(payload)
    return refused.value.reason


def every_property() -> bytes:
    """A content header with all 14 properties."""
    values = b""
    for index in range(PROPERTIES):
        if index == HEADERS:
            values += long(entry("a", "V") + entry("x-death", "A", long(b"")) + entry("b", "t", b"\x02"))
        elif index in (DELIVERY_MODE, PRIORITY):
            values += bytes((index,))
        elif index == TIMESTAMP:
            values += struct.pack(">Q", 1_767_225_600)
        else:
            values += short(f"property {index} é".encode())
    return content_header(0xFFFC, values, body_size=7)


@pytest.mark.parametrize("vector", VECTORS.values(), ids=str)
def test_canonical_headers_of_the_vectors_are_reproduced(vector: Vector) -> None:
    header = scan(vector.content_header)
    assert header.table.canonical == vector.canonical_headers
    assert header.payload == vector.content_header


@pytest.mark.parametrize("vector", VECTORS.values(), ids=str)
def test_a_vector_cut_short_or_with_a_tail_is_refused(vector: Vector) -> None:
    payload = vector.content_header
    for end in range(len(payload)):
        assert refusal(payload[:end]).value in ("frame.truncated", "props.truncated", "header.truncated")
    assert refusal(payload + b"\x00") is Reason.PROPS_TRUNCATED


def test_every_property_is_found_by_its_index() -> None:
    payload = every_property()
    header = scan(payload)
    assert header.body_size == 7
    assert header.flags == 0xFFFC
    for index in TEXTS:
        assert header.fields[index] == f"property {index} é".encode()
        assert header.text(index) == f"property {index} é"
    assert header.fields[HEADERS] is None
    assert header.fields[DELIVERY_MODE] == b"\x03"
    assert header.fields[PRIORITY] == b"\x04"
    assert header.fields[TIMESTAMP] == struct.pack(">Q", 1_767_225_600)
    assert list(header.table.values) == ["a", "x-death", "b"]
    assert header.table_span is not None
    start, end = header.table_span
    assert payload[start:end] == long(header.table.raw)


def test_every_property_cut_short_anywhere_is_refused() -> None:
    payload = every_property()
    for end in range(14, len(payload)):
        assert refusal(payload[:end]) in (Reason.PROPS_TRUNCATED, Reason.HEADER_TRUNCATED)


def test_absent_properties_are_none() -> None:
    header = scan(content_header())
    assert header.fields == [None] * PROPERTIES
    assert header.text(CONTENT_TYPE) is None
    assert header.table is EMPTY_TABLE
    assert header.table_span is None


@pytest.mark.parametrize("index", TEXTS)
@pytest.mark.parametrize("value", [b"\xff", b"a\x00b", b"\xed\xa0\x80"])
def test_short_string_that_is_not_utf8_or_has_a_nul_is_refused(index: int, value: bytes) -> None:
    assert refusal(content_header(flag(index), short(value))) is Reason.PROPS_UTF8


@pytest.mark.parametrize("flags", [0x0001, 0x0002, 0x8001, 0xFFFF])
def test_unknown_property_flags_are_refused(flags: int) -> None:
    assert refusal(content_header(flags, bytes(300))) is Reason.PROPS_FLAGS


def test_header_table_past_its_frame_is_refused() -> None:
    assert refusal(content_header(flag(HEADERS), struct.pack(">I", 70_000))) is Reason.HEADER_TRUNCATED


def test_header_table_is_bounded() -> None:
    overhead = len(entry("k", "S", long(b"")))
    largest = entry("k", "S", long(bytes(65_536 - overhead)))
    assert len(scan(headers_only(largest)).table.raw) == 65_536
    assert refusal(headers_only(largest + b"\x00")) is Reason.HEADER_SIZE


def test_two_tokens_are_a_duplicate_signature() -> None:
    assert refusal(headers_only(entry_longstr("x-seal", b"t") * 2)) is Reason.SIG_DUPLICATE


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (content_header(class_id=61), Reason.FRAME_CLASS),
        (content_header(weight=1), Reason.FRAME_CLASS),
        (content_header()[:13], Reason.FRAME_TRUNCATED),
        (b"", Reason.FRAME_TRUNCATED),
    ],
)
def test_wrong_fixed_part_is_refused_by_both_readers(payload: bytes, reason: Reason) -> None:
    assert refusal(payload) is reason
    with pytest.raises(GateError) as refused:
        read_body_size(payload)
    assert refused.value.reason is reason


@pytest.mark.parametrize("size", [0, 1, 2**40, 2**63, 2**64 - 1])
def test_body_size_is_read_whatever_the_properties_hold(size: int) -> None:
    assert read_body_size(content_header(0xFFFF, b"\xff\x00", body_size=size)) == size


def test_splice_appends_to_the_table_and_changes_nothing_else() -> None:
    payload = every_property()
    header = scan(payload)
    added = entry_longstr("x-seal", b"token")
    spliced = splice(header, NO_NAMES, added)
    assert header.table_span is not None
    start, end = header.table_span
    assert spliced == payload[:start] + long(header.table.raw + added) + payload[end:]
    assert scan(spliced).table.canonical == header.table.canonical
    assert scan(spliced).fields == header.fields


def test_splice_removes_entries_and_changes_nothing_else() -> None:
    payload = every_property()
    header = scan(payload)
    assert header.table_span is not None
    start, end = header.table_span
    left = entry("a", "V") + entry("b", "t", b"\x02")
    assert splice(header, frozenset({"x-death", "c"}), b"") == payload[:start] + long(left) + payload[end:]


def test_splice_puts_back_what_it_took_out_byte_for_byte() -> None:
    payload = every_property()
    added = entry_longstr("x-seal", b"token")
    sealed = splice(scan(payload), NO_NAMES, added)
    assert splice(scan(sealed), frozenset({"x-seal"}), b"") == payload


def test_splice_of_nothing_is_the_payload_itself() -> None:
    for payload in (every_property(), content_header()):
        header = scan(payload)
        assert splice(header, frozenset({"x-seal"}), b"") is header.payload


@pytest.mark.parametrize("present", [(), (0,), (1,), (0, 1), (3,), (0, 13), (0, 1, 5, 13)])
def test_splice_adds_a_missing_table_in_its_place(present: tuple[int, ...]) -> None:
    values = {index: b"\x02" if index == DELIVERY_MODE else short(b"text") for index in present}
    payload = content_header(flag(*present), b"".join(values.values()), body_size=3)
    added = entry_longstr("x-seal", b"token")
    values[HEADERS] = long(added)
    expected = content_header(flag(*values), b"".join(values[index] for index in sorted(values)), body_size=3)
    assert splice(scan(payload), NO_NAMES, added) == expected


def test_splice_leaves_an_emptied_table_in_place() -> None:
    sealed = headers_only(entry_longstr("x-seal", b"token"))
    assert splice(scan(sealed), frozenset({"x-seal"}), b"") == headers_only(b"")


def test_restore_takes_out_what_splice_added() -> None:
    for payload in (every_property(), content_header(), headers_only(entry("a", "V"))):
        sealed = splice(scan(payload), NO_NAMES, entry_longstr("x-seal", b"token"))
        assert restore(scan(sealed), frozenset({"x-seal", "x-countersign"})) == payload


def test_restore_leaves_an_empty_table_that_it_did_not_add() -> None:
    for payload in (headers_only(b""), content_header()):
        assert restore(scan(payload), frozenset({"x-seal"})) == payload


texts = st.none() | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=40)
pamqp_properties = st.builds(
    pamqp.commands.Basic.Properties,
    content_type=texts,
    content_encoding=texts,
    headers=st.none()
    | st.dictionaries(st.text("abc-", min_size=1, max_size=8), st.integers(0, 2**40), max_size=5),
    delivery_mode=st.none() | st.integers(1, 2),
    priority=st.none() | st.integers(0, 255),
    correlation_id=texts,
    reply_to=texts,
    expiration=texts,
    message_id=texts,
    timestamp=st.none() | st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    message_type=texts,
    user_id=texts,
    app_id=texts,
)


@given(pamqp_properties, st.integers(0, 2**40))
def test_what_pamqp_encodes_is_read_with_equal_values(
    properties: pamqp.commands.Basic.Properties, body_size: int
) -> None:
    header = scan(pamqp.header.ContentHeader(0, body_size, properties).marshal())
    assert header.body_size == body_size
    assert header.text(CONTENT_TYPE) == (properties.content_type or None)
    assert header.text(REPLY_TO) == (properties.reply_to or None)
    assert header.text(APP_ID) == (properties.app_id or None)
    assert header.table.values == (properties.headers or {})
    moment = properties.timestamp
    assert header.fields[TIMESTAMP] == (moment and struct.pack(">Q", int(moment.timestamp())))


@given(pamqp_properties, st.binary(max_size=6), st.data())
def test_broken_headers_raise_nothing_but_gate_error(
    properties: pamqp.commands.Basic.Properties, noise: bytes, data: st.DataObject
) -> None:
    payload = pamqp.header.ContentHeader(0, 1, properties).marshal()
    at = data.draw(st.integers(0, len(payload)))
    broken = payload[:at] + noise + payload[at + data.draw(st.integers(0, 6)) :]
    try:
        header = scan(broken)
    except GateError:
        return
    assert splice(header, NO_NAMES, b"") is header.payload


@given(pamqp_properties, st.data())
def test_any_splice_gives_a_header_that_is_read_with_the_same_properties(
    properties: pamqp.commands.Basic.Properties, data: st.DataObject
) -> None:
    header = scan(pamqp.header.ContentHeader(0, 1, properties).marshal())
    names = list(header.table.values)
    removed = frozenset(data.draw(st.sets(st.sampled_from(names))) if names else ())
    spliced = scan(splice(header, removed, entry_longstr("x-seal", b"token")))
    assert spliced.fields == header.fields
    assert spliced.body_size == header.body_size
    assert list(spliced.table.values) == [*[name for name in names if name not in removed], "x-seal"]
    assert spliced.table.canonical == header.table.canonical_without(OMITTED | removed)


_PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": st.text(max_size=20).filter(lambda text: "\0" not in text),
        "headers": st.dictionaries(st.sampled_from(["a", "b", "x-seal"]), st.text(max_size=5)),
        "delivery_mode": st.integers(1, 2),
        "priority": st.integers(0, 255),
        "expiration": st.sampled_from(["0", "60000", "4294967295"]),
        "message_id": st.just("m" * 255),
        "timestamp": st.just(datetime(2030, 1, 1, tzinfo=UTC)),
        "app_id": st.just("a"),
    },
)


@given(_PROPERTIES, st.sampled_from([b"0", b"59999", b"3600000"]), st.sampled_from([b"", b"added"]))
def test_an_expiration_is_put_in_and_everything_else_stays(
    properties: dict[str, object], value: bytes, added: bytes
) -> None:
    wanted = pamqp.commands.Basic.Properties(**properties)  # type: ignore[arg-type]
    payload = pamqp.header.ContentHeader(body_size=7, properties=wanted).marshal()
    header = scan_content_header(payload, OMITTED, ABSOLUTE)
    spliced = splice(header, NO_NAMES, entry_longstr("n", added) if added else b"")
    changed = with_expiration(spliced, value)
    before, after = [scan_content_header(each, OMITTED, ABSOLUTE) for each in (spliced, changed)]
    assert after.fields[EXPIRATION] == value
    before.fields[EXPIRATION] = after.fields[EXPIRATION] = None
    assert after.fields == before.fields
    assert after.table.raw == before.table.raw and after.body_size == 7
    if header.fields[EXPIRATION] == value:
        assert changed == spliced
    assert with_expiration(changed, header.fields[EXPIRATION]) == spliced


@pytest.mark.parametrize("present", [(), (0, 1), (3, 13), (0, 1, HEADERS, 5)])
@pytest.mark.parametrize("index", [4, 7])
def test_edit_puts_entries_and_properties_in_their_place(present: tuple[int, ...], index: int) -> None:
    """Whether there was a table, and the property, or not; and every other octet is kept."""
    kept = entry_longstr("kept", b"as it was")
    values = {
        number: b"\x02" if number == DELIVERY_MODE else long(kept) if number == HEADERS else short(b"text")
        for number in present
    }
    payload = content_header(flag(*present), b"".join(values.values()), body_size=3)
    entry, value = entry_longstr("new", b"value"), b"\x05" if index == 4 else b"60000"
    once = edit(scan(payload), {"new": entry}, {index: value})
    values[HEADERS] = long((kept if HEADERS in present else b"") + entry)
    values[index] = value if index == 4 else short(value)
    expected = content_header(
        flag(*values), b"".join(values[number] for number in sorted(values)), body_size=3
    )
    assert once == expected
    other = entry_longstr("new", b"another")
    assert edit(scan(once), {"new": other}, {}) == once.replace(
        long(kept + entry), long(kept + other)
    ).replace(long(entry), long(other))
    assert edit(scan(once), {}, {}) == once
