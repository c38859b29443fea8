from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest

from sealgate.cli.message_json import JSON_BYTES_MAX, MessageError, parse_message
from sealgate.signing.canonical import OMITTED_FOR_SEAL, Snapshot
from sealgate.signing.table import Decimal, Timestamp
from support.vectors import VECTORS

SHORTEST: dict[str, Any] = {"exchange": "", "routing_key": "q"}


def parse(**more: object) -> Any:
    return parse_message(json.dumps(SHORTEST | more).encode())


def refusal(data: bytes) -> str:
    with pytest.raises(MessageError) as caught:
        parse_message(data)
    return str(caught.value)


def test_shortest_message_has_defaults() -> None:
    message = parse()
    assert (message.exchange, message.routing_key) == ("", "q")
    assert (message.vhost, message.deployment) == ("/", "prod")
    assert (message.fields, message.headers, message.body) == ((None,) * 14, {}, b"")


def test_properties_become_their_bytes_by_index() -> None:
    message = parse(
        properties={
            "content_type": "application/json",
            "delivery_mode": 2,
            "priority": None,
            "reply_to": "r\u00e9",
            "expiration": "60000",
            "timestamp": 1_700_000_000,
            "cluster_id": "",
        }
    )
    fields: list[bytes | None] = [None] * 14
    fields[0] = b"application/json"
    fields[3] = b"\x02"
    fields[6] = "r\u00e9".encode()
    fields[7] = b"60000"
    fields[9] = (1_700_000_000).to_bytes(8, "big")
    fields[13] = b""
    assert message.fields == tuple(fields)
    assert message.target == Snapshot("", "q", fields[7], fields[9])


def test_header_types_that_json_lacks_are_spelled_out() -> None:
    message = parse(
        headers={
            "time": {"type": "timestamp", "value": 5},
            "price": {"type": "decimal", "scale": 2, "value": 1234},
            "whole": {"type": "decimal", "value": 7},
            "raw": {"type": "bytes", "value": b64encode(b"\xff\x00").decode()},
            "one": {"type": "double", "value": 1},
            "table": {"type": "table", "value": {"type": "bytes", "value": "plain"}},
            "like": {"type": "bytes", "value": "aGk=", "more": 1},
            "other": {"type": "colour", "value": [1, {"type": "timestamp", "value": 6}]},
            "typed": {"type": "bytes"},
        }
    )
    assert message.headers == {
        "time": Timestamp(5),
        "price": Decimal(2, 1234),
        "whole": Decimal(0, 7),
        "raw": b"\xff\x00",
        "one": 1.0,
        "table": {"type": "bytes", "value": "plain"},
        "like": {"type": "bytes", "value": "aGk=", "more": 1},
        "other": {"type": "colour", "value": [1, Timestamp(6)]},
        "typed": {"type": "bytes"},
    }
    assert isinstance(message.headers["one"], float)


def test_body_is_text_or_base64() -> None:
    assert parse(body="h\u00e9").body == "h\u00e9".encode()
    assert parse(body_base64="AP8=").body == b"\x00\xff"


def test_digests_are_those_of_the_vector() -> None:
    vector = VECTORS["all-types"]
    message = parse(
        exchange="ex",
        routing_key="a.b",
        properties={"expiration": "60000", "timestamp": 1_700_000_000},
        headers={
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
            "D": {"type": "decimal", "scale": 2, "value": 1234},
            "T": {"type": "timestamp", "value": 1_700_000_000},
            "S": "h\u00e9",
            "Sbad": {"type": "bytes", "value": "/w=="},
            "x": {"type": "bytes", "value": "/wA="},
            "A": [1, None, True],
            "F": {"b": None, "a": 1},
            "x-delay": -5000,
            "x-death": [],
        },
        body_base64="AP8=",
    )
    digests = message.digests(OMITTED_FOR_SEAL)
    assert digests.properties == sha256(vector.canonical_properties).digest()
    assert digests.headers == sha256(vector.canonical_headers).digest()
    prefix = vector.token.rpartition(b".")[0]
    assert (
        digests.signing_input(vector.alg, message.deployment, message.vhost, prefix) == vector.signing_input
    )


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "is not JSON: Expecting value at line 1, column 1"),
        (b"\xff", "is not JSON: not UTF-8"),
        (b"9" * 5000, "is not JSON: a number is too long"),
        (b"[" * 100_000, "is nested too deep"),
        (
            b'{"exchange":"","routing_key":"","headers":' + b'{"a":' * 600 + b"1" + b"}" * 601,
            "is nested too deep",
        ),
        (b"[]", "want an object"),
        (b'{"a":1,"a":2}', "a name is there twice"),
        (b'{"exchange":NaN}', "NaN is no JSON number"),
        (b" " * (JSON_BYTES_MAX + 1), "is over"),
        (b"{}", "exchange: is missing"),
        (b'{"exchange":""}', "routing_key: is missing"),
        (b'{"exchange":1,"routing_key":""}', "exchange: want a text"),
        (b'{"exchange":"\\ud800","routing_key":""}', "exchange: is not Unicode text"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, error: str) -> None:
    assert refusal(data).startswith(error)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"bodyy": ""}, "bodyy: is not known"),
        ({"body": "", "body_base64": ""}, "want body or body_base64, not both"),
        ({"body_base64": "A"}, "body_base64: is not base64"),
        ({"body_base64": "\u00e9"}, "body_base64: is not base64"),
        ({"body": 1}, "body: want a text"),
        ({"properties": []}, "properties: want an object"),
        ({"properties": {"colour": 1}}, "properties.colour: is not known"),
        ({"properties": {"headers": {}}}, "properties.headers: is not known"),
        ({"properties": {"priority": 256}}, "properties.priority: want an integer from 0 to 255"),
        ({"properties": {"delivery_mode": True}}, "properties.delivery_mode: want an integer"),
        ({"properties": {"timestamp": -1}}, "properties.timestamp: want an integer"),
        ({"properties": {"expiration": 60000}}, "properties.expiration: want a text"),
        ({"properties": {"type": "t" * 256}}, "properties.type: is over 255 bytes"),
        ({"headers": None}, "headers: want an object"),
        ({"headers": {"a": {"type": "timestamp", "value": 1.5}}}, "a: want an integer"),
        ({"headers": {"a": {"type": "decimal", "scale": 256, "value": 1}}}, "a.scale: want an integer"),
        ({"headers": {"a": {"b": {"type": "bytes", "value": "*"}}}}, "a.b: is not base64"),
        ({"headers": {"a": {"type": "bytes", "value": 1}}}, "value: want a text"),
        ({"headers": {"a": {"type": "double", "value": True}}}, "a: want a number"),
        ({"headers": {"a": {"type": "table", "value": 1}}}, "value: want an object"),
    ],
)
def test_wrong_part_is_named(more: dict[str, object], error: str) -> None:
    assert refusal(json.dumps(SHORTEST | more).encode()).startswith(error)
