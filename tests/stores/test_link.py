"""The reading of Redis' replies: one string, an error, more to come, or the end of the connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import RedisError

from sealgate.stores.batch import Call, KeySpace, ReplyMismatch, Terms
from sealgate.stores.link import _whole_string
from sealgate.stores.pending import Part, Waiting
from sealgate.stores.settlements import NO_STEPS
from support.claims import debit, make_claim

WHOLE = b"$5\r\nab\r\nc\r\n"


def test_a_string_is_read_whole_byte_by_byte_and_never_with_a_tail() -> None:
    assert _whole_string(WHOLE) == b"ab\r\nc"
    for end in range(len(WHOLE)):
        assert _whole_string(WHOLE[:end]) is None
    with pytest.raises(ReplyMismatch):
        _whole_string(WHOLE + b"$")


def test_an_error_is_raised_with_its_text() -> None:
    with pytest.raises(RedisError, match="NOSCRIPT No matching script"):
        _whole_string(b"-NOSCRIPT No matching script\r\n")


@pytest.mark.parametrize(
    "wrong",
    [
        b"+OK\r\n",
        b":5\r\n",
        b"*1\r\n",
        b"_\r\n",
        b"$-1\r\n",
        b"$\r\n",
        b"$ 5\r\n",
        b"$0x5\r\n",
        b"$65537\r\n",
        b"$000000005\r\n",
        b"$5\r\nabcdeXY",
        b"$" + b"1" * 70_000,
    ],
)
def test_anything_else_ends_the_connection(wrong: bytes) -> None:
    with pytest.raises(ReplyMismatch):
        _whole_string(wrong)


@given(st.binary(max_size=80))
def test_no_bytes_are_read_in_any_other_way(data: bytes) -> None:
    for start in (b"", b"$", b"$5\r\n", b"-"):
        try:
            found = _whole_string(start + data)
        except (ReplyMismatch, RedisError):
            continue
        assert found is None or start + data == b"$%d\r\n%b\r\n" % (len(found), found)


@given(st.binary(max_size=80), st.booleans())
def test_no_reply_is_taken_that_is_not_to_this_call(data: bytes, as_its_own: bool) -> None:
    claim = make_claim("n", 1000, debit("b", 1, 1))
    part = Part(Waiting(print, 1), [claim], [0], [1], 0.0)
    call = Call(Terms(b"s" * 40, b"i", b"gateway8", KeySpace("prod"), 10_000), 7, 0, [part], NO_STEPS, [])
    mine = b"gateway8" + (7).to_bytes(8, "big")
    try:
        exchange = call.read(mine + data if as_its_own else data)
    except ReplyMismatch:
        return
    # Its head, and then nothing or one refusal.
    assert as_its_own or data.startswith(mine)
    assert len(exchange.refused) <= 1
    assert exchange.settled == 0
    assert not exchange.blocks
