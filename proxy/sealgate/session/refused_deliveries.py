"""Deliveries that are refused: counted, kept, and answered upstream once they are safe."""

from __future__ import annotations

from typing import Final

from sealgate.reason import Reason
from sealgate.session.delivering import Delivering, Delivery
from sealgate.session.delivery_book import DeliveryBook
from sealgate.session.records import RefusalRecord
from sealgate.verify.delivery import DeliveryVerifier
from sealgate.verify.verdict import Refused
from sealgate.wire import methods, receiving

#: How long until quarantine is asked again to keep what it had no room for, seconds.
KEEP_AGAIN_S: Final = 5.0
_REJECTED: Final = "basic.reject"
_ACKED: Final = "basic.ack"
_NO_ANSWER: Final = "none"


class RefusedDeliveries:
    """Those of one conversation that quarantine is to have."""

    __slots__ = ("_book", "_unkept", "_verifier")

    def __init__(self, book: DeliveryBook, verifier: DeliveryVerifier) -> None:
        self._book: Final = book
        self._verifier: Final = verifier
        #: (when to try again, delivery)
        self._unkept: list[tuple[float, Delivery]] = []

    def refuse(self, delivering: Delivering, delivery: Delivery, refused: Refused) -> None:
        """Count it and keep it. It is answered upstream once it is kept (`kept`)."""
        delivery.refused = refused
        tally = self._book.conversation.terms.tally
        tally.messages["deliver", "refused", refused.reason.value] += 1
        if refused.kid:
            tally.key_messages[refused.kid, "refused"] += 1
        if refused.expires:
            tally.use_of(refused.kid).seen(refused.expires)
        if refused.authenticated:
            tally.task_messages[self._verifier.task_label(refused.task), "refused"] += 1
        if delivery.consumer.no_ack:
            self._book.conversation.out.keep(self.record(delivery, refused, _NO_ANSWER))
            self._book.done(delivering, delivery)
        else:
            self._book.wait(delivering, delivery)
            self._book.conversation.out.keep_delivery(
                self.record(delivery, refused, _answer_to(refused)), delivery
            )
        if delivery.got:
            self._get_again(delivering)

    def _get_again(self, delivering: Delivering) -> None:
        """The client asked for a message, and this was none: ask for the next, once there is room for it."""
        get = delivering.get
        assert get is not None  # this is its answer
        if delivering.waiting and not self._book.reads:
            delivering.get_due = True
            return
        delivering.get_due = False
        self._book.conversation.out.upstream(get.raw)

    def kept(self, delivery: Delivery, safe: bool) -> None:
        """Quarantine has a refused delivery, or (not `safe`) has no room for it."""
        if not self._book.may_go_on(delivery):
            # The broker has it back.
            return
        delivering, refused = self._book.of(delivery.channel), delivery.refused
        assert refused is not None  # nothing else is kept
        if not safe:
            self._book.conversation.terms.tally.limits_hit["quarantine"] += 1
            self._unkept.append((self._book.conversation.now.mono + KEEP_AGAIN_S, delivery))
            return
        tag = delivery.info.delivery_tag
        payload = receiving.encode_reject(tag, False)
        if _answer_to(refused) == _ACKED:
            payload = methods.encode_ack(tag, False)
        self._book.conversation.out.upstream_method(delivering.channel.number, payload)
        self._book.done(delivering, delivery)
        if delivering.get_due:
            self._get_again(delivering)

    def keep_again(self) -> None:
        """Offer to quarantine once more what it had no room for."""
        now = self._book.conversation.now.mono
        unkept, self._unkept = self._unkept, []
        for due, delivery in unkept:
            if not self._book.may_go_on(delivery):
                continue
            if due > now:
                self._unkept.append((due, delivery))
            elif delivery.refused is not None:
                record = self.record(delivery, delivery.refused, _answer_to(delivery.refused))
                self._book.conversation.out.keep_delivery(record, delivery)

    def record(
        self, delivery: Delivery, refused: Refused, answer: str, observed: bool = False
    ) -> RefusalRecord:
        """A delivery for quarantine, as a publish to the target it came with: tools can read that."""
        conversation, info = self._book.conversation, delivery.info
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


def _answer_to(refused: Refused) -> str:
    """What was acknowledged before is acknowledged again, all else is rejected (hostile.jsonl CO09)."""
    return _ACKED if refused.reason is Reason.REPLAY_DUPLICATE else _REJECTED
