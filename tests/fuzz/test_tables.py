"""Header tables of every type and nesting: what libraries read in them is what was signed and checked."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings

from fuzz.oracles.libraries import LIBRARIES, PAMQP, PIKA, PY_AMQP, Library
from fuzz.oracles.reference import (
    NOT_COVERED,
    Node,
    Reader,
    canonical_table,
    read_header,
    section_p,
    signing_input,
)
from fuzz.oracles.strictness import STRICTER
from fuzz.seeds import STRICTLY_REFUSED
from fuzz.strategies import any_tables, headers, table_bytes, tables
from fuzz.targets import wire
from fuzz.targets.changes import encoded
from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL
from sealgate.wire.properties import scan_content_header
from support.vectors import VECTORS
from support.wire_bytes import content_header, entry, headers_only, long


@settings(max_examples=300)
@given(headers(tables))
def test_headers_of_any_table_mean_the_same_to_everybody(payload: bytes) -> None:
    wire.header(payload)


@settings(max_examples=200)
@given(headers(any_tables))
def test_headers_of_tables_right_or_wrong_are_judged_by_the_rules(payload: bytes) -> None:
    wire.header(payload)


@settings(max_examples=200)
@given(any_tables)
def test_tables_are_scanned_alike_wherever_they_lie(entries: list[tuple[bytes, Node]]) -> None:
    wire.table(table_bytes(entries))


@given(tables)
def test_the_reference_reads_what_was_written(entries: list[tuple[bytes, Node]]) -> None:
    data = table_bytes(entries)
    found = Reader(data).top(len(data))
    assert table_bytes(found) == data
    assert [name for name, _ in found] == [name for name, _ in entries]


@pytest.mark.parametrize("name", VECTORS)
def test_the_reference_gives_the_vectors(name: str) -> None:
    vector = VECTORS[name]
    header = read_header(vector.content_header)
    prefix = vector.token.rpartition(b".")[0]
    assert not header.broken
    assert canonical_table(header.entries, NOT_COVERED) == vector.canonical_headers
    assert section_p(header) == vector.canonical_properties
    signed = signing_input(vector.alg, vector.deployment, vector.vhost, prefix, header, vector.body)
    assert signed == vector.signing_input


QUIRKS: list[tuple[Library, Node, object]] = [
    (PAMQP, Node("D", (2, 2**32 - 5)), Decimal("-0.05")),
    (PY_AMQP, Node("D", (2, 2**32 - 5)), Decimal("-0.05")),
    (PIKA, Node("D", (2, 2**32 - 5)), Decimal("-0.05")),
    (PAMQP, Node("T", 4_300_000_000), datetime.fromtimestamp(4_300_000, UTC)),
    (PY_AMQP, Node("S", b"\xed\xa0\x80"), "\ud800"),
    (PIKA, Node("f", 1.5), 1),
    (PIKA, Node("d", -2.75), -2),
]


@pytest.mark.parametrize(("library", "node", "value"), QUIRKS, ids=lambda item: getattr(item, "name", ""))
def test_each_quirk_is_one_still(library: Library, node: Node, value: object) -> None:
    _, table = library.read(headers_only(table_bytes([(b"k", node)])))
    assert table == {"k": value}
    assert library.same(node, value)
    assert not library.exactly(node, value), "no quirk any more: take it out"


def test_every_quirk_is_shown() -> None:
    shown = {
        (library.name, quirk.text)
        for library, node, _ in QUIRKS
        for quirk in library.quirks
        if node.kind in quirk.kinds
    }
    assert shown == {(library.name, quirk.text) for library in LIBRARIES for quirk in library.quirks}


EVERY_KIND = [
    Node("V", None),
    *[Node(kind, 100) for kind in "bBsuIilL"],
    Node("t", 2),
    Node("f", 1.0),
    Node("d", 1.0),
    Node("D", (1, 15)),
    Node("T", 1_700_000_000),
    Node("S", b"text"),
    Node("S", b"\xff"),
    Node("x", b"\x00"),
    Node("A", [Node("V", None)]),
    Node("F", [(b"k", Node("t", 1))]),
]


@pytest.mark.parametrize("node", EVERY_KIND, ids=lambda node: node.kind)
def test_every_library_reads_every_type(node: Node) -> None:
    payload = headers_only(entry("k", "A", long(encoded(node))))
    wire.header(payload)
    for library in LIBRARIES:
        assert library.differences(payload, read_header(payload)) == []


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_an_oracle_notices_another_value(library: Library) -> None:
    payload = headers_only(entry("k", "I", struct.pack(">i", 7)))
    other = read_header(headers_only(entry("k", "I", struct.pack(">i", 8))))
    assert library.differences(payload, other) == [f"{library.name} reads another header table"]
    typed = read_header(content_header(0x8000, b"\x01a"))
    assert library.differences(content_header(0x8000, b"\x01b"), typed) == [
        f"{library.name} reads another content_type"
    ]
    assert "can not read" in library.differences(content_header(0x8000), typed)[0]


@pytest.mark.parametrize("reason", STRICTER, ids=lambda reason: reason.value)
def test_each_stricter_rule_is_stricter_than_all_three(reason: Reason) -> None:
    payload = STRICTLY_REFUSED[reason]
    for library in LIBRARIES:
        library.read(payload)
    with pytest.raises(GateError) as refused:
        scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, "x-seal")
    assert refused.value.reason is reason
