"""Finds pickles wrapped in base64 inside a body that is otherwise in order (hostile.jsonl CT06).

Nothing is unpickled: the opcodes are read, as `pickletools` does for a listing. Protocol 2 and up only, which
is what every Python since 2.3 writes for this use; the older ones have no mark to find them by.
"""

from __future__ import annotations

import base64
import binascii
import pickletools
import re
from typing import Final

from sealgate.verify.strict_json import KombuValue

#: 0x80 and a protocol of 2 to 5, in base64.
_PREFIX: Final = re.compile(r"gA[I-X]")
#: No body can hold such a string unless these are in it: the first two characters, or an escape that stands
#: for one of the three.
_FIRST_TWO: Final = b"gA"
_SECOND: Final = _FIRST_TWO[1]
_ESCAPE: Final = b"\\u00"
_BACKSLASH: Final = ord("\\")
#: One character is looked for at the speed of memchr, two at a tenth of it. Past so many of the one that were
#: not what was looked for the other way is faster.
_MISSES_MAX: Final = 64
#: Up to here a search costs more to begin than to do.
_SHORT_BYTES_MAX: Final = 1024
#: Of longer strings, alone or together, the prefix alone decides: reading opcodes takes a microsecond each.
_LISTED_CHARACTERS_MAX: Final = 65_536
_URL_SAFE: Final = str.maketrans("-_", "+/")


def may_hold_pickle(body: bytes) -> bool:
    """A filter at the speed of a search: False means `holds_pickle` need not be asked."""
    # Of octets `in` first takes what it looks for as a number, for 300 ns; a number it finds in ten.
    if _BACKSLASH in body and body.find(_ESCAPE) >= 0:
        return True
    if _SECOND not in body:
        return False
    if len(body) <= _SHORT_BYTES_MAX:
        return body.find(_FIRST_TWO) >= 0
    at = body.find(b"A")
    for _ in range(_MISSES_MAX):
        if at < 0:
            return False
        if at and body[at - 1] == _FIRST_TWO[0]:
            return True
        at = body.find(b"A", at + 1)
    return body.find(_FIRST_TWO) >= 0


def holds_pickle(value: object) -> bool:
    """Whether a string anywhere in a parsed body is a pickle in base64."""
    waiting: list[object] = [value]
    listed_max = _LISTED_CHARACTERS_MAX
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if is_pickle(item, listed_max):
                return True
            if _PREFIX.match(item.lstrip()) is not None:
                listed_max -= len(item)
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, KombuValue):
            waiting.append(item.value)
    return False


def is_pickle(text: str, listed_max: int = _LISTED_CHARACTERS_MAX) -> bool:
    """Whether `text` is a pickle in base64, of the standard or the URL-safe alphabet, padded or not.

    Over `listed_max` characters it is one if it begins like one.
    """
    text = text.lstrip()
    if _PREFIX.match(text) is None:
        return False
    if len(text) > listed_max:
        return True
    try:
        data = base64.b64decode(text.translate(_URL_SAFE) + "===")
    except (binascii.Error, ValueError):
        return False
    return _lists(data)


def _lists(data: bytes) -> bool:
    """Whether `data` reads as opcodes up to a STOP."""
    try:
        for _ in pickletools.genops(data):
            pass
    except (ValueError, UnicodeError, OverflowError):
        return False
    return True
