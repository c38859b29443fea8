"""A refusal as an AMQP message, and back.

The message's body is the publication itself as complete AMQP frames (method, content header, body), so
that every byte can be had again; the message's headers say why and whose it was, for queue tools that only
show headers. No signature and no body goes into a header.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.records import RefusalRecord
from sealgate.wire.constants import FRAME_BODY, FRAME_HEADER, FRAME_METHOD
from sealgate.wire.frames import Frame, encode_frame
from sealgate.wire.splitter import FrameSplitter

CONTENT_TYPE: Final = "application/x-sealgate-publication"
#: Before every header of ours.
HEADER_PREFIX: Final = "x-sealgate-"
#: A header's text in UTF-8: what an AMQP short string can hold, which every name here once was.
TEXT_BYTES_MAX: Final = 255
#: The detail is our own words, not a name; two lines of a terminal are enough.
DETAIL_BYTES_MAX: Final = 512
#: Payload of one frame: RabbitMQ's default frame_max, 131,072, less the 8 octets around the payload.
FRAME_PAYLOAD_BYTES_MAX: Final = 131_064
#: In the header `x-sealgate-at-us` and the field `at`: the year 9999, beyond which no date can be shown.
AT_US_MAX: Final = 253_402_300_799_000_000
#: A content header may declare 64 unsigned bits; a header value holds 63.
BODY_SIZE_MAX: Final = 2**63 - 1

_TEXTS: Final = ("kid", "task", "exchange", "routing_key", "vhost", "user", "client", "answer")

HeaderValue = str | int | bool


class NotAPublicationError(ValueError):
    """The message is not one that `encode_headers` and `encode_body` made; the text says where it differs."""


@dataclass(slots=True, frozen=True)
class Kept:
    """A record as it lies in the queue, under its message id."""

    id: str
    record: RefusalRecord


def new_message_id(random_bytes: bytes) -> str:
    """A version 4 UUID in its usual text form, from 16 random bytes."""
    return str(uuid.UUID(bytes=random_bytes, version=4))


def at_us(record: RefusalRecord) -> int:
    """When it was refused, in microseconds since 1970, within what a date can show."""
    return min(max(round(record.at * 1_000_000), 0), AT_US_MAX)


def encode_headers(record: RefusalRecord) -> dict[str, HeaderValue]:
    """Everything of `record` but its bytes. Texts longer than their limit are cut."""
    headers: dict[str, HeaderValue] = {
        _name("reason"): record.reason.value,
        _name("detail"): _cut(record.detail, DETAIL_BYTES_MAX),
        _name("observed"): record.observed,
        _name("complete"): record.complete,
        _name("body_size"): min(record.body_size, BODY_SIZE_MAX),
        _name("at_us"): at_us(record),
    }
    for field in _TEXTS:
        headers[_name(field)] = _cut(getattr(record, field), TEXT_BYTES_MAX)
    return headers


def encode_body(record: RefusalRecord) -> bytes:
    """The publication as complete frames on its channel; a part that is empty has no frame."""
    parts = [encode_frame(FRAME_METHOD, record.channel, record.method)]
    if record.header:
        parts.append(encode_frame(FRAME_HEADER, record.channel, record.header))
    for start in range(0, len(record.body), FRAME_PAYLOAD_BYTES_MAX):
        chunk = record.body[start : start + FRAME_PAYLOAD_BYTES_MAX]
        parts.append(encode_frame(FRAME_BODY, record.channel, chunk))
    return b"".join(parts)


def decode(
    content_type: str | None, message_id: str | None, headers: Mapping[str, object], body: bytes
) -> Kept:
    """The record back from a message of the quarantine queue.

    Raises `NotAPublicationError` for anything this file did not write: the queue is open to whoever may
    write to its exchange.
    """
    if content_type != CONTENT_TYPE:
        raise NotAPublicationError(f"the content type is not {CONTENT_TYPE}")
    texts = {field: _text(headers, field) for field in _TEXTS}
    channel, method, header, content = _split(body)
    record = RefusalRecord(
        reason=_reason(headers),
        detail=_text(headers, "detail", DETAIL_BYTES_MAX),
        channel=channel,
        at=_integer(headers, "at_us", AT_US_MAX) / 1_000_000,
        observed=_boolean(headers, "observed"),
        body_size=_integer(headers, "body_size", BODY_SIZE_MAX),
        complete=_boolean(headers, "complete"),
        method=method,
        header=header,
        body=content,
        **texts,
    )
    return Kept(_message_id(message_id), record)


def _name(field: str) -> str:
    return HEADER_PREFIX + field.replace("_", "-")


def _cut(text: str, bytes_max: int) -> str:
    """`text` without what UTF-8 can not carry and no longer than `bytes_max`, cut between characters."""
    return text.encode("utf-8", "replace")[:bytes_max].decode("utf-8", "ignore")


def _message_id(message_id: str | None) -> str:
    try:
        parsed = str(uuid.UUID(message_id or ""))
    except ValueError:
        parsed = ""
    if not parsed or parsed != message_id:
        raise NotAPublicationError("the message id is not a UUID")
    return parsed


def _value(headers: Mapping[str, object], field: str) -> object:
    try:
        return headers[_name(field)]
    except KeyError:
        raise NotAPublicationError(f"the header {_name(field)} is missing") from None


def _text(headers: Mapping[str, object], field: str, bytes_max: int = TEXT_BYTES_MAX) -> str:
    value = _value(headers, field)
    if not isinstance(value, str) or len(value.encode("utf-8", "replace")) > bytes_max:
        raise NotAPublicationError(f"the header {_name(field)} is not a text of at most {bytes_max} bytes")
    return value


def _integer(headers: Mapping[str, object], field: str, maximum: int) -> int:
    value = _value(headers, field)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= maximum:
        raise NotAPublicationError(f"the header {_name(field)} is not an integer in range")
    return value


def _boolean(headers: Mapping[str, object], field: str) -> bool:
    value = _value(headers, field)
    if not isinstance(value, bool):
        raise NotAPublicationError(f"the header {_name(field)} is not a boolean")
    return value


def _reason(headers: Mapping[str, object]) -> Reason:
    try:
        return Reason(_text(headers, "reason"))
    except ValueError as error:
        if isinstance(error, NotAPublicationError):
            raise
        raise NotAPublicationError(
            "the header x-sealgate-reason is not a reason this version knows"
        ) from None


def _split(data: bytes) -> tuple[int, bytes, bytes, bytes]:
    """(channel, method, header, body) from the frames in `data`, which must end with a frame."""
    frames = _frames(data)
    kinds = [frame.type for frame in frames]
    wanted = [FRAME_METHOD, FRAME_HEADER][: len(kinds)] + [FRAME_BODY] * (len(kinds) - 2)
    alike = len({frame.channel for frame in frames}) == 1
    # What is empty has no frame (`encode_body`): a record that had one could not be kept again as it is.
    if not kinds or kinds != wanted or not alike or 0 in [frame.payload_size for frame in frames]:
        raise NotAPublicationError("the body is not the frames of one publication")
    header = frames[1].payload if len(frames) > 1 else b""
    body = b"".join([frame.payload for frame in frames[2:]])
    return frames[0].channel, frames[0].payload, header, body


def _frames(data: bytes) -> list[Frame]:
    splitter = FrameSplitter(FRAME_PAYLOAD_BYTES_MAX)
    frames: list[Frame] = []
    try:
        splitter.feed(data)
        while (frame := splitter.next()) is not None:
            frames.append(frame)
    except GateError as error:
        raise NotAPublicationError(f"the body is not AMQP frames: {error.reason.value}") from None
    if splitter.buffered:
        raise NotAPublicationError("the body ends within a frame")
    return frames
