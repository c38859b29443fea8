"""Which single change makes a bad signature good again: tried, with the key that is at hand.

A signature tells nothing of what was signed but yes or no. So what may have happened to a message on its way
is undone, one thing at a time, and the signature asked each time: a header taken out, a value retyped as
libraries and brokers do, a usual header put back, another vhost, a bit flipped. What it says yes to is what
happened. Where it says no to all, the original value is none that can be guessed: `compare` needs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sealgate.cli.explain.bodies import other_bodies
from sealgate.cli.explain.findings import shown
from sealgate.cli.explain.values import (
    Hints,
    canonical_piece,
    describe,
    known_values,
    property_values,
    retyped,
)
from sealgate.signing.algorithms import HMAC_SHA256
from sealgate.signing.canonical import (
    OMITTED_FOR_SEAL,
    SECTION_P_INDICES,
    canonical_properties,
    signing_context,
    signing_input_in,
)
from sealgate.signing.keyring import Key, Keyring
from sealgate.signing.token import Token
from sealgate.verify.message import Message
from sealgate.wire.properties import NAMES

#: Signatures tried: about a quarter of a second of HMAC, and a second and a half of Ed25519.
HMAC_TRIALS_MAX: Final = 60_000
ED25519_TRIALS_MAX: Final = 20_000
#: Bodies whose bits are flipped: each trial hashes the whole.
FLIPPED_BODY_BYTES_MAX: Final = 4096

_sha256 = hashlib.sha256


@dataclass(slots=True, frozen=True)
class Difference:
    """What is not as it was signed: `section` is properties, headers, body, target or context.

    `name` is the header or property, "" for the body; `what` says what was done to it.
    """

    section: str
    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.section}: {self.name}: {self.what}" if self.name else f"{self.section}: {self.what}"


class TooManyTrialsError(Exception):
    """The bound was reached before anything was found."""


@dataclass(slots=True)
class Guessed:
    """`difference` is None when no trial made the signature good; `stopped` when not all were made."""

    difference: Difference | None
    trials: int
    stopped: bool = False


def guess(
    message: Message, token: Token, key: Key, keyring: Keyring, deployment: str, vhost: str, hints: Hints
) -> Guessed:
    """The single change, if any, with which `token` is a good seal of `message`."""
    trial = _Trial(message, token, key, deployment, vhost)
    found: Difference | None = None
    try:
        for difference in _differences(trial, keyring, hints):
            found = difference
            break
    except TooManyTrialsError:
        return Guessed(None, trial.count, stopped=True)
    return Guessed(found, trial.count)


class _Trial:
    """The parts of one signing input, to be replaced one at a time. Counts, and stops at the bound."""

    def __init__(self, message: Message, token: Token, key: Key, deployment: str, vhost: str) -> None:
        self.message: Final = message
        self.token: Final = token
        self.key: Final = key
        self.deployment: Final = deployment
        self.vhost: Final = vhost
        self.count = 0
        self._max: Final = HMAC_TRIALS_MAX if key.algorithm.name == HMAC_SHA256 else ED25519_TRIALS_MAX
        self._context: Final = signing_context(key.algorithm.name, deployment, vhost)
        self._p: Final = _sha256(message.section_p).digest()
        self._h: Final = _sha256(message.header.table.canonical).digest()
        #: Canonical entries by their names as bytes: what section H is joined from.
        self.pieces: Final = {
            name.encode(): piece
            for name, piece in message.header.table.layout.pieces.items()
            if name not in OMITTED_FOR_SEAL
        }

    def context(self, key: Key, deployment: str, vhost: str, prefix: bytes) -> bool:
        context = signing_context(key.algorithm.name, deployment, vhost)
        body = self.message.body
        data = signing_input_in(context, prefix, self._p, self._h, len(body), self.message.body_sha256)
        return self._good(key, data)

    def properties(self, fields: list[bytes | None]) -> bool:
        return self.section_p(canonical_properties(fields))

    def section_p(self, section: bytes) -> bool:
        body = self.message.body
        digest = _sha256(section).digest()
        return self._good(self.key, self._input(digest, self._h, len(body), self.message.body_sha256))

    def headers(self, pieces: Mapping[bytes, bytes]) -> bool:
        parts = [len(pieces).to_bytes(4, "big"), *[pieces[name] for name in sorted(pieces)]]
        digest = _sha256(b"".join(parts)).digest()
        body = self.message.body
        return self._good(self.key, self._input(self._p, digest, len(body), self.message.body_sha256))

    def body(self, body: bytes) -> bool:
        return self._good(self.key, self._input(self._p, self._h, len(body), _sha256(body).digest()))

    def _input(self, p: bytes, h: bytes, size: int, digest: bytes) -> bytes:
        return signing_input_in(self._context, self.token.prefix, p, h, size, digest)

    def _good(self, key: Key, data: bytes) -> bool:
        self.count += 1
        if self.count > self._max:
            raise TooManyTrialsError
        return key.algorithm.verify(data, self.token.signature)


def _differences(trial: _Trial, keyring: Keyring, hints: Hints) -> Iterator[Difference]:
    """Likely ones first; those that need many trials last."""
    yield from _contexts(trial, keyring, hints)
    yield from _headers_taken_out(trial)
    yield from _headers_retyped(trial, hints)
    yield from _headers_put_back(trial, hints)
    yield from _properties(trial, hints)
    yield from _all_retyped(trial)
    yield from _bodies(trial)
    yield from _pairs_taken_out(trial)
    yield from _flipped_headers(trial)
    yield from _flipped_properties(trial)
    yield from _flipped_body(trial)


def _contexts(trial: _Trial, keyring: Keyring, hints: Hints) -> Iterator[Difference]:
    key, token = trial.key, trial.token
    for vhost in hints.vhosts:
        if vhost != trial.vhost and trial.context(key, trial.deployment, vhost, token.prefix):
            yield Difference(
                "context", "vhost", f"{shown(trial.vhost)} here, {shown(vhost)} when it was signed"
            )
    for deployment in hints.deployments:
        if deployment != trial.deployment and trial.context(key, deployment, trial.vhost, token.prefix):
            was = f"{shown(trial.deployment)} here, {shown(deployment)} when it was signed"
            yield Difference("context", "deployment", was)
    for other in keyring:
        if other.kid == key.kid or other.algorithm.signature_bytes != len(token.signature):
            continue
        if trial.context(other, trial.deployment, trial.vhost, token.prefix):
            yield Difference("context", "key", f"the secret is that of {other.kid}, the seal names {key.kid}")
        prefix = token.prefix.replace(f".{key.kid}.".encode(), f".{other.kid}.".encode(), 1)
        if trial.context(other, trial.deployment, trial.vhost, prefix):
            yield Difference("context", "key", f"the seal names {key.kid}, and named {other.kid} when signed")


def _headers_taken_out(trial: _Trial) -> Iterator[Difference]:
    for name in trial.pieces:
        rest = {other: piece for other, piece in trial.pieces.items() if other != name}
        if trial.headers(rest):
            yield Difference("headers", name.decode(), "was added after it was signed")


def _pairs_taken_out(trial: _Trial) -> Iterator[Difference]:
    names = list(trial.pieces)
    for index, one in enumerate(names):
        for two in names[index + 1 :]:
            rest = {name: piece for name, piece in trial.pieces.items() if name not in (one, two)}
            if trial.headers(rest):
                both = f"{one.decode()}, {two.decode()}"
                yield Difference("headers", both, "were added after it was signed")


def _headers_retyped(trial: _Trial, hints: Hints) -> Iterator[Difference]:
    values = trial.message.header.table.values
    for name, value in values.items():
        if name in OMITTED_FOR_SEAL:
            continue
        for other in (*retyped(value), *known_values(name, trial.message, hints)):
            if _with(trial, name, other):
                was = f"{describe(value)} here, {describe(other)} when it was signed"
                yield Difference("headers", name, was)


def _headers_put_back(trial: _Trial, hints: Hints) -> Iterator[Difference]:
    values = trial.message.header.table.values
    for name in (*hints.header_names, *OMITTED_FOR_SEAL):
        if name in values or name in OMITTED_FOR_SEAL:
            continue
        for value in known_values(name, trial.message, hints):
            if _with(trial, name, value):
                yield Difference("headers", name, f"was taken out; {describe(value)} when it was signed")


def _all_retyped(trial: _Trial) -> Iterator[Difference]:
    """One library in the way retypes all it can: the first form that each value has of that kind."""
    values = trial.message.header.table.values
    for kind in (float, int, bool, str, bytes, type(None)):
        pieces = dict(trial.pieces)
        names = []
        for name, value in values.items():
            if name in OMITTED_FOR_SEAL or type(value) is not kind:
                continue
            piece = canonical_piece(name, next(iter(retyped(value)), value))
            if piece and piece != pieces[name.encode()]:
                pieces[name.encode()] = piece
                names.append(name)
        if len(names) > 1 and trial.headers(pieces):
            yield Difference("headers", ", ".join(names), f"all {kind.__name__} values were retyped")


def _with(trial: _Trial, name: str, value: object) -> bool:
    piece = canonical_piece(name, value)
    if not piece or piece == trial.pieces.get(name.encode()):
        return False
    return trial.headers({**trial.pieces, name.encode(): piece})


def _properties(trial: _Trial, hints: Hints) -> Iterator[Difference]:
    fields = trial.message.header.fields
    for index in SECTION_P_INDICES:
        value = fields[index]
        for other in property_values(index, trial.message, hints):
            if other == value:
                continue
            changed = list(fields)
            changed[index] = other
            if trial.properties(changed):
                yield Difference("properties", NAMES[index], _property_change(index, value, other))


def _property_change(index: int, here: bytes | None, signed: bytes | None) -> str:
    if signed is None:
        return "was added after it was signed"
    was = _property_text(index, signed)
    if here is None:
        return f"was taken out; {was} when it was signed"
    return f"{_property_text(index, here)} here, {was} when it was signed"


def _property_text(index: int, value: bytes) -> str:
    if NAMES[index] in ("delivery_mode", "priority"):
        return str(int.from_bytes(value, "big"))
    return shown(value.decode("utf-8", "backslashreplace"))


def _bodies(trial: _Trial) -> Iterator[Difference]:
    for body, what in other_bodies(trial.message):
        if trial.body(body):
            yield Difference("body", "", what)


def _flips(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        for bit in range(8):
            yield data[:at] + bytes((data[at] ^ (1 << bit),)) + data[at + 1 :]


def _flipped_headers(trial: _Trial) -> Iterator[Difference]:
    for name, piece in trial.pieces.items():
        for flipped in _flips(piece):
            key = flipped[4 : 4 + len(name)]
            if trial.headers({**{n: p for n, p in trial.pieces.items() if n != name}, key: flipped}):
                what = _flipped_value(flipped[4 + len(name) :])
                if key != name:
                    signed = shown(key.decode("utf-8", "replace"))
                    what = f"one bit of its name was changed; {signed} when it was signed"
                yield Difference("headers", name.decode(), what)


def _flipped_value(canonical: bytes) -> str:
    """What a canonical value (seal1.md, "Canonical encoding") tells of itself when it is a text."""
    what = "one bit of its value was changed"
    if canonical[:1] != b"s":
        return what
    return f"{what}; {shown(canonical[5:].decode('utf-8', 'replace'))} when it was signed"


def _flipped_properties(trial: _Trial) -> Iterator[Difference]:
    fields = trial.message.header.fields
    for index in SECTION_P_INDICES:
        value = fields[index]
        for flipped in _flips(value or b""):
            changed = list(fields)
            changed[index] = flipped
            if trial.properties(changed):
                what = f"one bit was changed; {_property_text(index, flipped)} when it was signed"
                yield Difference("properties", NAMES[index], what)


def _flipped_body(trial: _Trial) -> Iterator[Difference]:
    body = trial.message.body
    if len(body) > FLIPPED_BODY_BYTES_MAX:
        return
    for number, flipped in enumerate(_flips(body)):
        if trial.body(flipped):
            yield Difference("body", "", f"one bit of byte {number // 8} was changed")
