"""The assembly of deliveries, whole and within the limits of publishes."""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.channel import FRAME_OBJECTS_BYTES, Channel
from sealgate.session.delivering import Delivering, Delivery, entries_bytes
from sealgate.session.delivery_book import DeliveryBook
from sealgate.wire import receiving
from sealgate.wire.constants import BASIC_GET_OK
from sealgate.wire.frames import Frame, Whole
from sealgate.wire.properties import ContentHeader, read_body_size
from sealgate.wire.reader import HeaderReader


class Arriving:
    """Puts the broker's frames together; a delivery is returned when its last octet is here."""

    __slots__ = ("_book", "_headers")

    def __init__(self, book: DeliveryBook, headers: HeaderReader) -> None:
        self._book: Final = book
        self._headers: Final = headers

    def begin(self, channel: Channel, frame: Frame, method: int) -> None:
        """A `basic.deliver` or `basic.get-ok`. Raises GateError of the family frame, as `body` does."""
        delivering = self._book.of(channel)
        delivery = delivering.arriving = self._new(delivering, frame.payload, method == BASIC_GET_OK)
        self._book.grow(delivery, delivery.size)

    def header(self, delivery: Delivery, frame: Frame) -> Delivery | None:
        """Its content header."""
        if delivery.remaining >= 0:
            raise GateError(Reason.FRAME_ORDER, "a second content header")
        self._take_header(delivery, frame.payload, None)
        return None if delivery.remaining else _finished(delivery)

    def body(self, delivery: Delivery, frame: Frame) -> Delivery | None:
        """A frame of its body."""
        if delivery.remaining < 0:
            raise GateError(Reason.FRAME_ORDER, "a body without its content header")
        grown = delivery.take_body(frame)
        if grown:
            self._book.grow(delivery, grown)
        return None if delivery.remaining else _finished(delivery)

    def whole(self, channel: Channel, whole: Whole, content: ContentHeader | None) -> Delivery:
        """A `basic.deliver` that came whole, on a channel where none is under way.

        `content` is its header, where that was read already.
        """
        delivery = self._new(self._book.of(channel), whole.method_frame().payload, False)
        self._book.grow(delivery, delivery.size)
        self._take_header(delivery, whole.header, content)
        too_large = delivery.error is not None and delivery.error.reason is Reason.BODY_SIZE
        if whole.body_size and not too_large:
            delivery.bodies.append(whole.body)
            self._book.grow(delivery, whole.body_size + FRAME_OBJECTS_BYTES)
        return _finished(delivery)

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

    def _take_header(self, delivery: Delivery, payload: bytes, content: ContentHeader | None) -> None:
        delivery.header = payload
        delivery.body_size = delivery.remaining = read_body_size(payload)
        self._book.grow(delivery, len(payload))
        limits = self._book.conversation.terms.limits
        if delivery.body_size > limits.body_bytes_max:
            self._book.conversation.terms.tally.limits_hit["body_bytes_max"] += 1
            detail = f"{delivery.body_size} bytes, at most {limits.body_bytes_max}"
            delivery.error = GateError(Reason.BODY_SIZE, detail)
            return
        try:
            delivery.content = self._headers.read(payload) if content is None else content
            self._book.grow(delivery, entries_bytes(delivery.content))
        except GateError as error:
            delivery.error = error


def _finished(delivery: Delivery) -> Delivery:
    delivery.body = b"".join(delivery.bodies)
    delivery.bodies.clear()
    return delivery
