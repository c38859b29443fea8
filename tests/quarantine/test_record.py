from __future__ import annotations

import os
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.quarantine.record import (
    CONTENT_TYPE,
    DETAIL_BYTES_MAX,
    FRAME_PAYLOAD_BYTES_MAX,
    TEXT_BYTES_MAX,
    NotAPublicationError,
    decode,
    encode_body,
    encode_headers,
    new_message_id,
)
from sealgate.reason import Reason
from sealgate.session.records import RefusalRecord
from sealgate.wire.frames import encode_frame
from support.refusals import SEAL, refusal

ID = "6f1c2f9e-3b7a-4c62-9a59-0a7f5b6a1c11"


def there_and_back(record: RefusalRecord) -> RefusalRecord:
    return decode(CONTENT_TYPE, ID, encode_headers(record), encode_body(record)).record


@pytest.mark.parametrize(
    "record",
    [
        refusal(),
        refusal(b""),
        refusal(b"", header=b"", complete=False, body_size=0),
        refusal(b"part", complete=False, body_size=4_000_000),
        refusal(os.urandom(FRAME_PAYLOAD_BYTES_MAX)),
        refusal(os.urandom(FRAME_PAYLOAD_BYTES_MAX * 2 + 1)),
        refusal(header=b"\xff" * 100, method=b"\x00\x3c\x00\x28\x00\x00\xff"),
        refusal(observed=True, reason=Reason.RATE_TASK, channel=65535, at=0.0),
        refusal(task="\u00fc\u20ac\U0001f600\x00\x1b[31m"),
    ],
)
def test_a_record_comes_back_as_it_was(record: RefusalRecord) -> None:
    assert there_and_back(record) == record


@given(st.binary(min_size=4), st.binary(min_size=1), st.binary(), st.floats(0, 4e9))
def test_any_bytes_come_back_exactly(method: bytes, header: bytes, body: bytes, at: float) -> None:
    back = there_and_back(refusal(body, method=method, header=header, at=at))
    assert (back.method, back.header, back.body) == (method, header, body)
    assert back.at == pytest.approx(at, abs=1e-6)


def test_no_body_header_value_or_signature_is_in_the_headers() -> None:
    text = repr(encode_headers(refusal(b"secret-body")))
    assert "secret-body" not in text
    assert SEAL not in text
    assert SEAL.rpartition(".")[2] not in text


@pytest.mark.parametrize(
    "field", ["kid", "task", "exchange", "routing_key", "vhost", "user", "client", "answer"]
)
def test_a_long_text_is_cut_between_characters(field: str) -> None:
    record = refusal(**{field: "x" + "\u20ac" * 5000})
    cut = getattr(there_and_back(record), field)
    assert cut == "x" + "\u20ac" * ((TEXT_BYTES_MAX - 1) // 3)


def test_a_long_detail_is_cut() -> None:
    assert there_and_back(refusal(detail="d" * 9000)).detail == "d" * DETAIL_BYTES_MAX


def test_a_text_that_utf8_can_not_carry_does_not_raise() -> None:
    assert there_and_back(refusal(task="a\udcffb")).task == "a?b"


@pytest.mark.parametrize("at", [-5.0, 1e300])
def test_a_time_beyond_all_dates_is_the_nearest_date(at: float) -> None:
    assert 0 <= there_and_back(refusal(at=at)).at < 253_402_300_800


def test_a_declared_size_beyond_63_bits_is_cut() -> None:
    assert there_and_back(refusal(b"", body_size=2**64 - 1)).body_size == 2**63 - 1


def test_a_message_id_is_a_version_4_uuid_of_the_given_bytes() -> None:
    parsed = uuid.UUID(new_message_id(bytes(range(16))))
    assert parsed.version == 4
    assert parsed.bytes[:6] == bytes(range(6))


def wrong(**changes: Any) -> dict[str, Any]:
    record = refusal()
    arguments: dict[str, Any] = {
        "content_type": CONTENT_TYPE,
        "message_id": ID,
        "headers": encode_headers(record),
        "body": encode_body(record),
    }
    headers = changes.pop("headers", {})
    arguments.update(changes)
    arguments["headers"] = {**arguments["headers"], **headers}
    return arguments


M = encode_frame(1, 7, b"method")
H = encode_frame(2, 7, b"header")
B = encode_frame(3, 7, b"body")


@pytest.mark.parametrize(
    "arguments",
    [
        wrong(content_type="application/json"),
        wrong(content_type=None),
        wrong(message_id=None),
        wrong(message_id="not-a-uuid"),
        wrong(message_id=ID.upper()),
        wrong(headers={"x-sealgate-reason": "sig.invented"}),
        wrong(headers={"x-sealgate-reason": b"sig.bad"}),
        wrong(headers={"x-sealgate-task": "t" * (TEXT_BYTES_MAX + 1)}),
        wrong(headers={"x-sealgate-task": None}),
        wrong(headers={"x-sealgate-detail": "d" * (DETAIL_BYTES_MAX + 1)}),
        wrong(headers={"x-sealgate-observed": 1}),
        wrong(headers={"x-sealgate-complete": "true"}),
        wrong(headers={"x-sealgate-at-us": True}),
        wrong(headers={"x-sealgate-at-us": -1}),
        wrong(headers={"x-sealgate-at-us": 2**62}),
        wrong(headers={"x-sealgate-body-size": 1.5}),
        wrong(body=b""),
        wrong(body=b"not frames at all"),
        wrong(body=H),
        wrong(body=M + B),
        wrong(body=M + M),
        wrong(body=M + H + H),
        wrong(body=M + H + B + M),
        wrong(body=M + encode_frame(2, 8, b"header")),
        wrong(body=M + H + B + b"\x03"),
        wrong(body=(M + H + B)[:-1]),
        wrong(body=(M + H + B)[:-1] + b"\x00"),
        wrong(body=M + H + encode_frame(3, 7, b"x" * (FRAME_PAYLOAD_BYTES_MAX + 1))),
    ],
)
def test_what_we_did_not_write_is_not_read(arguments: dict[str, Any]) -> None:
    with pytest.raises(NotAPublicationError):
        decode(**arguments)


@pytest.mark.parametrize("name", sorted(encode_headers(refusal())))
def test_no_header_may_be_missing(name: str) -> None:
    arguments = wrong()
    del arguments["headers"][name]
    with pytest.raises(NotAPublicationError, match=f"{name} is missing"):
        decode(**arguments)
