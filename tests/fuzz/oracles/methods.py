"""The methods Sealgate reads, once more from the layout of their arguments, and as libraries read them."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import amqp.serialization
import pamqp.frame
import pika.frame

from fuzz.oracles.libraries import PAMQP, PIKA, PY_AMQP, Library, dates_over
from fuzz.oracles.reference import Node, Reader, is_utf8
from fuzz.targets.answers import answer, require
from sealgate.reason import Reason
from sealgate.wire import constants, methods, sasl
from sealgate.wire.frames import encode_frame
from sealgate.wire.splitter import FrameSplitter
from sealgate.wire.table import scan_table

_NUMBERS = {"o": ">B", "B": ">H", "l": ">I", "L": ">Q"}
_CHALLENGE = bytes(range(16))
_FRAME_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class MethodReader:
    """One `read_*`: its arguments in the letters of py-amqp (but `o` for an octet of bits).

    `ours` and `plain` give what is compared, of its result and of the raw arguments. `names` are the
    arguments' names in the libraries, for those that are compared; `check` is for what only it must hold.
    `utf8` are the places of the texts that must be UTF-8 without a NUL. `unread` names libraries that can not
    read the method at all.
    """

    method: int
    layout: str
    read: Callable[[bytes], Any]
    ours: Callable[[Any], object]
    plain: Callable[[list[Any]], object]
    names: tuple[str, ...]
    check: Callable[[bytes, Any], None]
    utf8: tuple[int, ...] = ()
    unread: tuple[str, ...] = ()


def read(reader: MethodReader, payload: bytes) -> tuple[set[Reason], list[Any]]:
    """The reasons for which the payload may be refused, and its arguments: integers, bytes, entries."""
    broken: set[Reason] = set()
    arguments: list[Any] = []
    at = 4
    for letter in reader.layout:
        size = struct.calcsize(_NUMBERS[letter]) if letter in _NUMBERS else 1 if letter == "s" else 4
        stop = at + size
        if stop > len(payload):
            return broken | {Reason.FRAME_TRUNCATED}, arguments
        number = int.from_bytes(payload[at:stop], "big")
        at = stop
        if letter in _NUMBERS:
            arguments.append(number)
            continue
        stop = at + number
        if stop > len(payload):
            return broken | {Reason.FRAME_TRUNCATED}, arguments
        value = payload[at:stop]
        if letter == "F":
            inner = Reader(value, sealed=False)
            arguments.append(inner.top(len(value)))
            broken |= {Reason.CONN_HANDSHAKE} if inner.broken else set()
        else:
            arguments.append(value)
            if len(arguments) - 1 in reader.utf8 and (0 in value or not is_utf8(value)):
                broken.add(Reason.PROPS_UTF8)
        at = stop
    if at != len(payload):
        broken.add(Reason.FRAME_TRAILING)
    return broken, arguments


def differences(reader: MethodReader, payload: bytes, arguments: list[Any]) -> list[str]:
    """Where a library reads other arguments in a payload that was accepted."""
    if not all(is_utf8(value) for value in arguments if isinstance(value, bytes)):
        # pamqp and py-amqp fail for texts that are no UTF-8. Ours are only shown then, with replacements.
        return []
    frame = encode_frame(constants.FRAME_METHOD, 1, payload)
    found = []
    for library, decode in ((PAMQP, _pamqp), (PIKA, _pika), (PY_AMQP, _pyamqp)):
        if library.name in reader.unread:
            continue
        try:
            values = decode(reader, frame)
        except Exception as error:
            if not _has_table(reader) or not _far_dates(arguments):
                found.append(f"{library.name} can not read it: {error!r}")
            continue
        for name, letter, wanted, value in zip(reader.names, reader.layout, arguments, values, strict=False):
            if name and not _same(library, letter, wanted, value):
                found.append(f"{library.name} reads another {name}")
    return found


def _has_table(reader: MethodReader) -> bool:
    return "F" in reader.layout


def _far_dates(arguments: list[Any]) -> bool:
    return any(
        dates_over(Node("F", value), 253_402_300_799) for value in arguments if isinstance(value, list)
    )


def _same(library: Library, letter: str, wanted: Any, value: object) -> bool:
    if letter == "F":
        return library.same(Node("F", wanted), value)
    if isinstance(wanted, bytes):
        return (value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value) == wanted
    if isinstance(value, tuple):
        # Bits of one octet.
        return value == tuple(wanted & 1 << place != 0 for place in range(len(value)))
    if library is PAMQP and letter == "L" and isinstance(value, int):
        # Delivery tags are signed there.
        return value % 2**64 == wanted
    return value == wanted


def _attributes(reader: MethodReader, method: object) -> list[object]:
    values: list[object] = []
    for name in reader.names:
        if "+" in name:
            values.append(tuple(bool(getattr(method, bit)) for bit in name.split("+") if bit))
        else:
            values.append(getattr(method, name) if name else None)
    return values


def _pamqp(reader: MethodReader, frame: bytes) -> list[object]:
    return _attributes(reader, pamqp.frame.unmarshal(frame)[2])


def _pika(reader: MethodReader, frame: bytes) -> list[object]:
    decoded = pika.frame.decode_frame(frame)[1]
    return _attributes(reader, decoded.method)  # type: ignore[union-attr]


def _pyamqp(reader: MethodReader, frame: bytes) -> list[object]:
    values, _ = amqp.serialization.loads(reader.layout, frame, 11)
    return list(values)


def _nothing(_: bytes, __: Any) -> None:
    pass


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _check_publish(payload: bytes, _: Any) -> None:
    splitter = FrameSplitter(_FRAME_BYTES_MAX)
    splitter.feed(encode_frame(constants.FRAME_METHOD, 1, payload))
    frame = splitter.next()
    assert frame is not None
    zero = methods.with_ticket_zero(frame)
    require(zero == frame.raw[:11] + b"\x00\x00" + frame.raw[13:], "more than the ticket was changed")


def _check_ack(payload: bytes, value: Any) -> None:
    require(
        methods.encode_ack(*value) == payload[:-1] + bytes((payload[-1] & 1,)), "an ack encoded otherwise"
    )


def _check_nack(payload: bytes, value: Any) -> None:
    require(
        methods.encode_nack(*value) == payload[:-1] + bytes((payload[-1] & 3,)), "a nack encoded otherwise"
    )


def _check_return(_: bytes, value: Any) -> None:
    code, text, exchange, routing_key = value
    if max(len(exchange.encode()), len(routing_key.encode())) > 255:
        return
    again = methods.read_return(methods.encode_return(code, text, exchange, routing_key))
    require(again[0] == code and again[2:] == (exchange, routing_key) and text.startswith(again[1]), "return")


def _check_close(_: bytes, value: Any) -> None:
    for encode in (methods.encode_channel_close, methods.encode_connection_close):
        code, text, class_id, method = methods.read_close(encode(*value))
        require((code, class_id, method) == (value[0], *value[2:]) and value[1].startswith(text), "close")


def _check_tune(payload: bytes, value: Any) -> None:
    require(methods.encode_tune(value)[4:] == payload[4:], "a tune encoded otherwise")
    require(methods.encode_tune_ok(value)[4:] == payload[4:], "a tune-ok encoded otherwise")


def _check_start(payload: bytes, value: Any) -> None:
    """The gateway announces its challenge here, in place of what stood there, and may offer less."""
    offered = methods.read_mechanisms(payload)
    require(offered == value.mechanisms.split(), "other mechanisms")
    fewer = methods.read_start(methods.with_mechanisms(payload, ["PLAIN", "X"]))
    require(fewer.mechanisms == "PLAIN X", "the mechanisms are not those")
    require(fewer.server_properties.raw == value.server_properties.raw, "mechanisms change a property")
    entry = methods.encode_challenge_entry(_CHALLENGE)
    spliced = methods.splice_start(payload, frozenset({methods.SERVER_PROPERTY_NAME}), entry)
    again, refused = answer(methods.read_start, spliced)
    if again is None:
        require(refused is Reason.CONN_HANDSHAKE, f"spliced, it is {refused}")
        inner = value.server_properties.raw + entry
        over = answer(scan_table, inner, 0, len(inner), frozenset(), frozenset())[1]
        require(
            over in (Reason.HEADER_COUNT, Reason.HEADER_SIZE, Reason.HEADER_DUPLICATE), "splicing breaks it"
        )
        return
    require(methods.read_challenge(again.server_properties.values) == _CHALLENGE, "another challenge")
    require(again.mechanisms == value.mechanisms, "other mechanisms")
    kept = dict(value.server_properties.values)
    kept.pop(methods.SERVER_PROPERTY_NAME, None)
    found = dict(again.server_properties.values)
    found.pop(methods.SERVER_PROPERTY_NAME)
    require(found == kept, "splicing changes a server property")
    challenge = methods.read_challenge(value.server_properties.values)
    require(len(challenge) in (0, 16), "a challenge of another length")


def _check_start_ok(payload: bytes, value: Any) -> None:
    """Who logs in, and another login in its place, as where clients log in to Sealgate."""
    response = value.response
    plain = re.fullmatch(rb"\x00([^\x00]*)\x00([^\x00]*)", response)
    require(sasl.read_login("PLAIN", response) == (plain and plain.groups()), "another login")
    require(sasl.read_login("AMQPLAIN", response) == _amqplain(response), "another login")
    for mechanism in ("PLAIN", "AMQPLAIN", "RABBIT-CR-DEMO", value.mechanism):
        user = sasl.sasl_user(mechanism, response)
        require(len(user) <= sasl.USER_BYTES_MAX, "a user's name that is longer than any")
    require(repr(response) not in repr(value) or len(response) < 4, "a secret in a repr")
    start, stop = value.span
    require(payload[start:stop].endswith(response), "a response at another place")
    changed = methods.with_response(payload, value, "PLAIN", b"\x00u\x00p")
    again = methods.read_start_ok(changed)
    require((again.mechanism, again.response) == ("PLAIN", b"\x00u\x00p"), "the new login is not there")
    kept = (changed[:start], changed[again.span[1] :]) == (payload[:start], payload[stop:])
    require(kept, "a new login changes other octets")


def _amqplain(response: bytes) -> tuple[bytes, bytes] | None:
    reader = Reader(response, sealed=False)
    found = {name: node for name, node in reader.top(len(response)) if node.kind == "S"}
    if reader.broken or not found.keys() >= {b"LOGIN", b"PASSWORD"}:
        return None
    user, password = found[b"LOGIN"].value, found[b"PASSWORD"].value
    assert isinstance(user, bytes)
    assert isinstance(password, bytes)
    return user, password


def _entry_text(entries: list[tuple[bytes, Node]], name: bytes) -> str:
    for key, node in entries:
        if key == name and node.kind == "S" and isinstance(node.value, bytes) and is_utf8(node.value):
            return node.value.decode()
    return ""


def _has_capabilities(entries: list[tuple[bytes, Node]]) -> list[bytes]:
    for key, node in entries:
        if key == b"capabilities" and node.kind == "F" and isinstance(node.value, list):
            return [name for name, _ in node.value]
    return []


READERS: tuple[MethodReader, ...] = (
    MethodReader(
        constants.BASIC_PUBLISH,
        "Bsso",
        methods.read_publish,
        lambda found: (found.exchange, found.routing_key, found.mandatory, found.immediate),
        lambda raw: (raw[1].decode(), raw[2].decode(), raw[3] & 1 != 0, raw[3] & 2 != 0),
        ("ticket", "exchange", "routing_key", "mandatory+immediate"),
        _check_publish,
        utf8=(1, 2),
    ),
    MethodReader(
        constants.CONNECTION_START,
        "ooFSS",
        methods.read_start,
        lambda found: (list(found.server_properties.values), found.mechanisms),
        lambda raw: ([name.decode() for name, _ in raw[2]], _text(raw[3])),
        ("version_major", "version_minor", "server_properties", "mechanisms", "locales"),
        _check_start,
    ),
    MethodReader(
        constants.CONNECTION_START_OK,
        "FsSs",
        methods.read_start_ok,
        lambda found: (
            found.product,
            found.platform,
            [name.encode() for name in found.capabilities],
            found.mechanism,
            found.response,
        ),
        lambda raw: (
            _entry_text(raw[0], b"product"),
            _entry_text(raw[0], b"platform"),
            _has_capabilities(raw[0]),
            _text(raw[1]),
            raw[2],
        ),
        ("client_properties", "mechanism", "response", "locale"),
        _check_start_ok,
    ),
    MethodReader(
        constants.CONNECTION_TUNE,
        "BlB",
        methods.read_tune,
        lambda found: [found.channel_max, found.frame_max, found.heartbeat],
        lambda raw: raw,
        ("channel_max", "frame_max", "heartbeat"),
        _check_tune,
    ),
    MethodReader(
        constants.CONNECTION_TUNE_OK,
        "BlB",
        methods.read_tune_ok,
        lambda found: [found.channel_max, found.frame_max, found.heartbeat],
        lambda raw: raw,
        ("channel_max", "frame_max", "heartbeat"),
        _check_tune,
    ),
    MethodReader(
        constants.CONNECTION_OPEN,
        "sso",
        methods.read_open,
        lambda found: found,
        lambda raw: raw[0].decode(),
        ("virtual_host", "", ""),
        _nothing,
        utf8=(0,),
    ),
    MethodReader(
        constants.BASIC_ACK,
        "Lo",
        methods.read_ack,
        lambda found: found,
        lambda raw: (raw[0], raw[1] & 1 != 0),
        ("delivery_tag", "multiple+"),
        _check_ack,
    ),
    MethodReader(
        constants.BASIC_NACK,
        "Lo",
        methods.read_nack,
        lambda found: found,
        lambda raw: (raw[0], raw[1] & 1 != 0, raw[1] & 2 != 0),
        ("delivery_tag", "multiple+requeue"),
        _check_nack,
    ),
    MethodReader(
        constants.BASIC_RETURN,
        "Bsss",
        methods.read_return,
        lambda found: found,
        lambda raw: (raw[0], *map(_text, raw[1:])),
        ("reply_code", "reply_text", "exchange", "routing_key"),
        _check_return,
    ),
    MethodReader(
        constants.CONNECTION_UPDATE_SECRET,
        "Ss",
        methods.read_update_secret,
        lambda found: found,
        lambda raw: raw[0],
        ("new_secret", "reason"),
        _nothing,
        # It can not make the method without its arguments, which it would read next.
        unread=("pika",),
    ),
    MethodReader(
        constants.CONNECTION_CLOSE,
        "BsBB",
        methods.read_close,
        lambda found: found,
        lambda raw: (raw[0], _text(raw[1]), *raw[2:]),
        ("reply_code", "reply_text", "class_id", "method_id"),
        _check_close,
    ),
    MethodReader(
        constants.CHANNEL_CLOSE,
        "BsBB",
        methods.read_close,
        lambda found: found,
        lambda raw: (raw[0], _text(raw[1]), *raw[2:]),
        ("reply_code", "reply_text", "class_id", "method_id"),
        _check_close,
    ),
)
