"""Methods by which clients consume and declare queues, for who bounds what they ask for.

Arguments and results are payloads; `read_*` raises `GateError` frame.truncated or frame.trailing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from sealgate.wire.arguments import Arguments
from sealgate.wire.constants import BASIC_QOS
from sealgate.wire.table import Table, with_entries

_QOS: Final = struct.Struct(">IIHB")
_U32: Final = struct.Struct(">I")
_PASSIVE: Final = 1
_EXCLUSIVE: Final = 4
_AUTO_DELETE: Final = 8
_NO_ACK: Final = 2
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
    """`basic.consume`. An empty `tag` is the broker's choice; with `nowait` it does not answer."""

    tag: str
    no_ack: bool
    nowait: bool


@dataclass(slots=True)
class Declare:
    """`queue.declare`. `span` is where its arguments lie in the payload, without their length."""

    queue: str
    passive: bool
    exclusive: bool
    auto_delete: bool
    span: tuple[int, int]


def read_declare(payload: bytes) -> Declare:
    arguments = Arguments(payload)
    arguments.u16()
    queue = arguments.short_text()
    bits = arguments.octet()
    span = arguments.long_span()
    arguments.finish()
    return Declare(queue, bits & _PASSIVE != 0, bits & _EXCLUSIVE != 0, bits & _AUTO_DELETE != 0, span)


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
    arguments.short_bytes()
    tag = arguments.short_text()
    bits = arguments.octet()
    arguments.long_span()
    arguments.finish()
    return Consume(tag, bits & _NO_ACK != 0, bits & _CONSUME_NOWAIT != 0)


def read_silent_cancel(payload: bytes) -> str:
    """The consumer of a `basic.cancel` that the broker is not to answer; "" for one that it is."""
    arguments = Arguments(payload)
    tag = arguments.short_text()
    nowait = arguments.octet() & _CANCEL_NOWAIT != 0
    arguments.finish()
    return tag if nowait else ""


def read_tag(payload: bytes) -> str:
    """The consumer that `basic.consume-ok`, `basic.cancel` or `basic.cancel-ok` is about."""
    return Arguments(payload).short_text()
