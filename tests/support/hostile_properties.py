"""Rows PR and HD of hostile.jsonl: properties and header tables that no consumer should see."""

from __future__ import annotations

import struct

from pamqp import commands

from sealgate.wire.properties import (
    CONTENT_TYPE,
    CORRELATION_ID,
    DELIVERY_MODE,
    EXPIRATION,
    PRIORITY,
    REPLY_TO,
    USER_ID,
)
from support.hostile_catalogue import Rows
from support.hostile_play import hear_ack
from support.hostile_publish import Draft, Seal, publish
from support.hostile_stage import Stage
from support.sealed import JSON_HEADER, table, task_headers
from support.wire_bytes import entry, long, nested

ROWS = Rows()
DIRECT_REPLY = b"amq.rabbitmq.reply-to"


def with_property(index: int, value: bytes, kid: str = "k1") -> Draft:
    return Draft(properties={**JSON_HEADER, index: value}, seal=Seal(kid))


def with_entries(entries: bytes) -> Draft:
    return Draft(entries=entries)


ROWS.drafts("PR01", "content_type = 0xFF", with_property(CONTENT_TYPE, b"\xff"))
ROWS.drafts("PR02", "correlation_id = 0xFF", with_property(CORRELATION_ID, b"\xff"))
ROWS.drafts("PR03", "routing key with NUL byte", Draft(routing_key="cel\x00ery"))
ROWS.drafts("PR04", 'expiration "-1"', with_property(EXPIRATION, b"-1"))
ROWS.drafts("PR05", 'expiration "abc"', with_property(EXPIRATION, b"abc"))
ROWS.drafts("PR07", 'expiration "" (empty)', with_property(EXPIRATION, b""))
ROWS.drafts("PR09", "delivery_mode 0", with_property(DELIVERY_MODE, b"\x00"))
ROWS.drafts("PR11", "user_id different from the SASL user", with_property(USER_ID, b"somebody"))
ROWS.drafts("PR13", "priority 255", with_property(PRIORITY, b"\xff"))
ROWS.drafts(
    "PR14",
    "reply_to naming a queue outside the key's reply_to patterns",
    with_property(REPLY_TO, b"celery", "replies"),
)


@ROWS.script("PR15", "reply_to = amq.rabbitmq.reply-to")
def direct_reply_to(stage: Stage) -> None:
    """The broker takes it only from a consumer of direct replies, and writes a name of its own into it."""
    draft = with_property(REPLY_TO, DIRECT_REPLY, "replies")
    with stage.client("plain") as client, stage.gate("plain").counting({"accepted ok": 1}):
        client.open_channel(confirms=True)
        consume = commands.Basic.Consume(queue=DIRECT_REPLY.decode(), no_ack=True)
        client.ask(1, consume, commands.Basic.ConsumeOk)
        sent = publish(draft, client)
        client.send(sent.frames(client))
        hear_ack(client)
    [arrived] = stage.broker.take_arrived(1)
    assert arrived.body == sent.body
    reply_to = arrived.properties.reply_to
    assert reply_to.startswith(DIRECT_REPLY.decode() + ".")
    assert arrived.properties.headers["x-seal"].startswith("seal1.replies.")


ROWS.drafts(
    "PR16",
    "reply_to = amq.rabbitmq.reply-to.g1h2AA... at the ingress",
    with_property(REPLY_TO, b"amq.rabbitmq.reply-to.g1h2AA5yZXBseUA4"),
)
ROWS.drafts(
    "PR17",
    'no content header properties at all, generic profile allowing "no type"',
    Draft(b"anything", headers={}, properties={}),
    Draft(b"", headers={}, properties={}),
    gate="generic",
)
ROWS.drafts("HD01", "header table with `task` twice (good, evil)", with_entries(table({"task": "app.evil"})))
ROWS.drafts("HD02", "table nested 1,200 deep, 8.4 KB", with_entries(entry("a", "F", long(nested(1200)))))
# Eight tables and arrays inside the header table itself.
ROWS.drafts("HD04", "table nested exactly 8 deep", with_entries(nested(8)))
YEAR_10000 = entry("t", "T", struct.pack(">Q", 253_402_300_800))
ROWS.drafts(
    "HD06",
    "timestamp field = 253402300800 (year 10000), 36-byte table",
    with_entries(YEAR_10000),
    with_entries(entry("t", "F", long(YEAR_10000))),
)
ROWS.drafts("HD08", "double NaN", with_entries(entry("d", "d", struct.pack(">d", float("nan")))))
ROWS.drafts("HD10", "field type Z", with_entries(entry("z", "Z", b"\x00")))
ROWS.drafts(
    "HD12",
    "long string length 100 with 3 bytes left",
    with_entries(entry("s", "S", struct.pack(">I", 100) + b"abc")),
)
ROWS.drafts("HD14", "int32 with 2 bytes left", with_entries(entry("i", "I", b"\x00\x00")))
ROWS.drafts("HD15", "empty key", with_entries(entry("", "V")))
ROWS.drafts("HD17", "key that is not UTF-8", with_entries(entry(b"\xff", "V")))
ROWS.drafts("HD19", "70 KB header table", with_entries(entry("s", "S", long(bytes(70_000)))))
CC = table({"CC": ["other"]})
ROWS.drafts("HD20", "CC header with a second queue", with_entries(CC))
ROWS.drafts("HD20", "CC header with a second queue", Draft(b"{}", headers={}, entries=CC), gate="generic")
ROWS.drafts("HD21", "BCC header", with_entries(table({"BCC": ["other"]})))
DEATH = {"queue": "q", "reason": "expired", "count": 1, "exchange": "", "routing-keys": ["q"]}
ROWS.drafts("HD22", "publisher-supplied x-death", Draft(stripped=table({"x-death": [DEATH]})))
ROWS.drafts(
    "HD23",
    "x-delivery-count on a Celery retry from a quorum queue",
    Draft(headers=task_headers(retries=1), stripped=table({"x-delivery-count": 1})),
)
ROWS.drafts("HD25", "int64 sent as L", with_entries(entry("n", "L", struct.pack(">q", 7))))
ROWS.drafts(
    "HD26",
    "same integer sent as b, s, I, l",
    *[
        with_entries(entry("n", kind, struct.pack(layout, 7)))
        for kind, layout in (("b", ">b"), ("s", ">h"), ("I", ">i"), ("l", ">q"))
    ],
)
NOT_UTF8 = entry("s", "S", long(b"\xff"))
ROWS.drafts(
    "HD27",
    "long string that is not UTF-8 (generic profile)",
    Draft(b"{}", headers={}, entries=NOT_UTF8),
    gate="generic",
)
ROWS.drafts("HD28", "long string that is not UTF-8 (celery profile)", with_entries(NOT_UTF8))
ROWS.drafts("HD29", "decimal field (celery profile)", with_entries(entry("d", "D", b"\x02\x00\x00\x04\xd2")))
ROWS.drafts("HD31", "x-seal header twice", Draft(tokens=2))
ROWS.drafts("HD32", "negative x-delay at the ingress", with_entries(table({"x-delay": -5000})))
