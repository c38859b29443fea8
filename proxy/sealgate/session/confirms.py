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

    __slots__ = ("asked_at", "claim", "client_tag", "lost", "returned", "seal")

    def __init__(self, client_tag: int, claim: Claim | None, seal: Seal | None, asked_at: float) -> None:
        self.client_tag: Final = client_tag
        self.claim: Final = claim
        #: Set where the broker may return it, and a claim or a header is then to be given back.
        self.seal: Final = seal
        #: When its claim was asked for, monotonic seconds.
        self.asked_at: Final = asked_at
        self.returned = False
        #: It was to be held and is not: the broker's ack is no good news for the client.
        self.lost = False


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

    __slots__ = ("_by_seal", "_gaps", "_next_broker", "_next_client", "_outstanding")

    def __init__(self) -> None:
        self._next_client = 1
        self._next_broker = 1
        #: broker tag -> publish; insertion order is tag order
        self._outstanding: Final[dict[int, Outstanding]] = {}
        #: client tags answered here while earlier tags were outstanding, rising
        self._gaps: Final[deque[int]] = deque()
        #: mandatory publishes by their seal, to know which one a `basic.return` brings back
        self._by_seal: Final[dict[Seal, Outstanding]] = {}

    def __len__(self) -> int:
        return len(self._outstanding)

    def outstanding(self) -> list[Outstanding]:
        """The publishes the broker still owes an answer for, oldest first."""
        return list(self._outstanding.values())

    def owes_claims(self) -> bool:
        """Whether a claim still waits for the broker's answer."""
        return any(entry.claim is not None for entry in self._outstanding.values())

    def forwarded(self, claim: Claim | None, seal: Seal | None, asked_at: float) -> None:
        """A publish goes upstream; its claim was asked for at `asked_at`.

        A mandatory one has a `seal` when there is something to give back.
        """
        entry = Outstanding(self._next_client, claim, seal, asked_at)
        self._outstanding[self._next_broker] = entry
        if entry.seal is not None:
            self._by_seal[entry.seal] = entry
        self._next_client += 1
        self._next_broker += 1

    def answered_here(self) -> int:
        """A publish is answered by the gate: returns its client tag, which the broker never counts."""
        tag = self._next_client
        self._next_client += 1
        if self._outstanding:
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
        answered.unchanged = self._next_client == self._next_broker and not self._gaps
        if multiple:
            self._settle_up_to(tag, answered)
        else:
            entry = self._outstanding.pop(tag, None)
            if entry is not None:
                self._settle(entry, answered)
                self._answer_one(entry, answered)
        self._forget_gaps()
        return answered

    def confirmed(self, tag: int, multiple: bool) -> bool:
        """As `answered` for an ack that is to the client what it is here, and settles no claim.

        False, and nothing has happened, where there may be more to it.
        """
        if self._next_client != self._next_broker or self._gaps or not tag:
            return False
        if not multiple:
            entry = self._outstanding.get(tag)
            if entry is None or entry.claim is not None or entry.seal is not None:
                return False
            del self._outstanding[tag]
            return True
        settled: list[int] = []
        for broker_tag, entry in self._outstanding.items():
            if broker_tag > tag:
                break
            if entry.claim is not None or entry.seal is not None:
                return False
            settled.append(broker_tag)
        for broker_tag in settled:
            del self._outstanding[broker_tag]
        return True

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
        last = tag if tag else self._next_broker - 1
        covered = 0
        settled: list[int] = []
        for broker_tag in self._outstanding:
            if broker_tag > last:
                break
            settled.append(broker_tag)
        for broker_tag in settled:
            entry = self._outstanding.pop(broker_tag)
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
        for entry in self._outstanding.values():
            lowest = entry.client_tag
            break
        while self._gaps and self._gaps[0] < lowest:
            self._gaps.popleft()
