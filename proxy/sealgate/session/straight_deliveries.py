"""Deliveries that came whole, from a known consumer's queue: most do. The short way of `session.deliveries`.

What is accepted, and needs no store, is handed over in one step, as a part of the bytes it came in, but for
its content header. Whatever else there is `Deliveries` takes; both do the same to a delivery that either
could take.
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError
from sealgate.session.channel import FRAME_OBJECTS_BYTES
from sealgate.session.delivering import OBJECTS_BYTES, Delivering, entries_bytes
from sealgate.session.delivery_book import DeliveryBook
from sealgate.session.delivery_counts import DeliveryCounts
from sealgate.signing.canonical import COUNTERSIGN_NAME, TOKEN_NAME
from sealgate.signing.hashing import sha256
from sealgate.verify.delivery import DeliveryVerifier
from sealgate.verify.message import Message, Peer
from sealgate.verify.verdict import Accepted, Verdict
from sealgate.wire.constants import FRAME_HEADER, FRAME_HEADER_BYTES, FRAME_OVERHEAD_BYTES
from sealgate.wire.frames import Whole, encode_frame
from sealgate.wire.properties import ContentHeader, names_in, restore, value_in
from sealgate.wire.reader import HeaderReader
from sealgate.wire.receiving import Delivered, read_deliver

#: What only gates write and read.
SEAL_NAMES: Final = frozenset({TOKEN_NAME, COUNTERSIGN_NAME})
#: Where the consumer tag begins in a frame of `basic.deliver`, by its length; the delivery tag is behind it.
_CONSUMER_TAG_AT: Final = FRAME_HEADER_BYTES + 4
_DELIVERY_TAG_BYTES: Final = 8
#: A frame of `basic.deliver` is smaller: it holds three short strings. A larger one is not remembered.
_METHOD_BYTES_MAX: Final = 1024
_ETA: Final = "eta"


class _Source:
    """Who deliveries are for, and with which target they come: all of a `basic.deliver` but its tag.

    `head` and `tail` are what stands before and behind that in its frame.
    """

    __slots__ = ("exchange", "head", "info", "routing_key", "tail")

    def __init__(self, head: bytes, tail: bytes, info: Delivered) -> None:
        self.head: Final = head
        self.tail: Final = tail
        self.info: Final = info
        self.exchange: Final = info.exchange.decode()
        self.routing_key: Final = info.routing_key.decode()


class StraightDeliveries:
    """Hands over what can be. Of what can not `content` and `verdict` are what is known after `take`.

    To be forgotten (`forget`) as soon as they are taken: a header may be large.
    """

    __slots__ = ("_book", "_counts", "_headers", "_source", "_verifier", "content", "verdict")

    def __init__(
        self, book: DeliveryBook, verifier: DeliveryVerifier, headers: HeaderReader, counts: DeliveryCounts
    ) -> None:
        self._book: Final = book
        self._verifier: Final = verifier
        self._headers: Final = headers
        self._counts: Final = counts
        #: The last one: most consumers have one queue.
        self._source: _Source | None = None
        self.content: ContentHeader | None = None
        self.verdict: Verdict | None = None

    def take(self, delivering: Delivering, whole: Whole, peer: Peer) -> bool:
        """Judge a delivery for `peer` and hand it over; False when more is to be done than that.

        Its channel is open, and the broker in the middle of nothing there.
        """
        data, start = whole.data, whole.start
        tag_at = start + _CONSUMER_TAG_AT + 1 + data[start + _CONSUMER_TAG_AT]
        source = self._source_of(whole, tag_at)
        if source is None or delivering.recovering:
            return False
        consumer = delivering.consumers.active(source.info.consumer_tag)
        conversation = self._book.conversation
        if consumer is None or whole.body_size > conversation.terms.limits.body_bytes_max:
            return False
        try:
            content = self.content = self._headers.read(whole.header)
        except GateError:
            return False
        if not self._may_hold(whole, entries_bytes(content)):
            return False
        body = whole.body
        message = Message(source.exchange, source.routing_key, False, content, body, sha256(body))
        conversation.examined += 1
        verdict = self.verdict = self._verifier.examine(
            message, consumer.queue, consumer.terms, peer, conversation.now.wall
        )
        if not isinstance(verdict, Accepted) or verdict.claim is not None or verdict.observed is not None:
            return False
        self.forget()
        self._hand_over(whole, content)
        self._counts.accept(verdict, value_in(content.table, _ETA), source.info.redelivered)
        if not consumer.no_ack:
            tag = int.from_bytes(data[tag_at : tag_at + _DELIVERY_TAG_BYTES], "big")
            delivering.unacked.hand_over(tag)
            self._book.count_unacked(delivering)
        return True

    def forget(self) -> None:
        """What is known of the last delivery was taken."""
        self.content = None
        self.verdict = None

    def _source_of(self, whole: Whole, tag_at: int) -> _Source | None:
        """Where a delivery comes from whose tag lies at `tag_at`; None when that is to be read with care."""
        data = whole.data
        rest_at = tag_at + _DELIVERY_TAG_BYTES
        if rest_at >= whole.header_at or whole.header_at - whole.start > _METHOD_BYTES_MAX:
            return None
        head, tail = data[whole.start : tag_at], data[rest_at : whole.header_at]
        source = self._source
        if source is not None and head == source.head and tail == source.tail:
            return source
        try:
            source = _Source(head, tail, read_deliver(whole.method_frame().payload))
        except (GateError, UnicodeDecodeError):
            return None
        self._source = source
        return source

    def _may_hold(self, whole: Whole, entries: int) -> bool:
        """Whether there is room for it, were it kept. `entries` is what those of its header take."""
        conversation = self._book.conversation
        limits = conversation.terms.limits
        headers = whole.body_at - whole.start - 2 * FRAME_OVERHEAD_BYTES
        body = whole.body_size + FRAME_OBJECTS_BYTES if whole.body_size else 0
        size = OBJECTS_BYTES + headers + entries + body
        return (
            conversation.partial_bytes + size <= limits.connection_bytes_max
            and conversation.terms.tally.buffered_bytes + size <= limits.process_bytes_max
        )

    def _hand_over(self, whole: Whole, content: ContentHeader) -> None:
        out, data = self._book.conversation.out, whole.data
        if SEAL_NAMES.isdisjoint(names_in(content.table)):
            out.client_stretch(data, whole.start, whole.stop)
            return
        out.client_stretch(data, whole.start, whole.header_at)
        out.client(encode_frame(FRAME_HEADER, whole.channel, restore(content, SEAL_NAMES)))
        if whole.body_size:
            out.client_stretch(data, whole.body_at, whole.stop)
