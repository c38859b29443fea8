"""The methods that must be read or written; every other method passes unread.

Arguments and results are payloads, without the frame around them. Every `read_*` raises `GateError`
frame.truncated for missing and frame.trailing for extra bytes. Texts that are only shown may hold replacement
characters.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.wire.arguments import Arguments, encode_reply_text, encode_short_text
from sealgate.wire.constants import (
    BASIC_ACK,
    BASIC_NACK,
    BASIC_PUBLISH,
    BASIC_RETURN,
    CHANNEL_CLOSE,
    CHANNEL_CLOSE_OK,
    CLASS_CONNECTION,
    CONNECTION_CLOSE,
    CONNECTION_CLOSE_OK,
    CONNECTION_TUNE,
    CONNECTION_TUNE_OK,
    CONNECTION_UPDATE_SECRET_OK,
    FRAME_HEADER_BYTES,
    FRAME_METHOD,
)
from sealgate.wire.entries import entry_bytes, entry_table, without
from sealgate.wire.frames import Frame
from sealgate.wire.table import Table, scan_table
from sealgate.wire.values import Value

METHOD_ID_BYTES: Final = 4
_METHOD: Final = struct.Struct(">I")
_TAGGED: Final = struct.Struct(">IQB")
_CODED: Final = struct.Struct(">IH")
_TWO_U16: Final = struct.Struct(">HH")
_TUNE: Final = struct.Struct(">IHIH")
_U32: Final = struct.Struct(">I")
#: Where a `basic.publish` frame has its reserved field, the access ticket of AMQP 0-8.
_TICKET_START: Final = FRAME_HEADER_BYTES + METHOD_ID_BYTES
_TICKET_STOP: Final = _TICKET_START + 2
_NO_TICKET: Final = b"\x00\x00"
#: The method and a ticket of zero.
_PUBLISH: Final = _METHOD.pack(BASIC_PUBLISH) + _NO_TICKET
_NO_NAMES: Final[frozenset[str]] = frozenset()

#: The entry of server-properties, and in it the name, that carry the challenge (seal1.md, "Replay").
SERVER_PROPERTY_NAME: Final = "sealgate"
CHALLENGE_NAME: Final = "challenge"
CHALLENGE_BYTES: Final = 16


@dataclass(slots=True)
class Publish:
    """The arguments of `basic.publish`; the access ticket is not read."""

    exchange: str
    routing_key: str
    mandatory: bool
    immediate: bool


@dataclass(slots=True)
class Start:
    """`connection.start`: what the broker says of itself. `span` is where its table's content lies."""

    server_properties: Table
    span: tuple[int, int]
    mechanisms: str


@dataclass(slots=True)
class StartOk:
    """`connection.start-ok`: what the client says of itself, and its SASL response (a secret).

    `span` is where mechanism and response lie, with their lengths.
    """

    product: str
    platform: str
    capabilities: dict[str, Value]
    mechanism: str
    response: bytes = field(repr=False)
    span: tuple[int, int] = field(default=(0, 0), compare=False)


@dataclass(slots=True)
class Tune:
    """`connection.tune` or `tune-ok`: channels, bytes of a whole frame, seconds; 0 is no limit, or off."""

    channel_max: int
    frame_max: int
    heartbeat: int


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


def read_publish_frame(frame: bytes) -> Publish:
    """As `read_publish`, from the whole frame, whose envelope is in order."""
    return read_publish(frame[FRAME_HEADER_BYTES:-1])


def encode_publish(exchange: str, routing_key: str, mandatory: bool) -> bytes:
    return b"".join(
        (
            _PUBLISH,
            encode_short_text(exchange),
            encode_short_text(routing_key),
            b"\x01" if mandatory else b"\x00",
        )
    )


def has_ticket(frame: bytes) -> bool:
    """Whether a whole `basic.publish` frame has an access ticket that is not zero."""
    return frame[_TICKET_START:_TICKET_STOP] != _NO_TICKET


def with_ticket_zero(frame: Frame) -> bytes:
    """The whole `basic.publish` frame, once read, with its access ticket zero (hostile.jsonl FR21)."""
    raw = frame.raw
    if not has_ticket(raw):
        return raw
    return raw[:_TICKET_START] + _NO_TICKET + raw[_TICKET_STOP:]


def connection_method(frame: Frame) -> int:
    """The method in a frame on channel 0. Raises frame.order, frame.channel for what is none of those."""
    if frame.type != FRAME_METHOD:
        raise GateError(Reason.FRAME_ORDER, "content on channel 0")
    method = method_id(frame.payload)
    if method >> 16 != CLASS_CONNECTION:
        raise GateError(Reason.FRAME_CHANNEL, "channel 0 is for connection methods")
    return method


def read_nowait(payload: bytes) -> bool:
    """Of `confirm.select`: whether the broker is to say nothing."""
    return len(payload) > METHOD_ID_BYTES and payload[METHOD_ID_BYTES] & 1 != 0


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


def read_start(payload: bytes) -> Start:
    """Raises conn.handshake as well, for server properties that are no clean table."""
    arguments = Arguments(payload)
    arguments.octet()
    arguments.octet()
    span = arguments.long_span()
    mechanisms = arguments.long_bytes().decode(errors="replace")
    arguments.long_bytes()
    arguments.finish()
    return Start(_peer_properties(payload, span), span, mechanisms)


def read_mechanisms(payload: bytes) -> list[str]:
    """The mechanisms of a `connection.start`, whatever its properties are."""
    begin, end = _mechanisms_span(payload)
    return payload[begin:end].decode(errors="replace").split()


def with_mechanisms(payload: bytes, mechanisms: list[str]) -> bytes:
    """The `connection.start` with these mechanisms, and every other byte kept."""
    begin, end = _mechanisms_span(payload)
    return payload[: begin - _U32.size] + _encode_long(" ".join(mechanisms).encode()) + payload[end:]


def _mechanisms_span(payload: bytes) -> tuple[int, int]:
    arguments = Arguments(payload)
    arguments.octet()
    arguments.octet()
    arguments.long_span()
    span = arguments.long_span()
    arguments.long_bytes()
    arguments.finish()
    return span


def splice_start(payload: bytes, remove: frozenset[str], add: bytes) -> bytes:
    """A `connection.start` without the server properties called `remove` and with the entries `add`."""
    start = read_start(payload)
    begin, end = start.span
    content = without(start.server_properties, remove) + add
    return payload[: begin - _U32.size] + _U32.pack(len(content)) + content + payload[end:]


def encode_challenge_entry(challenge: bytes) -> bytes:
    """The server-properties entry that offers session nonces."""
    assert len(challenge) == CHALLENGE_BYTES
    return entry_table(SERVER_PROPERTY_NAME, entry_bytes(CHALLENGE_NAME, challenge))


def read_challenge(server_properties: dict[str, Value]) -> bytes:
    """The challenge an upstream gateway offers in its server properties; empty when it offers none."""
    offer = server_properties.get(SERVER_PROPERTY_NAME)
    challenge = offer.get(CHALLENGE_NAME) if isinstance(offer, dict) else None
    if isinstance(challenge, str):
        challenge = challenge.encode()
    if isinstance(challenge, bytes) and len(challenge) == CHALLENGE_BYTES:
        return challenge
    return b""


def read_start_ok(payload: bytes) -> StartOk:
    """Raises conn.handshake as well, for client properties that are no clean table."""
    arguments = Arguments(payload)
    span = arguments.long_span()
    mechanism = arguments.short_text()
    _, end = answer = arguments.long_span()
    response = payload[answer[0] : end]
    arguments.short_bytes()
    arguments.finish()
    values = _peer_properties(payload, span).values
    capabilities = values.get("capabilities")
    return StartOk(
        _text(values.get("product")),
        _text(values.get("platform")),
        capabilities if isinstance(capabilities, dict) else {},
        mechanism,
        response,
        (span[1], end),
    )


def with_response(payload: bytes, start_ok: StartOk, mechanism: str, response: bytes) -> bytes:
    """The `connection.start-ok` that was read as `start_ok`, with another login and every other byte kept."""
    begin, end = start_ok.span
    return payload[:begin] + encode_short_text(mechanism) + _encode_long(response) + payload[end:]


def read_tune(payload: bytes) -> Tune:
    """Of `connection.tune`."""
    arguments = Arguments(payload)
    tune = Tune(arguments.u16(), arguments.u32(), arguments.u16())
    arguments.finish()
    return tune


def read_tune_ok(payload: bytes) -> Tune:
    """Of `connection.tune-ok`, which looks the same."""
    return read_tune(payload)


def encode_tune(tune: Tune) -> bytes:
    return _TUNE.pack(CONNECTION_TUNE, tune.channel_max, tune.frame_max, tune.heartbeat)


def encode_tune_ok(tune: Tune) -> bytes:
    return _TUNE.pack(CONNECTION_TUNE_OK, tune.channel_max, tune.frame_max, tune.heartbeat)


def read_open(payload: bytes) -> str:
    """The virtual host of `connection.open`. Raises props.utf8 as well."""
    arguments = Arguments(payload)
    vhost = arguments.short_bytes()
    arguments.short_bytes()
    arguments.octet()
    arguments.finish()
    return _target(vhost, "vhost")


def read_update_secret(payload: bytes) -> bytes:
    """The new secret of `connection.update-secret`."""
    arguments = Arguments(payload)
    secret = arguments.long_bytes()
    arguments.short_bytes()
    arguments.finish()
    return secret


def encode_update_secret_ok() -> bytes:
    return _METHOD.pack(CONNECTION_UPDATE_SECRET_OK)


def _encode_long(value: bytes) -> bytes:
    return _U32.pack(len(value)) + value


def _peer_properties(payload: bytes, span: tuple[int, int]) -> Table:
    try:
        return scan_table(payload, span[0], span[1], _NO_NAMES, _NO_NAMES)
    except GateError as error:
        raise GateError(Reason.CONN_HANDSHAKE, f"peer properties: {error.reason.value}") from None


def _text(value: Value) -> str:
    return value if isinstance(value, str) else ""


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
