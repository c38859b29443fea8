"""One message held against its original: every difference, by section and name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from sealgate.cli.explain.findings import shown
from sealgate.cli.explain.given import Given
from sealgate.cli.explain.guesses import Difference
from sealgate.cli.explain.values import describe
from sealgate.quarantine.describe import printable
from sealgate.signing.canonical import (
    DIRECT_REPLY_TO,
    OMITTED_FOR_SEAL,
    REPLY_TO_INDEX,
    SECTION_P_INDICES,
)
from sealgate.verify.message import Message
from sealgate.wire.properties import EXPIRATION, NAMES, TIMESTAMP

_NUMBERS: Final = ("delivery_mode", "priority", "timestamp")


#: Sections as `sealgate sign` and `verify` print their digests.
_DIGESTS: Final = ("properties", "headers", "body")


def read_digests(data: bytes) -> dict[str, str] | None:
    """The section digests that `sealgate sign --json` printed; None for anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    found = {name: value.get(f"{name}_sha256") for name in _DIGESTS}
    return {name: text for name, text in found.items() if isinstance(text, str)} or None


def compare_digests(here: Mapping[str, str], there: Mapping[str, str]) -> list[Difference]:
    """The sections whose digests differ; `here` has the names of `Findings.digests`."""
    return [
        Difference(name, "", f"another digest than at the signer, which had {printable(text)}")
        for name, text in there.items()
        if here.get(f"{name}_sha256") != text
    ]


def compare(given: Given, original: Given) -> list[Difference]:
    """What differs in all that a seal covers. Both must have been readable."""
    assert given.message is not None and original.message is not None
    here, there = given.message, original.message
    return [
        *_context(given, original),
        *_target(here, there),
        *_properties(here, there),
        *_headers(here, there),
        *_body(here, there),
    ]


def _context(given: Given, original: Given) -> Iterator[Difference]:
    for name in ("vhost", "deployment"):
        here, there = getattr(given, name), getattr(original, name)
        if here is not None and there is not None and here != there:
            yield Difference("context", name, f"{shown(here)} here, {shown(there)} in the original")


def _target(here: Message, there: Message) -> Iterator[Difference]:
    for name in ("exchange", "routing_key"):
        one, other = getattr(here, name), getattr(there, name)
        if one != other:
            yield Difference("target", name, f"{shown(one)} here, {shown(other)} in the original")
    for index in (EXPIRATION, TIMESTAMP):
        one, other = here.header.fields[index], there.header.fields[index]
        if one != other:
            yield Difference("target", NAMES[index], _was(_field(index, one), _field(index, other)))


def _properties(here: Message, there: Message) -> Iterator[Difference]:
    for index in SECTION_P_INDICES:
        one, other = here.header.fields[index], there.header.fields[index]
        if index == REPLY_TO_INDEX:
            one, other = _reply_to(one), _reply_to(other)
        if one != other:
            yield Difference("properties", NAMES[index], _was(_field(index, one), _field(index, other)))


def _reply_to(value: bytes | None) -> bytes | None:
    """The broker appends to a direct reply-to; all of them are signed alike (seal1.md)."""
    return DIRECT_REPLY_TO if value is not None and value.startswith(DIRECT_REPLY_TO) else value


def _headers(here: Message, there: Message) -> Iterator[Difference]:
    one, other = here.header.table, there.header.table
    pieces, others = one.layout.pieces, other.layout.pieces
    for name in sorted({*pieces, *others} - OMITTED_FOR_SEAL):
        if pieces.get(name) == others.get(name):
            continue
        seen = describe(one.values[name]) if name in pieces else None
        was = describe(other.values[name]) if name in others else None
        if seen == was:
            was = f"{was}, of another value"
        yield Difference("headers", name, _was(seen, was))


def _body(here: Message, there: Message) -> Iterator[Difference]:
    one, other = here.body, there.body
    if one == other:
        return
    at = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    yield Difference(
        "body", "", f"{len(one)} bytes here, {len(other)} in the original; they differ from byte {at} on"
    )


def _field(index: int, value: bytes | None) -> str | None:
    if value is None:
        return None
    if NAMES[index] in _NUMBERS:
        return str(int.from_bytes(value, "big"))
    return shown(value.decode("utf-8", "backslashreplace"))


def _was(here: str | None, there: str | None) -> str:
    if there is None:
        return f"is not in the original; {here} here"
    return f"{here or 'not there'} here, {there} in the original"
