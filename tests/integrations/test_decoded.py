"""Values that a library has decoded, as octets again: the same message to a verifier."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.integrations.decoded import content_header
from sealgate.reason import GateError
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME
from sealgate.wire.properties import HEADERS, NAMES, scan_content_header
from support.wire_bytes import content_header as payload_of

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | text
    | st.binary(max_size=12)
    | st.integers(0, 253_402_300_799).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
    | st.builds(lambda n, scale: Decimal(n).scaleb(-scale), st.integers(0, 2**31 - 1), st.integers(0, 20))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)
short = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
octet = st.integers(0, 255)
NUMBERS = ("delivery_mode", "priority", "timestamp")
properties = st.fixed_dictionaries(
    {},
    optional={
        "headers": st.dictionaries(names, values, max_size=6),
        "delivery_mode": octet,
        "priority": octet,
        "timestamp": st.integers(0, 2**34),
        **{
            name: short for name in NAMES if name not in ("headers", "delivery_mode", "priority", "timestamp")
        },
    },
)


@given(properties)
def test_what_pika_decodes_is_told_back(given_properties: dict[str, Any]) -> None:
    octets = b"".join(pika.BasicProperties(**given_properties).encode())
    received = pika.BasicProperties()
    received.decode(octets)
    told = content_header([getattr(received, name) for name in NAMES], 7)
    sent = payload_of(0, b"", 7)[:-2] + octets
    before, after = [
        scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME) for payload in (sent, told)
    ]
    assert after.fields == before.fields
    assert after.table.canonical == before.table.canonical
    assert after.body_size == before.body_size


def with_headers(headers: object) -> Sequence[object]:
    told: list[object] = [None] * len(NAMES)
    told[HEADERS] = headers
    return told


def nested(depth: int) -> object:
    return {"a": nested(depth - 1)} if depth else {}


@pytest.mark.parametrize(
    "headers",
    [
        {"a": object()},
        {"a": 2**63},
        {1: "a"},
        {"a" * 300: 1},
        {"a": Decimal("NaN")},
        {"a": Decimal("1E+3")},
        7,
    ],
)
def test_what_no_broker_delivers_is_refused(headers: object) -> None:
    with pytest.raises(GateError, match="none of AMQP's"):
        content_header(with_headers(headers), 0)


def test_depth_is_bounded() -> None:
    with pytest.raises(GateError, match="deep"):
        content_header(with_headers(nested(100)), 0)
