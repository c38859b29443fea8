"""What deliveries are counted as. It is kept here while an event lasts, then goes into the tally at once."""

from __future__ import annotations

from typing import Final

from sealgate.reason import Reason
from sealgate.session.conversation import Conversation
from sealgate.session.counts import UNREAD
from sealgate.verify.delivery import DeliveryVerifier, queue_wait_s
from sealgate.verify.verdict import Accepted


class DeliveryCounts:
    """Counts the deliveries of one conversation that the client was handed."""

    __slots__ = ("_accepted", "_conversation", "_expires", "_label", "_like", "_verifier")

    def __init__(self, conversation: Conversation, verifier: DeliveryVerifier) -> None:
        self._conversation: Final = conversation
        self._verifier: Final = verifier
        #: Accepted in a row with the key, task and flags of this one; what stands for the task in metrics;
        #: the latest end of their seals.
        self._like = UNREAD
        self._label = ""
        self._accepted = 0
        self._expires = 0

    def accept(self, accepted: Accepted, eta: object, redelivered: bool) -> None:
        """Count a delivery that was accepted, and not because it is only observed. `eta` is its header."""
        like = self._like
        if accepted.task != like.task or accepted.kid != like.kid or accepted.flags or like.flags:
            self.tell()
        if not self._accepted:
            self._like = accepted
            self._label = self._verifier.task_label(accepted.task)
        self._accepted += 1
        if accepted.expires > self._expires:
            self._expires = accepted.expires
        conversation = self._conversation
        if accepted.countersigned is not None:
            self._note_gateway(accepted.countersigned)
        if accepted.task and not redelivered:
            waited_s = queue_wait_s(eta, accepted, conversation.now.wall)
            conversation.terms.tally.waited_in_queue(self._label, waited_s)

    def observe(self, accepted: Accepted, reason: Reason) -> None:
        """Count a delivery that `reason` would have refused; as a use of its key only where proven."""
        conversation = self._conversation
        tally = conversation.terms.tally
        tally.messages["deliver", "observed", reason.value] += 1
        tally.task_messages[self._verifier.task_label(accepted.task), "observed"] += 1
        if accepted.kid:
            tally.key_messages[accepted.kid, "observed"] += 1
        if accepted.expires:
            tally.use_of(accepted.kid).note(1, conversation.now.wall, accepted.expires, "")
        if accepted.countersigned is not None:
            self._note_gateway(accepted.countersigned)

    def tell(self) -> None:
        """Put what was counted since the last time into the tally. To be called when an event is done."""
        count, self._accepted = self._accepted, 0
        if not count:
            return
        expires, self._expires = self._expires, 0
        conversation = self._conversation
        tally = conversation.terms.tally
        like = self._like
        # One message, one count, whatever else was noticed.
        reason = like.flags[0] if like.flags else Reason.OK
        tally.messages["deliver", "accepted", reason.value] += count
        tally.task_messages[self._label, "accepted"] += count
        tally.key_messages[like.kid, "accepted"] += count
        if expires:
            # What the consumer was handed was sealed by others: no user is named.
            tally.use_of(like.kid).note(count, conversation.now.wall, expires, "")

    def _note_gateway(self, countersigned: tuple[str, int]) -> None:
        kid, expires = countersigned
        conversation = self._conversation
        conversation.terms.tally.use_of(kid).note(1, conversation.now.wall, expires, "")
