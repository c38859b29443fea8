"""Names matched exactly or by globs, as keys and rules list them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_COMPILED_MAX: Final = 4096


class Patterns:
    """Exact names and globs. `*` is any run of characters, `?` any one; case counts, nothing is trimmed."""

    __slots__ = ("_exact", "_globs")

    def __init__(self, patterns: tuple[str, ...]) -> None:
        exact: set[str] = set()
        globs: list[str] = []
        for pattern in patterns:
            if is_glob(pattern):
                globs.append(_expression(pattern))
            else:
                exact.add(pattern)
        self._exact: Final = frozenset(exact)
        self._globs: Final = re.compile("|".join(globs), re.DOTALL) if globs else None

    def match(self, name: str) -> bool:
        if name in self._exact:
            return True
        return self._globs is not None and self._globs.fullmatch(name) is not None


def is_glob(pattern: str) -> bool:
    """Whether `pattern` has a wildcard."""
    return "*" in pattern or "?" in pattern


@lru_cache(maxsize=_COMPILED_MAX)
def compiled(patterns: tuple[str, ...]) -> Patterns:
    """The same `Patterns` for the same list: lists come from configuration, so there are few."""
    return Patterns(patterns)


def permits(patterns: tuple[str, ...] | None, name: str) -> bool:
    """Whether `name` is in the list. None permits anything, an empty list nothing (seal1.md, "Keys")."""
    return patterns is None or compiled(patterns).match(name)


def _expression(glob: str) -> str:
    """The pattern as a regular expression that never takes longer than the length of both, multiplied.

    Each part between two stars is found as early as can be and not looked for again (`(?>...)`): wherever it
    is, what follows has the most room behind its first place.
    """
    parts = [_part(part) for part in glob.split("*")]
    if len(parts) == 1:
        return parts[0]
    return parts[0] + "".join([f"(?>.*?{part})" for part in parts[1:-1]]) + ".*" + parts[-1]


def _part(text: str) -> str:
    return "".join(["." if character == "?" else re.escape(character) for character in text])
