"""What became of claims, until Redis was told: commits, releases and renewals, bounded."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from sealgate.verify.verdict import Claim

_Item = TypeVar("_Item")

RELEASE: Final = b"R"
RENEW: Final = b"N"

#: Settlements per call, for the same reason as claims: Redis serves nobody else meanwhile.
STEPS_PER_CALL_MAX: Final = 500


class Settlement(NamedTuple):
    """A release or a renewal, with the number of the lease as it was when it was asked for."""

    what: bytes
    claim: Claim
    number: int


class Steps:
    """The settlements of one call, in the order in which they are done."""

    __slots__ = ("commits", "count", "others")

    def __init__(self, commits: list[Claim], others: list[Settlement]) -> None:
        self.commits: Final = commits
        self.others: Final = others
        self.count: Final = len(commits) + len(others)


NO_STEPS: Final = Steps([], [])


class Settlements:
    """Commits go before the rest: they count whoever holds the nonce, and nothing undoes them."""

    __slots__ = ("_commits", "_others")

    def __init__(self) -> None:
        self._commits: Final[deque[Claim]] = deque()
        self._others: Final[deque[Settlement]] = deque()

    def __len__(self) -> int:
        return len(self._commits) + len(self._others)

    def commit(self, claims: list[Claim]) -> None:
        self._commits.extend([claim for claim in claims if claim.nonce_key])

    def add(self, what: bytes, claims: list[Claim]) -> None:
        self._others.extend([Settlement(what, claim, claim.owner) for claim in claims if claim.nonce_key])

    def release(self, claim: Claim, number: int) -> None:
        """A lease that nobody uses, by its number."""
        self._others.append(Settlement(RELEASE, claim, number))

    def bound(self, steps_max: int) -> int:
        """Drop what is too much, the oldest first, and commits last; returns how many."""
        dropped = 0
        while len(self) > steps_max:
            if self._others:
                self._others.popleft()
            else:
                self._commits.popleft()
            dropped += 1
        return dropped

    def take(self) -> Steps:
        """What the next call carries."""
        commits = _take(self._commits, STEPS_PER_CALL_MAX)
        return Steps(commits, _take(self._others, STEPS_PER_CALL_MAX - len(commits)))

    def put_back(self, steps: Steps, done: int = 0) -> None:
        """What was not done goes first again; `done` counts from the first."""
        self._commits.extendleft(reversed(steps.commits[done:]))
        self._others.extendleft(reversed(steps.others[max(done - len(steps.commits), 0) :]))


def _take(queue: deque[_Item], most: int) -> list[_Item]:
    if len(queue) <= most:
        taken = list(queue)
        queue.clear()
        return taken
    taken = list(islice(queue, most))
    for _ in taken:
        queue.popleft()
    return taken
