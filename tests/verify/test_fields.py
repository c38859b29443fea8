from __future__ import annotations

import struct

import pytest

from sealgate.reason import GateError, Reason
from sealgate.verify.expiration import expiration_ms
from sealgate.verify.fields import check_headers, check_properties
from sealgate.wire.properties import DELIVERY_MODE, EXPIRATION, USER_ID
from support.sealed import JSON_HEADER, a_message, table
from support.wire_bytes import entry, long

FAR = struct.pack(">Q", 253_402_300_800)


def property_refusal(index: int, value: bytes, user: str = "app") -> Reason | None:
    message = a_message(properties={**JSON_HEADER, index: value})
    try:
        check_properties(message.header, user)
    except GateError as error:
        return error.reason
    return None


def header_refusal(entries: bytes, profile: str = "celery") -> Reason | None:
    try:
        check_headers(a_message(raw_entries=entries).header.table, profile)
    except GateError as error:
        return error.reason
    return None


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (b"0", 0),
        (b"007", 7),
        (b"4294967295", 4_294_967_295),
        (b"4294967296", None),
        (b"00000000001", None),
        (b"", None),
        (b"+1", None),
        (b"-1", None),
        (b" 1", None),
        (b"1\n", None),
        (b"1_0", None),
        (b"1.5", None),
        ("٣".encode(), None),
    ],
)
def test_expiration_is_digits_up_to_rabbitmqs_limit(value: bytes, milliseconds: int | None) -> None:
    assert expiration_ms(value) == milliseconds
    refused = Reason.PROPS_EXPIRATION if milliseconds is None else None
    assert property_refusal(EXPIRATION, value) is refused


@pytest.mark.parametrize(("mode", "passes"), [(0, False), (1, True), (2, True), (3, False), (255, False)])
def test_delivery_mode_is_one_or_two(mode: int, passes: bool) -> None:
    assert (property_refusal(DELIVERY_MODE, bytes((mode,))) is None) is passes


def test_user_id_is_that_of_the_connection_when_it_is_known() -> None:
    assert property_refusal(USER_ID, b"app") is None
    assert property_refusal(USER_ID, b"App") is Reason.PROPS_USER_ID
    assert property_refusal(USER_ID, b"") is Reason.PROPS_USER_ID
    assert property_refusal(USER_ID, b"anybody", user="") is None


@pytest.mark.parametrize("name", ["CC", "BCC"])
def test_routing_headers_are_refused_in_any_shape(name: str) -> None:
    for value in (["q"], "q", None, []):
        assert header_refusal(table({name: value}), "generic") is Reason.HEADER_ROUTING
    assert header_refusal(table({name.lower(): ["q"]})) is None


@pytest.mark.parametrize(
    ("delay", "passes"), [(5, True), (0, True), (-1, False), (-0.5, False), ("-5", True)]
)
def test_delay_is_not_negative(delay: object, passes: bool) -> None:
    assert (header_refusal(table({"x-delay": delay})) is None) is passes


def test_types_a_profile_does_not_take() -> None:
    decimal = entry("n", "D", b"\x02\x00\x00\x00\x01")
    raw = entry("n", "S", long(b"\xff"))
    assert header_refusal(decimal) is Reason.HEADER_TYPE
    assert header_refusal(raw) is Reason.HEADER_UTF8
    for profile in ("generic", "dramatiq", "taskiq"):
        assert header_refusal(decimal, profile) is None
        assert header_refusal(raw, profile) is None
        assert header_refusal(entry("n", "T", FAR), profile) is Reason.HEADER_TIMESTAMP


def test_nested_values_are_judged_like_others() -> None:
    nested = entry("n", "A", long(b"F" + long(entry("m", "S", long(b"\xff")))))
    assert header_refusal(nested) is Reason.HEADER_UTF8


def test_last_second_of_the_year_9999_passes() -> None:
    assert header_refusal(entry("n", "T", struct.pack(">Q", 253_402_300_799))) is None


def test_what_is_stripped_is_not_judged() -> None:
    death = entry("x-death", "A", long(b"F" + long(entry("time", "T", FAR))))
    assert header_refusal(death + entry("x-delivery-count", "S", long(b"\xff"))) is None
    assert header_refusal(death + entry("own", "S", long(b"\xff"))) is Reason.HEADER_UTF8
