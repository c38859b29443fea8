"""A whole publish: checked or signed, then sent upstream as it came, or refused.

What was checked is what is forwarded: the original frames, spliced only where a header is removed or
added.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.channel import Channel, Publication
from sealgate.session.clamping import Clamping, edited
from sealgate.session.conversation import Conversation, Role
from sealgate.session.counts import UNREAD, Counts
from sealgate.session.events import QueueDeclared
from sealgate.session.holding import Detour
from sealgate.session.refuse import Refuser
from sealgate.signing.canonical import (
    ABSOLUTE_NAMES,
    COUNTERSIGN_NAME,
    OMITTED_FOR_COUNTERSIGN,
    STRIPPED_NAMES,
    TOKEN_NAME,
)
from sealgate.verify.message import Message
from sealgate.verify.verdict import Accepted, ClaimOutcome, ClaimStatus, Refused, Verdict
from sealgate.wire.constants import FRAME_HEADER, FRAME_OVERHEAD_BYTES
from sealgate.wire.frames import Whole, encode_frame
from sealgate.wire.methods import Publish, encode_publish, with_ticket_zero
from sealgate.wire.properties import scan_content_header, splice, with_expiration

#: What a countersigning gateway takes out of a publish that the broker returns.
COUNTERSIGNATURE: Final = frozenset({COUNTERSIGN_NAME})
#: What a gateway takes out of a publish: broker-written names and countersignatures not its own.
GATEWAY_STRIPS: Final = STRIPPED_NAMES | COUNTERSIGNATURE
#: What a signer takes out: seals of earlier publishes, which Celery copies into retries (seal1.md).
SIGNER_STRIPS: Final = frozenset({TOKEN_NAME, COUNTERSIGN_NAME})
#: An authenticated message was refused for what it asks, not for who sent it: no guess was made.
_VERIFY: Final = Role.VERIFY
_MILLISECONDS: Final = 1000
_GRANTS: Final = frozenset({ClaimStatus.GRANTED, ClaimStatus.DEGRADED})


class Publishing:
    """Decides publications of one conversation in channel order."""

    __slots__ = ("_bounds", "_clamping", "_conversation", "_role", "counts", "refuser")

    def __init__(self, conversation: Conversation, refuser: Refuser) -> None:
        self._conversation: Final = conversation
        self._role: Final = conversation.terms.role
        self._clamping: Final = Clamping(conversation)
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
        fault: GateError | None = None
        if isinstance(verdict, Accepted) and not channel.held:
            try:
                if self._forward_whole(channel, whole, message, verdict):
                    return
            except GateError as error:
                fault = error
        publication = Publication(whole.channel, publish, whole=whole.alone())
        publication.message = message
        publication.size = size
        if fault is not None:
            self._refuse_unsealed(channel, publication, fault)
        else:
            self._judged(channel, publication, verdict)

    def _judge(self, message: Message) -> Verdict:
        conversation = self._conversation
        conversation.examined += 1
        if self._role is not _VERIFY:
            if self._bounds:
                return conversation.terms.verifier.bound(message, conversation.peer, conversation.now.wall)
            return UNREAD
        return conversation.terms.verifier.examine(message, conversation.peer, conversation.now.wall)

    def _judged(self, channel: Channel, publication: Publication, verdict: Verdict) -> None:
        conversation = self._conversation
        if isinstance(verdict, Accepted) and verdict.claim is not None:
            # The verdict stays open until the store has answered.
            publication.asked = verdict
            publication.asked_at = conversation.now.mono
            conversation.inflight += 1
            conversation.out.claim(publication)
        else:
            publication.verdict = self._parked(publication, verdict)
        self._line_up(channel, publication)

    def _parked(self, publication: Publication, verdict: Verdict) -> Verdict | None:
        """What `verdict` becomes where an operator has paused the task; None while its queue is declared."""
        if isinstance(verdict, Refused) or not verdict.parked:
            return verdict
        conversation = self._conversation
        detour = conversation.terms.waits.park(conversation.peer.vhost, publication.publish, verdict.parked)
        return self.hold(publication, verdict, detour)

    def _forward_whole(self, channel: Channel, whole: Whole, message: Message, accepted: Accepted) -> bool:
        """Send a publish as it came, and its header as it must be; False when more is to be done about it.

        Raises GateError when it can not be sealed: a second try would take another nonce.
        """
        if self._role is not _VERIFY:
            if accepted.edits is not None or accepted.observed is not None:
                return False
            return self._forward_sealed(channel, whole, message, accepted)
        table = message.header.table
        if (
            accepted.claim is not None
            or accepted.edits is not None
            or accepted.observed is not None
            or accepted.parked
            or self._conversation.terms.countersealer is not None
            # Names of the broker's, and countersignatures, are taken out.
            or table.foreign
        ):
            return False
        self._conversation.out.upstream_stretch(whole.data, whole.start, whole.stop)
        if channel.ledger is not None:
            channel.ledger.forwarded(None, None, 0.0)
        self.counts.accept(accepted)
        return True

    def _forward_sealed(self, channel: Channel, whole: Whole, message: Message, accepted: Accepted) -> bool:
        sealed = self._header(message, accepted)
        assert sealed is not None  # a signer adds its seal
        out = self._conversation.out
        out.upstream_stretch(whole.data, whole.start, whole.header_at)
        out.upstream(encode_frame(FRAME_HEADER, whole.channel, sealed))
        if whole.body_size:
            out.upstream_stretch(whole.data, whole.body_at, whole.stop)
        if channel.ledger is not None:
            channel.ledger.forwarded(None, None, 0.0)
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
        conversation = self._conversation
        conversation.inflight -= 1
        accepted, message = publication.asked, publication.message
        assert accepted is not None and message is not None  # we asked for it
        granted = outcome.status in _GRANTS
        if publication.dropped:
            if granted and accepted.claim is not None:
                conversation.out.release(accepted.claim)
            return
        publication.granted = granted
        terms = conversation.terms
        verdict = terms.verifier.settled(accepted, outcome, message, conversation.peer)
        if isinstance(verdict, Accepted) and verdict.parked:
            publication.verdict = self._parked(publication, verdict)
        elif outcome.held and isinstance(verdict, Accepted) and accepted.claim is not None:
            detour = terms.waits.detour(
                conversation.peer.vhost,
                publication.publish,
                accepted.claim,
                outcome,
                conversation.now.mono,
            )
            publication.verdict = self.hold(publication, verdict, detour)
        else:
            publication.verdict = verdict

    def hold(self, publication: Publication, accepted: Accepted, detour: Detour) -> Verdict | None:
        """What `accepted` becomes for a publication that goes on a detour; None while its queue is declared.

        To be called once its claim, if any, is granted, and before it is carried out.
        """
        conversation = self._conversation
        queues = conversation.terms.queues
        now = conversation.now.mono
        vhost, name = conversation.peer.vhost, detour.queue.name
        publication.detour = detour
        publication.asked = accepted
        if queues.fresh(conversation.broker, vhost, name, now):
            return accepted
        waiting = conversation.undeclared.get(name)
        if waiting is not None:
            waiting.append(publication)
            return None
        if not queues.has_room(conversation.broker, vhost, name, now):
            conversation.terms.tally.limits_hit["holding_queues_max"] += 1
            return self._not_held(publication, accepted, f"over {queues.count_max} queues hold messages")
        conversation.undeclared[name] = [publication]
        conversation.out.declare(detour.queue)
        return None

    def queue_declared(self, event: QueueDeclared) -> list[Publication]:
        """A queue is there, or can not be had: the publications that waited for it are decided."""
        conversation = self._conversation
        if not event.trouble:
            conversation.terms.queues.note(
                conversation.broker, conversation.peer.vhost, event.queue, conversation.now.mono
            )
        waiting = conversation.undeclared.pop(event.queue.name, [])
        for publication in waiting:
            accepted = publication.asked
            if publication.dropped or accepted is None:
                continue
            publication.verdict = (
                self._not_held(publication, accepted, event.trouble) if event.trouble else accepted
            )
        return waiting

    def _not_held(self, publication: Publication, accepted: Accepted, trouble: str) -> Refused:
        """Nothing of it was sent anywhere, so its nonce is free again."""
        self.drop(publication)
        publication.dropped = publication.granted = False
        detour = publication.detour
        assert detour is not None  # it was to be held
        return Refused(
            detour.refusal,
            trouble,
            accepted.kid,
            accepted.task,
            authenticated=True,
            expires=accepted.expires,
        )

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

    def drop(self, publication: Publication) -> None:
        """The channel closed before this publish was carried out. Nothing of it may go upstream."""
        publication.dropped = True
        accepted = publication.asked
        if accepted is not None and accepted.claim is not None and publication.granted:
            self._conversation.out.release(accepted.claim)

    def _refuse(self, channel: Channel, publication: Publication, refused: Refused) -> None:
        self.refuser.refuse(channel, publication, refused)
        if not refused.authenticated and self._conversation.terms.role is Role.VERIFY:
            self._count_failure(refused)

    def _refuse_unsealed(self, channel: Channel, publication: Publication, error: GateError) -> None:
        """What was accepted can not be sent with the seal it needs."""
        self.drop(publication)
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
                publication.sealed = self._header(message, accepted)
            except GateError as error:
                self._refuse_unsealed(channel, publication, error)
                return
        if accepted.edits is not None:
            self._clamping.note(publication, accepted, accepted.edits)
        if publication.detour is not None:
            self._send_round(publication, publication.detour)
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

    def _send_round(self, publication: Publication, detour: Detour) -> None:
        """Send it to the queue that holds it, for as long as it has to stay there."""
        out = self._conversation.out
        header = publication.header
        assert header is not None  # only what is whole is held
        payload = header.payload if publication.sealed is None else publication.sealed
        if detour.until is not None:
            ttl_ms = max(ceil((detour.until - self._conversation.now.mono) * _MILLISECONDS), 0)
            payload = with_expiration(payload, b"%d" % ttl_ms)
            self._conversation.terms.tally.delayed_by(detour.bucket, detour.wait_s)
        else:
            self._conversation.terms.tally.parked += 1
        out.upstream_method(publication.channel, encode_publish("", detour.queue.name, True))
        out.upstream(encode_frame(FRAME_HEADER, publication.channel, payload))
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
            channel.ledger.forwarded(claim, seal, publication.asked_at)
        elif claim is not None:
            self._conversation.out.commit(claim)

    def _header(self, message: Message, accepted: Accepted) -> bytes | None:
        """The content header to send upstream, None for the original one. Raises GateError."""
        conversation = self._conversation
        terms = conversation.terms
        edits = accepted.edits
        if edits is not None and not edits.observed:
            if terms.sealer is None and terms.countersealer is None:
                # Without a signature of the gate's own nobody would take it.
                raise GateError(Reason.SIG_KID, "no key to answer for what bounds change")
            message = edited(message, edits)
        if self._role is Role.SIGN:
            assert terms.sealer is not None  # the gate is built with one
            added = terms.sealer.seal(message, conversation.peer, conversation.signer, conversation.now.wall)
            sealed = splice(message.header, SIGNER_STRIPS, added)
        else:
            table = message.header.table
            if table.foreign:
                stripped = sum([name in GATEWAY_STRIPS for name in table.values])
                terms.tally.stripped_headers += stripped
            if terms.countersealer is None or accepted.observed is not None:
                return splice(message.header, GATEWAY_STRIPS, b"") if table.foreign else None
            sealed = self._countersigned(message)
        if len(sealed) > conversation.upstream_frame_max - FRAME_OVERHEAD_BYTES:
            raise GateError(Reason.HEADER_SIZE, "with its signature the content header outgrows frame_max")
        return sealed

    def _countersigned(self, message: Message) -> bytes:
        """The header with our own signature, which covers the producer's as an ordinary header."""
        conversation = self._conversation
        countersealer = conversation.terms.countersealer
        assert countersealer is not None  # asked only where one is configured
        payload = splice(message.header, GATEWAY_STRIPS, b"")
        header = scan_content_header(payload, OMITTED_FOR_COUNTERSIGN, ABSOLUTE_NAMES, TOKEN_NAME)
        covered = Message(
            message.exchange,
            message.routing_key,
            message.mandatory,
            header,
            message.body,
            message.body_sha256,
        )
        added = countersealer.seal(
            covered, conversation.peer, conversation.countersigner, conversation.now.wall
        )
        return splice(header, frozenset(), added)

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
