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
from typing import TYPE_CHECKING, Final

import msgspec

from sealgate.reason import GateError, Reason

if TYPE_CHECKING:
    from mypy_extensions import i64

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
_decode: Final = msgspec.json.Decoder().decode
_QUOTE: Final = ord('"')
_COLON: Final = ord(":")
#: Looking for so many, and one that is not there, is faster than counting.
_FOUND_MAX: Final = 4
#: Up to here counting all colons is faster than looking for each.
_COUNTED_BYTES_MAX: Final = 1024
_WHITESPACE: Final = frozenset(b" \t\r\n")
#: `_keys_in` could not tell.
_UNSURE: Final = -1
#: What `parse_plain` says of all it does not read.
IN_DOUBT: Final[object] = object()

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
_MEANT_KEYS: Final = GADGET_KEYS | {_KOMBU_TYPE}
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
    value = parse_plain(data)
    return parse_slowly(data, kombu) if value is IN_DOUBT else value


def parse_plain(data: bytes) -> object:
    """The value in `data` where nothing in it needs a second look; else `IN_DOUBT`."""
    try:
        value: object = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return IN_DOUBT
    keys = _keys_in(value, 1, len(data) <= DIGITS_MAX)
    # msgspec takes less than the standard library (no NaN, no huge number, no half of a surrogate pair), but
    # keeps the last of two equal keys.
    return value if keys != _UNSURE and _keys_written(data, keys) == keys else IN_DOUBT


def parse_slowly(data: bytes, kombu: bool) -> object:
    """As `parse_json`, by the standard library alone: it tells what is wrong, and what is out of the way."""
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


def _keys_in(value: object, depth: i64, short: bool) -> i64:
    """The keys of all objects in `value`, which lies `depth` deep.

    `_UNSURE` where it is nested too deep, or has what kombu or jsonpickle may give a meaning of its own. Not
    `short`, any float may have been written with too many digits.
    """
    if depth > DEPTH_MAX:
        return _UNSURE
    count: i64 = 0
    inner: i64
    if isinstance(value, dict):
        count = len(value)
        for key, item in value.items():
            if key in _MEANT_KEYS:
                return _UNSURE
            if isinstance(item, (dict, list)):
                inner = _keys_in(item, depth + 1, short)
                if inner == _UNSURE:
                    return _UNSURE
                count += inner
            elif not short and isinstance(item, float):
                return _UNSURE
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, (dict, list)):
                inner = _keys_in(item, depth + 1, short)
                if inner == _UNSURE:
                    return _UNSURE
                count += inner
            elif not short and isinstance(item, float):
                return _UNSURE
    elif isinstance(value, float) and not short:
        return _UNSURE
    return count


def _keys_written(data: bytes, enough: i64) -> i64:
    """At least as many keys as `data` has, which is JSON: each ends in a quote and a colon.

    Inside strings these may stand together as well. While there are `enough` colons at most, all are counted.
    """
    if len(data) <= _COUNTED_BYTES_MAX:
        if enough <= _FOUND_MAX:
            rest = data
            for _ in range(enough):
                rest = rest.partition(b":")[2]
            # As a number: `in` would first take octets for one, for 300 ns.
            if _COLON not in rest:
                return enough
        elif data.count(b":") == enough:
            return enough
    at: i64 = data.find(b":")
    colons: i64 = 0
    keys: i64 = 0
    while at >= 0:
        colons += 1
        before = at - 1
        while before >= 0 and data[before] in _WHITESPACE:
            before -= 1
        if before >= 0 and data[before] == _QUOTE:
            keys += 1
        at = data.find(b":", at + 1)
    return colons if colons <= enough else keys


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
