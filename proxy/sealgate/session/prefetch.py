"""How much a client may hold unacknowledged: its `basic.qos` is lowered, or made where it sends none.

What RabbitMQ does with it (3.10, measured): a count that is not shared is of each consumer that begins after
it; a shared one is of the channel; 0 is no limit; a consumer without acknowledgements has none.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.records import Tally
from sealgate.wire.constants import (
    BASIC_CANCEL,
    BASIC_CANCEL_OK,
    BASIC_CONSUME,
    BASIC_CONSUME_OK,
    BASIC_QOS,
    BASIC_QOS_OK,
)
from sealgate.wire.consuming import (
    Consume,
    Qos,
    encode_qos,
    read_cancel,
    read_consume,
    read_consumer_tag,
    read_qos,
)

#: What of the client's and of the broker's is looked at.
CLIENT_METHODS: Final = frozenset({BASIC_QOS, BASIC_CONSUME, BASIC_CANCEL})
BROKER_METHODS: Final = frozenset({BASIC_QOS_OK, BASIC_CONSUME_OK, BASIC_CANCEL, BASIC_CANCEL_OK})
#: `basic.qos` and `basic.consume` of one channel that the broker has not answered. Clients wait for each.
UNANSWERED_MAX: Final = 1000
#: Consumers of one channel whose end is noticed; Celery has one for each queue. What more of them were
#: granted is given back with the channel.
CONSUMERS_MAX: Final = 1000
#: The largest count there is.
_COUNT_MAX: Final = 65_535
_NONE_YET: Final = -1

#: Why a count was changed: the label of the metric.
_MAX: Final = "max"
_DEFAULT: Final = "default"
_CONNECTION: Final = "connection"
_OBSERVED: Final = "observed"


@dataclass(slots=True, frozen=True)
class PrefetchTerms:
    """`count_max` of one `basic.qos`, `count_default` where there is none, `connection_max` for all consumers
    of a connection together. None bounds nothing. With `observed` what would be changed is only counted."""

    count_max: int | None = None
    count_default: int | None = None
    connection_max: int | None = None
    observed: bool = False


class _Consumers:
    """One channel: what its consumers were granted."""

    __slots__ = ("answers", "asked", "awaiting", "counted", "granted", "rest", "sent", "shared")

    def __init__(self) -> None:
        #: The count for each consumer that the client asked for, and that the broker was sent.
        self.asked = _NONE_YET
        self.sent = _NONE_YET
        #: The count for all of them together, 0 for none.
        self.shared = 0
        #: By consumer tag; and the sum of those without a known one.
        self.granted: Final[dict[bytes, int]] = {}
        self.rest = 0
        #: Grants of consumers whose tags the broker will tell, in order.
        self.awaiting: Final[deque[int]] = deque()
        #: Whether each `basic.qos-ok` that is to come answers the gate and not the client, in order.
        self.answers: Final[deque[bool]] = deque()
        #: What it counts for.
        self.counted = 0

    def total(self) -> int:
        return self.shared or sum(self.granted.values()) + sum(self.awaiting) + self.rest


class Prefetch:
    """The consumers of one connection."""

    __slots__ = ("_channels", "_tally", "_terms", "_total")

    def __init__(self, terms: PrefetchTerms, tally: Tally) -> None:
        self._terms: Final = terms
        self._tally: Final = tally
        self._channels: Final[dict[int, _Consumers]] = {}
        self._total = 0

    def said(self, number: int, method: int, payload: bytes) -> list[bytes]:
        """What goes upstream instead of the client's `method` on a channel: payloads, in order.

        What can not be read goes as it is: the broker will say so. Raises `GateError` conn.memory for a
        client that waits for no answer.
        """
        consumers = self._channels.get(number)
        if consumers is None:
            consumers = self._channels[number] = _Consumers()
        qos: Qos | None = None
        consume: Consume | None = None
        gone = b""
        try:
            if method == BASIC_QOS:
                qos = read_qos(payload)
            elif method == BASIC_CONSUME:
                consume = read_consume(payload)
            else:
                tag, nowait = read_cancel(payload)
                gone = tag if nowait else b""
        except GateError:
            return [payload]
        if gone:
            consumers.granted.pop(gone, None)
            self._count(consumers)
        if qos is not None and not qos.size:
            return [self._qos(consumers, qos, payload)]
        if consume is not None and not consume.no_ack:
            return self._consume(consumers, consume, payload)
        if consume is not None and not consume.nowait:
            # Nothing is granted, and the answer has its turn all the same.
            _expect(consumers.awaiting)
            consumers.awaiting.append(0)
        # RabbitMQ has no limit of octets and closes the channel.
        return [payload]

    def heard(self, number: int, method: int, payload: bytes) -> bool:
        """The broker says `method`; whether it answers the gate, and is not for the client."""
        consumers = self._channels.get(number)
        if consumers is None:
            return False
        if method == BASIC_QOS_OK:
            return consumers.answers.popleft() if consumers.answers else False
        tag = read_consumer_tag(payload)
        if method == BASIC_CONSUME_OK:
            if consumers.awaiting:
                self._keep(consumers, tag, consumers.awaiting.popleft())
        else:
            consumers.granted.pop(tag, None)
        self._count(consumers)
        return False

    def closed(self, number: int) -> None:
        """The channel is closed, or begins anew."""
        consumers = self._channels.pop(number, None)
        if consumers is not None:
            self._add(-consumers.counted)

    def forget_all(self) -> None:
        """The connection is over."""
        self._channels.clear()
        self._add(-self._total)

    def _qos(self, consumers: _Consumers, qos: Qos, payload: bytes) -> bytes:
        count = self._limited(qos.count)
        if count != qos.count:
            self._note(_MAX)
        if qos.shared:
            count = self._within_connection(consumers, count, consumers.counted)
            consumers.shared = count
            self._count(consumers)
        else:
            # What the connection has left is looked at when a consumer begins.
            consumers.asked = consumers.sent = count
        _expect(consumers.answers)
        consumers.answers.append(False)
        same = count == qos.count or self._terms.observed
        return payload if same else encode_qos(Qos(0, count, qos.shared))

    def _consume(self, consumers: _Consumers, consume: Consume, payload: bytes) -> list[bytes]:
        wanted = consumers.asked
        why = ""
        if wanted == _NONE_YET:
            wanted = self._default() if not consumers.shared else 0
            why = _DEFAULT
        if not consumers.shared:
            wanted = self._within_connection(consumers, wanted, 0)
        if consume.nowait:
            self._keep(consumers, consume.tag, wanted)
        else:
            _expect(consumers.awaiting)
            consumers.awaiting.append(wanted)
        self._count(consumers)
        if wanted == max(consumers.sent, 0):
            return [payload]
        if why:
            self._note(why)
        consumers.sent = wanted
        if self._terms.observed:
            return [payload]
        _expect(consumers.answers)
        consumers.answers.append(True)
        return [encode_qos(Qos(0, wanted, False)), payload]

    def _note(self, how: str) -> None:
        self._tally.prefetch_limited[_OBSERVED if self._terms.observed else how] += 1

    def _default(self) -> int:
        terms = self._terms
        if terms.count_default is not None:
            return terms.count_default
        return terms.count_max or 0

    def _limited(self, count: int) -> int:
        count_max = self._terms.count_max
        return count if count_max is None or 0 < count <= count_max else count_max

    def _within_connection(self, consumers: _Consumers, count: int, own: int) -> int:
        """`count`, or what the connection has left, `own` included; at least 1, for 0 is no limit."""
        most = self._terms.connection_max
        if most is None:
            return count
        left = max(most - self._total + own, 1)
        if 0 < count <= left:
            return count
        self._note(_CONNECTION)
        return min(left, _COUNT_MAX)

    def _keep(self, consumers: _Consumers, tag: bytes, count: int) -> None:
        if tag and tag not in consumers.granted and len(consumers.granted) < CONSUMERS_MAX:
            consumers.granted[tag] = count
        else:
            consumers.rest += count

    def _count(self, consumers: _Consumers) -> None:
        total = consumers.total()
        self._add(total - consumers.counted)
        consumers.counted = total

    def _add(self, count: int) -> None:
        self._total += count
        self._tally.prefetch_granted += count


def _expect(answers: deque[bool] | deque[int]) -> None:
    """One more answer will be awaited. Raises `GateError` conn.memory when there are too many."""
    if len(answers) >= UNANSWERED_MAX:
        raise GateError(Reason.CONN_MEMORY, "too many unanswered methods on a channel")
