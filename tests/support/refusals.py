"""Refusal records for the tests of quarantine, ops and the command line."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any, Final

import pamqp.commands
import pamqp.header

from sealgate.reason import Reason
from sealgate.session.records import RefusalRecord

SEAL: Final = "seal1.k1.1700000000.1700000300.AAAAAAAAAAAAAAAAAAAAAA.c1.c25hcA.c2lnbmF0dXJl"


def method(exchange: str = "shop", routing_key: str = "orders") -> bytes:
    """The payload of a `basic.publish`."""
    names = b"".join(bytes([len(name)]) + name for name in (exchange.encode(), routing_key.encode()))
    return struct.pack(">HHH", 60, 40, 0) + names + b"\x01"


def content_header(body_size: int) -> bytes:
    """The payload of a content header, written by another library than ours."""
    properties = pamqp.commands.Basic.Properties(
        content_type="application/json",
        delivery_mode=2,
        message_id="m-1",
        headers={"task": "shop.tasks.pay", "x-seal": SEAL, "retries": 3},
    )
    payload: bytes = pamqp.header.ContentHeader(0, body_size, properties).marshal()
    return payload


def refusal(body: bytes = b"[[1], {}, {}]", **changes: Any) -> RefusalRecord:
    """A refused Celery task, whole, with `changes`."""
    record = RefusalRecord(
        reason=Reason.SIG_BAD,
        detail="signature",
        kid="k1",
        task="shop.tasks.pay",
        exchange="shop",
        routing_key="orders",
        vhost="/",
        user="web",
        client="10.0.0.7:51234",
        channel=7,
        at=1_700_000_000.25,
        observed=False,
        answer="channel.close",
        body_size=len(body),
        complete=True,
        method=method(),
        header=content_header(len(body)),
        body=body,
    )
    return replace(record, **changes)
