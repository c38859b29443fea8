"""What attackers make of a publish, before or after it was sealed."""

from __future__ import annotations

import base64
import json
import pickle
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from sealgate.wire.properties import DELIVERY_MODE, HEADERS, MESSAGE_ID, PRIORITY, TIMESTAMP
from support.sealed import EMBED, field
from support.wire_bytes import content_header, entry, long, nested, short


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
