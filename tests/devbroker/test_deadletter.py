"""What dead-lettering does to the octets of a message: nothing it does not have to."""

from __future__ import annotations

import struct

import pytest
from pamqp import encode

from sealgate.devbroker.deadletter import goes_in_circles, stamped
from sealgate.devbroker.message import EXPIRATION, HEADERS, Message, Properties, PropertiesError

DOUBLE = b"\x01dd" + struct.pack(">d", 0.1)
SHORT = b"\x01ss" + struct.pack(">h", -3)
NAMED = b"\x07x-deathS" + struct.pack(">I", 3) + b"odd"


def a_message(table: bytes, expiration: str | None = None) -> Message:
    properties = Properties([None] * 14)
    properties.fields[0] = b"\x0atext/plain"
    properties.fields[HEADERS] = struct.pack(">I", len(table)) + table
    if expiration is not None:
        properties.set_text(EXPIRATION, expiration)
    ms = None if expiration is None else int(expiration)
    return Message("x", "key", properties.encode(), b"body", expiration_ms=ms)


def test_other_headers_keep_their_octets() -> None:
    dead = stamped(a_message(DOUBLE + SHORT), "q", "rejected", "dlx", None)
    table = Properties.parse(dead.properties).fields[HEADERS]
    assert table is not None
    assert table.endswith(DOUBLE + SHORT)
    assert (dead.exchange, dead.routing_key, dead.body) == ("dlx", "key", b"body")


def test_expiration_moves_into_the_story() -> None:
    dead = Properties.parse(stamped(a_message(b"", "500"), "q", "expired", "dlx", "other").properties)
    assert dead.fields[EXPIRATION] is None
    assert dead.fields[0] == b"\x0atext/plain"
    deaths = dead.headers()["x-death"]
    assert isinstance(deaths, list)
    assert isinstance(deaths[0], dict)
    assert deaths[0]["original-expiration"] == "500"


def test_newest_death_comes_first_and_the_first_is_remembered() -> None:
    message = a_message(b"")
    for queue, reason in (("a", "rejected"), ("b", "expired"), ("a", "rejected")):
        message = stamped(message, queue, reason, "dlx", None)
    headers = Properties.parse(message.properties).headers()
    deaths = headers["x-death"]
    assert isinstance(deaths, list)
    assert [(d["queue"], d["count"]) for d in deaths if isinstance(d, dict)] == [("a", 2), ("b", 1)]
    assert headers["x-first-death-queue"] == "a"


def test_x_death_of_another_kind_is_replaced() -> None:
    headers = Properties.parse(stamped(a_message(NAMED), "q", "expired", "", None).properties).headers()
    assert isinstance(headers["x-death"], list)


def test_circle_ends_unless_somebody_rejected() -> None:
    expired = stamped(a_message(b""), "a", "expired", "", None)
    assert goes_in_circles(expired, "a")
    assert not goes_in_circles(expired, "b")
    assert not goes_in_circles(stamped(expired, "b", "rejected", "", None), "a")


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x80",
        b"\x80\x01" + b"\x00\x00",
        b"\x80\x00\x05abc",
        b"\x00\x00extra",
        b"\x20\x00\x00\x00\x00\x09" + encode.field_table({})[:2],
        b"\x00\x40\x00\x00",
    ],
)
def test_broken_properties_are_an_error(octets: bytes) -> None:
    with pytest.raises(PropertiesError):
        Properties.parse(octets)


def test_broken_header_table_is_an_error() -> None:
    table = b"\x01nZ"
    octets = b"\x20\x00" + struct.pack(">I", len(table)) + table
    with pytest.raises(PropertiesError):
        Properties.parse(octets).headers()
