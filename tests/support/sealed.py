"""Messages as the verifier gets them: built octet by octet, sealed by a key, judged in one call."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import (
    ABSOLUTE_NAMES,
    OMITTED_FOR_SEAL,
    TOKEN_NAME,
    canonical_properties,
    encode_snapshot,
    signing_input,
)
from sealgate.signing.keyring import Key, Keyring
from sealgate.signing.token import finish_token, token_prefix
from sealgate.verify.checks import Verifier
from sealgate.verify.message import Message, Peer
from sealgate.verify.policy import ContentRules, Policy
from sealgate.verify.verdict import Verdict
from sealgate.wire.entries import entry_longstr
from sealgate.wire.properties import (
    CONTENT_TYPE,
    DELIVERY_MODE,
    EXPIRATION,
    HEADERS,
    PRIORITY,
    TIMESTAMP,
    scan_content_header,
    splice,
)
from support.wire_bytes import content_header, entry, long, short

NOW = 1_767_225_600
#: The end of a seal that is made now, where no other is asked for.
EXPIRES = NOW + 3600
DEPLOYMENT = "prod"
SECRET = bytes(range(32))
NONCE = bytes(range(16))
CHALLENGE = bytes(range(50, 66))
TASK_ID = "b3f359bd-b8c5-4497-848c-a9ef77163319"
EMBED: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
BODY = json.dumps([[2, 3], {}, EMBED]).encode()
JSON_HEADER: dict[int, bytes] = {CONTENT_TYPE: b"application/json", 1: b"utf-8"}


def a_key(kid: str = "k1", **limits: Any) -> Key:
    return Key(kid, HmacSha256(SECRET), **limits)


def a_policy(**changes: Any) -> Policy:
    return Policy(deployment=DEPLOYMENT, **changes)


def rules(profile: str = "celery", *types: str, compression: tuple[str, ...] = ()) -> ContentRules:
    return ContentRules(profile, frozenset(types or ("application/json",)), frozenset(compression))


def task_headers(**changes: object) -> dict[str, object]:
    """The headers of a Celery 2 task as Celery writes them. A change to `...` takes a header out."""
    headers: dict[str, object] = {
        "lang": "py",
        "task": "app.add",
        "id": TASK_ID,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": TASK_ID,
        "parent_id": None,
        "argsrepr": "(2, 3)",
        "kwargsrepr": "{}",
        "origin": "gen1@host",
        "ignore_result": False,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
    headers.update(changes)
    return {name: value for name, value in headers.items() if value is not ...}


def field(value: object) -> tuple[str, bytes]:
    """Type and octets of a Python value as py-amqp writes it."""
    match value:
        case None:
            return "V", b""
        case bool():
            return "t", bytes((value,))
        case int():
            return (
                ("I", struct.pack(">i", value))
                if -(2**31) <= value < 2**31
                else ("L", struct.pack(">q", value))
            )
        case float():
            return "d", struct.pack(">d", value)
        case str():
            return "S", long(value.encode())
        case bytes():
            return "x", long(value)
        case list():
            items = [field(item) for item in value]
            return "A", long(b"".join(kind.encode() + octets for kind, octets in items))
        case dict():
            return "F", long(table(value))
    raise TypeError(type(value).__name__)


def table(values: Mapping[str, object]) -> bytes:
    return b"".join(entry(name, *field(value)) for name, value in values.items())


def a_message(
    body: bytes = BODY,
    headers: Mapping[str, object] | None = None,
    properties: Mapping[int, bytes] | None = None,
    exchange: str = "",
    routing_key: str = "celery",
    raw_entries: bytes = b"",
) -> Message:
    """An unsealed message, by default Celery's; `raw_entries` follow its header table as they are."""
    own = table(task_headers() if headers is None else headers) + raw_entries
    given = dict(JSON_HEADER if properties is None else properties)
    flags, octets = 0, b""
    for index in range(14):
        if index == HEADERS:
            octets += long(own) if own else b""
            flags |= 0x8000 >> index if own else 0
        elif index in given:
            value = given[index]
            octets += value if index in (DELIVERY_MODE, PRIORITY, TIMESTAMP) else short(value)
            flags |= 0x8000 >> index
    return received(content_header(flags, octets, len(body)), body, exchange, routing_key)


def received(payload: bytes, body: bytes, exchange: str = "", routing_key: str = "celery") -> Message:
    """The message with this content header, scanned as the session does it."""
    header = scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
    return Message(exchange, routing_key, False, header, body, hashlib.sha256(body).digest())


def seal(
    message: Message,
    key: Key | None = None,
    created: int = NOW,
    expires: int | None = None,
    nonce: bytes = NONCE,
    deployment: str = DEPLOYMENT,
    vhost: str = "/",
) -> bytes:
    """The token of `message`."""
    key = key or a_key()
    fields = message.header.fields
    snapshot = encode_snapshot(message.exchange, message.routing_key, fields[EXPIRATION], fields[TIMESTAMP])
    prefix = token_prefix(key.kid, created, created + 3600 if expires is None else expires, nonce, snapshot)
    digests = [
        hashlib.sha256(data).digest()
        for data in (canonical_properties(fields), message.header.table.canonical, message.body)
    ]
    data = signing_input(
        key.algorithm.name, deployment, vhost, prefix, digests[0], digests[1], len(message.body), digests[2]
    )
    return finish_token(prefix, key.algorithm.sign(data))


def with_token(message: Message, token: bytes) -> Message:
    payload = splice(message.header, frozenset({TOKEN_NAME}), entry_longstr(TOKEN_NAME, token))
    return received(payload, message.body, message.exchange, message.routing_key)


def sealed(message: Message | None = None, **seal_options: Any) -> Message:
    """`message` with a good seal."""
    message = message or a_message()
    return with_token(message, seal(message, **seal_options))


def a_peer(**changes: Any) -> Peer:
    return Peer(DEPLOYMENT, **{"user": "app", "challenge": CHALLENGE, **changes})


def judge(
    message: Message,
    policy: Policy | None = None,
    keys: tuple[Key, ...] | None = None,
    peer: Peer | None = None,
    now: float = NOW,
) -> Verdict:
    """The verdict on a message as it is."""
    verifier = Verifier(policy or a_policy(), Keyring(keys or (a_key(),)))
    return verifier.examine(message, peer or a_peer(), float(now))


def judge_sealed(
    message: Message, policy: Policy | None = None, key: Key | None = None, peer: Peer | None = None
) -> Verdict:
    """The verdict on a message that `key` sealed."""
    key = key or a_key()
    return judge(sealed(message, key=key), policy, (key,), peer)
