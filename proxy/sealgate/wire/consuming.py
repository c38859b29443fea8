"""Methods by which clients consume, get and declare queues: for who bounds that, and who judges deliveries.

Arguments and results are payloads; `read_*` raises `GateError` frame.truncated or frame.trailing: RabbitMQ
3.10 ends the connection for either (measured). Consumer tags stay octets: they are only compared.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from sealgate.wire.arguments import Arguments
from sealgate.wire.constants import BASIC_CONSUME, BASIC_QOS, SHORT_TEXT_BYTES_MAX
from sealgate.wire.entries import with_entries
from sealgate.wire.table import Table

_QOS: Final = struct.Struct(">IIHB")
_U32: Final = struct.Struct(">I")
_METHOD: Final = struct.Struct(">I")
_PASSIVE: Final = 1
_EXCLUSIVE: Final = 4
_AUTO_DELETE: Final = 8
_DECLARE_NOWAIT: Final = 16
_NO_ACK: Final = 2
_GET_NO_ACK: Final = 1
_CONSUME_NOWAIT: Final = 8
_CANCEL_NOWAIT: Final = 1


@dataclass(slots=True)
class Qos:
    """`basic.qos`: octets and deliveries that may be unacknowledged, 0 for no limit.

    With `shared` (`global`) by all consumers of the channel together; else by each that comes after it.
    """

    size: int
    count: int
    shared: bool


@dataclass(slots=True)
class Consume:
    """`basic.consume`. An empty `tag` is the broker's choice; with `nowait` it does not answer.

    `tag_at` is where the length of its consumer tag lies.
    """

    queue: str
    tag: bytes
    no_ack: bool
    nowait: bool
    tag_at: int


@dataclass(slots=True)
class Get:
    """`basic.get`"""

    queue: str
    no_ack: bool


@dataclass(slots=True)
class Declare:
    """`queue.declare`. An empty `queue` is named by the broker; with `nowait` it does not answer.

    `span` is where its arguments lie in the payload, without their length.
    """

    queue: str
    passive: bool
    exclusive: bool
    auto_delete: bool
    nowait: bool
    span: tuple[int, int]


def read_declare(payload: bytes) -> Declare:
    arguments = Arguments(payload)
    arguments.u16()
    queue = arguments.short_text()
    bits = arguments.octet()
    span = arguments.long_span()
    arguments.finish()
    return Declare(
        queue,
        bits & _PASSIVE != 0,
        bits & _EXCLUSIVE != 0,
        bits & _AUTO_DELETE != 0,
        bits & _DECLARE_NOWAIT != 0,
        span,
    )


def read_declare_ok(payload: bytes) -> str:
    """The queue of `queue.declare-ok`."""
    return Arguments(payload).short_text()


def with_arguments(payload: bytes, declare: Declare, table: Table, entries: dict[str, bytes]) -> bytes:
    """The `queue.declare` that was read as `declare`, with `entries` put into its arguments, `table`."""
    begin, end = declare.span
    content = with_entries(table, entries)
    return payload[: begin - _U32.size] + _U32.pack(len(content)) + content + payload[end:]


def read_qos(payload: bytes) -> Qos:
    arguments = Arguments(payload)
    qos = Qos(arguments.u32(), arguments.u16(), arguments.octet() & 1 != 0)
    arguments.finish()
    return qos


def encode_qos(qos: Qos) -> bytes:
    return _QOS.pack(BASIC_QOS, qos.size, qos.count, 1 if qos.shared else 0)


def read_consume(payload: bytes) -> Consume:
    arguments = Arguments(payload)
    arguments.u16()
    queue = arguments.short_bytes()
    tag_at = _METHOD.size + 2 + 1 + len(queue)
    tag = arguments.short_bytes()
    bits = arguments.octet()
    arguments.long_span()
    arguments.finish()
    return Consume(
        queue.decode(errors="replace"), tag, bits & _NO_ACK != 0, bits & _CONSUME_NOWAIT != 0, tag_at
    )


def with_consumer_tag(payload: bytes, consume: Consume, tag: bytes) -> bytes:
    """The `basic.consume` that was read as `consume`, with another tag and every other byte kept."""
    assert payload[: _METHOD.size] == _METHOD.pack(BASIC_CONSUME) and len(tag) <= SHORT_TEXT_BYTES_MAX
    after = consume.tag_at + 1 + len(consume.tag)
    return payload[: consume.tag_at] + bytes((len(tag),)) + tag + payload[after:]


def read_consumer_tag(payload: bytes) -> bytes:
    """The consumer that `basic.consume-ok`, `basic.cancel` or `basic.cancel-ok` is about."""
    return Arguments(payload).short_bytes()


def read_cancel(payload: bytes) -> tuple[bytes, bool]:
    """(consumer tag, nowait) of `basic.cancel`; with nowait the broker does not answer."""
    arguments = Arguments(payload)
    tag = arguments.short_bytes()
    nowait = arguments.octet() & _CANCEL_NOWAIT != 0
    arguments.finish()
    return tag, nowait


def read_get(payload: bytes) -> Get:
    arguments = Arguments(payload)
    arguments.u16()
    queue = arguments.short_text()
    no_ack = arguments.octet() & _GET_NO_ACK != 0
    arguments.finish()
    return Get(queue, no_ack)
