"""Names of keys that follow one another: web1-a, web1-b; k1, k2; worker, worker-b."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from sealgate.signing.token import is_kid

_LETTER: Final = re.compile(r"(.*[-_])([a-y])", re.ASCII)
_NUMBER: Final = re.compile(r"(.*?)([0-9]{1,9})", re.ASCII)
_FIRST: Final = "-b"
#: A name is looked for among so many; each rotation takes one.
_TRIES_MAX: Final = 1000


def next_kid(kid: str, taken: Collection[str]) -> str | None:
    """The next name after `kid` that is not taken; None where none comes to mind."""
    for _ in range(_TRIES_MAX):
        following = _following(kid)
        if not is_kid(following):
            return None
        if following not in taken:
            return following
        kid = following
    return None


def pattern_for(old: str, new: str) -> str | None:
    """A name for `publish.sign_with` that stands for both; None where only `*` would."""
    length = 0
    while length < min(len(old), len(new)) and old[length] == new[length]:
        length += 1
    return f"{old[:length]}*" if length else None


def _following(kid: str) -> str:
    letter = _LETTER.fullmatch(kid)
    if letter is not None:
        return letter[1] + chr(ord(letter[2]) + 1)
    number = _NUMBER.fullmatch(kid)
    if number is not None:
        return number[1] + str(int(number[2]) + 1).zfill(len(number[2]))
    return kid + _FIRST
