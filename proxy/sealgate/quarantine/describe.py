"""A kept publication as plain data, for `quarantine list` and `quarantine show`.

What was refused may be broken anywhere, so what can not be read is said, and the rest is shown.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from sealgate.quarantine.record import Kept
from sealgate.reason import GateError
from sealgate.wire.methods import read_publish
from sealgate.wire.properties import (
    DELIVERY_MODE,
    HEADERS,
    NAMES,
    PRIORITY,
    TIMESTAMP,
    ContentHeader,
    scan_content_header,
)
from sealgate.wire.values import Decimal, Timestamp, Value

#: Whose signature part is not shown: a listing ends in tickets and chats, and a seal may still be good.
SEAL_HEADERS: Final = frozenset({"x-seal", "x-countersign"})
_HIDDEN: Final = "(signature not shown)"
_NUMBERS: Final = (DELIVERY_MODE, PRIORITY, TIMESTAMP)

#: What `json.dumps` takes.
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def summary(kept: Kept) -> dict[str, Json]:
    """Who, what, when and why, without a look at the publication's bytes."""
    record = kept.record
    return {
        "id": kept.id,
        "at": datetime.fromtimestamp(record.at, UTC).isoformat(timespec="milliseconds"),
        "reason": record.reason.value,
        "detail": record.detail,
        "observed": record.observed,
        "answer": record.answer,
        "kid": record.kid,
        "task": record.task,
        "exchange": record.exchange,
        "routing_key": record.routing_key,
        "vhost": record.vhost,
        "user": record.user,
        "client": record.client,
        "body_size": record.body_size,
        "complete": record.complete,
    }


def publication(kept: Kept) -> dict[str, Json]:
    """The publication itself: target, properties and headers; `problems` names what can not be read."""
    problems: list[Json] = []
    described: dict[str, Json] = {}
    try:
        target = read_publish(kept.record.method)
        described["exchange"] = target.exchange
        described["routing_key"] = target.routing_key
        described["mandatory"] = target.mandatory
    except GateError as error:
        problems.append(f"method: {error}")
    try:
        header = scan_content_header(kept.record.header, frozenset(), frozenset())
        described["properties"] = _properties(header)
        described["headers"] = _headers(header.table.values)
    except GateError as error:
        problems.append(f"content header: {error}")
    if problems:
        described["problems"] = problems
    return described


def whole(kept: Kept) -> dict[str, Json]:
    """Everything: the summary, the publication, and the bytes of its body in base64."""
    body = base64.b64encode(kept.record.body).decode()
    return {**summary(kept), "publication": {**publication(kept), "body_base64": body}}


def body_preview(body: bytes, bytes_max: int) -> str:
    """The start of a body as text that a terminal can not mistake for commands."""
    text = body[:bytes_max].decode("utf-8", "backslashreplace")
    return printable(text) + ("..." if len(body) > bytes_max else "")


def printable(text: str) -> str:
    """`text` with everything but printable characters escaped: a peer wrote it, a terminal will read it."""
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else ascii(char)[1:-1] for char in text])


def _properties(header: ContentHeader) -> dict[str, Json]:
    described: dict[str, Json] = {}
    for index, name in enumerate(NAMES):
        raw = header.fields[index]
        if raw is None or index == HEADERS:
            continue
        described[name] = int.from_bytes(raw, "big") if index in _NUMBERS else raw.decode()
    return described


def _headers(values: Mapping[str, Value]) -> dict[str, Json]:
    return {
        name: _without_signature(value) if name in SEAL_HEADERS else _plain(value)
        for name, value in values.items()
    }


def _without_signature(value: Value) -> Json:
    if not isinstance(value, str) or "." not in value:
        return _HIDDEN
    return f"{value.rpartition('.')[0]}.{_HIDDEN}"


def _plain(value: Value) -> Json:
    match value:
        case bytes():
            return {"bytes_base64": base64.b64encode(value).decode()}
        case Decimal():
            return {"decimal": f"{value.unscaled}e-{value.scale}"}
        case Timestamp():
            return {"timestamp": value.seconds}
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case _:
            return value
