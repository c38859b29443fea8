"""What a client says about deliveries, where these are judged: it consumes, gets, acknowledges, recovers.

Its answers reach the broker only for deliveries that it has: RabbitMQ closes the channel for any other tag,
and so does the gate, in the broker's words, for what the client was never given.
"""

from __future__ import annotations

from typing import Final

from sealgate.session.channel import Channel
from sealgate.session.consumers import Consumer
from sealgate.session.conversation import Conversation
from sealgate.session.deliveries import Deliveries
from sealgate.session.delivering import Delivering
from sealgate.session.refuse import Refuser
from sealgate.wire import consuming, methods, receiving
from sealgate.wire.constants import (
    BASIC_ACK,
    BASIC_CANCEL,
    BASIC_CANCEL_OK,
    BASIC_CONSUME,
    BASIC_CONSUME_OK,
    BASIC_GET,
    BASIC_GET_EMPTY,
    BASIC_NACK,
    BASIC_RECOVER,
    BASIC_RECOVER_ASYNC,
    BASIC_RECOVER_OK,
    BASIC_REJECT,
    FRAME_HEADER_BYTES,
    FRAME_METHOD,
    FRAME_OVERHEAD_BYTES,
    PRECONDITION_FAILED,
    QUEUE_DECLARE,
    QUEUE_DECLARE_OK,
    REPLY_NAMES,
)
from sealgate.wire.frames import Frame, encode_frame
from sealgate.wire.numbers import u32

_REQUEUE: Final = 1
_MULTIPLE: Final = 1
#: Where the tag is in the frame of an answer, and octets of it; octets of the payload of an ack.
_TAG_AT: Final = FRAME_HEADER_BYTES + methods.METHOD_ID_BYTES
_TAG_BYTES: Final = 8
_ACK_BYTES: Final = methods.METHOD_ID_BYTES + _TAG_BYTES + 1


class Answers:
    """The client's methods that concern deliveries, and the broker's answers to them."""

    __slots__ = ("_conversation", "_deliveries", "_refuser")

    def __init__(self, conversation: Conversation, deliveries: Deliveries, refuser: Refuser) -> None:
        self._conversation: Final = conversation
        self._deliveries: Final = deliveries
        self._refuser: Final = refuser

    # The client's

    def carry_out(self, channel: Channel, frame: Frame, method: int) -> Frame | None:
        """Take a method of the client's; returns what is to be passed on in its place, None for nothing."""
        if method in (BASIC_ACK, BASIC_NACK, BASIC_REJECT):
            self._answer(channel, frame, method)
            return None
        delivering = self._deliveries.book.of(channel)
        if method == BASIC_CONSUME:
            payload = delivering.consumers.consume(frame.payload)
            return Frame(FRAME_METHOD, channel.number, encode_frame(FRAME_METHOD, channel.number, payload))
        if method in (BASIC_RECOVER, BASIC_RECOVER_ASYNC):
            return self._recover(delivering, frame, method)
        if method == BASIC_GET:
            # What the client says next waits for its answer: the broker may have to be asked again.
            channel.getting = True
            delivering.get = frame
            delivering.getter = _consumer_of_get(delivering, frame.payload)
        elif method == QUEUE_DECLARE:
            delivering.consumers.declare(frame.payload)
        elif method == BASIC_CANCEL:
            delivering.consumers.cancel(frame.payload)
        return frame

    def may_pass(self, channel: Channel, method: int) -> bool:
        """Whether answers by `method` may be passed on as they are: no store waits to be told of them."""
        return method == BASIC_ACK and not channel.getting and not self._deliveries.book.of(channel).claims

    def acknowledged(self, channel: Channel, data: bytes, start: int, stop: int) -> int:
        """Take the answers in `data[start:stop]`, of which each `may_pass`, that are passed on as they are.

        That is as long as each is of one delivery that the client has. Returns where these end.
        """
        delivering = self._deliveries.book.of(channel)
        if u32(data, start + 3) != _ACK_BYTES:
            return start
        unacked = delivering.unacked
        at = start
        while at < stop:
            bits_at = at + _TAG_AT + _TAG_BYTES
            tag = int.from_bytes(data[at + _TAG_AT : bits_at], "big")
            if data[bits_at] & _MULTIPLE or not unacked.has(tag):
                break
            unacked.answered(tag)
            at += _ACK_BYTES + FRAME_OVERHEAD_BYTES
        self._deliveries.book.count_unacked(delivering)
        return at

    def _answer(self, channel: Channel, frame: Frame, method: int) -> None:
        if method == BASIC_NACK:
            tag, multiple, requeue = methods.read_nack(frame.payload)
        else:
            tag, multiple = methods.read_ack(frame.payload)
            requeue = multiple and method == BASIC_REJECT
            # The one bit of `basic.reject` is requeue.
            multiple = multiple and method == BASIC_ACK
        delivering = self._deliveries.book.of(channel)
        unacked = delivering.unacked
        if not (multiple and not tag) and not unacked.has(tag):
            text = f"{REPLY_NAMES[PRECONDITION_FAILED]} - unknown delivery tag {tag}"
            self._refuser.close_channel(channel, PRECONDITION_FAILED, text, method)
            return
        if multiple:
            settled = unacked.answered_up_to(tag)
            for each, several in unacked.answers_for(settled):
                payload = (
                    methods.encode_ack(each, several)
                    if method == BASIC_ACK
                    else methods.encode_nack(each, several, requeue)
                )
                self._conversation.out.upstream_method(channel.number, payload)
        else:
            settled = [tag]
            unacked.answered(tag)
            self._conversation.out.upstream(frame.raw)
        self._settle(delivering, settled, method == BASIC_ACK)
        self._deliveries.book.count_unacked(delivering)

    def _settle(self, delivering: Delivering, settled: list[int], done: bool) -> None:
        """What is acknowledged is done once and for all; what comes back may be done again."""
        if not delivering.claims:
            return
        for tag in settled:
            held = delivering.claims.pop(tag, None)
            if held is None:
                continue
            if done:
                self._conversation.out.commit(held.claim)
            else:
                self._conversation.out.release(held.claim)

    def _recover(self, delivering: Delivering, frame: Frame, method: int) -> Frame:
        """All that is not answered goes back to the broker, what the gate keeps included.

        `recover-async` is not answered, so that nobody could tell what was delivered before it from what
        comes after: its sibling is asked instead, whose answer the client does not see. Without requeue
        RabbitMQ ends the connection (540): it may say so itself.
        """
        payload = frame.payload
        if len(payload) <= methods.METHOD_ID_BYTES or not payload[methods.METHOD_ID_BYTES] & _REQUEUE:
            return frame
        self._deliveries.forget(delivering.channel)
        answered = method == BASIC_RECOVER
        delivering.recovering.append(answered)
        if answered:
            return frame
        number = delivering.channel.number
        return Frame(FRAME_METHOD, number, encode_frame(FRAME_METHOD, number, receiving.encode_recover()))

    # The broker's

    def heard(self, channel: Channel, frame: Frame, method: int) -> bool:
        """Take a method of the broker's; False for one that the client is not to see."""
        delivering = self._deliveries.book.of(channel)
        if method == BASIC_CONSUME_OK:
            delivering.consumers.consumed(frame.payload)
        elif method in (BASIC_CANCEL_OK, BASIC_CANCEL):
            delivering.consumers.cancelled(frame.payload)
        elif method == QUEUE_DECLARE_OK:
            delivering.consumers.declared(frame.payload)
        elif method == BASIC_GET_EMPTY:
            self._deliveries.book.say(delivering, encode_frame(FRAME_METHOD, channel.number, frame.payload))
            self._deliveries.got(delivering)
            return False
        elif method == BASIC_RECOVER_OK and delivering.recovering:
            return delivering.recovering.popleft()
        return True


def _consumer_of_get(delivering: Delivering, payload: bytes) -> Consumer:
    """Who a `basic.get` stands for."""
    get = consuming.read_get(payload)
    return delivering.consumers.consumer_of(get.queue, get.no_ack)
