"""Publishes that come back from a queue that was to hold them: it is gone, and they would be lost with it.

They are sent mandatory for this. The client is told by a nack where it has confirms, and sends again; what
came back is counted and kept as what the client sent, and the queue is declared before it is used again.
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.channel import Channel, LostPublication, Publication, token_of
from sealgate.session.confirms import Seal
from sealgate.session.conversation import Conversation
from sealgate.session.holding import HOLDING_PREFIXES, WAIT_PREFIX, HoldingQueue
from sealgate.session.refuse import Refuser
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME
from sealgate.verify.verdict import Refused
from sealgate.wire import methods
from sealgate.wire.constants import FRAME_HEADER, FRAME_METHOD
from sealgate.wire.frames import Frame, encode_frame
from sealgate.wire.methods import Publish
from sealgate.wire.properties import read_body_size, scan_content_header, with_expiration

_DETAIL: Final = "the queue it was to be held in is gone"


class Lost:
    """Takes such publishes out of what the broker says."""

    __slots__ = ("_conversation", "_refuser")

    def __init__(self, conversation: Conversation, refuser: Refuser) -> None:
        self._conversation: Final = conversation
        self._refuser: Final = refuser

    def returned(self, channel: Channel, payload: bytes) -> bool:
        """Whether a `basic.return` is of such a publish: its content is then to be given to `content`."""
        _, _, exchange, routing_key = methods.read_return(payload)
        if exchange or not routing_key.startswith(HOLDING_PREFIXES):
            return False
        conversation = self._conversation
        queues = conversation.terms.queues
        queue = queues.find(conversation.broker, conversation.peer.vhost, routing_key)
        if queue is None:
            # Of somebody who publishes to such a queue directly.
            return False
        queues.forget(conversation.broker, conversation.peer.vhost, routing_key)
        publish = Publish(queue.exchange, queue.routing_key, False, False)
        method = methods.encode_publish(queue.exchange, queue.routing_key, False)
        frame = Frame(FRAME_METHOD, channel.number, encode_frame(FRAME_METHOD, channel.number, method))
        channel.lost = LostPublication(Publication(channel.number, publish, frame), queue)
        return True

    def content(self, channel: Channel, frame: Frame) -> None:
        """A frame of its content."""
        lost = channel.lost
        assert lost is not None  # the caller looked
        publication = lost.publication
        if frame.type == FRAME_HEADER:
            lost.remaining = publication.body_size = read_body_size(frame.payload)
            publication.header = frame
        else:
            publication.bodies.append(frame)
            lost.remaining -= frame.payload_size
        if lost.remaining <= 0:
            channel.lost = None
            self._keep(channel, publication, lost.queue)

    def _keep(self, channel: Channel, publication: Publication, queue: HoldingQueue) -> None:
        """As a refusal: nothing of it is anywhere else."""
        conversation = self._conversation
        assert publication.header is not None  # it came first
        payload = publication.header.payload
        kid = ""
        try:
            header = scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
            text = token_of(header)
            token = conversation.peer.tokens.read(text)
        except GateError:
            # What was sent was read before; with another broker's answer there is nothing to match.
            token = None
        if token is not None:
            kid = token.kid
            if queue.name.startswith(WAIT_PREFIX):
                payload = with_expiration(payload, token.target.expiration)
            if channel.ledger is not None:
                channel.ledger.lost(Seal(text, queue.exchange, queue.routing_key))
        raw = encode_frame(FRAME_HEADER, channel.number, payload)
        publication.header = Frame(FRAME_HEADER, channel.number, raw)
        refused = Refused(Reason.RATE_TASK, _DETAIL, kid)
        tally = conversation.terms.tally
        tally.messages["publish", "refused", refused.reason.value] += 1
        if channel.ledger is None:
            tally.unconfirmed_refusals += 1
        self._refuser.keep(publication, refused, "none" if channel.ledger is None else "basic.nack")
