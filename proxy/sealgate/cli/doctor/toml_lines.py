"""The line of a TOML file that sets a key: read as text, because the standard library's parser tells none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
_INDEX: Final = re.compile(r"\[\d+\]$")
_FILE_BYTES_MAX: Final = 2 * 1024 * 1024


def line_of(file: str, key: str) -> int:
    """The line of `key` (`replay.max_age`, `key[1].not_after`) in `file`; that of its table when the key is
    not there; 0 when that is not either."""
    try:
        path = Path(file)
        if not file or path.stat().st_size > _FILE_BYTES_MAX:
            return 0
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return 0
    table, _, last = key.rpartition(".")
    name = _INDEX.sub("", last)
    found = _table_line = 0
    for number, current, text in _walk(lines):
        if current == table and _sets(text, name):
            found = found or number
        elif current == key or (current == table and table and not _table_line):
            _table_line = _table_line or number
    return found or _table_line


def _walk(lines: list[str]) -> list[tuple[int, str, str]]:
    """(line number, table it is in, text): arrays of tables are counted, as in `key[0]`."""
    current, counts = "", dict[str, int]()
    walked = []
    for number, text in enumerate(lines, 1):
        header = _HEADER.match(text)
        if header is not None:
            current = header[2].replace(" ", "").replace('"', "")
            if header[1] == "[[":
                counts[current] = counts.get(current, -1) + 1
                current = f"{current}[{counts[current]}]"
        walked.append((number, current, text))
    return walked


def _sets(text: str, name: str) -> bool:
    return re.match(rf'\s*"?{re.escape(name)}"?\s*=', text) is not None
