"""Tables at the admin address: the same rows for people, as a page, and for programs, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Sealgate: {title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }}
table {{ border-collapse: collapse }}
td, th {{ padding: .1rem 1.5rem .1rem 0; text-align: left; font-variant-numeric: tabular-nums }}
</style></head>
<body>
<h1>{title}</h1>
<p>{text}</p>
<table>
{rows}
</table>
<p><a href="./">status</a></p>
</body></html>
"""


@dataclass(slots=True, frozen=True)
class Table:
    """`text` is a sentence above the table; `data` is what JSON has, and may say more than the cells."""

    title: str
    text: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    data: dict[str, Any] = field(default_factory=dict)


#: Asked anew for each request.
Tables = dict[str, Callable[[], Table]]


def render(table: Table) -> str:
    """A page without script or outside parts; every text in it is escaped."""
    head = "".join([f"<th>{escape(name)}</th>" for name in table.columns])
    lines = ["".join([f"<td>{escape(cell)}</td>" for cell in row]) for row in table.rows]
    rows = "\n".join([f"<tr>{line}</tr>" for line in (head, *lines)])
    return _PAGE.format(title=escape(table.title), text=escape(table.text), rows=rows)


def as_json(table: Table) -> bytes:
    return json.dumps(table.data, ensure_ascii=False).encode() + b"\n"
