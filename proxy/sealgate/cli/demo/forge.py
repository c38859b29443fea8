"""Messages as an attacker makes them: built by hand, sealed with stolen keys, or captured and changed."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pamqp import commands, encode
from pamqp import header as pamqp_header

from sealgate.cli.demo.names import ROUTING_KEY
from sealgate.cli.stack import DEPLOYMENT, DemoKey
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME
from sealgate.signing.keyring import Key, Keyring
from sealgate.signing.material import MaterialKind, parse_secret
from sealgate.verify.message import Message, Peer
from sealgate.verify.sealer import Sealer, SignerSession
from sealgate.wire.constants import FRAME_BODY, FRAME_HEADER, FRAME_METHOD
from sealgate.wire.entries import entry_longstr
from sealgate.wire.frames import encode_frame
from sealgate.wire.properties import CORRELATION_ID, ContentHeader, scan_content_header, splice

_METHOD_ID: Final = struct.Struct(">I")
_BODY_SIZE_AT: Final = 4
_CHANNEL: Final = 1
_EMBED: Final[dict[str, Any]] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@dataclass(slots=True, frozen=True)
class Forged:
    """A publish: where it goes, its content header frame's payload, its body. `mark` is how the auditor would
    know it: the task id, or the ticket of a command."""

    exchange: str
    routing_key: str
    header: bytes
    body: bytes
    mark: str

    def frames(self, body_size: int | None = None) -> bytes:
        """The publish as octets on channel 1."""
        method = commands.Basic.Publish(exchange=self.exchange, routing_key=self.routing_key, mandatory=True)
        header = self.header
        if body_size is not None:
            header = header[:_BODY_SIZE_AT] + struct.pack(">Q", body_size) + header[_BODY_SIZE_AT + 8 :]
        frames = encode_frame(FRAME_METHOD, _CHANNEL, _METHOD_ID.pack(method.index) + method.marshal())
        frames += encode_frame(FRAME_HEADER, _CHANNEL, header)
        return frames + encode_frame(FRAME_BODY, _CHANNEL, self.body) if self.body else frames


def task(
    exchange: str,
    name: str,
    args: list[Any],
    *,
    body: bytes | None = None,
    content_type: str = "application/json",
    expiration: str | None = None,
    headers: Mapping[str, Any] | None = None,
) -> Forged:
    """A Celery task as Celery would publish it, not sealed."""
    task_id = str(uuid.uuid4())
    own: dict[str, Any] = {
        "lang": "py",
        "task": name,
        "id": task_id,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": task_id,
        "parent_id": None,
        "argsrepr": repr(args),
        "kwargsrepr": "{}",
        "origin": "gen1@attacker",
        "ignore_result": True,
        **(headers or {}),
    }
    octets = json.dumps([args, {}, _EMBED]).encode() if body is None else body
    properties = commands.Basic.Properties(
        content_type=content_type,
        content_encoding="utf-8" if content_type == "application/json" else "binary",
        headers=own,
        delivery_mode=2,
        correlation_id=task_id,
        expiration=expiration,
    )
    return Forged(exchange, ROUTING_KEY, _content_header(properties, len(octets)), octets, task_id)


def command(exchange: str, name: str) -> Forged:
    """A remote control command to every worker, not sealed."""
    ticket = str(uuid.uuid4())
    body = json.dumps({"method": name, "arguments": {}, "destination": None, "ticket": ticket}).encode()
    properties = commands.Basic.Properties(content_type="application/json", content_encoding="utf-8")
    return Forged(exchange, "", _content_header(properties, len(body)), body, ticket)


def sealed(message: Forged, key: DemoKey, now: float, vhost: str, deployment: str = DEPLOYMENT) -> Forged:
    """`message` sealed by `key` at `now` with a stored nonce: whoever has a key can do so anywhere."""
    algorithm = HmacSha256(parse_secret(key.secret, MaterialKind.HMAC_SECRET))
    ring = Keyring([Key(key.kid, algorithm)])
    sealer = Sealer(ring, key.kid, deployment, os.urandom)
    header = _scan(message.header)
    digest = hashlib.sha256(message.body).digest()
    whole = Message(message.exchange, message.routing_key, True, header, message.body, digest)
    entry = sealer.seal(whole, Peer(deployment, vhost), SignerSession(), now)
    return replace(message, header=splice(header, frozenset({TOKEN_NAME}), entry))


def with_body_bit_flipped(message: Forged) -> Forged:
    """The lowest bit of the first digit in the body: another number, and JSON still."""
    at = next(i for i, octet in enumerate(message.body) if chr(octet).isdigit())
    return replace(message, body=_flipped(message.body, at))


def with_header_bit_flipped(message: Forged) -> Forged:
    """One bit in the value of the header `origin`."""
    return replace(message, header=_flipped(message.header, message.header.index(b"\x06originS") + 12))


def with_property_bit_flipped(message: Forged) -> Forged:
    """One bit in the correlation id, whose octets come after the headers'."""
    value = _scan(message.header).fields[CORRELATION_ID]
    assert value is not None
    return replace(message, header=_flipped(message.header, message.header.rindex(value)))


def with_task(message: Forged, name: str) -> Forged:
    """Everything as signed, but for the header that says which task to run."""
    header = splice(_scan(message.header), frozenset({"task"}), entry_longstr("task", name.encode()))
    return replace(message, header=header)


def with_header_twice(message: Forged) -> Forged:
    """A second `task` header behind the first: readers differ in which they believe."""
    added = entry_longstr("task", b"demo.refund")
    return replace(message, header=splice(_scan(message.header), frozenset(), added))


def with_deep_header(message: Forged, depth: int) -> Forged:
    """A header with tables inside tables."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    added = encode.field_table({"deep": value})[4:]
    return replace(message, header=splice(_scan(message.header), frozenset(), added))


def _content_header(properties: commands.Basic.Properties, size: int) -> bytes:
    return pamqp_header.ContentHeader(body_size=size, properties=properties).marshal()


def _scan(payload: bytes) -> ContentHeader:
    return scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
