"""A producer whose messages are like the ones before, most of the time, and what attackers make of them.

Everything comes from a seed. `Producer.next` gives one publish, octets and all; `attack` names what was done
to it, before or after it was sealed.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
from dataclasses import replace
from datetime import UTC, datetime

from sealgate.reason import GateError
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME
from sealgate.signing.keyring import Key
from sealgate.signing.token import session_nonce
from sealgate.verify.message import Message
from sealgate.wire.properties import (
    TIMESTAMP,
    scan_content_header,
)
from support.likeness_attacks import CHANGES, TAMPERINGS, Draft, Publish, joined
from support.policies import OTHER_SECRET
from support.sealed import EMBED, SECRET, field, seal, task_headers
from support.wire_bytes import entry, long


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
        #: Some change their task and their key with every other message.
        self._restless = dice.choice((0.02, 0.02, 0.5))
        self._last: Publish | None = None
        self._token = b"seal1.x"

    def next(self, now: float, attack: str = "") -> Publish:
        """The next one, at `now` (Unix seconds), with this done to it."""
        dice = self._dice
        self._count += 1
        if dice.random() < self._restless:
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
        key = self._keys[dice.random() < max(self._restless, 0.05)]
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
