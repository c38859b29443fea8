"""Seeds for every target: `python -m fuzz.harvest FOLDER` writes them to FOLDER/TARGET/, one file each.

They are the messages that the tests of `verify` judge (the rows of hostile.jsonl, the vectors, what real
Celery and kombu publish), taken apart for each target, and a few by hand for what no message holds.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pamqp.encode
import pytest

from fuzz.seeds import by_hand
from fuzz.targets.messages import POLICIES, TYPES
from fuzz.targets.messages import TARGETS as PLACES
from sealgate.quarantine.record import encode_body, encode_headers
from sealgate.reason import Reason
from sealgate.session.records import RefusalRecord
from sealgate.signing.canonical import OMITTED_FOR_SEAL
from sealgate.verify.checks import Verifier
from sealgate.verify.message import Message
from sealgate.wire.entries import without
from sealgate.wire.frames import encode_frame
from sealgate.wire.properties import CONTENT_TYPE

_TESTS = Path(__file__).parents[1] / "verify"
_INPUT_BYTES_MAX = 2048


class _Recorder:
    """A pytest plugin that keeps every message a `Verifier` examines."""

    def __init__(self) -> None:
        self.messages: dict[bytes, Message] = {}

    def examine(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def recording(verifier: Verifier, message: Message, *rest: Any) -> Any:
            self.messages.setdefault(hashlib.sha256(message.header.payload + message.body).digest(), message)
            return original(verifier, message, *rest)

        return recording


def recorded() -> list[Message]:
    """What the tests of `verify` judge."""
    recorder = _Recorder()
    original = Verifier.examine
    Verifier.examine = recorder.examine(original)  # type: ignore[method-assign]
    try:
        pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", str(_TESTS)], plugins=[recorder])
    finally:
        Verifier.examine = original  # type: ignore[method-assign]
    return list(recorder.messages.values())


def seeds(messages: list[Message]) -> Iterator[tuple[str, bytes]]:
    """(target, input) of every seed."""
    for message in messages:
        yield from _of_message(message)
    yield from by_hand()


def _of_message(message: Message) -> Iterator[tuple[str, bytes]]:
    header = message.header
    yield "header", header.payload
    yield "table", header.table.raw
    token = header.table.values.get("x-seal")
    if isinstance(token, str):
        yield "token", token.encode()
    content_type = header.text(CONTENT_TYPE) or ""
    body = message.body
    for flag in (b"\x00", b"\x01"):
        yield "json", flag + body
    if "msgpack" in content_type:
        yield "msgpack", body
    for number, compressed in enumerate((zlib.compress, bz2.compress, lzma.compress)):
        yield "inflate", bytes((number,)) + compressed(body[:400])
        yield "inflate", bytes((number,)) + body
    table = without(header.table, OMITTED_FOR_SEAL)
    place = (message.exchange, message.routing_key)
    chosen = PLACES.index(place) if place in PLACES else 0
    kind = TYPES.index(content_type) if content_type in TYPES else 0
    for policy in range(len(POLICIES)):
        for key in (0, 1):
            start = bytes((policy, chosen, kind + len(TYPES) * key)) + struct.pack(">H", len(table))
            yield "envelopes", start + table + body
    stream = b"".join(
        (
            encode_frame(1, 1, struct.pack(">IHB", 60 << 16 | 40, 0, 0) + b"\x06celery\x00"),
            encode_frame(2, 1, header.payload[:90]),
            *[encode_frame(3, 1, body[at : at + 90]) for at in range(0, len(body[:200]), 90)],
        )
    )
    yield "frames", b"\x07\x01" + stream
    yield "record", _record(message)


def _record(message: Message) -> bytes:
    record = RefusalRecord(
        reason=Reason.SIG_MISSING,
        detail="no x-seal header",
        kid="",
        task="app.add",
        exchange=message.exchange,
        routing_key=message.routing_key,
        vhost="/",
        user="app",
        client="127.0.0.1:5000",
        channel=1,
        at=1_767_225_600.25,
        observed=False,
        answer="nack",
        body_size=len(message.body),
        complete=True,
        method=struct.pack(">IHB", 60 << 16 | 40, 0, 0) + b"\x06celery\x00",
        header=message.header.payload,
        body=message.body,
    )
    table = pamqp.encode.field_table(dict(encode_headers(record)))[4:]
    return struct.pack(">H", len(table)) + table + encode_body(record)


def main(folder: Path) -> None:
    for target, data in seeds(recorded()):
        if len(data) <= _INPUT_BYTES_MAX:
            place = folder / target
            place.mkdir(parents=True, exist_ok=True)
            (place / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
