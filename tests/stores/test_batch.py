"""What a call says, and the checks on a reply: nothing that is not surely the answer is taken for it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from sealgate.stores.batch import Call, KeySpace, ReplyMismatch, Terms
from sealgate.stores.blocks import Wanted
from sealgate.stores.pending import Part, Waiting
from sealgate.stores.settlements import NO_STEPS, RELEASE, Settlement, Steps
from sealgate.verify.seals import nonce_name
from sealgate.verify.verdict import Claim, ClaimOutcome, ClaimStatus
from support.claims import debit, make_claim

SPACE = KeySpace("prod")
GATEWAY = b"gateway8"
TERMS = Terms(b"a" * 40, b"RUN:REPL:1", GATEWAY, SPACE, 10_000)
CALL_ID = GATEWAY + struct.pack(">Q", 7)


def part(*claims: Claim) -> Part:
    waiting = Waiting(print, len(claims))
    return Part(waiting, list(claims), range(len(claims)), range(100, 100 + len(claims)), 0.0)


def call(*nonces: str, steps: Steps = NO_STEPS, wanted: Sequence[Wanted] = ()) -> Call:
    claims = [make_claim(nonce, 1000, debit("b", 1, 1)) for nonce in nonces]
    return Call(TERMS, 7, 0, [part(*claims)] if claims else [], steps, list(wanted))


def reply(
    call_id: bytes = CALL_ID,
    settled: int = 0,
    claims: int = 2,
    blocks: Sequence[int] = (),
    refused: Sequence[tuple[int, int, int, int]] = (),
) -> bytes:
    packed = struct.pack(">16sQHHH", call_id, 12, settled, claims, len(blocks))
    packed += struct.pack(f">{len(blocks)}I", *blocks)
    return packed + b"".join([struct.pack(">HBHQ", *each) for each in refused])


def words(data: bytes) -> list[bytes]:
    """The arguments of one command on the wire; fails when there is more or less than that."""
    count, _, rest = data.removeprefix(b"*").partition(b"\r\n")
    found = []
    for _ in range(int(count)):
        length, _, rest = rest.removeprefix(b"$").partition(b"\r\n")
        found.append(rest[: int(length)])
        assert rest[int(length) : int(length) + 2] == b"\r\n"
        rest = rest[int(length) + 2 :]
    assert rest == b""
    return found


def test_a_reply_without_refusals_grants_all() -> None:
    exchange = call("n1", "n2").read(reply())
    assert exchange.entries == 12
    assert not exchange.refused


def test_a_refusal_names_its_claim_and_bucket() -> None:
    exchange = call("n1", "n2").read(reply(refused=[(1, 4, 1, 1500)]))
    assert exchange.refused == {1: ClaimOutcome(ClaimStatus.LIMITED, "b", 1500)}


def test_a_call_is_one_command_whose_keys_are_in_one_slot() -> None:
    commit, release = make_claim("c", 1000), make_claim("release", 1000)
    first = make_claim("n1", 1000, debit("b", 1, 1))
    steps = Steps([commit], [Settlement(RELEASE, release, 5)])
    built = Call(
        TERMS,
        7,
        0,
        [part(first), part(make_claim("", 1000, debit("b", 1, 1)))],
        steps,
        [Wanted(debit("w", 1000, 1000).bucket, 10)],
    )
    name, script, keys, *rest = words(built.data)
    assert (name, script, int(keys)) == (b"EVALSHA", b"a" * 40, len(rest) - 2)
    assert rest[:-2] == [
        b"sealgate:{prod}:identity",
        # In Redis a nonce has always been its octets, not the text that a token has.
        b"sealgate:{prod}:n:4:test:k1:" + b"c".ljust(16, b"\0"),
        b"sealgate:{prod}:n:4:test:k1:" + b"release".ljust(16, b"\0"),
        b"sealgate:{prod}:n:4:test:k1:" + b"n1".ljust(16, b"\0"),
        b"sealgate:{prod}:b:b",
        b"sealgate:{prod}:b:w",
    ]
    assert rest[-2] == TERMS.identity
    assert rest[-1].startswith(CALL_ID)


@pytest.mark.parametrize("count", [1, 2, 200])
def test_claims_that_are_alike_are_packed_alike(count: int) -> None:
    """Each claim adds its number, its digest, and one octet for all that it shares with others."""
    debits = (debit("b", 1, 1),)
    names = [nonce_name("prod", "k1", b"%016d" % number) for number in range(count)]
    claims = [Claim(name, b"d" * 32, 1000, 2000, debits) for name in names]
    text = words(Call(TERMS, 7, 0, [part(*claims)], NO_STEPS, []).data)[-1]
    assert len(text) == 16 + 8 + 8 + 4 + 10 + (27 + 27) + count * (1 + 8 + 32)


@pytest.mark.parametrize(
    "wrong",
    [
        reply(call_id=GATEWAY + struct.pack(">Q", 6)),
        reply(call_id=b"another8" + struct.pack(">Q", 7)),
        reply(claims=1),
        reply(claims=3),
        reply(settled=1),
        reply(blocks=[1]),
        reply(refused=[(2, 1, 0, 0)]),
        reply(refused=[(0, 9, 0, 0)]),
        reply(refused=[(0, 0, 0, 0)]),
        reply(refused=[(0, 4, 2, 1)]),
        reply(refused=[(1, 1, 0, 0), (0, 1, 0, 0)]),
        reply(refused=[(1, 1, 0, 0), (1, 1, 0, 0)]),
        reply()[:-1],
        reply() + b"0",
        b"",
        b"OK",
    ],
)
def test_a_reply_that_is_not_surely_this_calls_is_refused(wrong: bytes) -> None:
    with pytest.raises(ReplyMismatch):
        call("n1", "n2").read(wrong)


def test_no_more_settlements_are_done_than_were_asked_for() -> None:
    steps = Steps([make_claim("n", 1000)], [])
    built = call(steps=steps)
    assert built.read(reply(claims=0, settled=1)).settled == 1
    assert built.read(reply(claims=0, settled=0)).settled == 0
    with pytest.raises(ReplyMismatch):
        built.read(reply(claims=0, settled=2))


def test_no_block_is_larger_than_was_asked_for() -> None:
    built = call(wanted=[Wanted(debit("w", 1000, 1000).bucket, 10)])
    assert list(built.read(reply(claims=0, blocks=[10])).blocks) == [10]
    for wrong in ([11], [], [1, 1]):
        with pytest.raises(ReplyMismatch):
            built.read(reply(claims=0, blocks=wrong))
