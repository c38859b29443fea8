"""Celery tasks as frames: what a test publishes by hand, as Celery would."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable

from pamqp import body, commands, frame, header

from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL
from sealgate.signing.keyring import Key, Keyring
from sealgate.verify.message import Message, Peer
from sealgate.verify.sealer import Sealer, SignerSession
from sealgate.wire.properties import scan_content_header, splice
from support.sealed import EMBED, task_headers

BODY = json.dumps([[1, 2], {}, EMBED]).encode()


def task_frames(
    number: int, queue: str, task: str = "app.add", seal: Callable[[Message], bytes] | None = None
) -> bytes:
    """A task on channel 1 that carries its number as correlation id; sealed where `seal` is given."""
    task_id = str(uuid.UUID(int=number))
    properties = commands.Basic.Properties(
        content_type="application/json",
        content_encoding="utf-8",
        correlation_id=str(number),
        delivery_mode=2,
        headers=task_headers(task=task, id=task_id, root_id=task_id),
    )
    payload = header.ContentHeader(body_size=len(BODY), properties=properties).marshal()
    if seal is not None:
        scanned = scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES)
        message = Message("", queue, False, scanned, BODY, hashlib.sha256(BODY).digest())
        payload = splice(scanned, frozenset(), seal(message))
    return b"".join(
        [
            frame.marshal(commands.Basic.Publish(routing_key=queue), 1),
            b"\x02\x00\x01" + len(payload).to_bytes(4, "big") + payload + b"\xce",
            frame.marshal(body.ContentBody(BODY), 1),
        ]
    )


class StoredNonceSigner:
    """Seals each task once: a repeat is the same bytes, as when a client resends after a lost confirm.

    `afresh` is the log of the tasks that were sealed again all the same.
    """

    def __init__(self, secret: str, vhost: str, queue: str, deployment: str = "prod") -> None:
        algorithm = HmacSha256(bytes.fromhex(secret.removeprefix("hex:")))
        self._sealer = Sealer(Keyring([Key("k1", algorithm)]), "k1", deployment, os.urandom)
        self._peer = Peer(deployment, vhost)
        self._queue = queue
        self._made: dict[int, bytes] = {}
        self.afresh: list[int] = []

    def frames(self, number: int) -> bytes:
        if number not in self._made:
            self._made[number] = task_frames(number, self._queue, seal=self._seal)
        return self._made[number]

    def seal_afresh(self, number: int) -> None:
        """The next frames of this task are a new message."""
        del self._made[number]
        self.afresh.append(number)

    def _seal(self, message: Message) -> bytes:
        return self._sealer.seal(message, self._peer, SignerSession(), time.time())
