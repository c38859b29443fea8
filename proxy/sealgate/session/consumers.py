"""Who consumes from which queue on one channel, as its methods tell: rules are by queue, tags are not.

The broker carries out the methods of a channel in order and answers them in order, so what it says is matched
with what was asked, oldest first. Of its names for queues and consumers only the last ones are remembered.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.verify.delivery import DeliveryPolicy, QueueTerms
from sealgate.wire import consuming
from sealgate.wire.constants import BASIC_CONSUME

#: Consumers of one channel, those that were asked for included. Celery has one for each queue; RabbitMQ sets
#: no limit of its own, and a hundred thousand would be a few dozen megabytes here.
CONSUMERS_MAX: Final = 1000
#: Consumers that were cancelled and may still be delivered what was on its way.
CANCELLED_MAX: Final = 64
#: Our own name for a consumer that leaves it to the broker and does not want to know.
_UNNAMED: Final = b"sealgate.ctag-%d"


class Consumer:
    """Where deliveries come from, and how these are judged. `gone`: it was cancelled."""

    __slots__ = ("gone", "no_ack", "queue", "terms")

    def __init__(self, queue: str, no_ack: bool, terms: QueueTerms) -> None:
        self.queue = queue
        self.no_ack: Final = no_ack
        self.terms = terms
        self.gone = False


class _Declaring:
    """A `queue.declare`, and who consumes from its queue without naming it. `silent`: no answer comes."""

    __slots__ = ("consumers", "name", "silent")

    def __init__(self, name: str, silent: bool) -> None:
        self.name: Final = name
        self.silent: Final = silent
        self.consumers: Final[list[Consumer]] = []


class Consumers:
    """The consumers of one channel, and the queue that it declared last."""

    __slots__ = ("_active", "_asked", "_cancelled", "_declared", "_declaring", "_policy", "_unnamed")

    def __init__(self, policy: DeliveryPolicy) -> None:
        self._policy: Final = policy
        self._active: Final[dict[bytes, Consumer]] = {}
        #: Asked for by a `basic.consume` that the broker will answer: the tag, b"" when the broker names it.
        self._asked: Final[deque[tuple[bytes, Consumer]]] = deque()
        self._cancelled: Final[dict[bytes, Consumer]] = {}
        self._declaring: Final[deque[_Declaring]] = deque()
        self._declared = ""
        self._unnamed = 0

    def declare(self, payload: bytes) -> None:
        """A `queue.declare` goes upstream. Raises GateError conn.limit."""
        declare = consuming.read_declare(payload)
        name, nowait = declare.queue, declare.nowait
        if nowait and not self._declaring:
            # A name that the broker makes up then nobody can know: it is "" here.
            self._declared = name
            return
        if len(self._declaring) >= CONSUMERS_MAX:
            raise GateError(Reason.CONN_LIMIT, "too many queue declarations at once")
        self._declaring.append(_Declaring(name, nowait))

    def declared(self, payload: bytes) -> None:
        """The broker's `queue.declare-ok`."""
        self._declared = consuming.read_declare_ok(payload)
        if self._declaring:
            for consumer in self._declaring.popleft().consumers:
                consumer.queue = self._declared
                consumer.terms = self._policy.terms_of(self._declared)
        while self._declaring and self._declaring[0].silent:
            self._declared = self._declaring.popleft().name

    def consume(self, payload: bytes) -> bytes:
        """A `basic.consume` goes upstream, as is returned. Raises GateError conn.limit."""
        consume = consuming.read_consume(payload)
        if len(self._active) + len(self._asked) >= CONSUMERS_MAX:
            raise GateError(Reason.CONN_LIMIT, f"over {CONSUMERS_MAX} consumers on a channel", BASIC_CONSUME)
        consumer = self.consumer_of(consume.queue, consume.no_ack)
        if not consume.nowait:
            self._asked.append((consume.tag, consumer))
            return payload
        if consume.tag:
            self._start(consume.tag, consumer)
            return payload
        # Nobody would ever learn its tag, and deliveries could not be told from another's.
        self._unnamed += 1
        tag = _UNNAMED % self._unnamed
        self._start(tag, consumer)
        return consuming.with_consumer_tag(payload, consume, tag)

    def consumed(self, payload: bytes) -> None:
        """The broker's `basic.consume-ok`."""
        tag = consuming.read_consumer_tag(payload)
        if self._asked:
            self._start(tag, self._asked.popleft()[1])

    def cancel(self, payload: bytes) -> None:
        """A `basic.cancel` goes upstream. One that the broker will not answer counts at once."""
        tag, nowait = consuming.read_cancel(payload)
        if nowait:
            self._cancel(tag)

    def cancelled(self, payload: bytes) -> None:
        """The broker's `basic.cancel-ok`, or its own `basic.cancel`."""
        self._cancel(consuming.read_consumer_tag(payload))

    def _cancel(self, tag: bytes) -> None:
        consumer = self._active.pop(tag, None)
        if consumer is None:
            return
        consumer.gone = True
        self._cancelled[tag] = consumer
        if len(self._cancelled) > CANCELLED_MAX:
            for oldest in self._cancelled:
                del self._cancelled[oldest]
                break

    def active(self, tag: bytes) -> Consumer | None:
        """The consumer of this tag, if it is known and not cancelled."""
        return self._active.get(tag)

    def find(self, tag: bytes) -> Consumer:
        """Whose delivery this is. Of one that nobody asked for only the default is known."""
        consumer = self._active.get(tag)
        if consumer is not None:
            return consumer
        for asked, waiting in self._asked:
            # A quorum queue may deliver before its consume-ok.
            if asked == tag:
                return waiting
        cancelled = self._cancelled.get(tag)
        if cancelled is not None:
            return cancelled
        for asked, waiting in self._asked:
            if not asked:
                # The broker has named it, and will say so.
                return waiting
        return self.consumer_of(self._declared, False)

    def consumer_of(self, queue: str, no_ack: bool) -> Consumer:
        """One of this queue, "" for the one that was declared last."""
        if queue or not self._declaring:
            name = queue or self._declared
            return Consumer(name, no_ack, self._policy.terms_of(name))
        declaring = self._declaring[-1]
        consumer = Consumer(declaring.name, no_ack, self._policy.terms_of(declaring.name))
        declaring.consumers.append(consumer)
        return consumer

    def _start(self, tag: bytes, consumer: Consumer) -> None:
        self._active[tag] = consumer
        self._cancelled.pop(tag, None)
