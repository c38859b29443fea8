"""One message as JSON, for the `sign` and `verify` commands: checked, and turned into what seal1 covers."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NoReturn

from sealgate.signing.canonical import (
    Snapshot,
    canonical_properties,
    encode_snapshot,
    signing_input,
)
from sealgate.signing.table import Decimal, Timestamp, canonical_table

#: A body at the gateway's limit, in base64, and as much again.
JSON_BYTES_MAX: Final = 16 * 1024 * 1024
EXPIRATION: Final = 7
TIMESTAMP: Final = 9
_PROPERTIES: Final = (
    *("content_type", "content_encoding", "headers", "delivery_mode", "priority", "correlation_id"),
    *("reply_to", "expiration", "message_id", "timestamp", "type", "user_id", "app_id", "cluster_id"),
)
#: Bytes of the properties that are integers; the others are short strings.
_INTEGER_BYTES: Final = {"delivery_mode": 1, "priority": 1, "timestamp": 8}
_SHORT_TEXT_BYTES_MAX: Final = 255
_NAMES: Final = frozenset(
    ("exchange", "routing_key", "vhost", "deployment", "properties", "headers", "body", "body_base64")
)


class MessageError(ValueError):
    """The JSON is no message; the text says where, and holds no value of it."""


@dataclass(slots=True, frozen=True)
class Digests:
    """SHA-256 of each section (seal1.md, "Canonical encoding"); `body_bytes` is the body's length."""

    properties: bytes
    headers: bytes
    body: bytes
    body_bytes: int

    def signing_input(self, alg: str, deployment: str, vhost: str, token_prefix: bytes) -> bytes:
        return signing_input(
            alg, deployment, vhost, token_prefix, self.properties, self.headers, self.body_bytes, self.body
        )


@dataclass(slots=True, frozen=True)
class JsonMessage:
    """`fields` are raw property values by AMQP index, `headers` Python values for `canonical_table`."""

    exchange: str
    routing_key: str
    vhost: str
    deployment: str
    fields: tuple[bytes | None, ...]
    headers: Mapping[str, object]
    body: bytes

    @property
    def target(self) -> Snapshot:
        return Snapshot(self.exchange, self.routing_key, self.fields[EXPIRATION], self.fields[TIMESTAMP])

    def snapshot(self) -> bytes:
        """Raises `GateError` (sig.malformed) for a target that is no AMQP short string."""
        return encode_snapshot(
            self.exchange, self.routing_key, self.fields[EXPIRATION], self.fields[TIMESTAMP]
        )

    def digests(self, omitted: frozenset[str]) -> Digests:
        """Raises `GateError` (header.*) for headers that a gateway would refuse."""
        return Digests(
            sha256(canonical_properties(self.fields)).digest(),
            sha256(canonical_table(self.headers, omitted)).digest(),
            sha256(self.body).digest(),
            len(self.body),
        )


def parse_message(data: bytes) -> JsonMessage:
    """The message in `data`. Raises `MessageError`."""
    if len(data) > JSON_BYTES_MAX:
        raise MessageError(f"is over {JSON_BYTES_MAX} bytes")
    try:
        value = json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_constant)
        return _message(value)
    except MessageError:
        raise
    except RecursionError:
        raise MessageError("is nested too deep") from None
    except ValueError as error:
        raise MessageError(f"is not JSON: {_describe(error)}") from None


def _message(value: object) -> JsonMessage:
    if not isinstance(value, dict):
        raise MessageError("want an object")
    for name in value:
        if name not in _NAMES:
            raise MessageError(f"{name}: is not known; want {', '.join(sorted(_NAMES))}")
    return JsonMessage(
        exchange=_text(value, "exchange"),
        routing_key=_text(value, "routing_key"),
        vhost=_text(value, "vhost", "/"),
        deployment=_text(value, "deployment", "prod"),
        fields=_fields(_object_of(value, "properties")),
        headers={name: _header(name, entry) for name, entry in _object_of(value, "headers").items()},
        body=_body(value),
    )


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise MessageError("a name is there twice in one object")
    return value


def _constant(name: str) -> NoReturn:
    raise MessageError(f"{name} is no JSON number")


def _describe(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else "a number is too long"


def _text(value: Mapping[str, object], name: str, default: str | None = None) -> str:
    text = value.get(name, default)
    if text is None:
        raise MessageError(f"{name}: is missing")
    if not isinstance(text, str):
        raise MessageError(f"{name}: want a text")
    return _checked(text, name)


def _checked(text: str, where: str) -> str:
    """`text`, unless it holds half a surrogate pair, which JSON can say and UTF-8 can not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MessageError(f"{where}: is not Unicode text") from None
    return text


def _object_of(value: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = value.get(name, {})
    if not isinstance(found, dict):
        raise MessageError(f"{name}: want an object")
    return found


def _body(value: Mapping[str, object]) -> bytes:
    if "body" in value and "body_base64" in value:
        raise MessageError("want body or body_base64, not both")
    if "body_base64" in value:
        return _base64(_text(value, "body_base64"), "body_base64")
    return _text(value, "body", "").encode()


def _base64(text: str, where: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise MessageError(f"{where}: is not base64") from None


def _fields(properties: Mapping[str, object]) -> tuple[bytes | None, ...]:
    for name in properties:
        if name not in _PROPERTIES or name == "headers":
            raise MessageError(f"properties.{name}: is not known")
    return tuple(_field(name, properties.get(name)) for name in _PROPERTIES)


def _field(name: str, value: object) -> bytes | None:
    """The raw bytes of a property; null is an absent one."""
    if value is None:
        return None
    where = f"properties.{name}"
    size = _INTEGER_BYTES.get(name)
    if size is not None:
        return _integer(value, where, 256**size - 1).to_bytes(size, "big")
    if not isinstance(value, str):
        raise MessageError(f"{where}: want a text")
    data = _checked(value, where).encode()
    if len(data) > _SHORT_TEXT_BYTES_MAX:
        raise MessageError(f"{where}: is over {_SHORT_TEXT_BYTES_MAX} bytes")
    return data


def _integer(value: object, where: str, largest: int) -> int:
    if type(value) is not int or not 0 <= value <= largest:
        raise MessageError(f"{where}: want an integer from 0 to {largest}")
    return value


def _header(where: str, value: object) -> object:
    """A header value; {"type": ..., "value": ...} names an AMQP type that JSON does not have."""
    if isinstance(value, list):
        return [_header(where, item) for item in value]
    if isinstance(value, dict):
        reader = _TYPES.get(str(value.get("type"))) if "value" in value else None
        if reader is not None and value.keys() <= {"type", "value", "scale"}:
            return reader(where, value)
        return {name: _header(f"{where}.{name}", entry) for name, entry in value.items()}
    return value


def _timestamp(where: str, value: Mapping[str, object]) -> object:
    return Timestamp(_integer(value["value"], where, 2**64 - 1))


def _decimal(where: str, value: Mapping[str, object]) -> object:
    scale = _integer(value.get("scale", 0), f"{where}.scale", 255)
    return Decimal(scale, _integer(value["value"], where, 2**32 - 1))


def _bytes(where: str, value: Mapping[str, object]) -> object:
    return _base64(_text(value, "value"), where)


def _double(where: str, value: Mapping[str, object]) -> object:
    number = value["value"]
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise MessageError(f"{where}: want a number")
    return float(number)


def _table(where: str, value: Mapping[str, object]) -> object:
    return {name: _header(f"{where}.{name}", entry) for name, entry in _object_of(value, "value").items()}


_TYPES: Final[dict[str, Callable[[str, Mapping[str, object]], object]]] = {
    "timestamp": _timestamp,
    "decimal": _decimal,
    "bytes": _bytes,
    "double": _double,
    "table": _table,
}
