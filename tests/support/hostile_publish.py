"""Publishes of the hostile rows, octet by octet: what is sealed, what is sent, and what may arrive.

A `Draft` is written down once; `publish` seals it for a connection at the moment it is sent, so that the
only thing wrong with it is what its row says.
"""

from __future__ import annotations

import hashlib
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sealgate.reason import GateError
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME
from sealgate.signing.keyring import Key
from sealgate.signing.token import session_nonce
from sealgate.verify.message import Message
from sealgate.wire.properties import DELIVERY_MODE, HEADERS, PRIORITY, TIMESTAMP, scan_content_header
from support.hostile_keys import DEPLOYMENT, KEYRING
from support.raw_client import HEADER, METHOD, RawClient, content_bodies, frame
from support.sealed import BODY, JSON_HEADER, seal, table, task_headers
from support.wire_bytes import content_header, entry, long, short

_FIXED = (DELIVERY_MODE, PRIORITY, TIMESTAMP)


@dataclass(frozen=True)
class Seal:
    """How a draft is sealed. Times are seconds from now; the default nonce is the connection's next one."""

    kid: str = "k1"
    created: int = 0
    expires: int = 3600
    nonce: bytes = b""
    deployment: str = DEPLOYMENT
    vhost: str = ""
    #: Changes the token's text after it was made.
    edit: Callable[[str], str] | None = None


def stored(kid: str = "k1", **options: Any) -> Seal:
    """A seal that needs no connection: a random nonce, so that the same bytes can be sent again."""
    return Seal(kid, nonce=secrets.token_bytes(16), **options)


@dataclass(frozen=True)
class Draft:
    """A message before it is sealed; by default what Celery sends."""

    body: bytes = BODY
    headers: Mapping[str, object] = field(default_factory=task_headers)
    properties: Mapping[int, bytes] = field(default_factory=lambda: dict(JSON_HEADER))
    exchange: str = ""
    routing_key: str = "celery"
    #: Entries behind the headers, right or wrong, and those that the gateway takes out.
    entries: bytes = b""
    stripped: bytes = b""
    #: How often the token is there.
    tokens: int = 1
    seal: Seal | None = field(default_factory=Seal)
    #: What is sent under this draft's seal instead of this draft.
    sent_as: Draft | None = None

    def payload(self, token: bytes = b"", stripped: bytes = b"") -> bytes:
        """The payload of the content header."""
        tokens = entry(TOKEN_NAME, "S", long(token)) * self.tokens if token else b""
        headers = table(self.headers) + tokens + self.entries + stripped
        flags, octets = 0, b""
        for index in range(14):
            value = self.properties.get(index)
            if index == HEADERS:
                value = headers or None
            if value is None:
                continue
            flags |= 0x8000 >> index
            if index == HEADERS:
                octets += long(value)
            else:
                octets += value if index in _FIXED else short(value)
        return content_header(flags, octets, len(self.body))


@dataclass(frozen=True)
class Publish:
    """The payloads of one publish. `arriving` is the content header that the broker is to get."""

    exchange: str
    routing_key: str
    header: bytes
    arriving: bytes
    body: bytes

    def method(self, mandatory: bool = False) -> bytes:
        """The payload of its `basic.publish`."""
        names = short(self.exchange.encode()) + short(self.routing_key.encode())
        return b"\x00\x3c\x00\x28\x00\x00" + names + bytes((mandatory,))

    def frames(self, client: RawClient, channel: int = 1, mandatory: bool = False) -> bytes:
        """The whole publish as `client` may frame it."""
        return (
            frame(METHOD, channel, self.method(mandatory))
            + frame(HEADER, channel, self.header)
            + content_bodies(channel, self.body, client.frame_max - 8)
        )

    @property
    def readable(self) -> bool:
        """Whether a gateway can take the message apart at all."""
        return scanned(self.header) is not None and "\x00" not in self.routing_key

    def kept_frames(self, body: bytes, mandatory: bool, channel: int = 1) -> bytes:
        """The publication as quarantine holds it, with as much of the body."""
        chunks = content_bodies(channel, body, 131_064)
        method = frame(METHOD, channel, self.method(mandatory))
        return method + frame(HEADER, channel, self.header) + chunks


def scanned(payload: bytes) -> Any:
    """The content header as the gateway reads it, None when it can not be read."""
    try:
        return scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
    except GateError:
        return None


def publish(draft: Draft, client: RawClient, seal_with: Seal | None = None) -> Publish:
    """Seal `draft` now, for `client`'s connection."""
    sealing = seal_with or draft.seal
    token = make_token(draft, client, sealing) if sealing is not None else b""
    sent = draft.sent_as or draft
    return Publish(
        sent.exchange,
        sent.routing_key,
        sent.payload(token, sent.stripped),
        sent.payload(token),
        sent.body,
    )


def make_token(draft: Draft, client: RawClient, sealing: Seal) -> bytes:
    """The token of `draft`; of all that is sound in it, where it has entries that nobody could sign."""
    header = scanned(draft.payload(stripped=draft.stripped))
    if header is None:
        header = scanned(Draft(draft.body, draft.headers).payload())
    message = Message(
        draft.exchange, draft.routing_key, False, header, draft.body, hashlib.sha256(draft.body).digest()
    )
    key: Key = KEYRING[sealing.kid]
    now = int(time.time())
    token = seal(
        message,
        key,
        created=now + sealing.created,
        expires=now + sealing.expires,
        nonce=sealing.nonce or next_nonce(client),
        deployment=sealing.deployment,
        vhost=sealing.vhost or client.vhost,
    )
    return sealing.edit(token.decode()).encode() if sealing.edit is not None else token


def next_nonce(client: RawClient) -> bytes:
    """The next session nonce of the connection."""
    assert client.challenge, "the gateway offers no session nonces"
    nonce = session_nonce(client.challenge, client.sequence)
    client.sequence += 1
    return nonce


def a_task(name: str = "app.add", **changes: Any) -> Draft:
    """An ordinary task with an id of its own."""
    task_id = str(uuid.uuid4())
    return Draft(headers=task_headers(task=name, id=task_id, root_id=task_id), **changes)
