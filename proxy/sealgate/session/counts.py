"""What publishes are counted as. It is kept here while an event lasts, then goes into the tally at once."""

from __future__ import annotations

from typing import Final

from sealgate.reason import Reason
from sealgate.session.conversation import Conversation
from sealgate.verify.sealer import Sealer, SignerSession
from sealgate.verify.verdict import Accepted

#: The verdict where nothing is judged.
UNREAD: Final = Accepted(kid="", task="")


#: Of how many tasks and keys the places to count at are kept between events: a producer has a few.
_KEPT_MAX: Final = 16


class _Alike:
    """Publishes of one task under one key: how many, the latest end of their seals, the last one's skew."""

    __slots__ = ("clock_skew_s", "count", "expires", "kid", "of_key", "task")

    def __init__(self, task: str, kid: str) -> None:
        self.task: Final = task
        self.kid: Final = kid
        self.of_key: Final = (kid, "accepted")
        self.count = 0
        self.expires = 0
        self.clock_skew_s = 0.0

    def add(self, accepted: Accepted) -> None:
        self.count += 1
        if accepted.expires > self.expires:
            self.expires = accepted.expires
        self.clock_skew_s = accepted.clock_skew_s


class Counts:
    """Counts the publishes of one conversation. `signed` and `countersigned` are added to from outside."""

    __slots__ = ("_accepted", "_any", "_conversation", "_last", "countersigned", "signed")

    def __init__(self, conversation: Conversation) -> None:
        self._conversation: Final = conversation
        #: Accepted while this event lasts, by task and key: as many as it has messages at most. A few of them
        #: are kept for the next one, empty; `_last` is one of these.
        self._accepted: Final[dict[tuple[str, str], _Alike]] = {}
        self._last: _Alike | None = None
        self._any = False
        self.signed = 0
        self.countersigned = 0

    def accept(self, accepted: Accepted) -> None:
        """Count a publish that was accepted, and not because it is only observed."""
        if accepted.flags:
            # One message, one count, whatever else was noticed.
            flagged = _Alike(accepted.task, accepted.kid)
            flagged.add(accepted)
            self._tell_accepted(flagged, accepted.flags[0])
            return
        last = self._last
        if last is None or accepted.kid != last.kid or accepted.task != last.task:
            last = self._last = self._alike(accepted)
        last.add(accepted)
        self._any = True

    def _alike(self, accepted: Accepted) -> _Alike:
        names = accepted.task, accepted.kid
        alike = self._accepted.get(names)
        if alike is None:
            alike = self._accepted[names] = _Alike(accepted.task, accepted.kid)
        return alike

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
        """Put what was counted since the last time into the tally. To be called when an event is done."""
        if self.signed:
            count, self.signed = self.signed, 0
            terms = self._conversation.terms
            terms.tally.messages["publish", "signed", Reason.OK.value] += count
            self._tell_signed(terms.sealer, self._conversation.signer, count)
        if self.countersigned:
            count, self.countersigned = self.countersigned, 0
            self._tell_signed(self._conversation.terms.countersealer, self._conversation.countersigner, count)
        if self._any:
            self._any = False
            for alike in self._accepted.values():
                if alike.count:
                    self._tell_accepted(alike, Reason.OK)
                    alike.count = alike.expires = 0
            if len(self._accepted) > _KEPT_MAX:
                self._accepted.clear()
                self._last = None

    def _tell_accepted(self, alike: _Alike, reason: Reason) -> None:
        conversation = self._conversation
        terms = conversation.terms
        tally = terms.tally
        count = alike.count
        tally.messages["publish", "accepted", reason.value] += count
        tally.task_messages[terms.verifier.task_label(alike.task), "accepted"] += count
        if alike.kid:
            tally.key_messages[alike.of_key] += count
            use = tally.use_of(alike.kid)
            use.note(count, conversation.now.wall, alike.expires, conversation.peer.user)
            use.clock_skew_s = alike.clock_skew_s

    def _tell_signed(self, sealer: Sealer | None, signer: SignerSession, count: int) -> None:
        """Keys change between two events only: all were signed with the key that is in force."""
        if sealer is None:
            return
        conversation = self._conversation
        tally = conversation.terms.tally
        tally.key_messages[sealer.kid, "signed"] += count
        use = tally.use_of(sealer.kid)
        use.note(count, conversation.now.wall, signer.expires_latest, conversation.peer.user)
        signer.expires_latest = 0
