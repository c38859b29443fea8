"""The methods of a running connection that are read or written; those of the handshake are in `handshake`.

Arguments and results are payloads, without the frame around them. Every `read_*` raises `GateError` frame.truncated
for missing and frame.trailing for extra bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.wire.arguments import Arguments, encode_reply_text, encode_short_text
from sealgate.wire.constants import (
    BASIC_ACK,
    BASIC_NACK,
    BASIC_RETURN,
    CHANNEL_CLOSE,
    CHANNEL_CLOSE_OK,
    CONNECTION_CLOSE,
    CONNECTION_CLOSE_OK,
)

METHOD_ID_BYTES: Final = 4
_METHOD: Final = struct.Struct(">I")
_TAGGED: Final = struct.Struct(">IQB")
_CODED: Final = struct.Struct(">IH")
_TWO_U16: Final = struct.Struct(">HH")
#: Where `basic.publish` has its reserved field, the access ticket of AMQP 0-8.
_TICKET: Final = slice(4, 6)
_NO_TICKET: Final = b"\x00\x00"


@dataclass(slots=True)
class Publish:
    """The arguments of `basic.publish`; the access ticket is not read."""

    exchange: str
    routing_key: str
    mandatory: bool
    immediate: bool


def method_id(payload: bytes) -> int:
    """`class << 16 | method`."""
    if len(payload) < METHOD_ID_BYTES:
        raise GateError(Reason.FRAME_TRUNCATED, "method id")
    return int(_METHOD.unpack_from(payload, 0)[0])


def read_publish(payload: bytes) -> Publish:
    """Raises props.utf8 as well, for an exchange or a routing key that is not UTF-8 or has a NUL."""
    arguments = Arguments(payload)
    arguments.u16()
    exchange = arguments.short_bytes()
    routing_key = arguments.short_bytes()
    bits = arguments.octet()
    arguments.finish()
    return Publish(
        _target(exchange, "exchange"), _target(routing_key, "routing key"), bits & 1 != 0, bits & 2 != 0
    )


def clear_ticket(payload: bytes) -> bytes:
    """A `basic.publish` that was read, with its reserved ticket field zero (hostile.jsonl FR21)."""
    if payload[_TICKET] == _NO_TICKET:
        return payload
    return payload[: _TICKET.start] + _NO_TICKET + payload[_TICKET.stop :]


def read_ack(payload: bytes) -> tuple[int, bool]:
    """(delivery tag, multiple)"""
    tag, bits = _read_tagged(payload)
    return tag, bits & 1 != 0


def read_nack(payload: bytes) -> tuple[int, bool, bool]:
    """(delivery tag, multiple, requeue)"""
    tag, bits = _read_tagged(payload)
    return tag, bits & 1 != 0, bits & 2 != 0


def encode_ack(tag: int, multiple: bool) -> bytes:
    return _TAGGED.pack(BASIC_ACK, tag, 1 if multiple else 0)


def encode_nack(tag: int, multiple: bool, requeue: bool) -> bytes:
    return _TAGGED.pack(BASIC_NACK, tag, (1 if multiple else 0) | (2 if requeue else 0))


def read_return(payload: bytes) -> tuple[int, str, str, str]:
    """(code, text, exchange, routing key)"""
    arguments = Arguments(payload)
    found = (arguments.u16(), arguments.short_text(), arguments.short_text(), arguments.short_text())
    arguments.finish()
    return found


def encode_return(code: int, text: str, exchange: str, routing_key: str) -> bytes:
    """`text` is cut to what a short string holds, here and below."""
    return b"".join(
        (
            _CODED.pack(BASIC_RETURN, code),
            encode_reply_text(text),
            encode_short_text(exchange),
            encode_short_text(routing_key),
        )
    )


def read_close(payload: bytes) -> tuple[int, str, int, int]:
    """(code, text, class, method) of `connection.close` or `channel.close`"""
    arguments = Arguments(payload)
    found = (arguments.u16(), arguments.short_text(), arguments.u16(), arguments.u16())
    arguments.finish()
    return found


def encode_channel_close(code: int, text: str, class_id: int, method: int) -> bytes:
    """`class_id` and `method` name what caused it; 0 and 0 for nothing in particular."""
    return _CODED.pack(CHANNEL_CLOSE, code) + encode_reply_text(text) + _TWO_U16.pack(class_id, method)


def encode_connection_close(code: int, text: str, class_id: int, method: int) -> bytes:
    """As `encode_channel_close`."""
    return _CODED.pack(CONNECTION_CLOSE, code) + encode_reply_text(text) + _TWO_U16.pack(class_id, method)


def encode_channel_close_ok() -> bytes:
    return _METHOD.pack(CHANNEL_CLOSE_OK)


def encode_connection_close_ok() -> bytes:
    return _METHOD.pack(CONNECTION_CLOSE_OK)


def _read_tagged(payload: bytes) -> tuple[int, int]:
    if len(payload) != _TAGGED.size:
        short = len(payload) < _TAGGED.size
        raise GateError(Reason.FRAME_TRUNCATED if short else Reason.FRAME_TRAILING, "acknowledgement")
    _, tag, bits = _TAGGED.unpack_from(payload, 0)
    return tag, bits


def _target(value: bytes, what: str) -> str:
    if 0 in value:
        raise GateError(Reason.PROPS_UTF8, f"{what} has a NUL")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise GateError(Reason.PROPS_UTF8, f"{what} is not UTF-8") from None
