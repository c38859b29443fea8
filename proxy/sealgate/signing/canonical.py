"""What a seal1 signature covers, as bytes (seal1.md, "What is covered" and "Canonical encoding").

Section H of a received message comes from the wire scanner, in the same pass that checks the table; section H
of Python values from `signing.table`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sealgate.reason import GateError, Reason

TOKEN_NAME: Final = "x-seal"  # noqa: S105 - the name of a header
COUNTERSIGN_NAME: Final = "x-countersign"

#: Headers that the broker writes. A change of this list is a new profile.
BROKER_NAMES: Final = frozenset(
    {
        "x-death",
        "x-first-death-exchange",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-last-death-exchange",
        "x-last-death-queue",
        "x-last-death-reason",
        "x-delivery-count",
        "x-acquired-count",
        "x-received-from",
        "x-shovelled",
        "x-shovelled-timestamp",
        "x-routed-by",
        "timestamp_in_ms",
        "x-opt-rabbitmq-received-time",
        "x-opt-rabbitmq-sent-time",
        "x-stream-offset",
        "x-mqtt-publish-qos",
        "x-opt-mqtt-client-id",
    }
)
#: Left out of section H of a countersignature: it covers `x-seal` as an ordinary header.
OMITTED_FOR_COUNTERSIGN: Final = BROKER_NAMES | {COUNTERSIGN_NAME}
#: Left out of section H of the producer's own signature.
OMITTED_FOR_SEAL: Final = OMITTED_FOR_COUNTERSIGN | {TOKEN_NAME}
#: What a verifying gateway takes out of a publish. A signer takes out `OMITTED_FOR_SEAL`.
STRIPPED_NAMES: Final = OMITTED_FOR_COUNTERSIGN
#: Integers under these top-level names are signed as absolute values: the delayed-message plugin negates.
ABSOLUTE_NAMES: Final = frozenset({"x-delay"})

#: AMQP indices of section P. Headers (2) is section H; expiration (7) and timestamp (9) are in the snapshot.
SECTION_P_INDICES: Final = (0, 1, 3, 4, 5, 6, 8, 10, 11, 12, 13)
REPLY_TO_INDEX: Final = 6
#: The broker appends a generated suffix to this reply_to; all of them are signed as this alone.
DIRECT_REPLY_TO: Final = b"amq.rabbitmq.reply-to"

SHORT_TEXT_BYTES_MAX: Final = 255  # an AMQP short string
TIMESTAMP_BYTES: Final = 8
INPUT_MAGIC: Final = b"seal1/amqp-0-9-1/message\n"

_U32: Final = struct.Struct(">I")
_PROPERTY: Final = struct.Struct(">BI")


@dataclass(slots=True)
class Snapshot:
    """The target a token claims; `timestamp` is the property's 8 raw bytes, None stands for an absent one."""

    exchange: str
    routing_key: str
    expiration: bytes | None = None
    timestamp: bytes | None = None


def canonical_properties(fields: Sequence[bytes | None]) -> bytes:
    """Section P from the 14 raw property values by AMQP index; None for an absent one.

    Short strings come without their length; headers (2) is None.
    """
    parts: list[bytes] = []
    for index in SECTION_P_INDICES:
        value = fields[index]
        if value is None:
            continue
        if index == REPLY_TO_INDEX and value.startswith(DIRECT_REPLY_TO):
            value = DIRECT_REPLY_TO
        parts.append(_PROPERTY.pack(index, len(value)))
        parts.append(value)
    return b"".join(parts)


def encode_snapshot(
    exchange: str, routing_key: str, expiration: bytes | None = None, timestamp: bytes | None = None
) -> bytes:
    """The snapshot of a target; `expiration` and `timestamp` (8 bytes) are raw property values or None.

    Raises `GateError` (sig.malformed) for what no AMQP short string or timestamp can be.
    """
    snapshot = b"\x01" + _short(_utf8(exchange)) + b"\x02" + _short(_utf8(routing_key))
    if expiration is not None:
        snapshot += b"\x03" + _short(expiration)
    if timestamp is not None:
        if len(timestamp) != TIMESTAMP_BYTES:
            raise GateError(Reason.SIG_MALFORMED, "a timestamp is 8 bytes")
        snapshot += b"\x04\x08" + timestamp
    return snapshot


def parse_snapshot(data: bytes) -> Snapshot:
    """The target in `data`: fields 1 and 2, then 3 and 4 where present, and nothing else.

    Raises `GateError` (sig.malformed).
    """
    exchange, at = _snapshot_field(data, 0, 1)
    routing_key, at = _snapshot_field(data, at, 2)
    expiration: bytes | None = None
    timestamp: bytes | None = None
    if at < len(data) and data[at] == 3:
        expiration, at = _snapshot_field(data, at, 3)
    if at < len(data):
        timestamp, at = _snapshot_field(data, at, 4)
        if len(timestamp) != TIMESTAMP_BYTES:
            raise GateError(Reason.SIG_MALFORMED, "snapshot timestamp")
    if at != len(data):
        raise GateError(Reason.SIG_MALFORMED, "snapshot length")
    try:
        return Snapshot(exchange.decode(), routing_key.decode(), expiration, timestamp)
    except UnicodeDecodeError:
        raise GateError(Reason.SIG_MALFORMED, "snapshot text") from None


def signing_input(
    alg: str,
    deployment: str,
    vhost: str,
    token_prefix: bytes,
    p_sha256: bytes,
    h_sha256: bytes,
    body_len: int,
    body_sha256: bytes,
) -> bytes:
    """The bytes that are signed. The three digests are 32 bytes each; `body_len` is in bytes."""
    context = signing_context(alg, deployment, vhost)
    return signing_input_in(context, token_prefix, p_sha256, h_sha256, body_len, body_sha256)


def signing_input_in(
    context: bytes,
    token_prefix: bytes,
    p_sha256: bytes,
    h_sha256: bytes,
    body_len: int,
    body_sha256: bytes,
) -> bytes:
    """As `signing_input`, within a `signing_context`."""
    assert len(p_sha256) == len(h_sha256) == len(body_sha256) == 32
    # Compiled, this is the fastest way to put bytes together.
    return b"%b%b%b%b%b%b%b" % (
        context,
        len(token_prefix).to_bytes(4, "big"),
        token_prefix,
        p_sha256,
        h_sha256,
        body_len.to_bytes(8, "big"),
        body_sha256,
    )


@lru_cache(maxsize=256)
def signing_context(alg: str, deployment: str, vhost: str) -> bytes:
    """The head of the signing input, the same for every message of a key and a connection."""
    parts = [INPUT_MAGIC]
    for text in (alg, deployment, vhost):
        parts.append(_lp(text.encode()))
    return b"".join(parts)


def _lp(data: bytes) -> bytes:
    return _U32.pack(len(data)) + data


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise GateError(Reason.SIG_MALFORMED, "a target is not UTF-8") from None


def _short(data: bytes) -> bytes:
    if len(data) > SHORT_TEXT_BYTES_MAX:
        raise GateError(Reason.SIG_MALFORMED, "a target is over 255 bytes")
    return bytes((len(data),)) + data


def _snapshot_field(data: bytes, at: int, tag: int) -> tuple[bytes, int]:
    """The value of the field that must start at `at`, and where the next one would."""
    if at + 2 > len(data) or data[at] != tag:
        raise GateError(Reason.SIG_MALFORMED, "snapshot field")
    start = at + 2
    end = start + data[at + 1]
    if end > len(data):
        raise GateError(Reason.SIG_MALFORMED, "snapshot length")
    return data[start:end], end
