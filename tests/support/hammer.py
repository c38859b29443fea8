"""A gateway's store that asks one bucket for tokens as fast as it can, and counts what it was granted.

    python -m support.hammer URL DEPLOYMENT RATE BURST COUNTERS SLOT

The count is in the file COUNTERS, 8 octets for each slot, mapped: it outlives this process however it dies.
"""

from __future__ import annotations

import asyncio
import mmap
import struct
import sys
from pathlib import Path

from sealgate.stores.redis import RedisStore
from sealgate.verify.verdict import Claim, ClaimOutcome, ClaimStatus
from support.claims import debit, make_claim

SLOT = struct.Struct("=Q")
#: Claims at once, and how many may be unanswered.
BATCH, OPEN_MAX = 20, 400


class Hammer:
    """`granted` is called with how many of each batch were granted, when that is known."""

    def __init__(self, store: RedisStore, claim: Claim) -> None:
        self.granted = 0
        self._store = store
        self._claims = [claim] * BATCH
        self._open = 0

    def strike(self) -> None:
        """Ask for one batch more, unless too much is open."""
        if self._open < OPEN_MAX:
            self._open += BATCH
            self._store.claim(self._claims, self._answered)

    def _answered(self, outcomes: list[ClaimOutcome]) -> None:
        self._open -= BATCH
        self.granted += [outcome.status for outcome in outcomes].count(ClaimStatus.GRANTED)


def flood(rate: int, burst: int) -> Claim:
    """A message without a nonce that takes one token of the bucket `b`."""
    return make_claim("", 1, debit("b", rate, burst))


async def hammer(url: str, deployment: str, rate: int, burst: int, counters: Path, slot: int) -> None:
    store = RedisStore(url, deployment=deployment, max_age_s=300, clock_skew_s=0)
    await store.start()
    one = Hammer(store, flood(rate, burst))
    with counters.open("r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
        while True:
            one.strike()
            SLOT.pack_into(shared, SLOT.size * slot, one.granted)
            await asyncio.sleep(0)
            SLOT.pack_into(shared, SLOT.size * slot, one.granted)


def main() -> None:
    url, deployment, rate, burst, counters, slot = sys.argv[1:]
    asyncio.run(hammer(url, deployment, int(rate), int(burst), Path(counters), int(slot)))


if __name__ == "__main__":
    main()
