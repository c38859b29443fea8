from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import (
    BROKER_NAMES,
    OMITTED_FOR_COUNTERSIGN,
    OMITTED_FOR_SEAL,
    STRIPPED_NAMES,
    Snapshot,
    canonical_properties,
    encode_snapshot,
    parse_snapshot,
    signing_input,
)

EMPTY = sha256(b"").digest()


def properties(**at: bytes) -> list[bytes | None]:
    fields: list[bytes | None] = [None] * 14
    for index, value in at.items():
        fields[int(index.removeprefix("p"))] = value
    return fields


def malformed(snapshot: bytes) -> bool:
    with pytest.raises(GateError) as caught:
        parse_snapshot(snapshot)
    return caught.value.reason is Reason.SIG_MALFORMED


def test_broker_written_names_are_the_nineteen_of_the_specification() -> None:
    assert len(BROKER_NAMES) == 19
    assert {"x-seal", "x-countersign"} == OMITTED_FOR_SEAL - BROKER_NAMES
    assert {"x-countersign"} == OMITTED_FOR_COUNTERSIGN - BROKER_NAMES
    assert "x-seal" not in STRIPPED_NAMES


def test_no_properties_are_an_empty_section() -> None:
    assert canonical_properties([None] * 14) == b""


def test_properties_stand_by_rising_index_with_their_length() -> None:
    section = canonical_properties(properties(p13=b"c", p0=b"json", p3=b"\x02"))
    assert section == b"\x00\x00\x00\x00\x04json" + b"\x03\x00\x00\x00\x01\x02" + b"\x0d\x00\x00\x00\x01c"


def test_headers_expiration_and_timestamp_are_not_in_the_section() -> None:
    assert canonical_properties(properties(p2=b"h", p7=b"60000", p9=bytes(8))) == b""


def test_empty_property_differs_from_an_absent_one() -> None:
    assert canonical_properties(properties(p8=b"")) == b"\x08\x00\x00\x00\x00"


@pytest.mark.parametrize("suffix", [b"", b".g1h2AA", b"anything"])
def test_direct_reply_to_counts_without_its_suffix(suffix: bytes) -> None:
    section = canonical_properties(properties(p6=b"amq.rabbitmq.reply-to" + suffix))
    assert section == b"\x06\x00\x00\x00\x15amq.rabbitmq.reply-to"


def test_only_reply_to_loses_that_suffix() -> None:
    assert canonical_properties(properties(p5=b"amq.rabbitmq.reply-to.x")).endswith(b".x")
    assert canonical_properties(properties(p6=b"amq.rabbitmq.reply")).endswith(b".reply")


def test_snapshot_holds_what_is_there_and_no_more() -> None:
    assert encode_snapshot("", "q") == b"\x01\x00\x02\x01q"
    assert encode_snapshot("ex", "", b"60000") == b"\x01\x02ex\x02\x00\x03\x0560000"
    assert encode_snapshot("", "", None, bytes(8)) == b"\x01\x00\x02\x00\x04\x08" + bytes(8)


SHORT = st.text(st.characters(codec="utf-8"), max_size=60)


@given(SHORT, SHORT, st.none() | st.binary(max_size=255), st.none() | st.binary(min_size=8, max_size=8))
def test_snapshot_round_trips(
    exchange: str, routing_key: str, expiration: bytes | None, timestamp: bytes | None
) -> None:
    data = encode_snapshot(exchange, routing_key, expiration, timestamp)
    assert parse_snapshot(data) == Snapshot(exchange, routing_key, expiration, timestamp)


@given(st.binary(max_size=60))
def test_bytes_that_read_as_a_snapshot_have_no_second_spelling(data: bytes) -> None:
    try:
        target = parse_snapshot(data)
    except GateError as error:
        assert error.reason is Reason.SIG_MALFORMED
    else:
        assert (
            encode_snapshot(target.exchange, target.routing_key, target.expiration, target.timestamp) == data
        )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\x01\x00",
        b"\x02\x00\x01\x00",
        b"\x01\x05ab\x02\x00",
        b"\x01\x00\x02\x05ab",
        b"\x01\x00\x02\x00\x05\x00",
        b"\x01\x00\x02\x00\x03",
        b"\x01\x00\x02\x00\x03\x00\x03\x00",
        b"\x01\x00\x02\x00\x04\x07" + bytes(7),
        b"\x01\x00\x02\x00\x04\x09" + bytes(9),
        b"\x01\x00\x02\x00\x04\x08" + bytes(8) + b"\x03\x00",
        b"\x01\x00\x02\x00\x04\x08" + bytes(9),
        b"\x01\x01\xff\x02\x00",
        b"\x01\x00\x02\x01\xff",
    ],
)
def test_snapshot_outside_its_grammar_is_malformed(data: bytes) -> None:
    assert malformed(data)


def test_target_at_the_limit_of_a_short_string_is_taken_and_one_more_refused() -> None:
    assert encode_snapshot("e" * 255, "r" * 255, b"1" * 255)
    for exchange, routing_key, expiration in (
        ("e" * 256, "", None),
        ("", "\u00e9" * 128, None),
        ("", "", b"1" * 256),
    ):
        with pytest.raises(GateError, match=r"^sig\.malformed"):
            encode_snapshot(exchange, routing_key, expiration)


def test_target_no_message_can_have_is_refused() -> None:
    with pytest.raises(GateError, match=r"^sig\.malformed"):
        encode_snapshot("\ud800", "q")
    with pytest.raises(GateError, match=r"^sig\.malformed"):
        encode_snapshot("", "q", None, bytes(7))


def test_context_fields_can_not_be_shifted_into_one_another() -> None:
    one = signing_input("hmac-sha256", "prod", "a", b"t", EMPTY, EMPTY, 0, EMPTY)
    other = signing_input("hmac-sha256", "pro", "da", b"t", EMPTY, EMPTY, 0, EMPTY)
    assert one != other
    assert one.startswith(b"seal1/amqp-0-9-1/message\n\x00\x00\x00\x0bhmac-sha256\x00\x00\x00\x04prod")
    assert one.endswith(EMPTY + EMPTY + bytes(8) + EMPTY)
