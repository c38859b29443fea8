"""Properties and headers of hostile.jsonl: refused before a signature is looked at."""

from __future__ import annotations

import struct

import pytest

from sealgate.verify.verdict import Verdict
from sealgate.wire.methods import read_publish
from sealgate.wire.properties import (
    CONTENT_TYPE,
    CORRELATION_ID,
    DELIVERY_MODE,
    EXPIRATION,
    PRIORITY,
    REPLY_TO,
    USER_ID,
    splice,
)
from support.hostile_rows import GENERIC, Case, Rows
from support.sealed import (
    a_key,
    a_message,
    judge,
    received,
    sealed,
    table,
)
from support.wire_bytes import entry, long, nested

HOSTILE = Rows("PR", "HD")

HOSTILE.property("PR01", CONTENT_TYPE, b"\xff")
HOSTILE.property("PR02", CORRELATION_ID, b"\xff")


@HOSTILE.case("PR03")
def routing_key_with_nul() -> Verdict:
    publish = struct.pack(">IH", 60 << 16 | 40, 0) + b"\x00" + b"\x03a\x00b" + b"\x00"
    read_publish(publish)
    raise AssertionError("read")


for row, value in (("PR04", b"-1"), ("PR05", b"abc"), ("PR07", b"")):
    HOSTILE.property(row, EXPIRATION, value)
HOSTILE.property("PR09", DELIVERY_MODE, b"\x00")
HOSTILE.property("PR11", USER_ID, b"somebody")
HOSTILE.property("PR13", PRIORITY, b"\xff")
HOSTILE.property("PR14", REPLY_TO, b"celery", key=a_key(reply_to=("replies.*",)))
HOSTILE.property("PR15", REPLY_TO, b"amq.rabbitmq.reply-to", key=a_key(reply_to=("replies.*",)))
HOSTILE.property("PR16", REPLY_TO, b"amq.rabbitmq.reply-to.g1h2AA5yZXBseUA4")
HOSTILE.message("PR17", lambda: a_message(b"", headers={}, properties={}), policy=GENERIC)


HOSTILE.entries("HD01", table({"task": "app.evil"}))
HOSTILE.entries("HD02", entry("a", "F", long(nested(1200))))
# Eight tables and arrays inside the header table itself.
HOSTILE.entries("HD04", nested(8))
HOSTILE.entries("HD06", entry("t", "T", struct.pack(">Q", 253_402_300_800)))
HOSTILE.entries("HD06", entry("t", "F", long(entry("t", "T", struct.pack(">Q", 2**64 - 1)))), policy=GENERIC)
HOSTILE.entries("HD08", entry("d", "d", struct.pack(">d", float("nan"))))
HOSTILE.entries("HD10", entry("z", "Z", b"\x00"))
HOSTILE.entries("HD12", entry("s", "S", struct.pack(">I", 100) + b"abc"))
HOSTILE.entries("HD14", entry("i", "I", b"\x00\x00"))
HOSTILE.entries("HD15", entry("", "V"))
HOSTILE.entries("HD17", entry(b"\xff", "V"))
HOSTILE.entries("HD19", entry("s", "S", long(bytes(70_000))))
HOSTILE.entries("HD20", entry("CC", "A", long(entry("", "S", long(b"other"))[1:])))
HOSTILE.entries("HD20", table({"CC": ["other"]}), policy=GENERIC)
HOSTILE.entries("HD21", table({"BCC": ["other"]}))
HOSTILE.entries("HD22", table({"x-death": [{"queue": "q", "reason": "expired", "count": 1}]}))
HOSTILE.entries("HD23", table({"x-delivery-count": 1}))
HOSTILE.entries("HD25", entry("n", "L", struct.pack(">q", 7)))
for kind, layout in (("b", ">b"), ("s", ">h"), ("I", ">i"), ("l", ">q")):
    HOSTILE.entries("HD26", entry("n", kind, struct.pack(layout, 7)))
HOSTILE.entries("HD27", entry("s", "S", long(b"\xff")), policy=GENERIC)
HOSTILE.entries("HD28", entry("s", "S", long(b"\xff")))
HOSTILE.entries("HD29", entry("d", "D", b"\x02\x00\x00\x04\xd2"))
HOSTILE.entries("HD32", table({"x-delay": -5000}))


@HOSTILE.case("HD31")
def token_twice() -> Verdict:
    message = sealed()
    token = message.header.table.values["x-seal"]
    payload = splice(message.header, frozenset(), table({"x-seal": token}))
    return judge(received(payload, message.body))


@pytest.mark.parametrize(("row", "run"), HOSTILE.parameters())
def test_hostile_row_gets_its_verdict(row: str, run: Case) -> None:
    HOSTILE.check(row, run)


def test_every_row_of_these_families_has_a_case() -> None:
    HOSTILE.check_complete()
