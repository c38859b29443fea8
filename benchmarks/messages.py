"""Publishes as a Celery producer sends them, sealed, as bytes for the replayer. Every message is unique."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import amqp
from celery import Celery

from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import canonical_properties, encode_snapshot, signing_input
from sealgate.signing.table import canonical_table
from sealgate.signing.token import finish_token, session_nonce, token_prefix

KID = "bench"
DEPLOYMENT = "bench"
VHOST = "/"
QUEUE = "celery"
TASK = "shop.tasks.send_email"
#: A little below RabbitMQ's 131,072: a signing sidecar keeps room for its header.
FRAME_BYTES_MAX = 128_000
LIFETIME_S = 86_400

_app = Celery("bench", broker="amqp://")


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def _publish_method() -> bytes:
    key = QUEUE.encode()
    return frame(1, 1, struct.pack(">HHHB", 60, 40, 0, 0) + bytes([len(key)]) + key + b"\x00")


PUBLISH = _publish_method()


def _task_message(body_bytes: int) -> tuple[dict[str, object], dict[str, str], bytes]:
    """Headers (the 19 of Celery 5), properties and a body of exactly `body_bytes`, for a new task id."""
    number = str(uuid.uuid4())
    made = _app.amqp.as_task_v2(number, TASK, args=[""], kwargs={"user": 7}, origin="gen1@web-1")
    empty = len(json.dumps(made.body))
    made.body[0][0] = "x" * (body_bytes - empty)
    body = json.dumps(made.body).encode()
    assert len(body) == body_bytes
    return made.headers, made.properties, body


def seal(
    secret: bytes, headers: dict[str, object], properties: dict[str, str], body: bytes, nonce: bytes
) -> bytes:
    """The value of `x-seal` for a message to QUEUE on the default exchange."""
    algorithm = HmacSha256(secret)
    now = int(time.time())
    fields: list[bytes | None] = [None] * 14
    fields[0], fields[1], fields[3], fields[4] = b"application/json", b"utf-8", b"\x02", b"\x00"
    fields[5], fields[6] = properties["correlation_id"].encode(), properties["reply_to"].encode()
    prefix = token_prefix(KID, now, now + LIFETIME_S, nonce, encode_snapshot("", QUEUE, None, None))
    covered = signing_input(
        algorithm.name,
        DEPLOYMENT,
        VHOST,
        prefix,
        hashlib.sha256(canonical_properties(fields)).digest(),
        hashlib.sha256(canonical_table(headers)).digest(),
        len(body),
        hashlib.sha256(body).digest(),
    )
    return finish_token(prefix, algorithm.sign(covered))


def publication(headers: dict[str, object], properties: dict[str, str], body: bytes) -> bytes:
    """The frames of one publish on channel 1, encoded by py-amqp as Celery's are."""
    message = amqp.Message(
        b"",
        application_headers=headers,
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=2,
        priority=0,
        **properties,
    )
    header = struct.pack(">HHQ", 60, 0, len(body)) + message._serialize_properties()
    part = FRAME_BYTES_MAX - 8
    bodies = [frame(3, 1, body[at : at + part]) for at in range(0, len(body), part)]
    return b"".join([PUBLISH, frame(2, 1, header), *bodies])


def plain_messages(count: int, body_bytes: int) -> Iterator[bytes]:
    """As an application sends them that knows nothing of seals."""
    for _ in range(count):
        yield publication(*_task_message(body_bytes))


def sealed_messages(count: int, body_bytes: int, secret: bytes, challenge: bytes = b"") -> Iterator[bytes]:
    """Sealed with stored nonces, or with session nonces for the gateway that gave `challenge`."""
    for sequence in range(count):
        headers, properties, body = _task_message(body_bytes)
        nonce = session_nonce(challenge, sequence) if challenge else os.urandom(16)
        token = seal(secret, headers, properties, body, nonce)
        yield publication({**headers, "x-seal": token.decode()}, properties, body)


def write_messages(path: Path, messages: Iterable[bytes]) -> None:
    """The file that replay.c reads: count, offsets, bytes."""
    whole = list(messages)
    offsets = [0]
    for message in whole:
        offsets.append(offsets[-1] + len(message))
    with path.open("wb") as out:
        out.write(struct.pack(f"={len(offsets) + 1}Q", len(whole), *offsets))
        out.writelines(whole)
