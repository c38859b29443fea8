"""Messages as brokers deliver them, for the delivery verifier: what RabbitMQ changes on the way, by hand."""

from __future__ import annotations

import struct
from typing import Any

from sealgate.signing.canonical import COUNTERSIGN_NAME, OMITTED_FOR_COUNTERSIGN, TOKEN_NAME
from sealgate.signing.keyring import Key, Keyring
from sealgate.verify.checks import Verifier
from sealgate.verify.delivery import DeliveryPolicy, DeliveryVerifier, QueueTerms
from sealgate.verify.message import Message, Peer
from sealgate.verify.policy import Policy
from sealgate.verify.targets import TargetPolicy
from sealgate.verify.verdict import Verdict
from sealgate.wire.properties import EXPIRATION, HEADERS, scan_content_header
from support.sealed import NOW, a_key, a_message, a_peer, a_policy, received, seal, table, task_headers
from support.wire_bytes import content_header, entry, long, short

STRICT = QueueTerms()
DEAD_LETTER = QueueTerms(target=TargetPolicy.DEAD_LETTER)
DELAYED = QueueTerms(target=TargetPolicy.DELAYED)
QUEUE = "celery"


def delivered(
    message: Message,
    exchange: str | None = None,
    routing_key: str | None = None,
    entries: bytes = b"",
    without: tuple[int, ...] = (),
    properties: dict[int, bytes] | None = None,
    resorted: bool = False,
) -> Message:
    """`message` as it arrives: with a target, header entries and properties of the broker's own, and without
    others."""
    header = message.header
    own = header.table.raw
    if resorted:
        own = sorted_entries(own)
    fields: dict[int, bytes | None] = dict(enumerate(header.fields))
    fields.update(properties or {})
    flags, octets = 0, b""
    for index in range(14):
        value = fields[index]
        if index == HEADERS:
            flags |= 0x8000 >> index
            octets += long(own + entries)
        elif value is not None and index not in without:
            flags |= 0x8000 >> index
            octets += value if index in (3, 4, 9) else short(value)
    payload = content_header(flags, octets, len(message.body))
    return received(
        payload,
        message.body,
        message.exchange if exchange is None else exchange,
        message.routing_key if routing_key is None else routing_key,
    )


def sorted_entries(octets: bytes) -> bytes:
    """A header table as a quorum queue writes it: by name, integers as `l`, any true bool as 1."""
    found = scan_content_header(
        content_header(0x2000, long(octets), 0), frozenset(), frozenset()
    ).table.values

    parts = []
    for name in sorted(found):
        value = found[name]
        if type(value) is int:
            parts.append(entry(name, "l", struct.pack(">q", value)))
        else:
            parts.append(table({name: value}))
    return b"".join(parts)


def death(
    exchange: str = "",
    routing_key: str = "celery",
    queue: str = "celery",
    reason: str = "rejected",
    expiration: str | None = None,
) -> dict[str, object]:
    """An entry of x-death."""
    entry: dict[str, object] = {
        "count": 1,
        "exchange": exchange,
        "queue": queue,
        "reason": reason,
        "routing-keys": [routing_key],
    }
    return entry if expiration is None else {**entry, "original-expiration": expiration}


def died(*deaths: dict[str, object]) -> bytes:
    """The headers that dead-lettering adds."""
    first = deaths[-1]
    return table(
        {
            "x-death": list(deaths),
            "x-first-death-exchange": first["exchange"],
            "x-first-death-queue": first["queue"],
            "x-first-death-reason": first["reason"],
        }
    )


def a_task_with(expiration: bytes | None = None, **more: Any) -> Message:
    """An unsealed task, perhaps with a TTL of its own."""
    properties = {0: b"application/json", 1: b"utf-8"}
    if expiration is not None:
        properties[EXPIRATION] = expiration
    return a_message(headers=task_headers(), properties=properties, **more)


def countersigned(message: Message, key: Key, now: int = NOW) -> Message:
    """`message` with a signature of a gateway's, over all that it has."""
    header = scan_content_header(
        message.header.payload, OMITTED_FOR_COUNTERSIGN, frozenset({"x-delay"}), TOKEN_NAME
    )
    covered = Message(message.exchange, message.routing_key, False, header, message.body, message.body_sha256)
    token = seal(covered, key, created=now, nonce=bytes(range(20, 36)))
    return delivered(message, entries=table({COUNTERSIGN_NAME: token.decode()}))


def judge_delivery(
    message: Message,
    terms: QueueTerms = STRICT,
    policy: Policy | None = None,
    keys: tuple[Key, ...] | None = None,
    deliver: DeliveryPolicy | None = None,
    peer: Peer | None = None,
    now: float = NOW,
    queue: str = QUEUE,
) -> Verdict:
    verifier = Verifier(policy or a_policy(), Keyring(keys or (a_key(),)))
    judging = DeliveryVerifier(deliver or DeliveryPolicy(), verifier)
    return judging.examine(message, queue, terms, peer or a_peer(), float(now))
