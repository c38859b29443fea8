"""One table of a TOML file of ours, read so that all its errors are told at once, each with its path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final


class FileTable:
    """The table at `path` (`key[0]`). A wrong value is noted in `errors` and then counts as an absent one."""

    __slots__ = ("_errors", "entry", "path")

    def __init__(self, path: str, entry: Mapping[str, object], errors: list[str]) -> None:
        self.path: Final = path
        self.entry: Final = entry
        self._errors: Final = errors

    def fail(self, name: str, message: str) -> None:
        self._errors.append(f"{self.path}.{name}: {message}")

    def check_names(self, known: Iterable[str]) -> None:
        """Every name must be one of `known`."""
        for name in self.entry:
            if name not in known:
                self.fail(name, f"is not known{suggest(name, known)}")

    def text(self, name: str, required: bool = False) -> str | None:
        value = self.entry.get(name)
        if isinstance(value, str):
            return value
        if value is not None:
            self.fail(name, "want a text")
        elif required:
            self.fail(name, "is missing")
        return None

    def texts(self, name: str) -> tuple[str, ...] | None:
        """A list of texts; empty for what is none."""
        values = self.entry.get(name)
        if values is None:
            return None
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            self.fail(name, "want a list of texts")
            return ()
        return tuple(values)


def suggest(name: str, known: Iterable[str]) -> str:
    """What else may have been meant, to be put behind a message; empty when nothing is close."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
