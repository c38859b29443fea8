"""Targets for what a body may be: the parsers against those a worker runs."""

from __future__ import annotations

import bz2
import json
import lzma
import math
import pickletools
import zlib
from base64 import b64encode, urlsafe_b64encode
from typing import Any

import kombu.utils.json
import msgpack

from fuzz.targets.answers import answer, require, tell
from fuzz.targets.memory import json_ways
from sealgate.reason import Reason
from sealgate.verify import inflate, strict_json, strict_msgpack
from sealgate.verify import pickles as pickle_finder
from sealgate.verify.strict_json import KombuValue

_INFLATED_BYTES_MAX = 65_536
_METHODS = (inflate.GZIP, inflate.BZIP2, inflate.LZMA)
_DEPTH_MAX = 512


def json_text(data: bytes) -> None:
    """The first octet chooses whether kombu's types are read, the rest is a body."""
    as_kombu = bool(data[:1]) and data[0] & 1 == 1
    text = data[1:]
    json_ways(text)
    broken = _broken_json(text, as_kombu)
    value, refused = answer(strict_json.parse_json, text, as_kombu)
    if refused is not None:
        require(refused in broken, f"refused as {refused}, broken is {broken}")
        return
    require(not broken, f"accepted, though {broken}")
    worker = kombu.utils.json.loads(text) if as_kombu else json.loads(text)
    require(repr(_as_worker(value)) == repr(worker), "a worker reads another value")
    holds = pickle_finder.holds_pickle(value)
    require(pickle_finder.may_hold_pickle(text) or not holds, "a pickle that the filter lets by")


def _as_worker(value: object) -> object:
    if isinstance(value, KombuValue):
        return kombu.utils.json._decoders[value.kind](_as_worker(value.value))
    if isinstance(value, dict):
        return {name: _as_worker(inner) for name, inner in value.items()}
    return [_as_worker(item) for item in value] if isinstance(value, list) else value


def _broken_json(text: bytes, as_kombu: bool) -> set[Reason]:
    """The rules that a body breaks, by the parser of the standard library."""
    broken: set[Reason] = set()
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return {Reason.CONTENT_JSON}
    if _depth(decoded) > _DEPTH_MAX:
        broken.add(Reason.CONTENT_JSON)

    def constant(_: str) -> None:
        broken.add(Reason.CONTENT_JSON_CONST)

    def number(digits: str) -> float:
        if len(digits.lstrip("-")) > 4300 or not math.isfinite(float(digits)):
            broken.add(Reason.CONTENT_JSON_NUMBER)
        return 0.0

    def integer(digits: str) -> str:
        if len(digits.lstrip("-")) > 4300:
            broken.add(Reason.CONTENT_JSON_NUMBER)
        return digits

    def pairs(found: list[tuple[str, Any]]) -> object:
        names = [name for name, _ in found]
        if len(set(names)) != len(names):
            broken.add(Reason.CONTENT_JSON_DUP)
        if not strict_json.GADGET_KEYS.isdisjoint(names):
            broken.add(Reason.CONTENT_GADGET)
        if as_kombu and set(names) == {"__type__", "__value__"}:
            broken.update(_broken_kombu(dict(found)))
            return _Typed()
        return dict(found)

    try:
        json.loads(
            decoded, parse_constant=constant, parse_float=number, parse_int=integer, object_pairs_hook=pairs
        )
    except (ValueError, RecursionError):
        broken.add(Reason.CONTENT_JSON)
    return broken


class _Typed:
    """A typed value inside another: no text and no object to its decoder."""


def _broken_kombu(found: dict[str, Any]) -> set[Reason]:
    kind, value = found["__type__"], found["__value__"]
    if kind == "uuid" and isinstance(value, dict) and value.keys() != {"hex"}:
        # uuid.UUID takes other fields, and would take a version that is none; kombu writes this one only.
        return {Reason.CONTENT_KOMBU_TYPE}
    if kind == "uuid" and isinstance(value, dict) and len(str(value["hex"])) != 32:
        return {Reason.CONTENT_KOMBU_TYPE}
    if kind == "decimal" and not isinstance(value, str):
        return {Reason.CONTENT_KOMBU_TYPE}
    try:
        kombu.utils.json.object_hook(found)
    except Exception:
        return {Reason.CONTENT_KOMBU_TYPE}
    return set()


def _depth(text: str) -> int:
    """The deepest nesting of brackets outside strings."""
    deepest = depth = 0
    quoted = escaped = False
    for character in text:
        if quoted:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                quoted = False
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def msgpack_object(data: bytes) -> None:
    """A msgpack body."""
    value, refused = answer(strict_msgpack.parse_msgpack, data)
    broken: set[Reason] = set()

    def pairs(found: list[tuple[object, object]]) -> object:
        names = [name for name, _ in found]
        if len(set(names)) != len(names):
            broken.add(Reason.CONTENT_MSGPACK)
        if not strict_json.GADGET_KEYS.isdisjoint(names):
            broken.add(Reason.CONTENT_GADGET)
        return dict(found)

    def extension(code: int, inner: bytes) -> object:
        broken.add(Reason.CONTENT_MSGPACK)
        return None

    try:
        plain = msgpack.unpackb(data, raw=False, object_pairs_hook=pairs, ext_hook=extension)
    except Exception:
        broken.add(Reason.CONTENT_MSGPACK)
        plain = None
    if "Timestamp(" in repr(plain):
        # A text may spell this as well: then either answer is right.
        broken.add(Reason.CONTENT_MSGPACK)
    if refused is not None:
        require(refused in broken, f"refused as {refused}, broken is {broken}")
        return
    require(not broken or "Timestamp(" in repr(value), f"accepted, though {broken}")
    require(repr(value) == repr(msgpack.unpackb(data, raw=False)), "a worker reads another value")
    holds = pickle_finder.holds_pickle(value)
    require(pickle_finder.may_hold_pickle(data) or not holds, "a pickle that the filter lets by")


def inflated(data: bytes) -> None:
    """The first octet chooses the method, the rest is the stream."""
    if not data:
        return
    method = _METHODS[data[0] % len(_METHODS)]
    stream = data[1:]
    found, refused = answer(inflate.inflate, method, stream, _INFLATED_BYTES_MAX)
    whole = _whole_stream(method, stream)
    if found is None:
        wanted = (Reason.CONTENT_COMPRESSION, Reason.CONTENT_BOMB)
        require(refused in wanted, f"{refused}")
        require(
            whole is None or len(whole) > _INFLATED_BYTES_MAX, f"one whole stream is refused as {refused}"
        )
        return
    require(len(found) <= _INFLATED_BYTES_MAX, "over the limit")
    require(found == whole, "a worker unpacks something else")


def _whole_stream(method: str, stream: bytes) -> bytes | None:
    """What is in `stream`, unpacked in small steps; None for what is not one whole stream."""
    decompressor: Any
    if method == inflate.GZIP:
        decompressor = zlib.decompressobj()
    elif method == inflate.BZIP2:
        decompressor = bz2.BZ2Decompressor()
    else:
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_AUTO, inflate.LZMA_MEMORY_BYTES_MAX)
    parts: list[bytes] = []
    size = 0
    try:
        while not decompressor.eof and size <= _INFLATED_BYTES_MAX:
            part = decompressor.decompress(stream, 4096)
            stream = decompressor.unconsumed_tail if method == inflate.GZIP else b""
            if not part and not decompressor.eof:
                return None
            parts.append(part)
            size += len(part)
    except (zlib.error, OSError, ValueError, lzma.LZMAError):
        return None
    if size <= _INFLATED_BYTES_MAX and decompressor.unused_data:
        return None
    return b"".join(parts)


def pickles(data: bytes) -> None:
    """The first octet chooses how the rest is written: as it is, or in base64 behind a pickle's first two."""
    if not data:
        return
    protocol = bytes((0x80, 2 + data[0] % 4))
    encode = (None, b64encode, urlsafe_b64encode)[data[0] // 4 % 3]
    if encode is None:
        require(isinstance(pickle_finder.is_pickle(data[1:].decode("latin-1")), bool), "no answer")
        return
    text = encode(protocol + data[1:]).decode()
    if data[0] & 0x80:
        text = " \n" + text.rstrip("=")
    tell(pickle_finder.is_pickle(text))
    require(pickle_finder.is_pickle(text) == _reads_as_pickle(protocol + data[1:]), "a pickle or not?")
    if len(text.lstrip()) > 4:
        require(pickle_finder.is_pickle(text, 4), "a long one that begins like a pickle passes")
    require(pickle_finder.holds_pickle([{"k": [text]}]) == pickle_finder.is_pickle(text), "not found within")


def _reads_as_pickle(data: bytes) -> bool:
    try:
        for _ in pickletools.genops(data):
            pass
    except Exception:
        return False
    return True
