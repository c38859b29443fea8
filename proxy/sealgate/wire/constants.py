"""Numbers of AMQP 0-9-1, and this room's limits. A method is `class << 16 | method`."""

from __future__ import annotations

from typing import Final

FRAME_METHOD: Final = 1
FRAME_HEADER: Final = 2
FRAME_BODY: Final = 3
FRAME_HEARTBEAT: Final = 8
FRAME_END: Final = 0xCE

PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"

CLASS_CONNECTION: Final = 10
CLASS_BASIC: Final = 60
#: How content headers begin: class, weight, and the upper half of a body size, as bodies of 4 GiB are far
#: over every limit. The lower half follows.
CONTENT_BEGINNING: Final = CLASS_BASIC.to_bytes(2, "big") + bytes(6)
BODY_SIZE_LOWER_AT: Final = len(CONTENT_BEGINNING)

CONNECTION_START: Final = 10 << 16 | 10
CONNECTION_START_OK: Final = 10 << 16 | 11
CONNECTION_SECURE: Final = 10 << 16 | 20
CONNECTION_SECURE_OK: Final = 10 << 16 | 21
CONNECTION_TUNE: Final = 10 << 16 | 30
CONNECTION_TUNE_OK: Final = 10 << 16 | 31
CONNECTION_OPEN: Final = 10 << 16 | 40
CONNECTION_OPEN_OK: Final = 10 << 16 | 41
CONNECTION_CLOSE: Final = 10 << 16 | 50
CONNECTION_CLOSE_OK: Final = 10 << 16 | 51
CONNECTION_BLOCKED: Final = 10 << 16 | 60
CONNECTION_UNBLOCKED: Final = 10 << 16 | 61
CONNECTION_UPDATE_SECRET: Final = 10 << 16 | 70
CONNECTION_UPDATE_SECRET_OK: Final = 10 << 16 | 71

CHANNEL_OPEN: Final = 20 << 16 | 10
CHANNEL_OPEN_OK: Final = 20 << 16 | 11
CHANNEL_CLOSE: Final = 20 << 16 | 40
CHANNEL_CLOSE_OK: Final = 20 << 16 | 41

QUEUE_DECLARE: Final = 50 << 16 | 10
QUEUE_DECLARE_OK: Final = 50 << 16 | 11

BASIC_QOS: Final = 60 << 16 | 10
BASIC_QOS_OK: Final = 60 << 16 | 11
BASIC_CONSUME: Final = 60 << 16 | 20
BASIC_CONSUME_OK: Final = 60 << 16 | 21
BASIC_CANCEL: Final = 60 << 16 | 30
BASIC_CANCEL_OK: Final = 60 << 16 | 31
BASIC_PUBLISH: Final = 60 << 16 | 40
BASIC_RETURN: Final = 60 << 16 | 50
BASIC_DELIVER: Final = 60 << 16 | 60
BASIC_GET: Final = 60 << 16 | 70
BASIC_GET_OK: Final = 60 << 16 | 71
BASIC_GET_EMPTY: Final = 60 << 16 | 72
BASIC_ACK: Final = 60 << 16 | 80
BASIC_REJECT: Final = 60 << 16 | 90
BASIC_RECOVER_ASYNC: Final = 60 << 16 | 100
BASIC_RECOVER: Final = 60 << 16 | 110
BASIC_RECOVER_OK: Final = 60 << 16 | 111
BASIC_NACK: Final = 60 << 16 | 120

CONFIRM_SELECT: Final = 85 << 16 | 10
CONFIRM_SELECT_OK: Final = 85 << 16 | 11

TX_SELECT: Final = 90 << 16 | 10

NO_ROUTE: Final = 312
CONNECTION_FORCED: Final = 320
ACCESS_REFUSED: Final = 403
NOT_FOUND: Final = 404
PRECONDITION_FAILED: Final = 406
FRAME_ERROR: Final = 501
SYNTAX_ERROR: Final = 502
COMMAND_INVALID: Final = 503
CHANNEL_ERROR: Final = 504
UNEXPECTED_FRAME: Final = 505
RESOURCE_ERROR: Final = 506
NOT_ALLOWED: Final = 530
NOT_IMPLEMENTED: Final = 540
INTERNAL_ERROR: Final = 541

#: How brokers begin the reply text of each code: clients match on it.
REPLY_NAMES: Final[dict[int, str]] = {
    NO_ROUTE: "NO_ROUTE",
    CONNECTION_FORCED: "CONNECTION_FORCED",
    ACCESS_REFUSED: "ACCESS_REFUSED",
    NOT_FOUND: "NOT_FOUND",
    PRECONDITION_FAILED: "PRECONDITION_FAILED",
    FRAME_ERROR: "FRAME_ERROR",
    SYNTAX_ERROR: "SYNTAX_ERROR",
    COMMAND_INVALID: "COMMAND_INVALID",
    CHANNEL_ERROR: "CHANNEL_ERROR",
    UNEXPECTED_FRAME: "UNEXPECTED_FRAME",
    RESOURCE_ERROR: "RESOURCE_ERROR",
    NOT_ALLOWED: "NOT_ALLOWED",
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    INTERNAL_ERROR: "INTERNAL_ERROR",
}

#: Type, channel and size before the payload; the end octet after it.
FRAME_HEADER_BYTES: Final = 7
FRAME_OVERHEAD_BYTES: Final = 8
#: RabbitMQ's default frame_max, of the whole frame.
FRAME_BYTES_MAX: Final = 131_072
#: What frame_max may not be tuned below (AMQP 0-9-1, frame-min-size).
FRAME_BYTES_MIN: Final = 4_096

#: The protocol's own limit of a short string: its length is one octet.
SHORT_TEXT_BYTES_MAX: Final = 255

#: Limits of a field table (seal1.md, "Refused, never normalised"). 64 KiB is half of RabbitMQ's frame_max.
TABLE_BYTES_MAX: Final = 65_536
#: At all levels together, array items included: Celery sends about 20, stamped canvases a few more.
TABLE_ENTRIES_MAX: Final = 256
#: Tables and arrays inside the header table; Celery nests 3. A worker's recursive parser dies at about 1,000.
TABLE_DEPTH_MAX: Final = 8
#: The protocol's own limit of a field name.
KEY_BYTES_MAX: Final = 128

#: The last second of the year 9999, the largest Python's datetime holds: a Celery worker dies of a later one.
TIMESTAMP_S_MAX: Final = 253_402_300_799
