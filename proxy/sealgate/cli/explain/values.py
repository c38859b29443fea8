"""What a header or property may have been before: retyped values, and what Celery usually writes."""

from __future__ import annotations

import json
import struct
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from typing import Final

from sealgate.cli.explain.findings import shown
from sealgate.reason import GateError
from sealgate.signing import table as signing_table
from sealgate.signing.canonical import DIRECT_REPLY_TO
from sealgate.verify.message import Message
from sealgate.wire.properties import (
    APP_ID,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    CORRELATION_ID,
    DELIVERY_MODE,
    MESSAGE_ID,
    PRIORITY,
    REPLY_TO,
    TYPE,
    USER_ID,
)
from sealgate.wire.values import Decimal, Timestamp

#: What Celery 5 writes for a task that asks for nothing special.
CELERY_DEFAULTS: Final[dict[str, object]] = {
    "lang": "py",
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "timelimit": [None, None],
    "parent_id": None,
    "argsrepr": "()",
    "kwargsrepr": "{}",
    "ignore_result": False,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": {},
    "compression": "application/x-gzip",
}
_BODY_NAMES: Final = ("argsrepr", "kwargsrepr")
_ID_NAMES: Final = ("id", "root_id", "parent_id", "group")
_FROM_IDS: Final = ("x-task-id", *_ID_NAMES)
_CONTENT_TYPES: Final = (
    *("application/json", "application/x-msgpack", "application/msgpack", "application/x-yaml"),
    *("application/x-python-serialize", "application/data", "application/octet-stream"),
    *("text/plain", "application/text", "application/xml", "application/json; charset=utf-8"),
)
_ENCODINGS: Final = ("utf-8", "binary", "ascii", "us-ascii", "utf8", "UTF-8", "gzip", "base64", "")
_DEPLOYMENTS: Final = (
    "prod",
    "production",
    "staging",
    "stage",
    "test",
    "testing",
    "qa",
    "dev",
    "development",
)
_DEPLOYMENTS_MORE: Final = ("local", "demo", "default", "preprod", "sandbox", "ci")
_COMPRESSIONS: Final = ("application/x-gzip", "application/x-bz2", "application/x-lzma", "application/zstd")
#: Retries that are looked back: more is another message.
RETRIES_MAX: Final = 32
#: Elements of a list or table that are retyped one by one.
ELEMENTS_MAX: Final = 32
_WIDTHS: Final = (8, 16, 32)


@dataclass(slots=True, frozen=True)
class Hints:
    """What else is known: names that may stand where another one stands now."""

    vhosts: tuple[str, ...] = ()
    deployments: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    header_names: tuple[str, ...] = tuple(CELERY_DEFAULTS) + _ID_NAMES


def usual_deployments(*more: str) -> tuple[str, ...]:
    """Names that installations go by, and `more`."""
    return tuple(dict.fromkeys((*more, *_DEPLOYMENTS, *_DEPLOYMENTS_MORE)))


def describe(value: object) -> str:
    """A value with its type where the text alone would not tell it, short."""
    match value:
        case None:
            return "nothing (void)"
        case bool():
            return f"the boolean {str(value).lower()}"
        case int():
            return f"the integer {value}"
        case float():
            return f"the double {value!r}"
        case str():
            return shown(value)
        case bytes():
            return f"{len(value)} bytes as a byte array"
        case Timestamp(seconds):
            return f"the timestamp {seconds}"
        case Decimal(scale, unscaled):
            return f"the decimal {unscaled}e-{scale}"
        case list():
            return f"a list of {len(value)}"
        case dict():
            return f"a table of {len(value)}"
    return type(value).__name__


def canonical_piece(name: str, value: object) -> bytes:
    """The entry of section H for one header; empty for what no table can hold."""
    try:
        return signing_table.canonical_table({name: _for_signing(value)}, frozenset())[4:]
    except GateError:
        return b""


def _for_signing(value: object) -> object:
    match value:
        case Timestamp(seconds):
            return signing_table.Timestamp(seconds)
        case Decimal(scale, unscaled):
            return signing_table.Decimal(scale, unscaled)
        case list():
            return [_for_signing(item) for item in value]
        case dict():
            return {name: _for_signing(item) for name, item in value.items()}
    return value


def retyped(value: object, depth: int = 0) -> Iterator[object]:
    """What `value` may have been before a library or broker wrote it in a type of its own."""
    match value:
        case None:
            yield from ("", 0, False, [], {}, [None, None], "None", "null")
        case bool():
            yield from (int(value), str(value), str(value).lower(), None)
        case int():
            yield from _numbers(value)
        case float():
            yield from _doubles(value)
        case str():
            yield from _texts(value)
        case bytes():
            yield value.decode("utf-8", "replace")
        case Timestamp(seconds):
            yield from (seconds, float(seconds), seconds * 1000, Timestamp(seconds * 1000), str(seconds))
        case Decimal(scale, unscaled):
            yield from (unscaled / 10**scale, unscaled, f"{unscaled / 10**scale}")
        case list() if not depth:
            yield from _lists(value)
        case dict() if not depth:
            yield from _tables(value)


def _numbers(value: int) -> Iterator[object]:
    yield float(value)
    if value in (0, 1):
        yield bool(value)
    yield from (str(value), -value, None)
    if value >= 0:
        yield Timestamp(value)
    for width in _WIDTHS:
        yield from (value % 2**width, (value + 2 ** (width - 1)) % 2**width - 2 ** (width - 1))
    for step in range(1, RETRIES_MAX + 1):
        yield from (value - step, value + step)


def _doubles(value: float) -> Iterator[object]:
    """A double that went through 32 bits has the digits it had before, as far as they were few."""
    for digits in (6, 7, 8, 9, 15):
        yield float(f"{value:.{digits}g}")
    if isfinite(value):
        with suppress(OverflowError):
            yield struct.unpack(">f", struct.pack(">f", value))[0]
        yield from (int(value), round(value, 3), round(value, 6))
    yield from (repr(value), -value)


def _texts(value: str) -> Iterator[object]:
    yield value.encode()
    yield from (None, value.strip(), value.lower(), value.upper())
    for form in ("NFC", "NFD"):
        yield unicodedata.normalize(form, value)
    with suppress(UnicodeError):
        yield value.encode("latin-1").decode()
    yield value.encode().decode("latin-1")
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return
    yield parsed


def _lists(value: list[object]) -> Iterator[object]:
    yield from (None, list(reversed(value)), [item for item in value if item is not None])
    if all(isinstance(item, str) for item in value):
        yield sorted(map(str, value))
    yield json.dumps(value, default=str)
    for index, item in enumerate(value[:ELEMENTS_MAX]):
        yield value[:index] + value[index + 1 :]
        for other in retyped(item, 1):
            yield [*value[:index], other, *value[index + 1 :]]


def _tables(value: dict[str, object]) -> Iterator[object]:
    yield None
    yield json.dumps(value, default=str)
    for name, item in list(value.items())[:ELEMENTS_MAX]:
        yield {other: kept for other, kept in value.items() if other != name}
        for other_item in retyped(item, 1):
            yield {**value, name: other_item}


def known_values(name: str, message: Message, hints: Hints) -> Iterator[object]:
    """What header `name` may have held, by its name and by what else is in the message."""
    values = message.header.table.values
    if name == "task":
        yield from hints.tasks
    if name in CELERY_DEFAULTS:
        yield CELERY_DEFAULTS[name]
    if name == "compression":
        yield from _COMPRESSIONS
    if name in _BODY_NAMES:
        yield from _reprs(name, message)
    for other in values.values():
        if isinstance(other, str):
            yield other
    for index in (CORRELATION_ID, MESSAGE_ID, REPLY_TO):
        text = message.header.text(index)
        if text is not None:
            yield text


def _reprs(name: str, message: Message) -> Iterator[object]:
    """`argsrepr` and `kwargsrepr` as Celery makes them of short arguments."""
    try:
        args, kwargs = json.loads(message.body)[:2]
        if name == "kwargsrepr":
            yield repr(kwargs)
        else:
            yield from (repr(tuple(args)), repr(args))
    except (ValueError, TypeError, RecursionError, KeyError):
        return


def property_values(index: int, message: Message, hints: Hints) -> Iterator[bytes | None]:
    """What a property may have held; None for not there."""
    yield None
    match index:
        case int() if index in (DELIVERY_MODE, PRIORITY):
            yield from [bytes((number,)) for number in range(256)]
        case int() if index == CONTENT_TYPE:
            yield from [text.encode() for text in _CONTENT_TYPES]
        case int() if index == CONTENT_ENCODING:
            yield from [text.encode() for text in _ENCODINGS]
        case _:
            yield from _texts_of(index, message, hints)


def _texts_of(index: int, message: Message, hints: Hints) -> Iterator[bytes]:
    values = message.header.table.values
    for name in _FROM_IDS:
        value = values.get(name)
        if isinstance(value, str):
            yield value.encode()
    for other in (CORRELATION_ID, MESSAGE_ID, REPLY_TO, USER_ID, APP_ID, TYPE):
        field = message.header.fields[other]
        if field is not None and other != index:
            yield field
    if index == REPLY_TO:
        yield DIRECT_REPLY_TO
    if index == TYPE:
        yield from [task.encode() for task in hints.tasks]
