"""What pamqp, py-amqp and pika read in a content header, and where each reads it otherwise than we signed it.

An oracle is no judge of what to refuse: all three cut what is too short, and two of them keep the last of two
equal names. They say what a consumer built on them is handed, which must be what was signed and checked.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import amqp.serialization
import pamqp.header
import pika.spec

from fuzz.oracles.reference import Header, Node, is_utf8

_NAMES = (
    *("content_type", "content_encoding", "headers", "delivery_mode", "priority", "correlation_id"),
    *("reply_to", "expiration", "message_id", "timestamp", "type", "user_id", "app_id", "cluster_id"),
)
_NUMBERS = (3, 4, 9)
_DATES_S_MAX = 253_402_300_799
Same = Callable[["Library", Node, object], bool]


@dataclass(frozen=True)
class Quirk:
    """Where a library reads a value of some types otherwise than it is; `text` says how."""

    kinds: str
    text: str
    same: Same


class Library:
    """One client library. `read` gives (properties by name, header table), or raises what it likes."""

    def __init__(
        self,
        name: str,
        read: Callable[[bytes], tuple[dict[str, object], dict[object, object]]],
        *quirks: Quirk,
    ) -> None:
        self.name = name
        self.read = read
        self.quirks = quirks

    def differences(self, payload: bytes, header: Header) -> list[str]:
        """Where this library reads another message in `payload` than `header`, which was accepted.

        A library that can not read it at all is a difference as well, but for dates past the year 9999.
        """
        try:
            properties, table = self.read(payload)
        except Exception as error:
            if _has_far_date(header, self.name):
                return []
            return [f"{self.name} can not read it: {error!r}"]
        found = []
        for index, name in enumerate(_NAMES):
            if index != 2 and not self._same_property(index, header.fields.get(index), properties.get(name)):
                found.append(f"{self.name} reads another {name}")
        if not self.same(Node("F", header.entries), table):
            found.append(f"{self.name} reads another header table")
        return found

    def _same_property(self, index: int, raw: bytes | None, value: object) -> bool:
        if raw is None:
            return value is None
        if index == 9 and isinstance(value, datetime):
            return self.same(Node("T", int.from_bytes(raw, "big")), value)
        return value == (int.from_bytes(raw, "big") if index in _NUMBERS else raw.decode())

    def same(self, node: Node, value: object) -> bool:
        """Whether `value` is what `node` says, as far as this library can say it."""
        for quirk in self.quirks:
            if node.kind in quirk.kinds and quirk.same(self, node, value):
                return True
        return self.exactly(node, value)

    def exactly(self, node: Node, value: object) -> bool:
        """Whether `value` is what `node` says."""
        wanted = node.value
        if node.kind == "V":
            return value is None
        if node.kind == "t":
            return value is (wanted != 0)
        if node.kind in "fd":
            return type(value) is float and struct.pack(">d", value) == struct.pack(">d", wanted)
        if node.kind == "T":
            return isinstance(value, datetime) and value.replace(tzinfo=UTC).timestamp() == wanted
        if isinstance(wanted, tuple):
            scale, unscaled = wanted
            return isinstance(value, Decimal) and value == Decimal((0, _digits(unscaled), -scale))
        if isinstance(wanted, bytes):
            return self._same_bytes(node.kind, wanted, value)
        if node.kind == "A":
            return self._same_items(node, value)
        if node.kind == "F":
            return self._same_entries(node, value)
        return _is_integer(value) and value == wanted

    def _same_bytes(self, kind: str, wanted: bytes, value: object) -> bool:
        if kind == "S" and isinstance(value, str):
            return is_utf8(wanted) and value == wanted.decode()
        return isinstance(value, bytes | bytearray) and bytes(value) == wanted

    def _same_items(self, node: Node, value: object) -> bool:
        wanted = node.value
        if not isinstance(value, list) or not isinstance(wanted, list) or len(value) != len(wanted):
            return False
        return all(self.same(inner, found) for inner, found in zip(wanted, value, strict=True))

    def _same_entries(self, node: Node, value: object) -> bool:
        wanted = node.value
        if not isinstance(value, dict) or not isinstance(wanted, list) or len(value) != len(wanted):
            return False
        return all(
            name.decode() in value and self.same(inner, value[name.decode()]) for name, inner in wanted
        )


def _is_integer(value: object) -> bool:
    """pika has an integer type of its own, which is an int."""
    return isinstance(value, int) and not isinstance(value, bool)


def _digits(number: int) -> tuple[int, ...]:
    return tuple(map(int, str(number)))


def _has_far_date(header: Header, library: str) -> bool:
    """Whether a timestamp is past what a datetime holds.

    pamqp takes all after the year 2106 for milliseconds; py-amqp and pika leave the property a number.
    """
    limit = _DATES_S_MAX * 1000 if library == "pamqp" else _DATES_S_MAX
    raw = header.fields.get(9)
    if library == "pamqp" and raw is not None and int.from_bytes(raw, "big") > limit:
        return True
    return dates_over(Node("F", header.entries), limit)


def dates_over(node: Node, limit: int) -> bool:
    if node.kind == "T":
        return isinstance(node.value, int) and node.value > limit
    if node.kind == "F" and isinstance(node.value, list):
        return any(dates_over(inner, limit) for _, inner in node.value)
    return node.kind == "A" and isinstance(node.value, list) and any(dates_over(n, limit) for n in node.value)


def _signed_decimal(_: Library, node: Node, value: object) -> bool:
    assert isinstance(node.value, tuple)
    scale, unscaled = node.value
    signed = unscaled - 2**32 if unscaled >= 2**31 else unscaled
    return isinstance(value, Decimal) and value == Decimal((int(signed < 0), _digits(abs(signed)), -scale))


def _whole_number(_: Library, node: Node, value: object) -> bool:
    return isinstance(node.value, float) and _is_integer(value) and value == int(node.value)


def _milliseconds(_: Library, node: Node, value: object) -> bool:
    seconds = node.value
    if not isinstance(seconds, int) or not isinstance(value, datetime) or seconds <= 0xFFFFFFFF:
        return False
    return abs(value.timestamp() - seconds / 1000) < 0.001


def _lone_surrogates(_: Library, node: Node, value: object) -> bool:
    return isinstance(value, str) and value.encode("utf-8", "surrogatepass") == node.value


def _read_pamqp(payload: bytes) -> tuple[dict[str, object], dict[object, object]]:
    header = pamqp.header.ContentHeader()
    header.unmarshal(payload)
    found = {name: getattr(header.properties, _PAMQP_NAMES.get(name, name)) for name in _NAMES}
    # An absent one is an empty text here, and here only.
    found["cluster_id"] = found["cluster_id"] or (None if not _has_cluster_id(payload) else "")
    return found, found["headers"] or {}


def _has_cluster_id(payload: bytes) -> bool:
    return payload[13] & 4 != 0


def _read_pyamqp(payload: bytes) -> tuple[dict[str, object], dict[object, object]]:
    found, _ = amqp.serialization.decode_properties_basic(payload, 12)
    return found, found.get("application_headers") or {}


def _read_pika(payload: bytes) -> tuple[dict[str, object], dict[object, object]]:
    properties = pika.spec.BasicProperties().decode(payload, 12)
    found = {name: getattr(properties, name) for name in _NAMES}
    return found, found["headers"] or {}


_PAMQP_NAMES = {"type": "message_type"}

PAMQP = Library(
    "pamqp",
    _read_pamqp,
    Quirk("D", "the unscaled value is signed", _signed_decimal),
    Quirk("T", "seconds after the year 2106 are taken for milliseconds", _milliseconds),
)
PY_AMQP = Library(
    "py-amqp",
    _read_pyamqp,
    Quirk("D", "the unscaled value is signed", _signed_decimal),
    Quirk("S", "lone surrogates, which are no UTF-8, become text all the same", _lone_surrogates),
)
PIKA = Library(
    "pika",
    _read_pika,
    Quirk("D", "the unscaled value is signed", _signed_decimal),
    Quirk("fd", "the fraction is cut off", _whole_number),
)
LIBRARIES = (PAMQP, PY_AMQP, PIKA)
