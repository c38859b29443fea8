"""What publishes are counted as: it is kept here for a while, then goes into the tally at once."""

from __future__ import annotations

from typing import Final

from sealgate.reason import Reason
from sealgate.session.conversation import Conversation
from sealgate.verify.sealer import Sealer, SignerSession
from sealgate.verify.verdict import Accepted

#: The verdict where nothing is judged.
UNREAD: Final = Accepted(kid="", task="")
#: Pairs of a task and a key that may wait for the tally to be told; those whose places stay after that, as a
#: producer has a few. 200 bytes each.
PLACES_MAX: Final = 1024
KEPT_MAX: Final = 16
#: How often a key is used is told by the minute (`keyuse`).
_MINUTE_S: Final = 60.0


class _Place:
    """Publishes of one task under one key: how many, and the latest end of their seals; when the last one
    came, and its skew."""

    __slots__ = ("at", "clock_skew_s", "count", "expires", "kid", "task")

    def __init__(self, task: str, kid: str) -> None:
        self.task: Final = task
        self.kid: Final = kid
        self.count = 0
        self.expires = 0
        self.at = 0.0
        self.clock_skew_s = 0.0

    def add(self, accepted: Accepted, now: float) -> None:
        self.count += 1
        if accepted.expires > self.expires:
            self.expires = accepted.expires
        self.at = now
        self.clock_skew_s = accepted.clock_skew_s


class Counts:
    """Counts the publishes of one conversation. `signed` and `countersigned` are added to from outside.

    What waits here is in the tally's `untold`: who reads that has it told.
    """

    __slots__ = (
        "_conversation",
        "_last",
        "_minute_ends",
        "_of_task",
        "_places",
        "_tasks",
        "_waits",
        "countersigned",
        "signed",
    )

    def __init__(self, conversation: Conversation) -> None:
        self._conversation: Final = conversation
        #: By task and kid. `_last` is the one that was used last, `_of_task` has those of its task.
        self._tasks: Final[dict[str, dict[str, _Place]]] = {}
        self._of_task: dict[str, _Place] = {}
        self._last: _Place | None = None
        self._places = 0
        #: Whether accepted publishes wait, all of them of the minute that ends then.
        self._waits = False
        self._minute_ends = 0.0
        self.signed = 0
        self.countersigned = 0

    def accept(self, accepted: Accepted) -> None:
        """Count a publish that was accepted, and not because it is only observed."""
        now = self._conversation.now.wall
        if accepted.flags:
            # One message, one count, whatever else was noticed.
            flagged = _Place(accepted.task, accepted.kid)
            flagged.add(accepted, now)
            self._tell_accepted(flagged, accepted.flags[0])
            return
        if not self._waits or now >= self._minute_ends:
            self._begin(now)
        last = self._last
        if last is None or accepted.kid != last.kid or accepted.task != last.task:
            last = self._last = self._place(accepted.task, accepted.kid, last)
        last.add(accepted, now)

    def _begin(self, now: float) -> None:
        self._tell_all_accepted()
        self._waits = True
        self._minute_ends = (now // _MINUTE_S + 1.0) * _MINUTE_S
        self._conversation.terms.tally.untold.add(self)

    def _place(self, task: str, kid: str, last: _Place | None) -> _Place:
        if last is None or task != last.task:
            of_task = self._tasks.get(task)
            if of_task is None:
                of_task = self._tasks[task] = {}
            self._of_task = of_task
        place = self._of_task.get(kid)
        if place is not None:
            return place
        if self._places >= PLACES_MAX:
            self._begin(self._conversation.now.wall)
            self._tasks[task] = self._of_task = {}
        self._places += 1
        place = self._of_task[kid] = _Place(task, kid)
        return place

    def observe(self, accepted: Accepted, reason: Reason) -> None:
        """Count a publish that `reason` would have refused; as a use of its key only where that is proven."""
        conversation = self._conversation
        terms = conversation.terms
        tally = terms.tally
        tally.messages["publish", "observed", reason.value] += 1
        tally.task_messages[terms.verifier.task_label(accepted.task), "observed"] += 1
        if accepted.kid:
            tally.key_messages[accepted.kid, "observed"] += 1
        if accepted.expires:
            tally.use_of(accepted.kid).note(
                1, conversation.now.wall, accepted.expires, conversation.peer.user
            )

    def tell(self) -> None:
        """Put all that was counted since the last time into the tally."""
        self.tell_signed()
        self._tell_all_accepted()

    def tell_signed(self) -> None:
        """Put what was signed into the tally. To be called when an event is done: keys change between events,
        so that all were signed with the key that is in force."""
        if self.signed:
            count, self.signed = self.signed, 0
            terms = self._conversation.terms
            terms.tally.messages["publish", "signed", Reason.OK.value] += count
            self._tell_signed(terms.sealer, self._conversation.signer, count)
        if self.countersigned:
            count, self.countersigned = self.countersigned, 0
            self._tell_signed(self._conversation.terms.countersealer, self._conversation.countersigner, count)

    def _tell_all_accepted(self) -> None:
        if not self._waits:
            return
        self._waits = False
        self._conversation.terms.tally.untold.discard(self)
        for of_task in self._tasks.values():
            for place in of_task.values():
                if place.count:
                    self._tell_accepted(place, Reason.OK)
                    place.count = place.expires = 0
        if self._places > KEPT_MAX:
            self._tasks.clear()
            self._last = None
            self._places = 0

    def _tell_accepted(self, place: _Place, reason: Reason) -> None:
        conversation = self._conversation
        terms = conversation.terms
        tally = terms.tally
        count = place.count
        tally.messages["publish", "accepted", reason.value] += count
        tally.task_messages[terms.verifier.task_label(place.task), "accepted"] += count
        if place.kid:
            tally.key_messages[place.kid, "accepted"] += count
            use = tally.use_of(place.kid)
            use.note(count, place.at, place.expires, conversation.peer.user)
            if place.at >= use.last_used:
                use.clock_skew_s = place.clock_skew_s

    def _tell_signed(self, sealer: Sealer | None, signer: SignerSession, count: int) -> None:
        if sealer is None:
            return
        conversation = self._conversation
        tally = conversation.terms.tally
        tally.key_messages[sealer.kid, "signed"] += count
        use = tally.use_of(sealer.kid)
        use.note(count, conversation.now.wall, signer.expires_latest, conversation.peer.user)
        signer.expires_latest = 0
