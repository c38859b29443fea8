"""JSON that can mean one thing only: no duplicate keys, NaN or huge numbers; plain UTF-8, bounded depth.

A pickle is no JSON, so one that claims to be ends here.
"""

from __future__ import annotations

import base64
import re
from datetime import datetime, time
from decimal import Decimal, InvalidOperation
from json import JSONDecodeError, JSONDecoder
from math import isfinite
from typing import Final

from sealgate.reason import GateError, Reason

#: Containers in containers. Celery's deepest workflows nest three for each signature; Python's own parser,
#: and the worker's, fails at about 1,000.
DEPTH_MAX: Final = 512
#: Python refuses longer integers (its `int_max_str_digits`); the time to read one grows as a
#: square.
DIGITS_MAX: Final = 4300
#: A string that does not end is one token to the end of the text: each quote in it would else begin another,
#: and each of those be read to the end. The `++` and `*+` never give back what they took.
_TOKENS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_OPENING: Final = "[{"

#: Keys that make jsonpickle build objects (hostile.jsonl CT35).
GADGET_KEYS: Final = frozenset(
    {
        "py/b64",
        "py/b85",
        "py/bytes",
        "py/function",
        "py/id",
        "py/initargs",
        "py/iterator",
        "py/mod",
        "py/newargs",
        "py/newargsex",
        "py/newobj",
        "py/object",
        "py/property",
        "py/reduce",
        "py/ref",
        "py/repr",
        "py/seq",
        "py/set",
        "py/state",
        "py/tuple",
        "py/type",
    }
)
_KOMBU_TYPE: Final = "__type__"
_KOMBU_VALUE: Final = "__value__"
_KOMBU_KEYS: Final = frozenset({_KOMBU_TYPE, _KOMBU_VALUE})
_UUID_HEX: Final = re.compile(r"[0-9a-fA-F]{32}")


class KombuValue:
    """What kombu turns into a date, a number or bytes: no object and no list, however it is written."""

    __slots__ = ("kind", "value")

    def __init__(self, kind: str, value: object) -> None:
        self.kind: Final = kind
        self.value: Final = value


def parse_json(data: bytes, kombu: bool) -> object:
    """The value in `data`; with `kombu`, its typed values are checked and come back as `KombuValue`.

    Raises `GateError` content.json, content.json_dup, content.json_const, content.json_number, content.gadget
    or content.kombu_type.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise GateError(Reason.CONTENT_JSON, "not UTF-8") from None
    _check_depth(text)
    try:
        value: object = (_KOMBU if kombu else _PLAIN).decode(text)
    except JSONDecodeError as error:
        raise GateError(Reason.CONTENT_JSON, f"at character {error.pos}") from None
    except RecursionError:
        raise GateError(Reason.CONTENT_JSON, "nested too deep") from None
    return value


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return
    depth = 0
    for token in _TOKENS.finditer(text):
        character = text[token.start()]
        if character == '"':
            continue
        if character in _OPENING:
            depth += 1
            if depth > DEPTH_MAX:
                raise GateError(Reason.CONTENT_JSON, f"nested over {DEPTH_MAX} deep")
        else:
            depth -= 1


def check_object(pairs: list[tuple[str, object]], duplicate: Reason) -> dict[str, object]:
    """One object of a body as a dict. Raises `duplicate` for a key that is there twice, or content.gadget."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise GateError(duplicate, "a key is there twice")
    if not GADGET_KEYS.isdisjoint(found):
        raise GateError(Reason.CONTENT_GADGET, "a key that makes jsonpickle build objects")
    return found


def _plain_object(pairs: list[tuple[str, object]]) -> object:
    return check_object(pairs, Reason.CONTENT_JSON_DUP)


def _kombu_object(pairs: list[tuple[str, object]]) -> object:
    found = check_object(pairs, Reason.CONTENT_JSON_DUP)
    if found.keys() != _KOMBU_KEYS:
        return found
    kind = found[_KOMBU_TYPE]
    value = found[_KOMBU_VALUE]
    try:
        if isinstance(kind, str) and _kombu_reads(kind, value):
            return KombuValue(kind, value)
    except (ValueError, InvalidOperation):
        pass
    raise GateError(Reason.CONTENT_KOMBU_TYPE, "kombu could not read a typed value")


def _kombu_reads(kind: str, value: object) -> bool:
    """Whether kombu's decoder of `kind` takes `value`. Raises ValueError or InvalidOperation as it would."""
    if kind == "uuid":
        return _is_uuid(value)
    if not isinstance(value, str):
        return False
    match kind:
        case "bytes":
            value.encode()
        case "base64":
            base64.b64decode(value.encode())
        case "datetime" | "date":
            datetime.fromisoformat(value)
        case "time":
            time.fromisoformat(value)
        case "decimal":
            Decimal(value)
        case _:
            return False
    return True


def _is_uuid(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != {"hex"}:
        return False
    digits = value["hex"]
    return isinstance(digits, str) and _UUID_HEX.fullmatch(digits) is not None


def _constant(name: str) -> object:
    raise GateError(Reason.CONTENT_JSON_CONST, name)


def _integer(text: str) -> int:
    if len(text) - text.startswith("-") > DIGITS_MAX:
        raise GateError(Reason.CONTENT_JSON_NUMBER, f"an integer of over {DIGITS_MAX} digits")
    return int(text)


def _float(text: str) -> float:
    number = float(text) if len(text) <= DIGITS_MAX else 0.0
    if len(text) > DIGITS_MAX or not isfinite(number):
        raise GateError(Reason.CONTENT_JSON_NUMBER, "a number past the range of a double")
    return number


_PLAIN: Final = JSONDecoder(
    object_pairs_hook=_plain_object, parse_constant=_constant, parse_int=_integer, parse_float=_float
)
_KOMBU: Final = JSONDecoder(
    object_pairs_hook=_kombu_object, parse_constant=_constant, parse_int=_integer, parse_float=_float
)
