from __future__ import annotations

import json
import zlib
from typing import Any

import msgpack
import pytest

from sealgate.reason import GateError, Reason
from sealgate.verify.content import Body, Form, read_body
from sealgate.verify.policy import ContentRules
from support.sealed import a_message, a_policy, rules

VALUE = {"a": 1}
JSON_BODY = json.dumps(VALUE).encode()


def read(
    body: bytes,
    content: ContentRules,
    properties: dict[int, bytes],
    headers: dict[str, object] | None = None,
    **policy: Any,
) -> Body:
    return read_body(a_message(body, headers or {}, properties), content, a_policy(**policy))


def refusal(*args: Any, **policy: Any) -> Reason:
    with pytest.raises(GateError) as caught:
        read(*args, **policy)
    return caught.value.reason


@pytest.mark.parametrize(
    ("content", "properties", "form"),
    [
        (rules("celery"), {0: b"application/json"}, Form.JSON),
        (
            rules("celery", "application/json; charset=utf-8"),
            {0: b"application/json; charset=utf-8"},
            Form.JSON,
        ),
        (rules("dramatiq", ""), {}, Form.JSON),
        (rules("dramatiq", ""), {0: b""}, Form.JSON),
        (rules("taskiq", "application/x-own"), {0: b"application/x-own"}, Form.JSON),
        (rules("generic", ""), {}, Form.UNREAD),
        (rules("generic", "text/plain"), {0: b"text/plain"}, Form.UNREAD),
        (rules("generic", "*"), {0: b"anything"}, Form.UNREAD),
        (rules("generic", "*"), {0: b"application/json"}, Form.UNREAD),
        (rules("generic", "application/json"), {0: b"application/json"}, Form.JSON),
    ],
)
def test_listed_type_picks_the_parser(
    content: ContentRules, properties: dict[int, bytes], form: Form
) -> None:
    body = read(JSON_BODY, content, properties)
    assert body.form is form
    assert body.value == (None if form is Form.UNREAD else VALUE)


def test_msgpack_where_listed_is_msgpack_in_every_profile() -> None:
    for profile in ("celery", "dramatiq", "taskiq", "generic"):
        for name in ("application/x-msgpack", "application/msgpack"):
            body = read(msgpack.packb(VALUE), rules(profile, name), {0: name.encode(), 1: b"binary"})
            assert (body.form, body.value) == (Form.MSGPACK, VALUE)


@pytest.mark.parametrize("kind", ["application/x-python-serialize", "application/data", "text/plain", ""])
def test_type_nobody_can_prove_is_refused_under_celery_even_where_listed(kind: str) -> None:
    properties = {0: kind.encode()} if kind else {}
    assert refusal(JSON_BODY, rules("celery", kind), properties) is Reason.CONTENT_TYPE


@pytest.mark.parametrize("kind", [b"application/JSON", b"application/json ", b"application/json;", b"*"])
def test_types_are_compared_exactly(kind: bytes) -> None:
    assert refusal(JSON_BODY, rules("celery"), {0: kind}) is Reason.CONTENT_TYPE
    assert refusal(JSON_BODY, rules("generic", "application/json"), {0: kind}) is Reason.CONTENT_TYPE


def test_any_type_is_only_for_the_generic_profile() -> None:
    assert refusal(JSON_BODY, rules("celery", "*"), {0: b"text/plain"}) is Reason.CONTENT_TYPE
    assert refusal(JSON_BODY, rules("celery", "*"), {0: b"*"}) is Reason.CONTENT_TYPE


@pytest.mark.parametrize(
    ("encoding", "passes"),
    [
        (b"", True),
        (b"utf-8", True),
        (b"binary", True),
        (b"UTF-8", False),
        (b"utf-7", False),
        (b"gzip", False),
    ],
)
def test_encoding_is_none_or_what_kombu_writes(encoding: bytes, passes: bool) -> None:
    properties = {0: b"application/json", 1: encoding}
    if passes:
        assert read(JSON_BODY, rules(), properties).value == VALUE
    else:
        assert refusal(JSON_BODY, rules(), properties) is Reason.CONTENT_ENCODING


PACKED = zlib.compress(JSON_BODY)
ZLIB = rules(compression=("application/x-gzip",))
JSON_ONLY = {0: b"application/json"}


@pytest.mark.parametrize("name", ["application/x-gzip", "gzip", "zlib"])
def test_listed_compression_is_unpacked_under_each_of_its_names(name: str) -> None:
    assert read(PACKED, ZLIB, JSON_ONLY, {"compression": name}).value == VALUE


@pytest.mark.parametrize("name", [None, ""])
def test_compression_header_that_names_none_is_none(name: object) -> None:
    assert read(JSON_BODY, rules(), JSON_ONLY, {"compression": name}).value == VALUE


@pytest.mark.parametrize("name", ["bzip2", "GZIP", "application/zstd", "x", 0, False, ["gzip"], b"\xff"])
def test_other_compression_is_refused(name: object) -> None:
    assert refusal(PACKED, ZLIB, JSON_ONLY, {"compression": name}) is Reason.CONTENT_COMPRESSION


def test_compression_is_held_to_the_configured_size() -> None:
    assert (
        read(PACKED, ZLIB, JSON_ONLY, {"compression": "zlib"}, inflated_bytes_max=len(JSON_BODY)).value
        == VALUE
    )
    limit = len(JSON_BODY) - 1
    reason = refusal(PACKED, ZLIB, JSON_ONLY, {"compression": "zlib"}, inflated_bytes_max=limit)
    assert reason is Reason.CONTENT_BOMB


def test_pickle_in_base64_is_told_or_refused_when_strict() -> None:
    body = b'["gASVCQAAAAAAAAB9lIwBYZRLAXMu"]'
    assert read(body, rules(), JSON_ONLY).pickle
    assert not read(JSON_BODY, rules(), JSON_ONLY).pickle
    assert refusal(body, rules(), JSON_ONLY, strict_b64=True) is Reason.CONTENT_B64_PICKLE
