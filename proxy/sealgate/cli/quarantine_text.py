"""How `sealgate quarantine` prints: tables, one message in full, JSON. A peer wrote what is shown."""

from __future__ import annotations

import json
from typing import Final

from sealgate.quarantine.browse import Item, Unreadable
from sealgate.quarantine.describe import Json, body_preview, printable, publication, summary, whole
from sealgate.quarantine.record import Kept

#: Bytes of a body that `show` prints.
PREVIEW_BYTES_MAX: Final = 1024
#: Characters of a column; ids and times are shorter and never cut.
COLUMN_CHARS_MAX: Final = 40

_COLUMNS: Final = (
    "id",
    "at",
    "reason",
    "task",
    "kid",
    "exchange",
    "routing_key",
    "user",
    "client",
    "body_size",
)


def item_json(item: Item, *, whole_body: bool = False) -> dict[str, Json]:
    """`item` as one JSON object: its summary, or with `whole_body` everything."""
    if isinstance(item, Unreadable):
        return {"id": item.id, "unreadable": item.problem}
    return whole(item) if whole_body else summary(item)


def table_lines(items: list[Item]) -> list[str]:
    """A table with a head; what can not be read has a line that says so."""
    rows = [[name.replace("_", " ") for name in _COLUMNS], *map(_row, items)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip()
        for row in rows
    ]


def show_lines(item: Item) -> list[str]:
    """One message in full, name and value a line, the start of the body last."""
    if isinstance(item, Unreadable):
        return [f"id: {printable(item.id)}", f"unreadable: {item.problem}"]
    described = publication(item)
    lines = _pairs(summary(item))
    for part in ("properties", "headers"):
        values = described.pop(part, None)
        if isinstance(values, dict):
            lines += ["", f"{part}:", *["  " + line for line in _pairs(values)]]
    lines += ["", "publication:", *["  " + line for line in _pairs(described)]]
    return lines + _body(item)


def _body(kept: Kept) -> list[str]:
    body = kept.record.body
    if not body:
        return ["", "body: none was received"]
    return ["", f"body ({len(body)} bytes):", body_preview(body, PREVIEW_BYTES_MAX)]


def _pairs(values: dict[str, Json]) -> list[str]:
    return [f"{printable(name)}: {_cell(value)}" for name, value in values.items()]


def _cell(value: Json) -> str:
    """Texts as they are, all else as JSON."""
    return printable(value if isinstance(value, str) else json.dumps(value))


def _row(item: Item) -> list[str]:
    values = item_json(item)
    if isinstance(item, Unreadable):
        values["reason"] = "(unreadable)"
    return [_short(_cell(values.get(column, ""))) for column in _COLUMNS]


def _short(text: str) -> str:
    return text if len(text) <= COLUMN_CHARS_MAX else text[: COLUMN_CHARS_MAX - 3] + "..."
