"""Publishes as a Celery producer sends them, sealed, as bytes for the replayer. Every message is unique.

A message is encoded once by Celery and py-amqp, and its copies differ in task id and token alone, so that a
million of them are made in seconds. Nothing of Sealgate's hot path is used to make them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import secrets
import struct
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import amqp
from celery import Celery

from sealgate.signing.canonical import canonical_properties, encode_snapshot
from sealgate.signing.table import canonical_table

DEPLOYMENT = "bench"
VHOST = "/"
QUEUE = "celery"
TASK = "shop.tasks.send_email"
VARIETIES = 16
#: A little below RabbitMQ's 131,072: a signing sidecar keeps room for its header.
FRAME_BYTES_MAX = 128_000
LIFETIME_S = 86_400
STORED_NONCE_BYTES = 16

_app = Celery("bench", broker="amqp://")
#: In the place of the task id, which is as long.
_ID = "00000000-0000-4000-8000-000000000000"


@dataclass(slots=True, frozen=True)
class Key:
    kid: str
    secret: bytes

    @classmethod
    def make(cls, number: int = 0) -> Key:
        return cls(f"k{number:05}", secrets.token_bytes(32))


@dataclass(slots=True, frozen=True)
class Layout:
    """Where things are in a message, in octets: what the floor must be told to find them at no cost."""

    message: int
    body_spans: tuple[tuple[int, int], ...]
    section_p: int
    section_h: int
    signing_input: int


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


class Template:
    """One message with `body_bytes` of body for `channel`; its copies differ in task id and token."""

    def __init__(
        self, body_bytes: int, *, transient: bool = False, channel: int = 1, variety: int = 0
    ) -> None:
        made = _app.amqp.as_task_v2(_ID, **_task(variety), reply_to=_app.thread_oid)
        made.body[0][0] = "x" * (body_bytes - len(json.dumps(made.body)))
        self.body = json.dumps(made.body).encode()
        assert len(self.body) == body_bytes
        self._headers: dict[str, object] = made.headers
        self._properties: dict[str, str] = made.properties
        self._mode = 1 if transient else 2
        self._channel = channel
        self._body_sha256 = hashlib.sha256(self.body).digest()
        fields: list[bytes | None] = [None] * 14
        fields[0], fields[1], fields[3], fields[4] = (
            b"application/json",
            b"utf-8",
            bytes([self._mode]),
            b"\x00",
        )
        fields[5], fields[6] = _ID.encode(), self._properties["reply_to"].encode()
        self._p = canonical_properties(fields).split(_ID.encode())
        self._h = canonical_table(self._headers).split(_ID.encode())
        self._snapshot = _base64url(encode_snapshot("", QUEUE, None, None))

    def plain(self, count: int) -> Iterator[bytes]:
        return plain([self], count)

    def sealed(
        self, count: int, keys: Sequence[Key], challenge: bytes = b"", first: int = 0
    ) -> Iterator[bytes]:
        return sealed([self], count, keys, challenge, first)

    def layout(self, key: Key, session: bool) -> Layout:
        """Of each sealed message of this template."""
        challenge = bytes(16) if session else b""
        whole = next(self.sealed(1, [key], challenge))
        signer = _Signer(self, [key], _base64url(bytes(24 if session else STORED_NONCE_BYTES)))
        frames = _body_frames(self.body, self._channel)
        spans, at = [], len(whole) - sum(map(len, frames))
        for one in frames:
            spans.append((at + 7, at + len(one) - 1))
            at += len(one)
        section_p, section_h = (len(_ID.encode().join(parts)) for parts in (self._p, self._h))
        return Layout(len(whole), tuple(spans), section_p, section_h, signer.input_bytes)

    def _frames(self, headers: dict[str, object]) -> bytes:
        message = amqp.Message(
            b"",
            application_headers=headers,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=self._mode,
            priority=0,
            **self._properties,
        )
        header = struct.pack(">HHQ", 60, 0, len(self.body)) + message._serialize_properties()
        key = QUEUE.encode()
        publish = struct.pack(">HHHB", 60, 40, 0, 0) + bytes([len(key)]) + key + b"\x00"
        bodies = _body_frames(self.body, self._channel)
        return b"".join([frame(1, self._channel, publish), frame(2, self._channel, header), *bodies])


def plain(templates: Sequence[Template], count: int) -> Iterator[bytes]:
    """As an application sends them that knows nothing of seals; of several templates it is chance which."""
    cut = [template._frames(template._headers).split(_ID.encode()) for template in templates]
    dice = random.Random(count)
    for task_id in _ids(count):
        yield task_id.join(cut[0] if len(cut) == 1 else dice.choice(cut))


def sealed(
    templates: Sequence[Template],
    count: int,
    keys: Sequence[Key],
    challenge: bytes = b"",
    first: int = 0,
) -> Iterator[bytes]:
    """Sealed now, with stored nonces; or, for the gateway that gave `challenge`, with session nonces from
    `first` on. Keys come in turn; of several templates it is chance which is next."""
    like = _base64url(bytes(24 if challenge else STORED_NONCE_BYTES))
    signers = [_Signer(template, keys, like) for template in templates]
    octets = b"" if challenge else secrets.token_bytes(STORED_NONCE_BYTES * count)
    dice = random.Random(count)
    for number, task_id in enumerate(_ids(count)):
        at = number * STORED_NONCE_BYTES
        nonce = challenge + (first + number).to_bytes(8, "big") if challenge else octets[at : at + 16]
        signer = signers[0] if len(signers) == 1 else dice.choice(signers)
        yield signer.message(number % len(keys), task_id, nonce)


def mixed(body_bytes: int) -> list[Template]:
    """As the tasks of a real producer differ: in name, arguments, origin, retries, and optional headers."""
    return [Template(body_bytes, variety=variety) for variety in range(1, VARIETIES + 1)]


class _Signer:
    """seal1 of one template under some keys, as far as it is the same for all messages prepared once.

    `nonce` has the length of those to come, as a frame's length is in the frame.
    """

    def __init__(self, template: Template, keys: Sequence[Key], nonce: bytes) -> None:
        created = int(time.time())
        stamp = b"%d.%d." % (created, created + LIFETIME_S)
        self._starts = [b"seal1." + key.kid.encode() + b"." + stamp for key in keys]
        self._keyed = [hmac.new(key.secret, digestmod="sha256") for key in keys]
        self._rest = b".c1." + template._snapshot
        self._p, self._h = template._p, template._h
        body_bytes = len(template.body).to_bytes(8, "big")
        self._body = body_bytes + template._body_sha256
        prefix_bytes = len(self._starts[0]) + len(nonce) + len(self._rest)
        context = (b"hmac-sha256", DEPLOYMENT.encode(), VHOST.encode())
        self._context = b"seal1/amqp-0-9-1/message\n" + b"".join(map(_lp, context))
        self._context += prefix_bytes.to_bytes(4, "big")
        self.input_bytes = len(self._context) + prefix_bytes + 3 * 32 + 8
        token = "~" * (prefix_bytes + 1 + len(_base64url(bytes(32))))
        head, tail = template._frames({**template._headers, "x-seal": token}).split(token.encode())
        self._head, self._tail = head.split(_ID.encode()), tail.split(_ID.encode())

    def message(self, key: int, task_id: bytes, nonce: bytes) -> bytes:
        prefix = self._starts[key] + _base64url(nonce) + self._rest
        p = hashlib.sha256(task_id.join(self._p)).digest()
        h = hashlib.sha256(task_id.join(self._h)).digest()
        keyed = self._keyed[key].copy()
        keyed.update(self._context + prefix + p + h + self._body)
        token = prefix + b"." + _base64url(keyed.digest())
        return task_id.join(self._head) + token + task_id.join(self._tail)


def _task(variety: int) -> dict[str, object]:
    """A task for `as_task_v2`, its first argument for the filling. 0 is the one task of most parts."""
    if variety == 0:
        return {"name": TASK, "args": [""], "kwargs": {"user": 7}, "origin": "gen1@web-1"}
    found: dict[str, object] = {
        "name": f"shop.{'orders' if variety % 2 else 'stock'}.task_{'x' * variety}",
        "args": ["", *range(variety % 3)],
        "kwargs": {f"field_{number}": number * 1.5 for number in range(variety % 4)},
        "origin": f"gen{variety}@web-{variety % 5}",
        "retries": variety % 3,
    }
    if variety % 2:
        found["eta"] = "2026-12-01T08:00:00+00:00"
    if variety % 4 == 3:
        found["group_id"] = str(uuid.UUID(int=variety))
        found["parent_id"] = str(uuid.UUID(int=variety + 100))
    return found


def write_messages(path: Path, messages: Iterable[bytes]) -> int:
    """The file that replay.c reads: count, offsets, bytes. Returns the count."""
    whole = list(messages)
    offsets = [0]
    for message in whole:
        offsets.append(offsets[-1] + len(message))
    with path.open("wb") as out:
        out.write(struct.pack(f"={len(offsets) + 1}Q", len(whole), *offsets))
        out.writelines(whole)
    return len(whole)


def _ids(count: int) -> Iterator[bytes]:
    """Task ids, unique among all runs."""
    start = str(uuid.uuid4())[:24].encode()
    for number in range(count):
        yield start + b"%012x" % number


def _body_frames(body: bytes, channel: int) -> list[bytes]:
    part = FRAME_BYTES_MAX - 8
    return [frame(3, channel, body[at : at + part]) for at in range(0, len(body), part)]


def _lp(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
