from __future__ import annotations

import json
import pickle
import sys
from datetime import date, datetime, time
from decimal import Decimal
from time import perf_counter
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils import json as kombu_json

from sealgate.reason import GateError, Reason
from sealgate.verify.strict_json import DEPTH_MAX, DIGITS_MAX, KombuValue, parse_json

names = st.text().filter(lambda name: not name.startswith(("py/", "__")))
plain_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=5),
    max_leaves=20,
)
objects = plain_values | st.binary() | st.tuples(plain_values, plain_values) | st.sets(st.integers())


def refusal(data: bytes, kombu: bool = False) -> Reason:
    with pytest.raises(GateError) as caught:
        parse_json(data, kombu)
    return caught.value.reason


@given(value=plain_values)
def test_what_python_writes_is_read_back(value: object) -> None:
    assert parse_json(json.dumps(value).encode(), False) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"), False) is not ...


@given(value=objects, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_pickle_is_never_json(value: object, protocol: int) -> None:
    assert refusal(pickle.dumps(value, protocol)) in (Reason.CONTENT_JSON, Reason.CONTENT_JSON_CONST)


@given(data=st.binary(max_size=300) | st.text(alphabet='[]{}":,01e-\\u ntfa').map(str.encode))
def test_any_bytes_are_one_value_for_everybody_or_refused(data: bytes) -> None:
    try:
        value = parse_json(data, True)
    except GateError as error:
        assert error.reason.family == "content"
    else:
        assert value == json.loads(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.CONTENT_JSON),
        (b" ", Reason.CONTENT_JSON),
        (b"\xef\xbb\xbf{}", Reason.CONTENT_JSON),
        (b"{} {}", Reason.CONTENT_JSON),
        (b"{}\x00", Reason.CONTENT_JSON),
        (b"[1,]", Reason.CONTENT_JSON),
        (b"'a'", Reason.CONTENT_JSON),
        (b'"\x01"', Reason.CONTENT_JSON),
        (b'"\xc0\xaf"', Reason.CONTENT_JSON),
        (b'"\xed\xa0\x80"', Reason.CONTENT_JSON),
        ("[]".encode("utf-16"), Reason.CONTENT_JSON),
        (b"01", Reason.CONTENT_JSON),
        (b"Infinity", Reason.CONTENT_JSON_CONST),
        (b'{"a":[{"b":1,"b":1}]}', Reason.CONTENT_JSON_DUP),
        (b'{"a":1,"\\u0061":1}', Reason.CONTENT_JSON_DUP),
        (b"1e400", Reason.CONTENT_JSON_NUMBER),
        (b"-1e400", Reason.CONTENT_JSON_NUMBER),
        (b"0." + b"1" * DIGITS_MAX, Reason.CONTENT_JSON_NUMBER),
        (b'{"py/object":"a"}', Reason.CONTENT_GADGET),
        (b'[{"py\\/reduce":[]}]', Reason.CONTENT_GADGET),
    ],
)
def test_json_that_others_read_otherwise_is_refused(data: bytes, reason: Reason) -> None:
    assert refusal(data) is reason
    assert refusal(data, kombu=True) is reason


def test_integer_of_the_most_digits_is_read_and_one_more_is_refused() -> None:
    most = b"9" * DIGITS_MAX
    assert parse_json(most, False) == int(most)
    assert parse_json(b"-" + most, False) == -int(most)
    assert refusal(most + b"9") is Reason.CONTENT_JSON_NUMBER
    assert refusal(b"-9" + most) is Reason.CONTENT_JSON_NUMBER


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_bounded_to_the_level(opening: bytes, closing: bytes) -> None:
    most = opening * (DEPTH_MAX - 1) + b"{}" + closing * (DEPTH_MAX - 1)
    assert parse_json(most, False) is not None
    assert refusal(opening + most + closing) is Reason.CONTENT_JSON
    assert refusal(opening * 100_000) is Reason.CONTENT_JSON


def test_many_brackets_side_by_side_or_in_text_are_no_depth() -> None:
    wide = b"[" + b"[]," * 1000 + b"[]]"
    assert parse_json(wide, False) is not None
    text = json.dumps(["[{" * 1000, '\\"[' * 1000]).encode()
    assert parse_json(text, False) == json.loads(text)


def test_stack_that_is_nearly_used_up_refuses_and_does_not_fall() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    try:
        # From Python 3.12 on the scanner's stack has a limit of its own, which nothing sets: deeper than any.
        assert refusal(b"[" * 100_000 + b"]" * 100_000) is Reason.CONTENT_JSON
    finally:
        sys.setrecursionlimit(limit)


def test_path_that_looks_like_a_gadget_is_data() -> None:
    assert parse_json(b'{"py/app.py": 1}', False) == {"py/app.py": 1}


@pytest.mark.parametrize(
    "value",
    [
        b"text",
        b"\xff\x00",
        datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - naive on purpose: kombu writes both
        date(2026, 1, 2),
        time(3, 4, 5),
        Decimal("1.50"),
        Decimal("NaN"),
        UUID(int=7),
    ],
)
def test_every_type_kombu_writes_is_read_as_no_container(value: object) -> None:
    data = kombu_json.dumps([value]).encode()
    found = parse_json(data, True)
    assert isinstance(found, list) and isinstance(found[0], KombuValue)
    assert parse_json(data, False) == json.loads(data)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("nope", 1),
        ("nope", "x"),
        (["datetime"], "2026-01-01"),
        (None, None),
        ("datetime", "yesterday"),
        ("datetime", 5),
        ("date", "x"),
        ("time", "25:00"),
        ("decimal", "x"),
        ("uuid", "00000000000000000000000000000007"),
        ("uuid", {"hex": "x"}),
        ("uuid", {"hex": 7}),
        ("base64", "a"),
        ("bytes", "\ud800"),
        ("bytes", {}),
    ],
)
def test_typed_value_kombu_could_not_read_is_refused(kind: object, value: object) -> None:
    data = json.dumps({"__type__": kind, "__value__": value}).encode()
    with pytest.raises(Exception):  # noqa: B017 - whatever kombu raises, the worker loses the message
        kombu_json.loads(data)
    assert refusal(data, kombu=True) is Reason.CONTENT_KOMBU_TYPE


@pytest.mark.parametrize(("kind", "value"), [("decimal", 1.5), ("uuid", {"int": 7})])
def test_typed_value_kombu_would_read_but_never_writes_is_refused(kind: str, value: object) -> None:
    data = json.dumps({"__type__": kind, "__value__": value}).encode()
    assert refusal(data, kombu=True) is Reason.CONTENT_KOMBU_TYPE


def test_object_with_more_than_the_two_names_is_an_ordinary_one() -> None:
    data = b'{"__type__":"nope","__value__":1,"x":2}'
    assert parse_json(data, True) == kombu_json.loads(data)


@pytest.mark.parametrize("end", [b"", b"\\"])
def test_string_without_an_end_is_read_once(end: bytes) -> None:
    """Each of its escaped quotes was once tried as the beginning of another string: hours for 4 MiB."""
    brackets = b"[" + b"[]," * DEPTH_MAX
    started = perf_counter()
    assert refusal(brackets + b'"' + b'\\"' * 40_000 + end) is Reason.CONTENT_JSON
    assert perf_counter() - started < 2.0
