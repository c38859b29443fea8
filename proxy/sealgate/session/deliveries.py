"""Deliveries that are judged before the client sees them: `deliver.action = "verify"`.

A delivery is assembled whole, judged, and handed over without its seals, or refused: then it is kept in
quarantine, and once it is safe there rejected, so that the broker dead-letters it. Where the consumer has no
acknowledgements there is nothing to reject. What is refused stays unacknowledged at the broker until
quarantine has it: a gate that dies, or a quarantine that is away, loses no message.
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.channel import Channel
from sealgate.session.consumers import Consumer
from sealgate.session.conversation import Conversation
from sealgate.session.delivering import Delivering, Delivery, Held, entries_bytes
from sealgate.session.records import RefusalRecord
from sealgate.session.states import CHANNEL_HEARD, CHANNEL_LIVE
from sealgate.signing.canonical import (
    ABSOLUTE_NAMES,
    COUNTERSIGN_NAME,
    OMITTED_FOR_SEAL,
    TOKEN_NAME,
    canonical_properties,
)
from sealgate.verify.delivery import DeliveryVerifier, queue_wait_s
from sealgate.verify.message import Peer
from sealgate.verify.verdict import Accepted, ClaimOutcome, ClaimStatus, Refused, Verdict
from sealgate.wire import methods, receiving
from sealgate.wire.constants import BASIC_GET_OK, FRAME_METHOD, FRAME_OVERHEAD_BYTES
from sealgate.wire.frames import Frame, Whole, encode_frame
from sealgate.wire.properties import read_body_size, restore
from sealgate.wire.reader import HeaderReader

#: What only gates write and read.
SEAL_NAMES: Final = frozenset({TOKEN_NAME, COUNTERSIGN_NAME})
#: Deliveries of one channel that the client has not answered: above it the broker is not read until it has.
#: Three times what a prefetch can ask for (65,535), and about 20 MB of tags.
UNACKED_MAX: Final = 200_000
#: How long until quarantine is asked again to keep what it had no room for, seconds.
KEEP_AGAIN_S: Final = 5.0
#: How long until a delivery is judged again that can not be decided now: its nonce is being worked on, or
#: the store is away; seconds.
JUDGE_AGAIN_S: Final = 2.0
_GRANTS: Final = frozenset({ClaimStatus.GRANTED, ClaimStatus.DEGRADED})
_DECIDES: Final = frozenset({ClaimStatus.DUPLICATE, ClaimStatus.CONFLICT})
_BODY_FAMILY: Final = "body"
_REJECTED: Final = "basic.reject"
_ACKED: Final = "basic.ack"
_NO_ANSWER: Final = "none"
_HANDED_OVER: Final = "delivered"


class Deliveries:
    """The deliveries of one conversation."""

    __slots__ = (
        "_channels",
        "_conversation",
        "_crowded",
        "_headers",
        "_parked",
        "_peer",
        "_renewed",
        "_unkept",
        "_verifier",
        "_waiting_bytes",
    )

    def __init__(self, conversation: Conversation, verifier: DeliveryVerifier) -> None:
        self._conversation: Final = conversation
        self._verifier: Final = verifier
        self._headers: Final = HeaderReader(
            OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties
        )
        self._channels: Final[dict[int, Delivering]] = {}
        #: The consumer, from its first delivery on.
        self._peer: Peer | None = None
        #: Memory of what is undecided, or waits for quarantine.
        self._waiting_bytes = 0
        #: Channels with too many unanswered deliveries.
        self._crowded: Final[set[int]] = set()
        #: (when to try again, delivery): to be judged again; to be kept.
        self._parked: list[tuple[float, Delivery]] = []
        self._unkept: list[tuple[float, Delivery]] = []
        self._renewed = conversation.now.mono

    @property
    def reads(self) -> bool:
        """Whether the broker is to be read: not while too much of it waits."""
        limit = self._conversation.terms.limits.held_bytes_max
        return self._waiting_bytes <= limit and not self._crowded

    def of(self, channel: Channel) -> Delivering:
        """The deliveries of a channel; a number that is used again begins anew."""
        delivering = self._channels.get(channel.number)
        if delivering is None or delivering.channel is not channel:
            delivering = self._channels[channel.number] = Delivering(channel, self._verifier.policy)
            self._crowded.discard(channel.number)
        return delivering

    # What the broker delivers

    def may_begin(self, channel: Channel) -> bool:
        """Whether the broker is not in the middle of a delivery."""
        return self.of(channel).arriving is None

    def begin(self, channel: Channel, frame: Frame, method: int) -> None:
        """A `basic.deliver` or `basic.get-ok`. Raises GateError of the family frame, as `body` does."""
        delivering = self.of(channel)
        got = method == BASIC_GET_OK
        delivery = delivering.arriving = self._new(delivering, frame.payload, got)
        self._grow(delivery, delivery.size)

    def header(self, channel: Channel, frame: Frame) -> bool:
        """A content header; False for one that belongs to no delivery."""
        delivering = self.of(channel)
        delivery = delivering.arriving
        if delivery is None:
            return False
        if delivery.remaining >= 0:
            raise GateError(Reason.FRAME_ORDER, "a second content header")
        self._take_header(delivery, frame.payload)
        if not delivery.remaining:
            self._complete(delivering, delivery)
        return True

    def body(self, channel: Channel, frame: Frame) -> bool:
        """A body frame; False for one that belongs to no delivery."""
        delivering = self.of(channel)
        delivery = delivering.arriving
        if delivery is None:
            return False
        if delivery.remaining < 0:
            raise GateError(Reason.FRAME_ORDER, "a body without its content header")
        grown = delivery.take_body(frame)
        if grown:
            self._grow(delivery, grown)
        if not delivery.remaining:
            self._complete(delivering, delivery)
        return True

    def whole(self, channel: Channel, whole: Whole) -> None:
        """A `basic.deliver` that came whole, on a channel where none is under way."""
        delivering = self.of(channel)
        delivery = self._new(delivering, whole.method_frame().payload, False)
        self._grow(delivery, delivery.size)
        self._take_header(delivery, whole.header)
        if delivery.error is None or delivery.error.reason is not Reason.BODY_SIZE:
            delivery.bodies.append(whole.body)
            self._grow(delivery, whole.body_size)
        self._complete(delivering, delivery)

    def _new(self, delivering: Delivering, payload: bytes, got: bool) -> Delivery:
        if got:
            getter = delivering.getter
            if getter is None:
                raise GateError(Reason.FRAME_ORDER, "a get-ok that nobody asked for")
            return Delivery(delivering.channel, payload, receiving.read_get_ok(payload), getter, True)
        info = receiving.read_deliver(payload)
        return Delivery(
            delivering.channel, payload, info, delivering.consumers.find(info.consumer_tag), False
        )

    def _take_header(self, delivery: Delivery, payload: bytes) -> None:
        delivery.header = payload
        delivery.body_size = delivery.remaining = read_body_size(payload)
        self._grow(delivery, len(payload))
        limits = self._conversation.terms.limits
        if delivery.body_size > limits.body_bytes_max:
            self._conversation.terms.tally.limits_hit["body_bytes_max"] += 1
            detail = f"{delivery.body_size} bytes, at most {limits.body_bytes_max}"
            delivery.error = GateError(Reason.BODY_SIZE, detail)
            return
        try:
            delivery.content = self._headers.read(payload)
            self._grow(delivery, entries_bytes(delivery.content))
        except GateError as error:
            delivery.error = error

    def _grow(self, delivery: Delivery, size: int) -> None:
        """A delivery takes `size` more. Over the limits the connection ends: the broker still has it all."""
        if delivery.void:
            return
        conversation = self._conversation
        delivery.taken += size
        conversation.grow(size)
        limits, tally = conversation.terms.limits, conversation.terms.tally
        name = ""
        if conversation.partial_bytes > limits.connection_bytes_max:
            name = "connection_bytes_max"
        elif tally.buffered_bytes > limits.process_bytes_max:
            name = "process_bytes_max"
        if name:
            tally.limits_hit[name] += 1
            if conversation.fault is None:
                conversation.fault = GateError(Reason.CONN_MEMORY, f"deliveries over {name}")

    def _shrink(self, delivery: Delivery) -> None:
        """Nothing of a delivery is kept any more."""
        self._conversation.grow(-delivery.taken)
        if delivery.counted:
            self._waiting_bytes -= delivery.taken
            delivery.counted = False
        delivery.taken = 0
        delivery.void = True

    def _wait(self, delivering: Delivering, delivery: Delivery) -> None:
        """A delivery has to wait for the store, or for quarantine."""
        delivering.waiting[delivery.info.delivery_tag] = delivery
        if not delivery.counted:
            delivery.counted = True
            self._waiting_bytes += delivery.taken

    # What becomes of it

    def _complete(self, delivering: Delivering, delivery: Delivery) -> None:
        delivering.arriving = None
        delivery.body = b"".join(delivery.bodies)
        delivery.bodies.clear()
        no_ack = delivery.consumer.no_ack
        state = delivering.channel.state
        if delivery.void or state not in CHANNEL_HEARD:
            self._shrink(delivery)
            return
        if not no_ack and (delivering.recovering or state not in CHANNEL_LIVE):
            # The broker takes it back, and delivers it once more.
            self._shrink(delivery)
            return
        if not no_ack:
            delivering.unacked.keep(delivery.info.delivery_tag)
            self.count_unacked(delivering)
        self._judge(delivering, delivery)

    def _judge(self, delivering: Delivering, delivery: Delivery) -> None:
        conversation = self._conversation
        conversation.examined += 1
        verdict = self._verdict(delivery)
        if isinstance(verdict, Refused):
            self._refuse(delivering, delivery, verdict)
        elif verdict.claim is None:
            self._hand_over(delivering, delivery, verdict)
        else:
            delivery.accepted = verdict
            delivery.asked_at = conversation.now.mono
            self._wait(delivering, delivery)
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
                    self._conversation.now.wall,
                )
        exchange = delivery.info.exchange.decode(errors="replace")
        observes = self._verifier.verifier.observes(peer, exchange)
        if observes and error.reason.family != _BODY_FAMILY:
            return Accepted(kid="", task="", observed=error.reason)
        return Refused(error.reason, error.detail)

    def _consumer_peer(self) -> Peer:
        if self._peer is None:
            client = self._conversation.peer
            self._peer = Peer(client.deployment, client.vhost, client.user, client.address)
        return self._peer

    def answered(self, delivery: Delivery, outcome: ClaimOutcome) -> None:
        """The store answered for a delivery."""
        accepted = delivery.accepted
        assert accepted is not None and accepted.claim is not None  # it was asked about
        granted = outcome.status in _GRANTS
        delivering = self.of(delivery.channel) if self._may_go_on(delivery) else None
        if delivering is None:
            if granted:
                self._conversation.out.release(accepted.claim)
        elif granted:
            self._hand_over(delivering, delivery, accepted)
        elif outcome.status in _DECIDES:
            verifier = self._verifier.verifier
            verdict = verifier.settled(accepted, outcome, delivery.message(), self._consumer_peer())
            accepted.claim = None
            if isinstance(verdict, Refused):
                self._refuse(delivering, delivery, verdict)
            else:
                self._hand_over(delivering, delivery, verdict)
        elif delivery.got:
            self._give_back_got(delivering, delivery)
        else:
            self._parked.append((self._conversation.now.mono + JUDGE_AGAIN_S, delivery))

    def _may_go_on(self, delivery: Delivery) -> bool:
        """Whether anything is still to become of a delivery that had to wait."""
        channel = delivery.channel
        alive = self._conversation.channels.get(channel.number) is channel
        return alive and not delivery.void and channel.state in CHANNEL_LIVE

    def _give_back_got(self, delivering: Delivering, delivery: Delivery) -> None:
        """Who gets one message does not wait for another consumer's: there is none for now."""
        self._give_back(delivering, delivery)
        number = delivering.channel.number
        self.say(delivering, encode_frame(FRAME_METHOD, number, receiving.encode_get_empty()))
        self.got(delivering)

    def _give_back(self, delivering: Delivering, delivery: Delivery) -> None:
        tag = delivery.info.delivery_tag
        if not delivery.consumer.no_ack:
            self._conversation.out.upstream_method(
                delivering.channel.number, receiving.encode_reject(tag, True)
            )
        self._done(delivering, delivery)

    def _done(self, delivering: Delivering, delivery: Delivery) -> None:
        """The gate has answered a delivery, or it has become the client's."""
        tag = delivery.info.delivery_tag
        delivering.waiting.pop(tag, None)
        delivering.unacked.let_go(tag)
        self._shrink(delivery)
        self.count_unacked(delivering)

    def _hand_over(self, delivering: Delivering, delivery: Delivery, accepted: Accepted) -> None:
        conversation = self._conversation
        tag, content = delivery.info.delivery_tag, delivery.content
        header = delivery.header
        if content is not None and not SEAL_NAMES.isdisjoint(content.table.values):
            header = restore(content, SEAL_NAMES)
        size_max = conversation.client_frame_max - FRAME_OVERHEAD_BYTES
        self.say(delivering, delivery.frames(header, size_max))
        self._count(delivery, accepted)
        self._done(delivering, delivery)
        claim = accepted.claim if accepted.observed is None else None
        if not delivery.consumer.no_ack:
            delivering.unacked.hand_over(tag)
            self.count_unacked(delivering)
            if claim is not None:
                delivering.claims[tag] = Held(claim, delivery.asked_at)
        elif claim is not None:
            conversation.out.commit(claim)
        if delivery.got:
            self.got(delivering)

    def got(self, delivering: Delivering) -> None:
        """The client's `basic.get` is answered for good: what it said after it has its turn."""
        delivering.get = delivering.getter = None
        delivering.get_due = False
        delivering.channel.getting = False
        self._conversation.resumable.append(delivering.channel)

    def say(self, delivering: Delivering, frames: bytes) -> None:
        """Say `frames` to the client, not within other content of the channel."""
        if delivering.channel.body_left:
            delivering.unsaid.append(frames)
        else:
            self._conversation.out.client(frames)

    def speak(self, channel: Channel) -> None:
        """The broker has come to the end of a content: say what waited for that."""
        delivering = self.of(channel)
        for data in delivering.unsaid:
            self._conversation.out.client(data)
        delivering.unsaid.clear()

    def count_unacked(self, delivering: Delivering) -> None:
        """See whether the client has left too many of a channel's deliveries without an answer."""
        number = delivering.channel.number
        if len(delivering.unacked) <= UNACKED_MAX:
            self._crowded.discard(number)
        elif number not in self._crowded:
            self._crowded.add(number)
            self._conversation.terms.tally.limits_hit["unacked_max"] += 1

    # What is refused

    def _refuse(self, delivering: Delivering, delivery: Delivery, refused: Refused) -> None:
        """Count it and keep it. It is answered upstream once it is kept (`kept`)."""
        delivery.refused = refused
        tally = self._conversation.terms.tally
        tally.messages["deliver", "refused", refused.reason.value] += 1
        if refused.kid:
            tally.key_messages[refused.kid, "refused"] += 1
        if refused.authenticated:
            tally.task_messages[self._verifier.task_label(refused.task), "refused"] += 1
        if delivery.consumer.no_ack:
            self._conversation.out.keep(self.record(delivery, refused, _NO_ANSWER))
            self._done(delivering, delivery)
        else:
            self._wait(delivering, delivery)
            self._conversation.out.keep_delivery(
                self.record(delivery, refused, _answer_to(refused)), delivery
            )
        if delivery.got:
            self._get_again(delivering)

    def _get_again(self, delivering: Delivering) -> None:
        """The client asked for a message, and this was none: ask for the next, once there is room for it."""
        get = delivering.get
        assert get is not None  # this is its answer
        if delivering.waiting and not self.reads:
            delivering.get_due = True
            return
        delivering.get_due = False
        self._conversation.out.upstream(get.raw)

    def kept(self, delivery: Delivery, safe: bool) -> None:
        """Quarantine has a refused delivery, or (not `safe`) has no room for it."""
        if not self._may_go_on(delivery):
            # The broker has it back.
            return
        delivering, refused = self.of(delivery.channel), delivery.refused
        assert refused is not None  # nothing else is kept
        if not safe:
            self._conversation.terms.tally.limits_hit["quarantine"] += 1
            self._unkept.append((self._conversation.now.mono + KEEP_AGAIN_S, delivery))
            return
        tag = delivery.info.delivery_tag
        payload = receiving.encode_reject(tag, False)
        if _answer_to(refused) == _ACKED:
            payload = methods.encode_ack(tag, False)
        self._conversation.out.upstream_method(delivering.channel.number, payload)
        self._done(delivering, delivery)
        if delivering.get_due:
            self._get_again(delivering)

    def record(
        self, delivery: Delivery, refused: Refused, answer: str, observed: bool = False
    ) -> RefusalRecord:
        """A delivery for quarantine, as a publish to the target it came with: tools can read that."""
        conversation, info = self._conversation, delivery.info
        detail = f"queue {delivery.consumer.queue}"
        return RefusalRecord(
            reason=refused.reason,
            detail=f"{refused.detail}; {detail}" if refused.detail else detail,
            kid=refused.kid,
            task=refused.task,
            exchange=info.exchange.decode(errors="replace"),
            routing_key=info.routing_key.decode(errors="replace"),
            vhost=conversation.peer.vhost,
            user=conversation.peer.user,
            client=conversation.peer.address,
            channel=delivery.channel.number,
            at=conversation.now.wall,
            observed=observed,
            answer=answer,
            body_size=delivery.body_size,
            complete=len(delivery.body) == delivery.body_size,
            method=receiving.encode_publish(info.exchange, info.routing_key),
            header=delivery.header,
            body=delivery.body,
            direction="deliver",
        )

    # Counts

    def _count(self, delivery: Delivery, accepted: Accepted) -> None:
        tally, now = self._conversation.terms.tally, self._conversation.now.wall
        label = self._verifier.task_label(accepted.task)
        observed = accepted.observed
        if observed is not None:
            tally.messages["deliver", "observed", observed.value] += 1
            tally.task_messages[label, "observed"] += 1
            refused = Refused(observed, kid=accepted.kid, task=accepted.task)
            self._conversation.out.keep(self.record(delivery, refused, _HANDED_OVER, observed=True))
            if accepted.kid:
                tally.key_messages[accepted.kid, "observed"] += 1
            return
        reason = accepted.flags[0] if accepted.flags else Reason.OK
        tally.messages["deliver", "accepted", reason.value] += 1
        tally.task_messages[label, "accepted"] += 1
        tally.key_messages[accepted.kid, "accepted"] += 1
        tally.key_last_used[accepted.kid] = now
        if accepted.task and not delivery.info.redelivered:
            tally.waited_in_queue(label, queue_wait_s(delivery.message(), accepted, now))

    # Time, and the end

    def tick(self) -> None:
        """About once a second: what waits is tried again, and leases of what the client has are renewed."""
        now = self._conversation.now.mono
        unkept, self._unkept = self._unkept, []
        for due, delivery in unkept:
            if not self._may_go_on(delivery):
                continue
            if due > now:
                self._unkept.append((due, delivery))
            elif delivery.refused is not None:
                record = self.record(delivery, delivery.refused, _answer_to(delivery.refused))
                self._conversation.out.keep_delivery(record, delivery)
        parked, self._parked = self._parked, []
        for due, delivery in parked:
            if not self._may_go_on(delivery):
                continue
            delivering = self.of(delivery.channel)
            if due > now:
                self._parked.append((due, delivery))
            elif delivery.consumer.gone:
                self._give_back(delivering, delivery)
            else:
                self._judge(delivering, delivery)
        self._renew(now)

    def _renew(self, now: float) -> None:
        renew_s = self._conversation.terms.limits.renew_s
        if now - self._renewed < renew_s:
            return
        self._renewed = now
        for delivering in self._channels.values():
            for held in delivering.claims.values():
                if now - held.asked_at >= renew_s:
                    self._conversation.out.renew(held.claim)

    def forget(self, channel: Channel) -> None:
        """The channel is closed, or its deliveries are taken back: the broker has what was not answered."""
        delivering = self._channels.get(channel.number)
        if delivering is None or delivering.channel is not channel:
            return
        for delivery in delivering.waiting.values():
            self._shrink(delivery)
        if delivering.arriving is not None:
            self._shrink(delivering.arriving)
        for held in delivering.claims.values():
            self._conversation.out.release(held.claim)
        delivering.waiting.clear()
        delivering.claims.clear()
        delivering.unacked.clear()
        delivering.unsaid.clear()
        self.count_unacked(delivering)


def _answer_to(refused: Refused) -> str:
    """What was acknowledged before is acknowledged again, all else is rejected (hostile.jsonl CO09)."""
    return _ACKED if refused.reason is Reason.REPLAY_DUPLICATE else _REJECTED


def consumer_of_get(delivering: Delivering, payload: bytes) -> Consumer:
    """Who a `basic.get` stands for."""
    get = receiving.read_get(payload)
    return delivering.consumers.consumer_of(get.queue, get.no_ack)
