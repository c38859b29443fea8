"""The delivery-tag ledger of one channel in confirm mode.

The client counts every publish it sends; the broker counts only those it was sent. As long as nothing was
refused the two agree. After a refusal each broker answer is mapped back, and a `multiple` answer never
spans a client tag that was answered here: clients read such an answer as covering it (measured with
amqp091-go; protocol.md C2, C3).
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from sealgate.verify.verdict import Claim


class Seal(NamedTuple):
    """What a returned publish is known by: its seal as text, and where it was going.

    The seal alone is not enough: where rules observe, anybody may send another message with a copy of it.
    """

    token: bytes
    exchange: str
    routing_key: str

    def __repr__(self) -> str:
        return "Seal(...)"


class Outstanding:
    """A forwarded publish that the broker has not answered yet."""

    __slots__ = ("claim", "client_tag", "lost", "returned", "seal")

    def __init__(self, client_tag: int, claim: Claim | None, seal: Seal | None) -> None:
        self.client_tag: Final = client_tag
        self.claim: Final = claim
        #: Set where the broker may return it, and a claim or a header is then to be given back.
        self.seal: Final = seal
        self.returned = False
        #: It was to be held and is not: the broker's ack is no good news for the client.
        self.lost = False


#: What stands for a publish that is answered, until those before it are.
_ANSWERED: Final = Outstanding(0, None, None)
#: Answered ones are kept at the head of the list until they are so many, and half of it.
_HEAD_MIN: Final = 64
#: A list of so many of which one in so many is not answered is let go, and those are kept apart: a queue that
#: has lost its majority may answer nothing for hours, while others answer on the same channel.
_SPARSE_MIN: Final = 4096
_SPARSE_PARTS: Final = 8


class Answered:
    """What one broker answer means: the answers for the client, and the publishes it settles."""

    __slots__ = ("answers", "lost", "settled", "unchanged")

    def __init__(self) -> None:
        #: (client tag, multiple), in order
        self.answers: list[tuple[int, bool]] = []
        self.settled: list[Outstanding] = []
        #: Of the client tags in `answers` those that are to be nacked whatever the broker says.
        self.lost: set[int] = set()
        #: The answer may be passed on byte for byte.
        self.unchanged = False


class ConfirmLedger:
    """Client tags and broker tags of one channel, from its first `confirm.select` on."""

    __slots__ = ("_apart", "_base", "_by_seal", "_count", "_entries", "_gaps", "_head", "_next_client")

    def __init__(self) -> None:
        self._next_client = 1
        #: The publishes from broker tag `_base` on, those before `_head` answered. One that has the same tag
        #: for the client and no seal is its claim, or None without one.
        self._entries: Final[list[Outstanding | Claim | None]] = []
        self._base = 1
        self._head = 0
        #: Those before `_base` that are not answered, by their broker tag, rising: hardly ever any.
        self._apart: Final[dict[int, Outstanding]] = {}
        #: How many are not answered, in all.
        self._count = 0
        #: client tags answered here while earlier tags were outstanding, rising
        self._gaps: Final[deque[int]] = deque()
        #: mandatory publishes by their seal, to know which one a `basic.return` brings back
        self._by_seal: Final[dict[Seal, Outstanding]] = {}

    def __len__(self) -> int:
        return self._count

    def outstanding(self) -> list[Outstanding]:
        """The publishes the broker still owes an answer for, oldest first."""
        found = [self._whole(at) for at in range(self._head, len(self._entries))]
        return [*self._apart.values(), *[entry for entry in found if entry is not _ANSWERED]]

    def owes_claims(self) -> bool:
        """Whether a claim still waits for the broker's answer."""
        return any(entry.claim is not None for entry in self.outstanding())

    def forwarded(self, claim: Claim | None, seal: Seal | None) -> None:
        """A publish goes upstream. A mandatory one has a `seal` when there is something to give back."""
        tag = self._next_client
        self._next_client = tag + 1
        self._count += 1
        if seal is None and tag == self._base + len(self._entries):
            self._entries.append(claim)
            return
        entry = Outstanding(tag, claim, seal)
        self._entries.append(entry)
        if seal is not None:
            self._by_seal[seal] = entry

    def answered_here(self) -> int:
        """A publish is answered by the gate: returns its client tag, which the broker never counts."""
        tag = self._next_client
        self._next_client += 1
        if self._count:
            self._gaps.append(tag)
        return tag

    def lost(self, seal: Seal) -> None:
        """The broker returned a publish that was to be held: the client is to send it again."""
        entry = self._by_seal.get(seal)
        if entry is not None:
            entry.returned = entry.lost = True

    def returned(self, seal: Seal) -> None:
        """The broker returned the mandatory publish with this seal: its ack will not mean arrival."""
        entry = self._by_seal.get(seal)
        if entry is not None:
            entry.returned = True

    def answered(self, tag: int, multiple: bool) -> Answered:
        """The broker answered `tag` (all up to it with `multiple`; 0 with `multiple` is all outstanding)."""
        answered = Answered()
        answered.unchanged = self._next_client == self._base + len(self._entries) and not self._gaps
        if multiple:
            self._settle_up_to(tag, answered)
        else:
            entry = self._take(tag - self._base)
            if entry is not None:
                self._settle(entry, answered)
                self._answer_one(entry, answered)
        self._let_go()
        self._forget_gaps()
        return answered

    def confirmed(self, tag: int, multiple: bool) -> list[Claim] | None:
        """As `answered` for an ack that is to the client what it is here: returns the claims it settles.

        None, and nothing has happened, where there may be more to it.
        """
        entries = self._entries
        size = len(entries)
        last = tag - self._base
        if self._next_client != self._base + size or self._gaps or not tag:
            return None
        first = self._head
        if not multiple:
            first = last
            if last < self._head or last >= size or entries[last] is _ANSWERED:
                return None
        elif self._apart:
            return None
        elif last >= size:
            last = size - 1
        claims: list[Claim] = []
        answered = 0
        for at in range(first, last + 1):
            entry = entries[at]
            if entry is None:
                answered += 1
            elif isinstance(entry, Claim):
                answered += 1
                claims.append(entry)
            elif entry is not _ANSWERED:
                return None
        for at in range(first, last + 1):
            entries[at] = _ANSWERED
        self._count -= answered
        self._let_go()
        return claims

    def _whole(self, at: int) -> Outstanding:
        """The publish at a place of the list."""
        entry = self._entries[at]
        if isinstance(entry, Outstanding):
            return entry
        return Outstanding(self._base + at, entry, None)

    def _take(self, at: int) -> Outstanding | None:
        """Take a publish out; None for what is not there, or is answered."""
        if at < 0:
            apart = self._apart.pop(self._base + at, None)
            if apart is not None:
                self._count -= 1
            return apart
        if at < self._head or at >= len(self._entries):
            return None
        entry = self._whole(at)
        if entry is _ANSWERED:
            return None
        self._entries[at] = _ANSWERED
        self._count -= 1
        return entry

    def _let_go(self) -> None:
        """Do not keep what is answered."""
        entries = self._entries
        size = len(entries)
        count = self._count - len(self._apart)
        head = size if not count else self._head
        while head < size and entries[head] is _ANSWERED:
            head += 1
        if size >= _SPARSE_MIN and size >= _SPARSE_PARTS * count:
            for at in range(head, size):
                entry = self._whole(at)
                if entry is not _ANSWERED:
                    self._apart[self._base + at] = entry
            head = size
        if head == size or (head >= _HEAD_MIN and 2 * head >= size):
            del entries[:head]
            self._base += head
            head = 0
        self._head = head

    def _answer_one(self, entry: Outstanding, answered: Answered) -> None:
        answered.answers.append((entry.client_tag, False))
        if entry.lost:
            answered.lost.add(entry.client_tag)
            answered.unchanged = False

    def _settle(self, entry: Outstanding, answered: Answered) -> None:
        answered.settled.append(entry)
        if entry.seal is not None:
            self._by_seal.pop(entry.seal, None)

    def _settle_up_to(self, tag: int, answered: Answered) -> None:
        last = tag - self._base if tag else len(self._entries) - 1
        covered = 0
        apart = [broker_tag - self._base for broker_tag in self._apart]
        for at in [*apart, *range(self._head, min(last + 1, len(self._entries)))]:
            if at > last:
                break
            entry = self._take(at)
            if entry is None:
                continue
            if entry.lost:
                # As a gap: what came before it is answered, then it alone.
                if covered:
                    answered.answers.append((covered, True))
                    covered = 0
                self._answer_one(entry, answered)
                self._settle(entry, answered)
                continue
            if not covered:
                # A new run: what lies before it is answered, all of it.
                while self._gaps and self._gaps[0] < entry.client_tag:
                    self._gaps.popleft()
            # A gap between this tag and the ones before it ends the run that one answer may cover.
            if covered and self._gaps and covered < self._gaps[0] < entry.client_tag:
                answered.answers.append((covered, True))
                while self._gaps and self._gaps[0] < entry.client_tag:
                    self._gaps.popleft()
            covered = entry.client_tag
            self._settle(entry, answered)
        if covered:
            answered.answers.append((covered, True))

    def _forget_gaps(self) -> None:
        """A gap below every outstanding tag can no longer be spanned."""
        lowest = self._next_client
        if self._apart:
            for first in self._apart.values():
                lowest = first.client_tag
                break
        elif self._count:
            lowest = self._whole(self._head).client_tag
        while self._gaps and self._gaps[0] < lowest:
            self._gaps.popleft()
