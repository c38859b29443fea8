"""The text of a key file, changed key by key: comments, order and line ends stay the operator's.

In: TOML whose keys are plain `[[key]]` tables, and the changes. Out: the new text, which was read again and
says what was meant, nothing else. Between its keys the text is cut into blocks here, and values inside one
are tomlkit's: a table of tomlkit ends where the next begins, so that what is written above a key would
belong to the one before it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

_HEADER: Final = re.compile(r"[ \t]*\[\[[ \t]*(?:key|\"key\"|'key')[ \t]*\]\][ \t]*(?:#.*)?\r?\n?", re.ASCII)
_COMMENT: Final = re.compile(r"[ \t]*#.*\r?\n?")
_BLANK: Final = re.compile(r"[ \t]*\r?\n?")
_LONE_NEWLINE: Final = re.compile(r"(?<!\r)\n")
_LINES: Final = re.compile(r"[^\n]*\n|[^\n]+")

#: A new value: a text, a moment in Unix seconds, or None for a field that goes.
Value = str | int | None


class EditError(ValueError):
    """A text that can not be changed safely; the message is safe to print."""


@dataclass(slots=True)
class _Block:
    """One key: the comments above it, its table, comments right below, and what is left until the next."""

    heading: str
    table: str
    below: str
    rest: str

    def fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = tomllib.loads(self.table)["key"][0]
        return fields


class KeyText:
    """A key file's text that can be changed. Raises `EditError` for one whose keys are written otherwise."""

    def __init__(self, text: str) -> None:
        """`text` has been read as a key file already, and found good."""
        self._before, self._blocks = _cut(text)
        self._expected: Final[list[dict[str, Any]]] = list(tomllib.loads(text)["key"])
        try:
            found = [block.fields() for block in self._blocks]
        except (tomllib.TOMLDecodeError, KeyError, IndexError):
            found = []
        if found != self._expected:
            raise EditError("its keys are not written as plain [[key]] tables; change it by hand")

    def fields(self, kid: str) -> dict[str, Any] | None:
        """What the table of `kid` says; None where there is none."""
        for fields in self._expected:
            if fields["kid"] == kid:
                return dict(fields)
        return None

    def change(self, kid: str, values: Mapping[str, Value]) -> None:
        """Give the fields of `kid` these values."""
        index = self._index(kid)
        self._blocks[index].table = _changed(self._blocks[index].table, values)
        self._expected[index] = _merged(self._expected[index], values)

    def copy(self, kid: str, values: Mapping[str, Value]) -> None:
        """Put a copy of `kid`, its comments included, right behind it, with these values."""
        index = self._index(kid)
        old = self._blocks[index]
        end = "\r\n" if old.table.endswith("\r\n") else "\n"
        for name in ("table", "below"):
            text = getattr(old, name)
            if text and not text.endswith("\n"):
                setattr(old, name, text + end)
        self._blocks.insert(index + 1, _Block("", _changed(old.table, values), old.below, old.rest))
        old.rest = end
        self._expected.insert(index + 1, _merged(self._expected[index], values))

    def remove(self, kid: str) -> None:
        """Take out the table of `kid`. The comments above it stay for the key that `replaces` it, if that
        follows; else they go as well."""
        index = self._index(kid)
        gone = self._blocks.pop(index)
        del self._expected[index]
        follows = index < len(self._blocks) and self._expected[index].get("replaces") == kid
        if follows:
            self._blocks[index].heading = gone.heading + self._blocks[index].heading
        if not gone.rest.strip():
            return
        # Loose comments between two keys belong to neither.
        if index:
            self._blocks[index - 1].rest += gone.rest
        else:
            self._before += gone.rest

    def text(self) -> str:
        """The new text. Raises `EditError` when it does not say what was meant."""
        text = self._before + "".join(
            [block.heading + block.table + block.below + block.rest for block in self._blocks]
        )
        try:
            found = tomllib.loads(text).get("key", [])
        except tomllib.TOMLDecodeError as error:
            raise EditError(f"can not be changed safely ({error}); change it by hand") from None
        if found != self._expected:
            raise EditError("can not be changed safely; change it by hand")
        return text

    def _index(self, kid: str) -> int:
        return [fields["kid"] for fields in self._expected].index(kid)


def moment(seconds: int) -> datetime:
    """As a key file has it."""
    return datetime.fromtimestamp(seconds, UTC)


def _merged(fields: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Any]:
    merged = dict(fields)
    for name, value in values.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = moment(value) if isinstance(value, int) else value
    return merged


def _cut(text: str) -> tuple[str, list[_Block]]:
    """What is before the first key, and the keys."""
    lines = _LINES.findall(text)
    starts = [number for number, line in enumerate(lines) if _HEADER.fullmatch(line)]
    blocks: list[_Block] = []
    headings = [_heading(lines, start) for start in starts]
    for number, start in enumerate(starts):
        end = headings[number + 1] if number + 1 < len(starts) else len(lines)
        table_end = end
        while table_end > start + 1 and _is_trivia(lines[table_end - 1]):
            table_end -= 1
        below_end = table_end
        while below_end < end and not _BLANK.fullmatch(lines[below_end]):
            below_end += 1
        parts = (
            lines[headings[number] : start],
            lines[start:table_end],
            lines[table_end:below_end],
            lines[below_end:end],
        )
        blocks.append(_Block(*["".join(part) for part in parts]))
    before = "".join(lines[: headings[0]] if headings else lines)
    return before, blocks


def _heading(lines: list[str], start: int) -> int:
    """Where the comments right above the header at `start` begin."""
    while start and _COMMENT.fullmatch(lines[start - 1]):
        start -= 1
    return start


def _is_trivia(line: str) -> bool:
    return bool(_COMMENT.fullmatch(line) or _BLANK.fullmatch(line))


def _changed(table: str, values: Mapping[str, Value]) -> str:
    """The text of one `[[key]]` table with other values."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(table)
        fields: Any = document["key"]
        fields = fields[0]
        for name, value in values.items():
            if value is None:
                fields.pop(name, None)
            elif isinstance(value, int):
                fields[name] = tomlkit.datetime(f"{moment(value):%Y-%m-%dT%H:%M:%SZ}")
            else:
                fields[name] = value
        text = tomlkit.dumps(document)
    except TOMLKitError as error:
        raise EditError(f"can not be changed safely ({error}); change it by hand") from None
    # tomlkit ends new lines its own way.
    return _LONE_NEWLINE.sub("\r\n", text) if table.endswith("\r\n") else text
