"""What a dead-lettered message carries, and when it would go in circles."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from pamqp import common, encode

from sealgate.devbroker.message import EXPIRATION, Message, Properties

REJECTED: Final = "rejected"
EXPIRED: Final = "expired"
MAXLEN: Final = "maxlen"
_FIRST: Final = ("x-first-death-reason", "x-first-death-queue", "x-first-death-exchange")


def stamped(message: Message, queue: str, reason: str, exchange: str, routing_key: str | None) -> Message:
    """`message` as it is published to the dead-letter `exchange`, its death in `queue` written down.

    Entries of `x-death` are newest first, one for each queue and reason, with a count. The expiration is
    taken off, or the message would die again where it is kept.
    """
    properties = Properties.parse(message.properties)
    headers = properties.headers()
    deaths = _deaths(headers)
    old = next((d for d in deaths if d.get("queue") == queue and d.get("reason") == reason), None)
    entry: dict[str, common.FieldValue] = old or {
        "count": 0,
        "reason": reason,
        "queue": queue,
        "time": datetime.now(UTC),
        "exchange": message.exchange,
        "routing-keys": [message.routing_key],
    }
    count = entry["count"]
    entry["count"] = (count if isinstance(count, int) else 0) + 1
    if message.expiration_ms is not None:
        entry["original-expiration"] = str(message.expiration_ms)
    written: dict[str, common.FieldValue] = {"x-death": [entry, *(d for d in deaths if d is not old)]}
    if _FIRST[0] not in headers:
        written.update(zip(_FIRST, (reason, queue, message.exchange), strict=True))
    properties.replace_headers(frozenset(written), encode.field_table(written)[4:])
    properties.fields[EXPIRATION] = None
    return Message(
        exchange=exchange,
        routing_key=message.routing_key if routing_key is None else routing_key,
        properties=properties.encode(),
        body=message.body,
        priority=message.priority,
    )


def goes_in_circles(message: Message, queue: str) -> bool:
    """Whether `queue` let this message die already and nobody ever rejected it: RabbitMQ's own rule."""
    deaths = _deaths(Properties.parse(message.properties).headers())
    return any(d.get("queue") == queue for d in deaths) and all(d.get("reason") != REJECTED for d in deaths)


def _deaths(headers: common.FieldTable) -> list[dict[str, common.FieldValue]]:
    deaths = headers.get("x-death")
    return [death for death in deaths if isinstance(death, dict)] if isinstance(deaths, list) else []
