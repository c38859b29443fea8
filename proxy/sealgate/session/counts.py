"""What publishes are counted as. It is kept here while an event lasts, then goes into the tally at once."""

from __future__ import annotations

from typing import Final

from sealgate.reason import Reason
from sealgate.session.conversation import Conversation
from sealgate.verify.sealer import Sealer, SignerSession
from sealgate.verify.verdict import Accepted

#: The verdict where nothing is judged.
UNREAD: Final = Accepted(kid="", task="")


class Counts:
    """Counts the publishes of one conversation. `signed` and `countersigned` are added to from outside."""

    __slots__ = ("_accepted", "_conversation", "_expires", "_like", "countersigned", "signed")

    def __init__(self, conversation: Conversation) -> None:
        self._conversation: Final = conversation
        #: Accepted in a row with the key, task and flags of this one, and the latest end of their seals.
        self._like = UNREAD
        self._accepted = 0
        self._expires = 0
        self.signed = 0
        self.countersigned = 0

    def accept(self, accepted: Accepted) -> None:
        """Count a publish that was accepted, and not because it is only observed."""
        like = self._like
        if accepted.task != like.task or accepted.kid != like.kid or accepted.flags or like.flags:
            self.tell()
        self._like = accepted
        self._accepted += 1
        if accepted.expires > self._expires:
            self._expires = accepted.expires

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
        if self._accepted:
            self._tell_accepted()

    def _tell_accepted(self) -> None:
        conversation = self._conversation
        terms = conversation.terms
        tally = terms.tally
        count, self._accepted = self._accepted, 0
        expires, self._expires = self._expires, 0
        like = self._like
        # One message, one count, whatever else was noticed.
        reason = like.flags[0] if like.flags else Reason.OK
        tally.messages["publish", "accepted", reason.value] += count
        tally.task_messages[terms.verifier.task_label(like.task), "accepted"] += count
        if like.kid:
            tally.key_messages[like.kid, "accepted"] += count
            use = tally.use_of(like.kid)
            use.note(count, conversation.now.wall, expires, conversation.peer.user)
            use.clock_skew_s = like.clock_skew_s

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
