"""The methods of who receives messages, for who judges deliveries: what is read, and what is written.

Arguments and results are payloads, as in `methods`, and so are the errors. Consumer tags stay octets: they
are only compared.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from sealgate.wire.arguments import Arguments, encode_short_text
from sealgate.wire.constants import (
    BASIC_CONSUME,
    BASIC_GET_EMPTY,
    BASIC_PUBLISH,
    BASIC_RECOVER,
    BASIC_REJECT,
    SHORT_TEXT_BYTES_MAX,
)

_METHOD: Final = struct.Struct(">I")
_TAGGED: Final = struct.Struct(">IQB")
_NO_ACK: Final = 2
_CONSUME_NOWAIT: Final = 8
_CANCEL_NOWAIT: Final = 1
_GET_NO_ACK: Final = 1
_DECLARE_NOWAIT: Final = 16


@dataclass(slots=True)
class Consume:
    """`basic.consume`. `tag_at` is where the length of its consumer tag lies."""

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
class Delivered:
    """`basic.deliver` or `basic.get-ok`, whose consumer tag is empty. Exchange and routing key are octets."""

    consumer_tag: bytes
    delivery_tag: int
    redelivered: bool
    exchange: bytes
    routing_key: bytes


def read_consume(payload: bytes) -> Consume:
    arguments = Arguments(payload)
    arguments.u16()
    queue = arguments.short_bytes()
    tag_at = _METHOD.size + 2 + 1 + len(queue)
    tag = arguments.short_bytes()
    bits = arguments.octet()
    return Consume(
        queue.decode(errors="replace"), tag, bits & _NO_ACK != 0, bits & _CONSUME_NOWAIT != 0, tag_at
    )


def with_consumer_tag(payload: bytes, consume: Consume, tag: bytes) -> bytes:
    """The `basic.consume` that was read as `consume`, with another tag and every other byte kept."""
    assert payload[: _METHOD.size] == _METHOD.pack(BASIC_CONSUME) and len(tag) <= SHORT_TEXT_BYTES_MAX
    after = consume.tag_at + 1 + len(consume.tag)
    return payload[: consume.tag_at] + bytes((len(tag),)) + tag + payload[after:]


def read_consumer_tag(payload: bytes) -> bytes:
    """Of `consume-ok`, `cancel` and `cancel-ok`."""
    return Arguments(payload).short_bytes()


def read_cancel(payload: bytes) -> tuple[bytes, bool]:
    """(consumer tag, nowait) of `basic.cancel`."""
    arguments = Arguments(payload)
    tag = arguments.short_bytes()
    return tag, arguments.octet() & _CANCEL_NOWAIT != 0


def read_get(payload: bytes) -> Get:
    arguments = Arguments(payload)
    arguments.u16()
    queue = arguments.short_text()
    return Get(queue, arguments.octet() & _GET_NO_ACK != 0)


def read_declare(payload: bytes) -> tuple[str, bool]:
    """(queue, nowait) of `queue.declare`; the queue is "" for one that the broker names."""
    arguments = Arguments(payload)
    arguments.u16()
    queue = arguments.short_text()
    return queue, arguments.octet() & _DECLARE_NOWAIT != 0


def read_declare_ok(payload: bytes) -> str:
    """The queue of `queue.declare-ok`."""
    return Arguments(payload).short_text()


def read_deliver(payload: bytes) -> Delivered:
    """Of `basic.deliver`."""
    arguments = Arguments(payload)
    return _delivered(arguments, arguments.short_bytes())


def read_get_ok(payload: bytes) -> Delivered:
    """Of `basic.get-ok`; how many messages are left is not read."""
    return _delivered(Arguments(payload), b"")


def _delivered(arguments: Arguments, consumer_tag: bytes) -> Delivered:
    delivery_tag = (arguments.u32() << 32) | arguments.u32()
    redelivered = arguments.octet() & 1 != 0
    return Delivered(
        consumer_tag, delivery_tag, redelivered, arguments.short_bytes(), arguments.short_bytes()
    )


def encode_reject(tag: int, requeue: bool) -> bytes:
    return _TAGGED.pack(BASIC_REJECT, tag, 1 if requeue else 0)


def encode_get_empty() -> bytes:
    """As RabbitMQ says it, with the reserved text empty."""
    return _METHOD.pack(BASIC_GET_EMPTY) + encode_short_text("")


def encode_recover() -> bytes:
    """`basic.recover` with requeue, which is answered."""
    return _METHOD.pack(BASIC_RECOVER) + b"\x01"


def encode_publish(exchange: bytes, routing_key: bytes) -> bytes:
    """A `basic.publish` to a target as it was read."""
    target = [bytes((len(name),)) + name for name in (exchange, routing_key)]
    return _METHOD.pack(BASIC_PUBLISH) + b"\x00\x00" + target[0] + target[1] + b"\x00"
