from __future__ import annotations

import base64
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.verify.pickles import holds_pickle, is_pickle, may_hold_pickle
from sealgate.verify.strict_json import KombuValue, parse_json

PICKLED = base64.b64encode(pickle.dumps({"a": [1, 2]})).decode()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
@given(value=st.recursive(st.integers() | st.text() | st.binary(), st.lists, max_leaves=5))
def test_pickle_in_base64_is_found(protocol: int, encode: Any, value: object) -> None:
    text = encode(pickle.dumps(value, protocol)).decode()
    assert is_pickle(text)
    assert is_pickle(text.rstrip("=\n"))
    body = json.dumps({"args": [text]}).encode()
    assert may_hold_pickle(body)
    assert holds_pickle(parse_json(body, False))


def test_pickle_is_found_wherever_it_is() -> None:
    for value in (PICKLED, [[PICKLED]], {"a": {"b": [1, PICKLED]}}, KombuValue("base64", PICKLED)):
        assert holds_pickle(value)


def test_escaped_letters_do_not_hide_it() -> None:
    body = ('["\\u0067A' + PICKLED[2:] + '"]').encode()
    assert may_hold_pickle(body)
    assert holds_pickle(parse_json(body, False))


@pytest.mark.parametrize("text", ["", "gA", "gANkYXRh", "gASVgarbage", "gAZjb25maWc=", "gAS\u00e9", "hello"])
def test_text_that_only_begins_like_one_is_none(text: str) -> None:
    assert not is_pickle(text)


def test_long_text_is_judged_by_its_prefix() -> None:
    assert is_pickle("gASV" + "A" * 65_536)
    assert not is_pickle("xASV" + "A" * 65_536)


def test_many_texts_are_judged_by_their_prefix_like_one_long_text() -> None:
    """Each was listed to its end: half a second for a body full of them."""
    almost = base64.b64encode(b"\x80\x04" + b"N0" * 9_000 + b"\xff").decode()
    assert not is_pickle(almost)
    assert not holds_pickle([almost, almost])
    assert holds_pickle([almost] * 4)
    assert not holds_pickle(["x" + almost] * 4)


def test_body_without_the_letters_need_not_be_searched() -> None:
    assert not may_hold_pickle(b'[["plain", 1], {}, {}]')


@given(tail=st.binary(max_size=200))
def test_bytes_behind_the_mark_never_raise(tail: bytes) -> None:
    is_pickle(base64.b64encode(b"\x80\x04" + tail).decode())
