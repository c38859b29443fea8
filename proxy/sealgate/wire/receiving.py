"""Messages as the broker hands them over, for who judges them: what is read, and what is written in answer.

Arguments and results are payloads, as in `methods`, and so are the errors.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from sealgate.wire.arguments import Arguments, encode_short_text
from sealgate.wire.constants import (
    BASIC_GET_EMPTY,
    BASIC_PUBLISH,
    BASIC_RECOVER,
    BASIC_REJECT,
)

_METHOD: Final = struct.Struct(">I")
_TAGGED: Final = struct.Struct(">IQB")


@dataclass(slots=True)
class Delivered:
    """`basic.deliver` or `basic.get-ok`, whose consumer tag is empty. Exchange and routing key are octets."""

    consumer_tag: bytes
    delivery_tag: int
    redelivered: bool
    exchange: bytes
    routing_key: bytes


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
