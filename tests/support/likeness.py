"""A producer whose messages are like the ones before, most of the time, and what attackers make of them.

Everything comes from a seed. `Producer.next` gives one publish, octets and all; `attack` names what was done
to it, before or after it was sealed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from sealgate.reason import GateError
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.signing.token import session_nonce
from sealgate.verify.bounds import Bound, BoundTable, Limit
from sealgate.verify.controls import Controls
from sealgate.verify.expiry import Expiry
from sealgate.verify.message import Message
from sealgate.verify.policy import ContentRules, Policy, Rule
from sealgate.verify.rates import RateTable
from sealgate.wire.properties import (
    DELIVERY_MODE,
    HEADERS,
    MESSAGE_ID,
    PRIORITY,
    TIMESTAMP,
    scan_content_header,
)
from support.sealed import DEPLOYMENT, EMBED, NOW, SECRET, field, seal, task_headers
from support.wire_bytes import content_header, entry, long, nested, short

OTHER_SECRET: Final = bytes(range(32, 64))
JSON: Final = ContentRules("celery", frozenset({"application/json"}), frozenset({"application/x-gzip"}))
_OBSERVED: Final = (Rule(task="app.mul", observe=True), Rule(exchange="logs", observe=True))
_TASKIQ: Final = ContentRules("taskiq", frozenset({"application/json"}))
_REVOKED: Final = {f"id-{number}": NOW + 20.0 for number in range(0, 200, 3)}
POLICIES: Final = (
    Policy(DEPLOYMENT),
    Policy(DEPLOYMENT, content=JSON, protocol_1=True),
    Policy(DEPLOYMENT, rates=RateTable({"app.*": "5/s burst 9", "app.mul": "1/s burst 1", "*": "9/s"})),
    Policy(DEPLOYMENT, rules=_OBSERVED),
    Policy(DEPLOYMENT, observe_default=True, rules=(Rule(task="app.mul", observe=False),)),
    Policy(DEPLOYMENT, session_nonces_only=True),
    Policy(DEPLOYMENT, strict_b64=True, body_bytes_max=400),
    Policy(DEPLOYMENT, content=ContentRules("generic", frozenset({"*"}))),
    Policy(DEPLOYMENT, rules=(Rule(exchange="logs", content=_TASKIQ), Rule(task="app.mul", content=JSON))),
    Policy(DEPLOYMENT, max_age_s=20, clock_skew_s=1),
    Policy(
        DEPLOYMENT,
        bounds=BoundTable(
            (Bound("app.mul", time_limit=Limit(9.0, 5.0)), Bound("app.add", arguments_bytes_max=99))
        ),
    ),
    Policy(
        DEPLOYMENT,
        rates=RateTable(
            {
                "app.*": [
                    {"limit": "9/s burst 9", "per": "arg:0", "reserve": {"priority": 5, "share": "20%"}},
                    {"limit": "8/s burst 9", "per": "header:shadow"},
                    {"limit": ["7/s burst 9", "99/h burst 50"], "per": "key"},
                ],
                "*": {"limit": "6/s burst 9", "per": "user"},
            },
            delay_us=60_000_000,
        ),
        expiry=Expiry(expiration_ms_max=1000),
    ),
)
#: The same with an operator's orders.
ORDERING: Final = (
    Policy(DEPLOYMENT, controls=Controls(("app.mul",), {})),
    Policy(DEPLOYMENT, controls=Controls(("other",), _REVOKED)),
)


def keyrings(now: int) -> tuple[Keyring, ...]:
    """What a reload may bring: the key as it was, in another state, of narrower use, gone, or replaced."""
    good, other = HmacSha256(SECRET), HmacSha256(OTHER_SECRET)
    second = Key("k2", other, tasks=("app.*",), exchanges=("",))
    narrow: tuple[dict[str, Any], ...] = (
        {"tasks": ("app.*", "celery.chain")},
        {},
        {"state": KeyState.VERIFY},
        {"state": KeyState.REVOKED},
        {"not_after": now + 20},
        {"not_before": now + 5},
        {"max_lifetime_s": 600},
        {"tasks": ("app.mul",)},
        {"users": ("app", "nobody")},
        {"exchanges": ("",), "routing_keys": ("celery",), "reply_to": ("answers",)},
        {"classes": ("event",)},
    )
    rings = [Keyring([Key("k1", good, **limits), second]) for limits in narrow]
    return (*rings, Keyring([second]), Keyring([Key("k1", other), Key("k2", good)]))


@dataclass(frozen=True)
class Publish:
    """One publish: where it goes, the payload of its content header, its body, and what was done to it."""

    exchange: str
    routing_key: str
    header: bytes
    body: bytes
    attack: str = ""
    mandatory: bool = False


def joined(entries: list[bytes], properties: dict[int, bytes], body_size: int) -> bytes:
    """The payload of a content header."""
    flags, octets = 0, b""
    for index in range(14):
        value = long(b"".join(entries)) if index == HEADERS and entries else properties.get(index)
        if value is None:
            continue
        flags |= 0x8000 >> index
        octets += value if index in (HEADERS, DELIVERY_MODE, PRIORITY, TIMESTAMP) else short(value)
    return content_header(flags, octets, body_size)


class Draft:
    """A message before it is sealed: what an attacker, or a change of mind, may still change."""

    def __init__(self, headers: dict[str, bytes], properties: dict[int, bytes], body: bytes) -> None:
        #: Encoded entries by name.
        self.headers = headers
        self.properties = properties
        self.body = body
        self.exchange = ""
        self.routing_key = "celery"

    def set(self, name: str, value: object) -> None:
        self.headers[name] = entry(name, *field(value))

    def embed(self, args: object, **embed: object) -> None:
        self.body = json.dumps([args, {}, {**EMBED, **embed}]).encode()


Change = Callable[[Draft, random.Random], None]


def _bodies() -> dict[str, Change]:
    pickled = base64.b64encode(pickle.dumps(["x"], 4)).decode()
    bodies: dict[str, bytes] = {
        "body pickle": json.dumps([[pickled], {}, EMBED]).encode(),
        "body pickle escaped": json.dumps([[pickled], {}, EMBED]).encode().replace(b"gA", b"g\\u0041", 1),
        "body duplicate": b'[[],{"a":1,"a":2},{}]',
        "body duplicate escaped": b'[[],{"a":1,"\\u0061":2},{}]',
        "body duplicate spaced": b'[[":"],{"a" \n:1,"a"\t:2},{}]',
        "body duplicate amid colons": b'[["\\":","::"],{"a:":1,"a:":2},{}]',
        "body colons": b'[["\\":", "\\" :"], {"a:b": ":"}, {}]',
        "body gadget": b'[[],{"py/object":"os.system"},{}]',
        "body gadget escaped": b'[[],{"py\\/object":"os.system"},{}]',
        "body kombu": b'[[{"__type__":"decimal","__value__":"1.5"}],{},{}]',
        "body wrong kombu": b'[[{"__type__":"decimal","__value__":"x"}],{},{}]',
        "body constant": b"[[NaN],{},{}]",
        "body number": b"[[1e999],{},{}]",
        "body digits": b"[[" + b"1" * 4301 + b"],{},{}]",
        "body float digits": b"[[1." + b"1" * 4300 + b"],{},{}]",
        "body depth": b"[" + b"[" * 511 + b"]" * 511 + b",{},{}]",
        "body too deep": b"[" + b"[" * 512 + b"]" * 512 + b",{},{}]",
        "body surrogate": b'[["\\ud800"],{},{}]',
        "body not UTF-8": b'[["\xff"],{},{}]',
        "body control character": b'[["\x01"],{},{}]',
        "body mark": b"\xef\xbb\xbf[[],{},{}]",
        "body parts": b"[[],{}]",
        "body embed": b'[[],{},{"task":"evil"}]',
        "body kwargs": b"[[],[],{}]",
        "body hybrid": b'{"task":"app.add","id":"1","args":[],"kwargs":{}}',
        "body result": b'{"task_id":"1","status":"OK","result":1}',
        "body empty": b"",
        "body long": json.dumps([["x" * 9000], {}, EMBED]).encode(),
    }

    def change(body: bytes) -> Change:
        return lambda draft, dice: setattr(draft, "body", body)

    return {name: change(body) for name, body in bodies.items()}


def _headers() -> dict[str, Change]:
    values: dict[str, tuple[str, object]] = {
        "task other": ("task", "app.mul"),
        "task void": ("task", None),
        "task bytes": ("task", b"app.add"),
        "task number": ("task", 7),
        "task absent": ("task", ...),
        "id bad": ("id", "../../etc"),
        "id number": ("id", 7),
        "group bad": ("group", "a b"),
        "group good": ("group", "g-1"),
        "group table": ("group", {"a": 1}),
        "parent list": ("parent_id", ["x"]),
        "root bytes": ("root_id", b"x"),
        "taskset bad": ("taskset", "\u00fc"),
        "eta": ("eta", "2026-01-01T00:00:10+00:00"),
        "eta far": ("eta", "2099-01-01T00:00:10+00:00"),
        "expires past": ("expires", "2025-01-01T00:00:10+00:00"),
        "retries": ("retries", -1),
        "timelimit": ("timelimit", [-1, None]),
        "stamps": ("stamps", {"retries": 1}),
        "stamped headers": ("stamped_headers", [5]),
        "callbacks": ("callbacks", [{"task": "evil", "args": [], "kwargs": {}}]),
        "chain": ("chain", "evil"),
        "headers": ("headers", {"task": "evil"}),
        "compression unlisted": ("compression", "lzma"),
        "compression empty": ("compression", ""),
        "lang number": ("lang", 7),
        "shadow nested": ("shadow", {"a": [1, {"b": None}]}),
        "argsrepr not finite": ("argsrepr", float("nan")),
        "argsrepr long": ("argsrepr", "x" * 5000),
        "CC": ("CC", ["elsewhere"]),
        "x-delay": ("x-delay", -5),
        "broker's": ("x-death", [{"queue": "q"}]),
        "broker's text": ("x-first-death-queue", "q"),
        "countersigned": ("x-countersign", "seal1.x"),
        "taskiq": ("task_name", "evil"),
        "name in capitals": ("X-Seal", "seal1.x"),
    }

    def change(name: str, value: object) -> Change:
        def apply(draft: Draft, dice: random.Random) -> None:
            if value is ...:
                draft.headers.pop(name, None)
            else:
                draft.set(name, value)

        return apply

    changes = {name: change(*value) for name, value in values.items()}
    raw: dict[str, bytes] = {
        "lang not UTF-8": entry("lang", "S", long(b"\xff")),
        "lang decimal": entry("lang", "D", bytes(5)),
        "lang far timestamp": entry("lang", "T", b"\x7f" + bytes(7)),
        "lang too deep": entry("lang", "F", long(nested(9))),
        "lang many": entry("lang", "A", long(b"V" * 250)),
        "lang of no type": entry("lang", "?"),
        "lang cut": entry("lang", "S", struct.pack(">I", 1 << 20)),
    }
    for name, octets in raw.items():
        changes[name] = lambda draft, dice, octets=octets: draft.headers.update(lang=octets)
    changes["order"] = lambda draft, dice: draft.headers.update(id=draft.headers.pop("id"))
    return changes


def _properties() -> dict[str, Change]:
    values: dict[str, tuple[int, bytes | None]] = {
        "type": (0, b"application/x-python-serialize"),
        "type absent": (0, None),
        "encoding": (1, b"utf-16"),
        "mode": (3, b"\x03"),
        "mode absent": (3, None),
        "priority": (4, b"\x09"),
        "correlation NUL": (5, b"a\x00b"),
        "correlation not ASCII": (5, "\u00fc".encode()),
        "correlation not UTF-8": (5, b"\xff"),
        "correlation empty": (5, b""),
        "correlation absent": (5, None),
        "reply-to": (6, b"evil"),
        "reply-to direct": (6, b"amq.rabbitmq.reply-to"),
        "reply-to of somebody": (6, b"amq.rabbitmq.reply-to.g1"),
        "expiration": (7, b"60000"),
        "expiration wrong": (7, b"soon"),
        "message id": (8, b"m-1"),
        "timestamp": (9, struct.pack(">Q", 1_700_000_000)),
        "timestamp far": (9, b"\xff" * 8),
        "type property": (10, b"evil"),
        "user": (11, b"root"),
        "application": (12, b"a"),
        "cluster": (13, b"c"),
    }

    def change(index: int, value: bytes | None) -> Change:
        def apply(draft: Draft, dice: random.Random) -> None:
            if value is None:
                draft.properties.pop(index, None)
            else:
                draft.properties[index] = value

        return apply

    return {f"property {name}": change(*value) for name, value in values.items()}


def _compressed(draft: Draft, dice: random.Random) -> None:
    """By the header, and mostly in truth."""
    draft.set("compression", "gzip")
    if dice.random() < 0.7:
        draft.body = zlib.compress(draft.body)


def _special(draft: Draft, dice: random.Random) -> None:
    """A task of Celery's own, whose arguments are tasks."""
    draft.set("task", "celery.chain")
    task = dice.choice(("app.add", "app.add", "evil"))
    draft.embed([[{"task": task, "args": [], "kwargs": {}}]])


def _message_id(draft: Draft, dice: random.Random) -> None:
    """By which a consumer may know it as well; some are revoked."""
    draft.properties[MESSAGE_ID] = b"id-%d" % dice.randrange(200)


#: Before the seal: what a producer with a good key may send, wrong or right.
CHANGES: Final[dict[str, Change]] = {
    **_bodies(),
    **_headers(),
    **_properties(),
    "compression": _compressed,
    "task special": _special,
    "message id of another": _message_id,
    "embed": lambda draft, dice: draft.embed([], callbacks=[{"task": "evil", "args": [], "kwargs": {}}]),
    "embed empty": lambda draft, dice: draft.embed([], chain=[]),
    "exchange": lambda draft, dice: setattr(draft, "exchange", dice.choice(("logs", "celeryev"))),
    "routing key": lambda draft, dice: setattr(draft, "routing_key", dice.choice(("q", "w.celery.pidbox"))),
}


def _flipped(data: bytes, dice: random.Random) -> bytes:
    if not data:
        return b"x"
    at = dice.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << dice.randrange(8),)) + data[at + 1 :]


def _token_of(publish: Publish) -> bytes:
    at = publish.header.rfind(b"seal1.")
    size = int.from_bytes(publish.header[at - 4 : at], "big") if at > 4 else 0
    return publish.header[at : at + size]


def _other_last(publish: Publish, dice: random.Random) -> Publish:
    """Another last character of the signature: mostly one that leaves bits over."""
    token = _token_of(publish)
    changed = token[:-1] + bytes((dice.choice(b"ABCDEFGHwxyz0189-_.="),))
    return replace(publish, header=publish.header.replace(token, changed, 1)) if token else publish


def _other_nonce(publish: Publish, dice: random.Random) -> Publish:
    parts = _token_of(publish).split(b".")
    if len(parts) != 8:
        return publish
    nonce = dice.choice((parts[4][:-1] + b"B", parts[4][::-1], b"A" * len(parts[4])))
    changed = b".".join([*parts[:4], nonce, *parts[5:]])
    return replace(publish, header=publish.header.replace(_token_of(publish), changed, 1))


def _outside_the_alphabet(publish: Publish, dice: random.Random) -> Publish:
    """An octet of nonce or signature becomes one that decoders pass over."""
    parts = _token_of(publish).split(b".")
    if len(parts) != 8:
        return publish
    place = dice.choice((4, 7))
    parts[place] = parts[place][:-1] + dice.choice((b"!", b"=", b"\n", b"+", b"\x80"))
    return replace(publish, header=publish.header.replace(_token_of(publish), b".".join(parts), 1))


Tampering = Callable[[Publish, random.Random], Publish]
#: After the seal: what somebody without a key may do. Others need the publish before: see `Producer`.
TAMPERINGS: Final[dict[str, Tampering]] = {
    "flip header": lambda publish, dice: replace(publish, header=_flipped(publish.header, dice)),
    "flip body": lambda publish, dice: replace(publish, body=_flipped(publish.body, dice)),
    "cut header": lambda publish, dice: replace(
        publish, header=publish.header[: dice.randrange(14, len(publish.header))]
    ),
    "more header": lambda publish, dice: replace(publish, header=publish.header + b"\x00"),
    "other exchange": lambda publish, dice: replace(publish, exchange="other"),
    "other routing key": lambda publish, dice: replace(publish, routing_key="celery2"),
    "other signature": _other_last,
    "other nonce": _other_nonce,
    "outside the alphabet": _outside_the_alphabet,
    "other length": lambda publish, dice: replace(
        publish, header=publish.header[:4] + b"\x00\x00\x00\x01" + publish.header[8:]
    ),
}
#: What needs more than one publish.
OLDER: Final = (
    "replay",
    "old token",
    "two tokens",
    "no token",
    "token of bytes",
    "token of a number",
    "sealed for elsewhere",
    "sealed under another name",
    "other timestamp",
)

ATTACKS: Final = (*CHANGES, *TAMPERINGS, *OLDER)


class Producer:
    """One client's messages. `keys` sign them, by turns; `challenge` is that of its connection."""

    def __init__(self, dice: random.Random, challenge: bytes) -> None:
        self._dice = dice
        self._challenge = challenge
        self._keys = (Key("k1", HmacSha256(SECRET)), Key("k2", HmacSha256(OTHER_SECRET)))
        self._count = 0
        self._sequence = dice.choice((0, 0, 2**40))
        self._session = dice.random() < 0.6
        self._moving = [name for name in ("id", "root_id", "argsrepr", "origin") if dice.random() < 0.7]
        self._stamped = dice.random() < 0.3
        self._token_first = dice.random() < 0.3
        self._expiring = dice.random() < 0.15
        self._base = task_headers(group=dice.choice((None, "g-0")), parent_id=dice.choice((None, "p-0")))
        self._last: Publish | None = None
        self._token = b"seal1.x"

    def next(self, now: float, attack: str = "") -> Publish:
        """The next one, at `now` (Unix seconds), with this done to it."""
        dice = self._dice
        self._count += 1
        if dice.random() < 0.02:
            # From now on.
            self._base["task"] = dice.choice(("app.add", "app.mul", "app.sub"))
        draft = self._draft(now)
        if attack in CHANGES:
            CHANGES[attack](draft, dice)
        publish = self._sealed(draft, int(now), attack)
        if attack in TAMPERINGS:
            publish = TAMPERINGS[attack](publish, dice)
        if attack == "replay" and self._last is not None:
            publish = self._last
        self._last = publish
        mandatory = dice.random() < 0.1
        return replace(publish, attack=attack, mandatory=mandatory)

    def _draft(self, now: float) -> Draft:
        dice, number = self._dice, self._count
        if self._expiring and number == 1:
            self._base["expires"] = datetime.fromtimestamp(now + 10, UTC).isoformat()
            self._base["eta"] = datetime.fromtimestamp(now + 600, UTC).isoformat()
        headers = {name: entry(name, *field(value)) for name, value in self._base.items()}
        properties = {0: b"application/json", 1: b"utf-8", 3: b"\x02", 5: b"%036d" % number, 6: b"answers"}
        if self._stamped:
            properties[TIMESTAMP] = struct.pack(">Q", int(now))
        body = json.dumps([[number, "x" * dice.choice((0, 9, 300))], {"k": number}, EMBED]).encode()
        draft = Draft(headers, properties, body)
        for name in self._moving:
            draft.set(name, f"{name}-{number}" if name in ("id", "root_id") else "(" * dice.randrange(9))
        return draft

    def _sealed(self, draft: Draft, now: int, attack: str) -> Publish:
        dice = self._dice
        entries = list(draft.headers.values())
        place = 0 if self._token_first else len(entries)
        target = draft.routing_key
        if attack == "sealed for elsewhere":
            draft.routing_key = "elsewhere"
        key = self._keys[dice.random() < 0.05]
        if attack == "sealed under another name":
            key = Key(dice.choice(("k2", "k3")), self._keys[0].algorithm)
        token = self._make_token(draft, entries, now, key)
        draft.routing_key = target
        if attack == "other timestamp" and TIMESTAMP in draft.properties:
            draft.properties[TIMESTAMP] = struct.pack(">Q", now + 60)
        added = [entry(TOKEN_NAME, "S", long(token))]
        if attack == "old token":
            added = [entry(TOKEN_NAME, "S", long(self._token))]
        elif attack == "two tokens":
            added.append(entry(TOKEN_NAME, "S", long(self._token)))
        elif attack == "no token":
            added = []
        elif attack == "token of bytes":
            added = [entry(TOKEN_NAME, "x", long(token))]
        elif attack == "token of a number":
            added = [entry(TOKEN_NAME, "t", b"\x01")]
        self._token = token
        if dice.random() < 0.02:
            place = dice.randrange(len(entries) + 1)
        entries[place:place] = added
        payload = joined(entries, draft.properties, len(draft.body))
        return Publish(draft.exchange, draft.routing_key, payload, draft.body)

    def _make_token(self, draft: Draft, entries: list[bytes], now: int, key: Key) -> bytes:
        """A good token; for what can not be read, and so not be sealed, the one before."""
        dice = self._dice
        payload = joined(entries, draft.properties, len(draft.body))
        try:
            header = scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
        except GateError:
            return self._token
        digest = hashlib.sha256(draft.body).digest()
        message = Message(draft.exchange, draft.routing_key, False, header, draft.body, digest)
        created = now
        if dice.random() < 0.05:
            created += dice.choice((-1000, -200, -21, -2, 1, 2, 25, 60))
        expires = created + dice.choice((3600,) * 12 + (5, 604_800, 604_801))
        return seal(message, key, created, expires, self._nonce())

    def _nonce(self) -> bytes:
        dice = self._dice
        session = self._session if dice.random() > 0.05 else not self._session
        if not session:
            return dice.randbytes(dice.choice((16, 16, 16, 20, 23)))
        if dice.random() > 0.03:
            self._sequence += dice.choice((1, 1, 1, 5))
        sequence = self._sequence if dice.random() > 0.03 else max(self._sequence - 3, 0)
        challenge = self._challenge if dice.random() > 0.03 else bytes(16)
        return session_nonce(challenge, sequence)
