"""What a gateway decides without a call to Redis, all of it about claims without a nonce.

While there is Redis: by blocks of tokens and by what is known of empty buckets. While there is none: by this
gateway's share of each rate. Pure: the time comes in, in steady seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sealgate.stores.blocks import Blocks, Wanted
from sealgate.stores.limiter import GRACE_US, MICROSECONDS
from sealgate.stores.refusals import Refusals
from sealgate.stores.share import LocalShare
from sealgate.verify.verdict import Claim, ClaimOutcome


class Decided(NamedTuple):
    """By places in the claims: `open` must be asked of the store, `told` have the outcomes beside them, and
    all others are granted."""

    open: list[int]
    told: list[int]
    outcomes: list[ClaimOutcome]


class Here:
    """`gateways` is how many share the store."""

    __slots__ = ("_blocks", "_held", "_refusals", "_share")

    def __init__(self, gateways: int) -> None:
        self._blocks: Final = Blocks()
        self._refusals: Final = Refusals()
        #: Until when messages go through a bucket's queue: as many as are configured.
        self._held: Final[dict[str, float]] = {}
        self._share: Final = LocalShare(gateways)

    def decide(self, claims: list[Claim], now: float, away: bool) -> Decided:
        """All that is certain of `claims`; `away`: there is no store to ask."""
        decided = Decided([], [], [])
        for place, claim in enumerate(claims):
            debits = claim.debits
            if claim.nonce_key:
                decided.open.append(place)
            elif debits and (away or self._holds(claim, now) or not self._blocks.spend(debits, now)):
                if away:
                    outcome: ClaimOutcome | None = self.alone(claim, now)
                else:
                    outcome = self._refusals.refusal(debits, now, claim.wait_us)
                if outcome is None:
                    decided.open.append(place)
                else:
                    decided.told.append(place)
                    decided.outcomes.append(outcome)
        return decided

    def alone(self, claim: Claim, now: float) -> ClaimOutcome:
        """A claim without a nonce, by this gateway's share."""
        return self._share.decide(claim, int(now * MICROSECONDS))

    def wanted(self, now: float) -> list[Wanted]:
        """The blocks to ask for in the call that is made now."""
        return self._blocks.wanted(now)

    def given(self, wanted: list[Wanted], tokens: Sequence[int], asked_at: float) -> None:
        """What the store gave of them."""
        self._blocks.given(wanted, tokens, asked_at)

    def held(self, claim: Claim, outcome: ClaimOutcome, asked_at: float) -> None:
        """The store has sent `claim` through the queue: no block may overtake it."""
        until = asked_at + (outcome.wait_us + GRACE_US) / MICROSECONDS
        for debit in claim.debits:
            # Values in messages make no blocks.
            if debit.other is None:
                key = debit.bucket.state
                self._held[key] = max(self._held.get(key, 0.0), until)

    def _holds(self, claim: Claim, now: float) -> bool:
        if not claim.wait_us or not self._held:
            return False
        until = 0.0
        for debit in claim.debits:
            until = max(until, self._held.get(debit.bucket.state, 0.0))
        return until > now

    def limited(self, claim: Claim, outcome: ClaimOutcome, asked_at: float) -> None:
        """The store has refused `claim` by its rate."""
        self._refusals.note(claim.debits, outcome, asked_at)
        self._blocks.empty(outcome.bucket, asked_at + outcome.wait_us / MICROSECONDS)

    def lost(self) -> None:
        """The store is another, or away: what it said counts no more."""
        self._blocks.lost()
        self._refusals.forget()
        self._held.clear()
