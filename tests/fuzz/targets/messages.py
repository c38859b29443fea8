"""Targets for the room `verify`: whole messages."""

from __future__ import annotations

import hashlib
import struct
from fnmatch import fnmatchcase
from functools import cache

from differential.picture import picture
from fuzz.oracles.reference import read_header, signing_input, snapshot
from fuzz.targets.answers import answer, require, tell
from fuzz.targets.changes import Operands, Signed, changed
from sealgate.reason import Reason
from sealgate.signing.algorithms import Ed25519, HmacSha256
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, STRIPPED_NAMES, TOKEN_NAME
from sealgate.signing.keyring import Key, Keyring
from sealgate.signing.token import parse_token
from sealgate.verify.checks import Verifier
from sealgate.verify.message import Message, Peer
from sealgate.verify.policy import ContentRules, Policy, Rule
from sealgate.verify.verdict import Accepted, Refused, Verdict
from sealgate.wire.properties import scan_content_header, splice
from support.sealed import DEPLOYMENT, NOW, SECRET, a_message, seal, task_headers, with_token
from support.wire_bytes import content_header, entry, long, short

JSON, MSGPACK = "application/json", "application/x-msgpack"
_PLAIN_TYPES = frozenset({JSON, MSGPACK, ""})
_COMPRESSIONS = frozenset({"application/x-gzip", "application/x-bz2", "application/x-lzma"})
_BODY_BYTES_MAX = 65_536


def _policy(profile: str, *types: str, **more: bool) -> Policy:
    content = ContentRules(profile, frozenset(types) or _PLAIN_TYPES, _COMPRESSIONS)
    return Policy(DEPLOYMENT, content=content, inflated_bytes_max=_BODY_BYTES_MAX, **more)  # type: ignore[arg-type]


POLICIES = (
    _policy("celery", protocol_1=True),
    _policy("celery", JSON),
    _policy("dramatiq"),
    _policy("taskiq"),
    _policy("generic"),
    _policy("generic", "*"),
    _policy("celery", protocol_1=True, strict_b64=True),
)
TARGETS = (
    ("", "celery"),
    ("celery.pidbox", ""),
    ("reply.celery.pidbox", "worker"),
    ("celeryev", "worker.heartbeat"),
    ("", "default"),
    ("", "default.DQ"),
)
TYPES = (JSON, MSGPACK, "", "application/json; charset=utf-8")
KEYS = (
    Key("k1", HmacSha256(SECRET)),
    Key("k1", HmacSha256(SECRET), tasks=("app.*",), classes=("task", "control:ping")),
)


def envelopes(data: bytes) -> None:
    """Three octets for policy, target, and type with key; two for the size of the table; table; body."""
    if len(data) < 5:
        return
    policy = POLICIES[data[0] % len(POLICIES)]
    exchange, routing_key = TARGETS[data[1] % len(TARGETS)]
    content_type = TYPES[data[2] % len(TYPES)].encode()
    key = KEYS[data[2] // len(TYPES) % len(KEYS)]
    size = int.from_bytes(data[3:5], "big")
    table, body = data[5 : 5 + size], data[5 + size :]
    payload = content_header(0xA000, short(content_type) + long(table), len(body))
    header, _ = answer(scan_content_header, payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
    if header is None:
        return
    plain = Message(exchange, routing_key, False, header, body, hashlib.sha256(body).digest())
    message, refused = answer(_sealed, plain, key)
    if message is None:
        require(refused in (Reason.HEADER_COUNT, Reason.HEADER_SIZE), f"sealed, it is {refused}")
        return
    verdict = _judged(Verifier(policy, Keyring((key,))), message)
    again = _judged(Verifier(policy, Keyring((key,))), message)
    require(picture(verdict) == picture(again), "judged again, another verdict")
    if isinstance(verdict, Accepted):
        require(verdict.observed is None and verdict.kid == "k1", "a verdict of another kind")
        permitted = key.tasks is None or not verdict.task or fnmatchcase(verdict.task, "app.*")
        require(permitted, "a task that the key may not send")
    else:
        # Whoever observes instead is asked for the tasks that might run.
        observing = Verifier(_observing(policy), Keyring((key,)))
        require(isinstance(_judged(observing, message), Accepted | Refused), "no verdict")


def _sealed(message: Message, key: Key) -> Message:
    return with_token(message, seal(message, key))


@cache
def _observing(policy: Policy) -> Policy:
    return Policy(
        DEPLOYMENT,
        content=policy.content,
        inflated_bytes_max=_BODY_BYTES_MAX,
        rules=(Rule(task="app.*", observe=True),),
    )


def _judged(verifier: Verifier, message: Message, peer: Peer | None = None) -> Verdict:
    verdict = verifier.examine(message, peer or Peer(DEPLOYMENT, user="app"), float(NOW))
    tell(verdict)
    require(isinstance(verdict, Accepted | Refused), "no verdict")
    return verdict


_ED25519 = Key("ed", Ed25519.of_private(bytes(range(32, 64))))
_KEYRING = Keyring((Key("k1", HmacSha256(SECRET)), _ED25519))
_VHOSTS = ("/", "other")
_VERIFIERS = tuple(Verifier(policy, _KEYRING) for policy in POLICIES)


@cache
def signed_messages() -> tuple[Signed, ...]:
    """Messages that were signed, each of another shape."""
    everything = b"".join(
        (
            entry("bool", "t", b"\x02"),
            entry("n", "I", struct.pack(">i", -7)),
            entry("big", "l", struct.pack(">q", 2**40)),
            entry("f", "f", struct.pack(">f", 0.5)),
            entry("d", "d", struct.pack(">d", 0.1)),
            entry("T", "T", struct.pack(">Q", 1_700_000_000)),
            entry("bytes", "x", long(b"\xff\x00")),
            entry("list", "A", long(b"V" + b"t\x01")),
            entry("x-delay", "I", struct.pack(">i", 5000)),
            entry("x-delivery-count", "l", struct.pack(">q", 2)),
        )
    )
    properties = {0: JSON.encode(), 1: b"utf-8", 3: b"\x02", 4: b"\x05", 5: b"corr", 7: b"60000", 8: b"m1"}
    direct = {**properties, 6: b"amq.rabbitmq.reply-to", 9: bytes(8), 10: b"t", 12: b"app", 13: b"c"}
    drafts = (
        (a_message(), KEYS[0]),
        (a_message(raw_entries=everything, properties=properties), KEYS[0]),
        (a_message(b"{}", headers={}, properties=direct, exchange="e", routing_key="k"), KEYS[0]),
        (a_message(b"", headers={}, properties={}), KEYS[0]),
        (a_message(headers=task_headers(stamps={"a": [1, {"b": None}]})), _ED25519),
    )
    found = []
    for draft, key in drafts:
        message = _sealed(draft, key)
        found.append(Signed(draft.exchange, draft.routing_key, message.header.payload, draft.body))
    return tuple(found)


@cache
def _signing_inputs() -> frozenset[bytes]:
    return frozenset(filter(None, (_meaning(signed, "/") for signed in signed_messages())))


@cache
def _tokens() -> frozenset[str]:
    found = []
    for signed in signed_messages():
        entries = dict(read_header(signed.header).entries)
        found.append(str(entries[b"x-seal"].value, "ascii"))  # type: ignore[call-overload]
    return frozenset(found)


def _meaning(signed: Signed, vhost: str) -> bytes | None:
    """What the seal in a message has to sign by the reference's reading of its octets; None without one."""
    header = read_header(signed.header)
    tokens = [node.value for name, node in header.entries if name == b"x-seal"]
    if len(tokens) != 1 or not isinstance(tokens[0], bytes):
        return None
    token = answer(parse_token, tokens[0])[0]
    if token is None or token.snapshot != snapshot(header, signed.exchange, signed.routing_key):
        return None
    key = _KEYRING.get(token.kid)
    if key is None:
        return None
    return signing_input(key.algorithm.name, DEPLOYMENT, vhost, token.prefix, header, signed.body)


def verifier(data: bytes) -> None:
    """An octet each for the message, the policy and the virtual host, then changes (`changes`)."""
    operands = Operands(data)
    messages = signed_messages()
    signed = messages[operands.octet() % len(messages)]
    judge = _VERIFIERS[operands.octet() % len(_VERIFIERS)]
    vhost = _VHOSTS[operands.octet() % len(_VHOSTS)]
    while operands.more:
        signed = changed(signed, operands)
    check_signed(signed, vhost, judge)


def check_signed(signed: Signed, vhost: str, judge: Verifier) -> Verdict | None:
    """Judge a message that may have been changed since it was signed; None when it can not be read."""
    header, _ = answer(scan_content_header, signed.header, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
    if header is None:
        return None
    body = signed.body
    message = Message(signed.exchange, signed.routing_key, False, header, body, hashlib.sha256(body).digest())
    verdict = _judged(judge, message, Peer(DEPLOYMENT, vhost, "app"))
    meaning = _meaning(signed, vhost)
    if isinstance(verdict, Accepted):
        require(meaning in _signing_inputs(), "accepted, and nobody signed it")
        forwarded = read_header(splice(header, STRIPPED_NAMES, b""))
        require(not forwarded.broken, "what is forwarded can not be read")
        passed_on = Signed(
            signed.exchange, signed.routing_key, splice(header, STRIPPED_NAMES, b""), signed.body
        )
        require(_meaning(passed_on, vhost) == meaning, "what is forwarded means something else")
    elif verdict.reason in (Reason.SIG_BAD, Reason.TARGET_MISMATCH):
        signed_so = meaning in _signing_inputs() and header.table.values.get(TOKEN_NAME) in _tokens()
        require(not signed_so, f"{verdict.reason} for what was signed")
    return verdict
