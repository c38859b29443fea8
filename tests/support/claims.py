"""Claims for the tests of the stores, and a way to wait for their outcomes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from sealgate.verify.seals import nonce_name
from sealgate.verify.verdict import Bucket, Claim, ClaimOutcome, ClaimStatus, ClaimStore, Debit

SECOND_US = 1_000_000
REMEMBER_S = 365


def digest_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def make_claim(
    nonce: str, created: int, *debits: Debit, text: str = "a", remember_s: int = REMEMBER_S
) -> Claim:
    """A claim on `nonce` (none when empty; filled up to 16 octets) by the message `text`."""
    nonce_key = nonce_name("test", "k1", nonce.encode().ljust(16, b"\0")) if nonce else b""
    return Claim(nonce_key, digest_of(text), created, created + remember_s, debits)


def of_a_stranger(claim: Claim) -> Claim:
    """The same claim by somebody who was granted another lease."""
    return Claim(
        claim.nonce_key,
        claim.digest,
        claim.created,
        claim.remember_until,
        claim.debits,
        claim.owner + 12345,
    )


def debit(name: str, rate: int, burst: int, cost: int = 1, period_s: int = 1) -> Debit:
    return Debit(Bucket(name, rate, period_s * SECOND_US, burst), cost)


def waiting(claim: Claim, wait_s: float = 3600) -> Claim:
    """The same claim of a message that may wait so long."""
    claim.wait_us = int(wait_s * SECOND_US)
    return claim


def paced(name: str, rate: int, burst: int, key: str = "", period_s: int = 1) -> Debit:
    """A debit of a bucket that messages may wait a day for."""
    return Debit(Bucket(name, rate, period_s * SECOND_US, burst, key, 86_400 * SECOND_US))


async def ask(store: ClaimStore, *claims: Claim, seconds: float = 10) -> list[ClaimOutcome]:
    """The outcomes of one `claim` call; fails when there is no answer in time."""
    answered: asyncio.Future[list[ClaimOutcome]] = asyncio.get_running_loop().create_future()
    store.claim(list(claims), answered.set_result)
    async with asyncio.timeout(seconds):
        return await answered


async def statuses(store: ClaimStore, *claims: Claim) -> list[ClaimStatus]:
    return [outcome.status for outcome in await ask(store, *claims)]


async def status(store: ClaimStore, claim: Claim) -> ClaimStatus:
    return (await statuses(store, claim))[0]


async def grant(store: ClaimStore, claims: Sequence[Claim]) -> None:
    """Claim what must be granted."""
    assert await statuses(store, *claims) == [ClaimStatus.GRANTED] * len(claims)
