"""The checks on a reply from Redis: nothing that is not surely the answer is taken for it."""

from __future__ import annotations

from typing import Any

import pytest

from sealgate.stores.batch import (
    COMMIT,
    Ask,
    ClaimCall,
    KeySpace,
    ReplyMismatch,
    SettleCall,
    Settlement,
    Waiting,
    owner_text,
)
from sealgate.verify.verdict import ClaimOutcome, ClaimStatus
from support.claims import debit, make_claim

SPACE = KeySpace("prod")
OWNER = 0xABC


def call(*nonces: str) -> ClaimCall:
    waiting = Waiting(print, [None] * len(nonces), len(nonces))
    asks = [
        Ask(make_claim(nonce, 1000, debit("b", 1, 1)), OWNER + index, waiting, index, 0.0)
        for index, nonce in enumerate(nonces)
    ]
    return ClaimCall(7, SPACE, [b"identity", 1, 0, 10_000], asks)


def good_reply() -> list[Any]:
    return [b"7", 12, owner_text(OWNER), 0, 0, 0, owner_text(OWNER + 1), 4, 3, 1500]


def test_a_reply_is_read_in_order() -> None:
    entries, outcomes = call("n1", "n2").read(good_reply())
    assert entries == 12
    assert outcomes == [ClaimOutcome(ClaimStatus.GRANTED), ClaimOutcome(ClaimStatus.LIMITED, "b", 1500)]


def test_keys_are_named_once_and_in_one_slot() -> None:
    built = call("n1", "", "n2")
    assert built.keys == [
        b"sealgate:{prod}:identity",
        b"sealgate:{prod}:n:n1",
        b"sealgate:{prod}:b:b",
        b"sealgate:{prod}:n:n2",
    ]


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0, b"6"),
        (0, 7),
        (2, owner_text(OWNER + 1)),
        (3, 8),
        (3, -1),
        (3, b"0"),
        (6, owner_text(OWNER)),
        (7, None),
    ],
)
def test_a_reply_with_a_field_of_another_call_is_refused(index: int, value: object) -> None:
    reply = good_reply()
    reply[index] = value
    with pytest.raises(ReplyMismatch):
        call("n1", "n2").read(reply)


@pytest.mark.parametrize("reply", [None, b"OK", [], good_reply()[:-1], [*good_reply(), 0], good_reply()[:2]])
def test_a_reply_of_another_form_is_refused(reply: object) -> None:
    with pytest.raises(ReplyMismatch):
        call("n1", "n2").read(reply)


@pytest.mark.parametrize(
    "reply", [None, [b"3"], [b"4", 1], [b"3", 2], [b"3", -1], [b"3", b"1"], [b"3", 1, 1]]
)
def test_a_settlement_reply_of_another_call_is_refused(reply: object) -> None:
    steps = [Settlement(COMMIT, make_claim("n", 1000), OWNER)]
    with pytest.raises(ReplyMismatch):
        SettleCall(3, SPACE, 10_000, steps).read(reply)
    assert SettleCall(3, SPACE, 10_000, steps).read([b"3", 1]) == 1
