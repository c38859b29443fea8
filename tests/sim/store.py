"""The simulated claim store: seal1.md's table on the virtual clock, with the faults a shared store has.

It answers late, its answers overtake each other, it is limited, full, away, or away only for whoever waits
for its reply. It also holds the gate to what it was granted: what is settled was leased, and is settled once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sealgate.verify.verdict import Claim, ClaimOutcome, ClaimStatus
from sim.world import World

LEASE_S: Final = 10.0
#: The product gives a store this long before it takes it for away (seal1.md, "Replay").
ANSWER_S_MAX: Final = 4.5


@dataclass
class Nonce:
    """What is remembered of one nonce. `lease_until` is None once committed."""

    digest: bytes
    owner: int
    lease_until: float | None


@dataclass
class Habits:
    """How the store behaves in one run: chances of each fault, and how long it takes at most."""

    late_s: float = 0.0
    #: Of what does not come late, what is answered while it is asked.
    prompt: float = 0.0
    unavailable: float = 0.0
    lost_reply: float = 0.0
    limited: float = 0.0
    delayed: float = 0.0
    full: float = 0.0
    horizon: float = 0.0


class Store:
    """Shared by every gate of a run."""

    def __init__(self, world: World, habits: Habits) -> None:
        self._world: Final = world
        self._habits: Final = habits
        self._nonces: Final[dict[bytes, Nonce]] = {}
        self._owner = 0
        #: Claims whose grant reached the gate, by identity, until settled.
        self.leased: Final[dict[int, Claim]] = {}
        self._settled: Final[dict[int, Claim]] = {}

    def claim(self, claims: list[Claim], answer: Callable[[list[ClaimOutcome]], None]) -> None:
        """Decide now or later, and tell now or later."""
        late_s = self._habits.late_s
        if not late_s:
            answer(self._decide(claims))
            return
        dice = self._world.dice
        asked_s = late_s * dice.random() / 2

        def decide() -> None:
            outcomes = self._decide(claims)
            self._world.after(late_s * dice.random() / 2, lambda: answer(outcomes))

        self._world.after(asked_s, decide)

    def claim_now(self, claim: Claim) -> ClaimOutcome | None:
        """Decide at once; None: it is to be asked with `claim`, and nothing has happened."""
        if self._habits.late_s or self._world.dice.random() >= self._habits.prompt:
            return None
        return self._decide([claim])[0]

    def _decide(self, claims: list[Claim]) -> list[ClaimOutcome]:
        """One call to the store. When its reply is lost, what it leased stays leased, and nobody knows."""
        dice, habits = self._world.dice, self._habits
        if dice.random() < habits.unavailable:
            return [self._away(claim) for claim in claims]
        lost = dice.random() < habits.lost_reply
        outcomes = [self._decide_one(claim) for claim in claims]
        if lost:
            return [self._away(claim) for claim in claims]
        for claim, outcome in zip(claims, outcomes, strict=True):
            if outcome.status is ClaimStatus.GRANTED:
                self.leased[id(claim)] = claim
        return outcomes

    def _away(self, claim: Claim) -> ClaimOutcome:
        """Without a nonce to remember, the gate's own share of the rate decides."""
        if claim.nonce_key or self._world.dice.random() < 0.3:
            return ClaimOutcome(ClaimStatus.UNAVAILABLE)
        self.leased[id(claim)] = claim
        return ClaimOutcome(ClaimStatus.DEGRADED)

    def _decide_one(self, claim: Claim) -> ClaimOutcome:
        dice, habits = self._world.dice, self._habits
        found = self._nonces.get(claim.nonce_key) if claim.nonce_key else None
        if found is not None:
            if found.digest != claim.digest:
                return ClaimOutcome(ClaimStatus.CONFLICT)
            if found.lease_until is None:
                return ClaimOutcome(ClaimStatus.DUPLICATE)
            if found.lease_until > self._world.now:
                return ClaimOutcome(ClaimStatus.INFLIGHT)
        elif claim.nonce_key and dice.random() < habits.horizon:
            return ClaimOutcome(ClaimStatus.HORIZON)
        elif claim.nonce_key and dice.random() < habits.full:
            return ClaimOutcome(ClaimStatus.FULL)
        if claim.debits and dice.random() < habits.limited:
            return ClaimOutcome(ClaimStatus.LIMITED, claim.debits[0].bucket.name, 1_500_000)
        wait_us = self._wait_us(claim)
        if claim.nonce_key:
            self._owner += 1
            claim.owner = self._owner
            self._nonces[claim.nonce_key] = Nonce(claim.digest, self._owner, self._world.now + LEASE_S)
        if wait_us is not None:
            return ClaimOutcome(ClaimStatus.GRANTED, claim.debits[0].bucket.name, wait_us, True)
        return ClaimOutcome(ClaimStatus.GRANTED)

    def _wait_us(self, claim: Claim) -> int | None:
        """How long its message waits in the broker; None when it does not go through a queue."""
        if not claim.wait_us or self._world.dice.random() >= self._habits.delayed:
            return None
        # Some only stay behind others.
        return self._world.dice.choice((0, 1, 40_000, 1_500_000, claim.wait_us))

    def settle(self, commits: list[Claim], releases: list[Claim]) -> None:
        for claim in (*commits, *releases):
            assert id(claim) not in self._settled, "a claim was settled twice"
            assert self.leased.pop(id(claim), None) is claim, "a claim was settled that was not granted"
            self._settled[id(claim)] = claim
        for claim in commits:
            if claim.nonce_key:
                self._nonces[claim.nonce_key] = Nonce(claim.digest, claim.owner, None)
        for claim in releases:
            found = self._nonces.get(claim.nonce_key)
            if found is not None and found.lease_until is not None and found.owner == claim.owner:
                del self._nonces[claim.nonce_key]

    def renew(self, claims: list[Claim]) -> None:
        for claim in claims:
            held = self.leased.get(id(claim)) or self._settled.get(id(claim))
            assert held is claim, "a lease was renewed that was not granted"
            found = self._nonces.get(claim.nonce_key)
            if found is not None and found.lease_until is not None and found.owner == claim.owner:
                found.lease_until = self._world.now + LEASE_S

    def lease_runs(self, claim: Claim) -> bool:
        """Whether nobody else could be granted the nonce of `claim` now."""
        found = self._nonces.get(claim.nonce_key)
        if found is None or found.owner != claim.owner or found.lease_until is None:
            return True
        return found.lease_until > self._world.now
