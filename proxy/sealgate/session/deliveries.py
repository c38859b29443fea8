"""Deliveries that are judged before the client sees them: `deliver.action = "verify"`.

A delivery is assembled whole, judged, and handed over without its seals, or refused: then it is kept in
quarantine, and once it is safe there rejected, so that the broker dead-letters it. Where the consumer has no
acknowledgements there is nothing to reject. What is refused stays unacknowledged at the broker until
quarantine has it: a gate that dies, or a quarantine that is away, loses no message.
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError
from sealgate.session.arriving import Arriving
from sealgate.session.channel import Channel
from sealgate.session.conversation import Conversation
from sealgate.session.delivering import Delivering, Delivery, Held
from sealgate.session.delivery_book import DeliveryBook
from sealgate.session.delivery_counts import DeliveryCounts
from sealgate.session.refused_deliveries import RefusedDeliveries
from sealgate.session.states import CHANNEL_HEARD, CHANNEL_LIVE
from sealgate.session.straight_deliveries import SEAL_NAMES, StraightDeliveries
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME, canonical_properties
from sealgate.verify.celery import TASK_HEADER
from sealgate.verify.delivery import DeliveryVerifier
from sealgate.verify.message import Peer
from sealgate.verify.verdict import Accepted, ClaimOutcome, ClaimStatus, Refused, Verdict
from sealgate.wire import receiving
from sealgate.wire.constants import FRAME_METHOD, FRAME_OVERHEAD_BYTES
from sealgate.wire.frames import Frame, Whole, encode_frame
from sealgate.wire.properties import names_in, restore
from sealgate.wire.reader import HeaderReader

#: How long until a delivery is judged again that can not be decided now: its nonce is being worked on, or
#: the store is away; seconds.
JUDGE_AGAIN_S: Final = 2.0
_GRANTS: Final = frozenset({ClaimStatus.GRANTED, ClaimStatus.DEGRADED})
_DECIDES: Final = frozenset({ClaimStatus.DUPLICATE, ClaimStatus.CONFLICT})
_BODY_FAMILY: Final = "body"
_HANDED_OVER: Final = "delivered"


class Deliveries:
    """The deliveries of one conversation."""

    __slots__ = (
        "_arriving",
        "_parked",
        "_peer",
        "_renewed",
        "_straight",
        "_verifier",
        "book",
        "counts",
        "refused",
    )

    def __init__(self, conversation: Conversation, verifier: DeliveryVerifier) -> None:
        self._verifier: Final = verifier
        self.book: Final = DeliveryBook(conversation, verifier.policy)
        self.refused: Final = RefusedDeliveries(self.book, verifier)
        self.counts: Final = DeliveryCounts(conversation, verifier)
        headers = HeaderReader(
            OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties, TASK_HEADER
        )
        self._arriving: Final = Arriving(self.book, headers)
        self._straight: Final = StraightDeliveries(self.book, verifier, headers, self.counts)
        #: The consumer, from its first delivery on.
        self._peer: Peer | None = None
        #: (when to judge it again, delivery)
        self._parked: list[tuple[float, Delivery]] = []
        self._renewed = conversation.now.mono

    # What the broker delivers

    def may_begin(self, channel: Channel) -> bool:
        """Whether the broker is not in the middle of a delivery."""
        return self.book.of(channel).arriving is None

    def begin(self, channel: Channel, frame: Frame, method: int) -> None:
        """A `basic.deliver` or `basic.get-ok`. Raises GateError of the family frame, as do the next two."""
        self._arriving.begin(channel, frame, method)

    def header(self, channel: Channel, frame: Frame) -> bool:
        """A content header; False for one that belongs to no delivery."""
        delivering = self.book.of(channel)
        if delivering.arriving is None:
            return False
        self._complete(delivering, self._arriving.header(delivering.arriving, frame))
        return True

    def body(self, channel: Channel, frame: Frame) -> bool:
        """A body frame; False for one that belongs to no delivery."""
        delivering = self.book.of(channel)
        if delivering.arriving is None:
            return False
        self._complete(delivering, self._arriving.body(delivering.arriving, frame))
        return True

    def whole(self, channel: Channel, whole: Whole) -> None:
        """A `basic.deliver` that came whole, on an open channel where none is under way."""
        delivering, straight = self.book.of(channel), self._straight
        if straight.take(delivering, whole, self._consumer_peer()):
            return
        content, verdict = straight.content, straight.verdict
        straight.forget()
        self._complete(delivering, self._arriving.whole(channel, whole, content), verdict)

    # What becomes of it

    def _complete(
        self, delivering: Delivering, delivery: Delivery | None, verdict: Verdict | None = None
    ) -> None:
        """A delivery is here whole, or is not yet. `verdict`: it has been judged."""
        if delivery is None:
            return
        delivering.arriving = None
        no_ack = delivery.consumer.no_ack
        state = delivering.channel.state
        if delivery.void or state not in CHANNEL_HEARD:
            self.book.shrink(delivery)
            return
        if not no_ack and (delivering.recovering or state not in CHANNEL_LIVE):
            # The broker takes it back, and delivers it once more.
            self.book.shrink(delivery)
            return
        if not no_ack:
            delivering.unacked.keep(delivery.info.delivery_tag)
            self.book.count_unacked(delivering)
        self._judge(delivering, delivery, verdict)

    def _judge(self, delivering: Delivering, delivery: Delivery, verdict: Verdict | None = None) -> None:
        conversation = self.book.conversation
        if verdict is None:
            conversation.examined += 1
            verdict = self._verdict(delivery)
        if isinstance(verdict, Refused):
            self.refused.refuse(delivering, delivery, verdict)
        elif verdict.claim is None:
            self._hand_over(delivering, delivery, verdict)
        else:
            delivery.accepted = verdict
            delivery.asked_at = conversation.now.mono
            self.book.wait(delivering, delivery)
            conversation.out.claim_delivery(delivery)

    def _verdict(self, delivery: Delivery) -> Verdict:
        peer, error = self._consumer_peer(), delivery.error
        if error is None:
            try:
                message = delivery.message()
            except GateError as wrong:
                error = wrong
            else:
                return self._verifier.examine(
                    message,
                    delivery.consumer.queue,
                    delivery.consumer.terms,
                    peer,
                    self.book.conversation.now.wall,
                )
        exchange = delivery.info.exchange.decode(errors="replace")
        observes = self._verifier.verifier.observes(peer, exchange)
        if observes and error.reason.family != _BODY_FAMILY:
            return Accepted(kid="", task="", observed=error.reason)
        return Refused(error.reason, error.detail)

    def _consumer_peer(self) -> Peer:
        if self._peer is None:
            client = self.book.conversation.peer
            self._peer = Peer(client.deployment, client.vhost, client.user, client.address)
        return self._peer

    def answered(self, delivery: Delivery, outcome: ClaimOutcome) -> None:
        """The store answered for a delivery."""
        accepted = delivery.accepted
        assert accepted is not None and accepted.claim is not None  # it was asked about
        granted = outcome.status in _GRANTS
        delivering = self.book.of(delivery.channel) if self.book.may_go_on(delivery) else None
        if delivering is None:
            if granted:
                self.book.conversation.out.release(accepted.claim)
        elif granted:
            self._hand_over(delivering, delivery, accepted)
        elif outcome.status in _DECIDES:
            verifier = self._verifier.verifier
            verdict = verifier.settled(accepted, outcome, delivery.message(), self._consumer_peer())
            accepted.claim = None
            if isinstance(verdict, Refused):
                self.refused.refuse(delivering, delivery, verdict)
            else:
                self._hand_over(delivering, delivery, verdict)
        elif delivery.got:
            self._give_back_got(delivering, delivery)
        else:
            self._parked.append((self.book.conversation.now.mono + JUDGE_AGAIN_S, delivery))

    def _give_back_got(self, delivering: Delivering, delivery: Delivery) -> None:
        """Who gets one message does not wait for another consumer's: there is none for now."""
        self._give_back(delivering, delivery)
        number = delivering.channel.number
        self.book.say(delivering, encode_frame(FRAME_METHOD, number, receiving.encode_get_empty()))
        self.got(delivering)

    def _give_back(self, delivering: Delivering, delivery: Delivery) -> None:
        tag = delivery.info.delivery_tag
        if not delivery.consumer.no_ack:
            self.book.conversation.out.upstream_method(
                delivering.channel.number, receiving.encode_reject(tag, True)
            )
        self.book.done(delivering, delivery)

    def _hand_over(self, delivering: Delivering, delivery: Delivery, accepted: Accepted) -> None:
        conversation = self.book.conversation
        tag, content = delivery.info.delivery_tag, delivery.content
        header = delivery.header
        if content is not None and not SEAL_NAMES.isdisjoint(names_in(content.table)):
            header = restore(content, SEAL_NAMES)
        size_max = conversation.client_frame_max - FRAME_OVERHEAD_BYTES
        self.book.say(delivering, delivery.frames(header, size_max))
        self._count(delivery, accepted)
        self.book.done(delivering, delivery)
        claim = accepted.claim if accepted.observed is None else None
        if not delivery.consumer.no_ack:
            delivering.unacked.hand_over(tag)
            self.book.count_unacked(delivering)
            if claim is not None:
                delivering.claims[tag] = Held(claim, delivery.asked_at)
        elif claim is not None:
            conversation.out.commit(claim)
        if delivery.got:
            self.got(delivering)

    def _count(self, delivery: Delivery, accepted: Accepted) -> None:
        observed = accepted.observed
        if observed is None:
            self.counts.accept(accepted, delivery.eta, delivery.info.redelivered)
            return
        self.counts.observe(accepted, observed)
        refused = Refused(observed, kid=accepted.kid, task=accepted.task)
        record = self.refused.record(delivery, refused, _HANDED_OVER, observed=True)
        self.book.conversation.out.keep(record)

    def got(self, delivering: Delivering) -> None:
        """The client's `basic.get` is answered for good: what it said after it has its turn."""
        delivering.get = delivering.getter = None
        delivering.get_due = False
        delivering.channel.getting = False
        self.book.conversation.resumable.append(delivering.channel)

    # Time, and the end

    def tick(self) -> None:
        """About once a second: what waits is tried again, and leases of what the client has are renewed."""
        now = self.book.conversation.now.mono
        self.refused.keep_again()
        parked, self._parked = self._parked, []
        for due, delivery in parked:
            if not self.book.may_go_on(delivery):
                continue
            delivering = self.book.of(delivery.channel)
            if due > now:
                self._parked.append((due, delivery))
            elif delivery.consumer.gone:
                self._give_back(delivering, delivery)
            else:
                self._judge(delivering, delivery)
        self._renew(now)

    def _renew(self, now: float) -> None:
        renew_s = self.book.conversation.terms.limits.renew_s
        if now - self._renewed < renew_s:
            return
        self._renewed = now
        for delivering in self.book.channels:
            for held in delivering.claims.values():
                if now - held.asked_at >= renew_s:
                    self.book.conversation.out.renew(held.claim)

    def forget(self, channel: Channel) -> None:
        """The channel is closed, or its deliveries are taken back: the broker has what was not answered."""
        delivering = self.book.of(channel)
        for delivery in delivering.waiting.values():
            self.book.shrink(delivery)
        if delivering.arriving is not None:
            self.book.shrink(delivering.arriving)
        for held in delivering.claims.values():
            self.book.conversation.out.release(held.claim)
        delivering.waiting.clear()
        delivering.claims.clear()
        delivering.unacked.clear()
        delivering.unsaid.clear()
        self.book.count_unacked(delivering)
