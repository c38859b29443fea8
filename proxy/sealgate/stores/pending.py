"""Claims on their way to Redis: what was asked, what of it is still open, and what is sent next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from sealgate.verify.verdict import GRANTED, Claim, ClaimOutcome

Answer = Callable[[list[ClaimOutcome]], None]

#: Claims per call: the script holds Redis for about a millisecond at most. One byte tells their terms apart.
CLAIMS_PER_CALL_MAX: Final = 200


class Waiting:
    """One `claim` call of a session until the last of its claims has an outcome."""

    __slots__ = ("_missing", "answer", "outcomes")

    def __init__(self, answer: Answer, count: int) -> None:
        self.answer: Final = answer
        self.outcomes: list[ClaimOutcome] = [GRANTED] * count
        self._missing = count

    def note(self, places: Sequence[int], outcomes: Sequence[ClaimOutcome]) -> bool:
        """Write down outcomes; true when they were the last and `answer` may be called."""
        for place, outcome in zip(places, outcomes, strict=True):
            self.outcomes[place] = outcome
        return self.granted(len(places))

    def granted(self, count: int) -> bool:
        """As `note`, for `count` claims that were granted."""
        self._missing -= count
        return self._missing == 0


class Part:
    """Claims of one `claim` call that are sent together, all with a nonce or all without.

    `places` are theirs in the call, `numbers` name their leases; `deadline` is on the loop's clock. `sent` is
    true once they may have reached the store.
    """

    __slots__ = ("claims", "deadline", "nonces", "numbers", "places", "sent", "waiting")

    def __init__(
        self,
        waiting: Waiting,
        claims: list[Claim],
        places: Sequence[int],
        numbers: Sequence[int],
        deadline: float,
    ) -> None:
        self.waiting: Final = waiting
        self.claims: Final = claims
        self.places: Final = places
        self.numbers: Final = numbers
        self.nonces: Final = claims[0].nonce_key != b""
        self.deadline: Final = deadline
        self.sent = False


class Pending:
    """The parts that wait, in the order of their deadlines. `claims` is how many claims they hold."""

    __slots__ = ("_parts", "claims")

    def __init__(self) -> None:
        self._parts: Final[deque[Part]] = deque()
        self.claims = 0

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, part: Part) -> None:
        self._parts.append(part)
        self.claims += len(part.claims)

    def take(self) -> list[Part]:
        """What the next call carries: whole parts, up to the bound."""
        taken: list[Part] = []
        room = CLAIMS_PER_CALL_MAX
        while self._parts and len(self._parts[0].claims) <= room:
            part = self._parts.popleft()
            room -= len(part.claims)
            part.sent = True
            taken.append(part)
        self.claims -= CLAIMS_PER_CALL_MAX - room
        return taken

    def put_back(self, parts: list[Part]) -> None:
        """In their old place: they go first again."""
        for part in reversed(parts):
            self._parts.appendleft(part)
            self.claims += len(part.claims)

    def without_nonce(self) -> list[Part]:
        """Take out what needs no memory: it can be decided without the store."""
        taken = [part for part in self._parts if not part.nonces]
        if taken:
            kept = [part for part in self._parts if part.nonces]
            self._parts.clear()
            self._parts.extend(kept)
            self.claims = sum([len(part.claims) for part in kept])
        return taken

    def deadline(self) -> float:
        """When the oldest is overdue."""
        return self._parts[0].deadline

    def overdue(self, now: float) -> list[Part]:
        """Take out what has waited until `now` or longer than it may."""
        taken: list[Part] = []
        while self._parts and self._parts[0].deadline <= now:
            part = self._parts.popleft()
            self.claims -= len(part.claims)
            taken.append(part)
        return taken

    def drain(self) -> list[Part]:
        taken = list(self._parts)
        self._parts.clear()
        self.claims = 0
        return taken
