from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.reason import GateError, Reason
from sealgate.verify.strict_msgpack import parse_msgpack

names = st.text().filter(lambda name: not name.startswith(("py/", "__")))
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=5),
    max_leaves=20,
)


def refusal(data: bytes) -> Reason:
    with pytest.raises(GateError) as caught:
        parse_msgpack(data)
    return caught.value.reason


@given(value=values)
def test_what_kombu_writes_is_read_back(value: object) -> None:
    assert parse_msgpack(msgpack.packb(value, use_bin_type=True)) == value


@given(value=values, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_pickle_is_never_msgpack(value: object, protocol: int) -> None:
    assert refusal(pickle.dumps(value, protocol)) is Reason.CONTENT_MSGPACK


@given(data=st.binary(max_size=100))
def test_any_bytes_are_what_kombu_reads_or_refused(data: bytes) -> None:
    try:
        value = parse_msgpack(data)
    except GateError as error:
        assert error.reason in (Reason.CONTENT_MSGPACK, Reason.CONTENT_GADGET)
    else:
        assert repr(value) == repr(msgpack.unpackb(data, raw=False))


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        msgpack.packb([1]) + b"\xc0",
        msgpack.packb([1, 2])[:-1],
        b"\xc1",
        b"\x82\xa1a\x01\xa1a\x01",
        b"\x81\x01\x02",
        b"\x81\x90\x02",
        b"\xa1\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 100_000,
        msgpack.packb(msgpack.ExtType(5, b"x")),
        msgpack.packb([msgpack.ExtType(5, b"x")]),
        msgpack.packb(NOW, datetime=True),
        msgpack.packb([NOW], datetime=True),
        msgpack.packb({"a": NOW}, datetime=True),
    ],
)
def test_msgpack_with_another_reading_is_refused(data: bytes) -> None:
    assert refusal(data) is Reason.CONTENT_MSGPACK


def test_gadget_is_refused_in_msgpack_too() -> None:
    assert refusal(msgpack.packb([{"py/reduce": []}])) is Reason.CONTENT_GADGET
