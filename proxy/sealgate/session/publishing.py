"""A whole publish: checked or signed, then sent upstream as it came, or refused.

What was checked is what is forwarded: the original frames, spliced only where a header is removed or
added.
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.channel import Channel, Publication, token_of
from sealgate.session.clamping import Clamping
from sealgate.session.confirms import Seal
from sealgate.session.conversation import Conversation, Role
from sealgate.session.counts import UNREAD, Counts
from sealgate.session.detours import Detours
from sealgate.session.refuse import Refuser
from sealgate.session.sealing import Sealing
from sealgate.verify.message import Message
from sealgate.verify.verdict import GRANTED, Accepted, Claim, ClaimOutcome, ClaimStatus, Refused, Verdict
from sealgate.wire.constants import FRAME_HEADER
from sealgate.wire.frames import Whole, encode_frame
from sealgate.wire.methods import Publish, with_ticket_zero

_VERIFY: Final = Role.VERIFY
_GRANTED: Final = GRANTED
_GRANTS: Final = frozenset({ClaimStatus.GRANTED, ClaimStatus.DEGRADED})


class Publishing:
    """Decides publications of one conversation in channel order."""

    __slots__ = (
        "_bounds",
        "_clamping",
        "_conversation",
        "_role",
        "_sealing",
        "_store",
        "counts",
        "detours",
        "refuser",
    )

    def __init__(self, conversation: Conversation, refuser: Refuser) -> None:
        self._conversation: Final = conversation
        self._role: Final = conversation.terms.role
        #: What answers a claim at once, if anything does.
        self._store: Final = conversation.terms.store
        self._clamping: Final = Clamping(conversation)
        self._sealing: Final = Sealing(conversation)
        self.detours: Final = Detours(conversation)
        #: A signer reads no message but for its bounds.
        policy = conversation.terms.verifier.policy
        self._bounds: Final = self._role is Role.SIGN and (
            policy.bounds is not None or policy.expiry is not None
        )
        self.refuser: Final = refuser
        self.counts: Final = Counts(conversation)

    def complete(self, channel: Channel, publication: Publication) -> None:
        """A publish is whole and readable: decide it, and act unless something before it is undecided."""
        message = publication.message
        assert message is not None  # complete() is for messages that were read
        self._judged(channel, publication, self._judge(message))

    def whole(self, channel: Channel, whole: Whole, publish: Publish, message: Message, size: int) -> None:
        """As `complete`, for a publish on a channel where nothing waits. `size` is what it counts for."""
        verdict = self._judge(message)
        outcome: ClaimOutcome | None = None
        fault: GateError | None = None
        if isinstance(verdict, Accepted) and not channel.held:
            if self._role is not _VERIFY:
                try:
                    if self._forward_sealed(channel, whole, message, verdict):
                        return
                except GateError as error:
                    fault = error
            elif self._is_forwarded_unchanged(message, verdict):
                claim = verdict.claim
                if claim is not None:
                    outcome = self._claim(claim)
                if claim is None or outcome is _GRANTED:
                    self._forward_unchanged(channel, whole, message, verdict)
                    return
        publication = Publication(whole.channel, publish, whole=whole.alone())
        message.header.part()
        publication.message = message
        publication.size = size
        if fault is not None:
            self._refuse_unsealed(channel, publication, fault)
        else:
            self._judged(channel, publication, verdict, outcome)

    def _judge(self, message: Message) -> Verdict:
        conversation = self._conversation
        conversation.examined += 1
        if self._role is not _VERIFY:
            if self._bounds:
                return conversation.terms.verifier.bound(message, conversation.peer, conversation.now.wall)
            return UNREAD
        return conversation.terms.verifier.examine(message, conversation.peer, conversation.now.wall)

    def _claim(self, claim: Claim) -> ClaimOutcome | None:
        """Ask for `claim`. None: it has to be asked for with a command, and nothing has happened."""
        now = self._conversation.now
        claim.asked_at = now.mono
        return None if self._store is None else self._store.claim_now(claim, now.wall, now.mono)

    def _judged(
        self,
        channel: Channel,
        publication: Publication,
        verdict: Verdict,
        outcome: ClaimOutcome | None = None,
    ) -> None:
        """Act on `verdict`; `outcome` is of its claim, where that was answered."""
        if isinstance(verdict, Accepted) and verdict.claim is not None:
            publication.asked = verdict
            if outcome is None:
                outcome = self._claim(verdict.claim)
            if outcome is None:
                # The verdict stays open until the store has answered.
                self._conversation.inflight += 1
                self._conversation.out.claim(publication, verdict.claim)
            else:
                self._decide(publication, verdict, outcome)
        else:
            publication.verdict = self.detours.park(publication, verdict)
        self._line_up(channel, publication)

    def _is_forwarded_unchanged(self, message: Message, accepted: Accepted) -> bool:
        """Whether what is verified is sent as it came, if its claim is granted."""
        return (
            accepted.edits is None
            and accepted.observed is None
            and not accepted.parked
            and self._conversation.terms.countersealer is None
            # Names of the broker's, and countersignatures, are taken out.
            and not message.header.table.foreign
        )

    def _forward_unchanged(
        self, channel: Channel, whole: Whole, message: Message, accepted: Accepted
    ) -> None:
        """Send a publish as it came; its claim, if any, is granted."""
        conversation = self._conversation
        conversation.out.upstream_stretch(whole.data, whole.start, whole.stop)
        claim = accepted.claim
        if channel.ledger is not None:
            seal: Seal | None = None
            if claim is not None and message.mandatory:
                seal = Seal(token_of(message.header), message.exchange, message.routing_key)
            channel.ledger.forwarded(claim, seal)
        elif claim is not None:
            conversation.out.commit(claim)
        self.counts.accept(accepted)

    def _forward_sealed(self, channel: Channel, whole: Whole, message: Message, accepted: Accepted) -> bool:
        """Send a publish with the seal it gets here; False when more is to be done about it.

        Raises GateError when it can not be sealed: a second try would take another nonce.
        """
        if accepted.edits is not None or accepted.observed is not None:
            return False
        self._sealing.forward(whole, message)
        if channel.ledger is not None:
            channel.ledger.forwarded(None, None)
        self.counts.signed += 1
        return True

    def refused(self, channel: Channel, publication: Publication, error: GateError) -> None:
        """A publish can not be read: it is refused without looking further, in channel order."""
        conversation = self._conversation
        publication.verdict = Refused(error.reason, error.detail)
        if conversation.terms.role is Role.VERIFY and self._may_pass(publication, error):
            publication.verdict = Accepted(kid="", task="", observed=error.reason)
        self._line_up(channel, publication)

    def _may_pass(self, publication: Publication, error: GateError) -> bool:
        """Under observe, what the broker can read passes; what it can not would cost the connection."""
        if error.reason.family in ("body", "props") or publication.header is None:
            return False
        peer, publish = self._conversation.peer, publication.publish
        return self._conversation.terms.verifier.observes(peer, publish.exchange)

    def answered(self, publication: Publication, outcome: ClaimOutcome) -> None:
        """The store answered for this publication; its channel may go on."""
        self._conversation.inflight -= 1
        accepted = publication.asked
        assert accepted is not None  # we asked for it
        if not publication.dropped:
            self._decide(publication, accepted, outcome)
        elif outcome.status in _GRANTS and accepted.claim is not None:
            self._conversation.out.release(accepted.claim)

    def _decide(self, publication: Publication, accepted: Accepted, outcome: ClaimOutcome) -> None:
        """What becomes of a publication, now that its claim is answered."""
        message = publication.message
        assert message is not None  # it was accepted
        publication.granted = outcome.status in _GRANTS
        conversation = self._conversation
        verdict = conversation.terms.verifier.settled(accepted, outcome, message, conversation.peer)
        if isinstance(verdict, Accepted) and verdict.parked:
            publication.verdict = self.detours.park(publication, verdict)
        elif outcome.held and isinstance(verdict, Accepted) and accepted.claim is not None:
            publication.verdict = self.detours.wait(publication, verdict, outcome)
        else:
            publication.verdict = verdict

    def _line_up(self, channel: Channel, publication: Publication) -> None:
        if channel.held or channel.waiting_close or channel.waits_for(publication):
            self._conversation.hold(channel, publication)
        else:
            self.conclude(channel, publication)

    def conclude(self, channel: Channel, publication: Publication) -> None:
        """Carry out the verdict. Called in channel order, once per publication."""
        verdict = publication.verdict
        if isinstance(verdict, Refused):
            self._refuse(channel, publication, verdict)
        elif isinstance(verdict, Accepted):
            self._forward(channel, publication, verdict)

    def _refuse(self, channel: Channel, publication: Publication, refused: Refused) -> None:
        self.refuser.refuse(channel, publication, refused)
        if not refused.authenticated and self._conversation.terms.role is Role.VERIFY:
            self._count_failure(refused)

    def _refuse_unsealed(self, channel: Channel, publication: Publication, error: GateError) -> None:
        """What was accepted can not be sent with the seal it needs."""
        self.detours.let_go(publication)
        self._refuse(channel, publication, Refused(error.reason, error.detail, authenticated=True))

    def _count_failure(self, refused: Refused) -> None:
        """Raises GateError conn.failures when guessing goes on too fast."""
        conversation = self._conversation
        limits = conversation.terms.limits
        failures = conversation.failures
        now = conversation.now.mono
        failures.append(now)
        while failures[0] <= now - limits.failed_verifications_window_s:
            failures.popleft()
        if len(failures) >= limits.failed_verifications_max:
            conversation.terms.tally.limits_hit["failed_verifications_max"] += 1
            raise GateError(
                Reason.CONN_FAILURES, f"{len(failures)} failed verifications, the last {refused.reason.value}"
            )

    def _forward(self, channel: Channel, publication: Publication, accepted: Accepted) -> None:
        conversation = self._conversation
        message = publication.message
        if message is not None:
            try:
                publication.sealed = self._sealing.header(message, accepted)
            except GateError as error:
                self._refuse_unsealed(channel, publication, error)
                return
        if accepted.edits is not None:
            self._clamping.note(publication, accepted, accepted.edits)
        if publication.detour is not None:
            self.detours.send(publication, publication.detour)
        elif publication.whole is not None and publication.sealed is None:
            # Its ticket is zero: others are not taken whole.
            conversation.out.upstream(publication.whole.data)
        else:
            self._send(publication)
        self._settle_later(channel, publication, accepted)
        self._count(publication, accepted)

    def _send(self, publication: Publication) -> None:
        """Send it frame by frame."""
        out = self._conversation.out
        out.upstream(with_ticket_zero(publication.method))
        header = publication.header
        assert header is not None  # a forwarded publish is whole
        if publication.sealed is None:
            out.upstream(header.raw)
        else:
            out.upstream(encode_frame(FRAME_HEADER, header.channel, publication.sealed))
        for body in publication.bodies:
            out.upstream(body.raw)

    def _settle_later(self, channel: Channel, publication: Publication, accepted: Accepted) -> None:
        """With confirms the broker's answer settles the claim; without, the write upstream does."""
        claim = accepted.claim if publication.granted else None
        if channel.ledger is not None:
            seal = publication.kept
            mandatory = claim is not None and publication.publish.mandatory
            if seal is None and (mandatory or publication.detour is not None):
                seal = publication.seal
            channel.ledger.forwarded(claim, seal)
        elif claim is not None:
            self._conversation.out.commit(claim)

    def _count(self, publication: Publication, accepted: Accepted) -> None:
        observed = accepted.observed
        if observed is not None:
            self.counts.observe(accepted, observed)
            refused = Refused(observed, kid=accepted.kid, task=accepted.task)
            self.refuser.keep(publication, refused, "forwarded", observed=True)
        elif self._role is _VERIFY:
            if self._conversation.terms.countersealer is not None:
                self.counts.countersigned += 1
            self.counts.accept(accepted)
        else:
            self.counts.signed += 1
