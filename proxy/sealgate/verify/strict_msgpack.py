"""msgpack as kombu reads it: one object, text keys, no extension types, no duplicate keys."""

from __future__ import annotations

import msgpack

from sealgate.reason import GateError, Reason
from sealgate.verify.strict_json import check_object


def parse_msgpack(data: bytes) -> object:
    """The value in `data`. Raises `GateError` content.msgpack or content.gadget.

    Lengths inside are bounded by the library to what `data` could hold, nesting to 1,024.
    """
    try:
        value: object = msgpack.unpackb(
            data, raw=False, strict_map_key=True, object_pairs_hook=_map, list_hook=_list, ext_hook=_extension
        )
    except GateError:
        raise
    except (ValueError, TypeError, RecursionError, OverflowError, msgpack.exceptions.UnpackException):
        raise GateError(Reason.CONTENT_MSGPACK, "not one msgpack object") from None
    _refuse_timestamp(value)
    return value


def _map(pairs: list[tuple[str, object]]) -> dict[str, object]:
    for _, value in pairs:
        _refuse_timestamp(value)
    return check_object(pairs, Reason.CONTENT_MSGPACK)


def _list(values: list[object]) -> list[object]:
    for value in values:
        _refuse_timestamp(value)
    return values


def _refuse_timestamp(value: object) -> None:
    """The library reads extension type -1 itself; kombu never writes one."""
    if isinstance(value, msgpack.Timestamp):
        raise GateError(Reason.CONTENT_MSGPACK, "extension type")


def _extension(code: int, data: bytes) -> object:
    raise GateError(Reason.CONTENT_MSGPACK, "extension type")
