"""What the simulated clients publish: messages of every sort, sealed by a second writing of seal1.

A `Message` is what travels; the same one may be published again. What must become of it is known from how it
was made (`fault`), never from asking the gate.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import struct
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field, replace
from typing import Final

from sim import octets

DEPLOYMENT: Final = "prod"
VHOST: Final = "/"
SECRET: Final = bytes(range(1, 33))
STRANGER: Final = bytes(range(200, 232))
KID: Final = "k1"
#: Where rules only observe, in those runs that have such rules.
OPEN_EXCHANGE: Final = b"open"
#: Written by brokers: not signed, and taken out by a verifying gate.
BROKER_NAMES: Final = (b"x-death", b"x-delivery-count", b"x-first-death-queue", b"x-stream-offset")
SEAL: Final = b"x-seal"
COUNTERSIGN: Final = b"x-countersign"

Value = None | bool | int | bytes


@dataclass(frozen=True)
class Message:
    """A message as it travels: payloads of the method, the content header and the whole body.

    `fault` is why a verifying gate must refuse it whatever its store says, "" for none. `nonce` and `digest`
    are what the store will be asked about; a session nonce is not, and left empty.
    """

    exchange: bytes
    routing_key: bytes
    properties: dict[int, bytes]
    entries: tuple[tuple[bytes, bytes], ...]
    body: bytes = field(repr=False)
    fault: str = ""
    nonce: bytes = b""
    digest: bytes = b""
    #: Whether its signature is good, so that a refusal is no guess.
    authentic: bool = False

    @property
    def header(self) -> bytes:
        """The content header's payload."""
        return content_header(self.properties, self.entries, len(self.body))

    @property
    def readable(self) -> bool:
        """Whether its content can be told from its octets."""
        return self.fault not in ("header.duplicate", "props.utf8", "body.size")


def content_header(
    properties: dict[int, bytes], entries: tuple[tuple[bytes, bytes], ...], body_size: int
) -> bytes:
    flags, data = 0, b""
    for index in range(14):
        if index == 2 and entries:
            data += octets.long(b"".join(entry for _, entry in entries))
        elif index in properties:
            data += properties[index]
        else:
            continue
        flags |= 0x8000 >> index
    return struct.pack(">HHQH", 60, 0, body_size, flags) + data


def entry(name: bytes, value: Value) -> tuple[bytes, bytes]:
    """A table's entry as py-amqp would write it."""
    match value:
        case None:
            kind = b"V"
        case bool():
            kind = b"t" + bytes((value,))
        case int():
            kind = b"I" + struct.pack(">i", value)
        case bytes():
            kind = b"S" + octets.long(value)
    return name, octets.short(name) + kind


def canonical(entries: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """seal1.md, "Canonical encoding", of those types that `entry` writes."""
    signed = sorted((name, raw) for name, raw in entries)
    parts = [struct.pack(">I", len(signed))]
    for name, raw in signed:
        kind, value = raw[len(name) + 1 : len(name) + 2], raw[len(name) + 2 :]
        parts.append(octets.long(name))
        if kind == b"V":
            parts.append(b"V")
        elif kind == b"t":
            parts.append(b"t" + value)
        elif kind == b"I":
            parts.append(b"i" + struct.pack(">q", struct.unpack(">i", value)[0]))
        else:
            parts.append(b"s" + value)
    return b"".join(parts)


def text64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def signed_bytes(message: Message, prefix: bytes, omitted: tuple[bytes, ...]) -> bytes:
    """The signing input of seal1 for a token that begins with `prefix`."""
    covered = b""
    for index in (0, 1, 3, 4, 5, 6, 8, 10, 11, 12, 13):
        value = message.properties.get(index)
        if value is not None:
            value = value if index in (3, 4) else value[1:]
            covered += bytes((index,)) + octets.long(value)
    own = tuple(item for item in message.entries if item[0] not in omitted)
    return b"".join(
        (
            b"seal1/amqp-0-9-1/message\n",
            octets.long(b"hmac-sha256"),
            octets.long(DEPLOYMENT.encode()),
            octets.long(VHOST.encode()),
            octets.long(prefix),
            hashlib.sha256(covered).digest(),
            hashlib.sha256(canonical(own)).digest(),
            struct.pack(">Q", len(message.body)),
            hashlib.sha256(message.body).digest(),
        )
    )


def snapshot(message: Message) -> bytes:
    """The target that a seal claims."""
    target = b"\x01" + octets.short(message.exchange) + b"\x02" + octets.short(message.routing_key)
    return target + b"\x03" + message.properties[7] if 7 in message.properties else target


def token(message: Message, nonce: bytes, created: int, kid: str = KID, secret: bytes = SECRET) -> bytes:
    """The seal of `message`, valid for an hour from `created`."""
    fields = (b"seal1", kid.encode(), b"%d" % created, b"%d" % (created + 3600), text64(nonce), b"c1")
    prefix = b".".join((*fields, text64(snapshot(message))))
    data = signed_bytes(message, prefix, (SEAL, COUNTERSIGN, *BROKER_NAMES))
    return prefix + b"." + text64(hmac.digest(secret, data, "sha256"))


def is_signed_by_us(message: Message, value: bytes, omitted: tuple[bytes, ...]) -> bool:
    """Whether `value` is a token of our key for `message`."""
    prefix, _, signature = value.rpartition(b".")
    if prefix.rpartition(b".")[2] != text64(snapshot(message)):
        return False
    data = signed_bytes(message, prefix, omitted)
    return hmac.compare_digest(signature, text64(hmac.digest(SECRET, data, "sha256")))


class Author:
    """Writes messages, drawn from `dice`. `now` is Unix seconds; all authors share what is captured."""

    def __init__(self, dice: random.Random, captured: list[Message], body_bytes_max: int) -> None:
        self._dice: Final = dice
        self._captured: Final = captured
        self._body_bytes_max: Final = body_bytes_max
        self.challenge = b""
        self.sequence = 0

    def plain(self, large: bool = False) -> Message:
        """An unsealed message."""
        dice = self._dice
        size = dice.choice((0, 1, 7, 40, 300, 3000)) if not large else self._body_bytes_max + 1
        properties = {0: octets.short(b"text/plain")}
        if dice.random() < 0.5:
            properties[3] = b"\x02"
        if dice.random() < 0.3:
            properties[8] = octets.short(b"m%d" % dice.randrange(10**6))
        if dice.random() < 0.1:
            properties[7] = octets.short(b"60000")
        entries = [entry(b"n", dice.randrange(1000))]
        if dice.random() < 0.4:
            entries.append(entry(b"lang", dice.choice((b"py", b"", b"\xc3\xa4", True, None))))
        if dice.random() < 0.15:
            entries.insert(0, entry(dice.choice(BROKER_NAMES), dice.choice((3, b"text"))))
        if dice.random() < 0.05:
            entries = []
        exchange = dice.choice((b"", b"celery", OPEN_EXCHANGE))
        return Message(exchange, b"q%d" % dice.randrange(3), properties, tuple(entries), dice.randbytes(size))

    def sealed(self, now: int, session: bool = False) -> Message:
        """A good message, with a session nonce where it is told to and can."""
        if session and self.challenge:
            self.sequence += 1
            nonce = self.challenge + struct.pack(">Q", self.sequence)
            return self.seal(self.plain(), nonce, now, stored=False)
        message = self.seal(self.plain(), self._dice.randbytes(16), now)
        self._captured.append(message)
        return message

    def seal(self, message: Message, nonce: bytes, created: int, stored: bool = True) -> Message:
        value = token(message, nonce, created)
        data = signed_bytes(message, value.rpartition(b".")[0], (SEAL, COUNTERSIGN, *BROKER_NAMES))
        digest = hashlib.sha256(data).digest()
        entries = (*message.entries, entry(SEAL, value))
        return replace(
            message, entries=entries, authentic=True, digest=digest, nonce=nonce if stored else b""
        )

    def captured(self) -> Message | None:
        """One that somebody published before, as it was."""
        return self._dice.choice(self._captured) if self._captured else None

    def conflicting(self, now: int) -> Message | None:
        """Another message under a nonce that was used before, by somebody who has the key."""
        before = self.captured()
        return None if before is None else self.seal(self.plain(), before.nonce, now)

    def wrong(self, now: int) -> Message:
        """A message that must be refused, for one of many reasons."""
        kinds = (
            self._unsigned,
            self._unsigned,
            self._tampered_body,
            self._tampered_header,
            self._retargeted,
            self._stale,
            self._strange,
            self._duplicate_header,
            self._expiration,
            self._not_text,
            self._large,
        )
        return self._dice.choice(kinds)(self.seal(self.plain(), self._dice.randbytes(16), now), now)

    def _unsigned(self, good: Message, now: int) -> Message:
        return replace(self.plain(), fault="sig.missing")

    def _tampered_body(self, good: Message, now: int) -> Message:
        body = good.body + b"!" if len(good.body) < 2 else good.body[:-1] + bytes((good.body[-1] ^ 1,))
        return _bad(good, "sig.bad", body=body)

    def _tampered_header(self, good: Message, now: int) -> Message:
        return _bad(good, "sig.bad", entries=(*good.entries, entry(b"retries", 7)))

    def _retargeted(self, good: Message, now: int) -> Message:
        changed = _bad(good, "target.mismatch", routing_key=b"elsewhere")
        return replace(changed, authentic=True)

    def _stale(self, good: Message, now: int) -> Message:
        return _bad(self.seal(self.plain(), self._dice.randbytes(16), now - 1000), "time.stale")

    def _strange(self, good: Message, now: int) -> Message:
        plain = self.plain()
        value = token(plain, self._dice.randbytes(16), now, "stranger", STRANGER)
        return replace(plain, entries=(*plain.entries, entry(SEAL, value)), fault="sig.kid")

    def _duplicate_header(self, good: Message, now: int) -> Message:
        return _bad(good, "header.duplicate", entries=(entry(b"n", 1), *good.entries, entry(b"n", 2)))

    def _expiration(self, good: Message, now: int) -> Message:
        return _bad(good, "props.expiration", properties={**good.properties, 7: octets.short(b"soon")})

    def _not_text(self, good: Message, now: int) -> Message:
        if self._dice.random() < 0.5:
            return _bad(good, "props.utf8", routing_key=b"\xff\xfe")
        return _bad(good, "props.utf8", properties={**good.properties, 8: octets.short(b"\xff")})

    def _large(self, good: Message, now: int) -> Message:
        return replace(self.plain(large=True), fault="body.size")


def _bad(message: Message, fault: str, **changes: object) -> Message:
    return replace(message, fault=fault, nonce=b"", digest=b"", authentic=False, **changes)  # type: ignore[arg-type]
