"""The message to explain: from JSON, from a capture of frames (binary or hexadecimal), or from quarantine."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Final

from sealgate.cli.explain.json_wire import encode_header, encode_method
from sealgate.cli.message_json import JSON_BYTES_MAX, MessageError, parse_message
from sealgate.quarantine.record import Kept
from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME
from sealgate.verify.message import Message
from sealgate.wire.constants import BASIC_PUBLISH, FRAME_BODY, FRAME_HEADER, FRAME_METHOD
from sealgate.wire.frames import Frame
from sealgate.wire.methods import method_id, read_publish
from sealgate.wire.properties import ContentHeader, read_body_size, scan_content_header
from sealgate.wire.splitter import FrameSplitter

_PROTOCOL_HEADER: Final = b"AMQP"
_PROTOCOL_HEADER_BYTES: Final = 8
_HEX: Final = re.compile(rb"[0-9A-Fa-f\s:]+")


@dataclass(slots=True)
class Given:
    """One publish as it was sent; `error` is why it could not be read, then `message` is None.

    `vhost`, `user`, `deployment` and `at` (Unix seconds) are None where the source does not tell them.
    `recorded` is the reason a gateway gave, `whole` whether all of the body is there.
    """

    where: str
    exchange: str = ""
    routing_key: str = ""
    message: Message | None = None
    error: GateError | None = None
    vhost: str | None = None
    user: str | None = None
    deployment: str | None = None
    at: float | None = None
    recorded: str = ""
    whole: bool = True


@dataclass(slots=True)
class _Parts:
    """Frame payloads of one publish while they are gathered."""

    method: bytes
    header: bytes = b""
    body: list[bytes] = field(default_factory=list)
    left: int = -1

    @property
    def done(self) -> bool:
        return self.left == 0


def read_given(data: bytes, where: str, number: int | None) -> Given:
    """The message in a file: JSON as `sealgate sign` takes it, else frames; the `number`th publish.

    Raises `MessageError`, with a text that holds nothing of the message.
    """
    if len(data) > JSON_BYTES_MAX:
        raise MessageError(f"is over {JSON_BYTES_MAX} bytes")
    if data.lstrip()[:1] == b"{":
        return _of_json(data, where)
    if data.strip() and _HEX.fullmatch(data):
        digits = re.sub(rb"[\s:]", b"", data)
        if len(digits) % 2:
            raise MessageError("has an odd number of hexadecimal digits")
        data = bytes.fromhex(digits.decode())
    found = _publishes(data)
    if not found:
        raise MessageError("holds no JSON object and no basic.publish")
    if number is None and len(found) > 1:
        raise MessageError(f"holds {len(found)} publishes; say which with --number")
    if number is not None and number > len(found):
        raise MessageError(f"holds {len(found)} publishes, and no number {number}")
    parts = found[(number or 1) - 1]
    return of_payloads(parts.method, parts.header, b"".join(parts.body), where)


def of_kept(kept: Kept) -> Given:
    """A message from quarantine, with all that its record tells."""
    record = kept.record
    given = of_payloads(record.method, record.header, record.body, f"quarantine {kept.id}")
    given.vhost = record.vhost
    given.user = record.user
    given.at = record.at
    given.recorded = record.reason.value
    return given


def of_payloads(method: bytes, header: bytes, body: bytes, where: str) -> Given:
    """A publish from the payloads of its frames."""
    given = Given(where)
    try:
        publish = read_publish(method)
        given.exchange, given.routing_key = publish.exchange, publish.routing_key
        if publish.immediate:
            raise GateError(Reason.METHOD_IMMEDIATE, "immediate is set")
        scanned = _scanned(header)
        if len(body) > scanned.body_size:
            raise GateError(Reason.FRAME_BODY_OVERFLOW, "more body than declared")
        given.message = Message(
            publish.exchange,
            publish.routing_key,
            publish.mandatory,
            scanned,
            body,
            hashlib.sha256(body).digest(),
        )
        given.whole = len(body) == scanned.body_size
    except GateError as error:
        given.error = error
    return given


def _scanned(header: bytes) -> ContentHeader:
    return scan_content_header(header, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)


def _of_json(data: bytes, where: str) -> Given:
    message = parse_message(data)
    try:
        method, header = encode_method(message), encode_header(message)
    except ValueError as error:
        raise MessageError(str(error)) from None
    given = of_payloads(method, header, message.body, where)
    given.vhost, given.deployment = message.vhost, message.deployment
    return given


def _publishes(data: bytes) -> list[_Parts]:
    """Every publish in a stream of frames, in the order of their methods; other frames are passed over."""
    if data.startswith(_PROTOCOL_HEADER):
        data = data[_PROTOCOL_HEADER_BYTES:]
    splitter = FrameSplitter(JSON_BYTES_MAX)
    found: list[_Parts] = []
    open_on: dict[int, _Parts] = {}
    try:
        splitter.feed(data)
        while (frame := splitter.next()) is not None:
            _take(frame, found, open_on)
    except GateError as error:
        raise MessageError(f"is no JSON, and as AMQP frames it is wrong: {error}") from None
    if splitter.buffered:
        raise MessageError("ends within a frame, or is no AMQP frame at all")
    return found


def _take(frame: Frame, found: list[_Parts], open_on: dict[int, _Parts]) -> None:
    payload = frame.payload
    parts = open_on.get(frame.channel)
    if frame.type == FRAME_METHOD:
        open_on.pop(frame.channel, None)
        if method_id(payload) == BASIC_PUBLISH:
            open_on[frame.channel] = _Parts(payload)
            found.append(open_on[frame.channel])
    elif parts is None:
        return
    elif frame.type == FRAME_HEADER and parts.left < 0:
        parts.header = payload
        parts.left = read_body_size(payload)
    elif frame.type == FRAME_BODY:
        parts.body.append(payload)
        parts.left -= len(payload)
    if parts is not None and parts.done:
        open_on.pop(frame.channel, None)
