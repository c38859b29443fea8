"""AMQP 0-9-1 in octets, written a second time: what the simulated peers speak and the oracle reads.

Nothing here is shared with `sealgate.wire`, so that a mistake there is not made here as well.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
HEARTBEAT: Final = 8

START: Final = (10, 10)
START_OK: Final = (10, 11)
TUNE: Final = (10, 30)
TUNE_OK: Final = (10, 31)
OPEN: Final = (10, 40)
OPEN_OK: Final = (10, 41)
CLOSE: Final = (10, 50)
CLOSE_OK: Final = (10, 51)
BLOCKED: Final = (10, 60)
CHANNEL_OPEN: Final = (20, 10)
CHANNEL_OPEN_OK: Final = (20, 11)
CHANNEL_FLOW: Final = (20, 20)
CHANNEL_CLOSE: Final = (20, 40)
CHANNEL_CLOSE_OK: Final = (20, 41)
DECLARE: Final = (50, 10)
DECLARE_OK: Final = (50, 11)
QOS: Final = (60, 10)
QOS_OK: Final = (60, 11)
PUBLISH: Final = (60, 40)
RETURN: Final = (60, 50)
DELIVER: Final = (60, 60)
ACK: Final = (60, 80)
NACK: Final = (60, 120)
SELECT: Final = (85, 10)
SELECT_OK: Final = (85, 11)
TX_SELECT: Final = (90, 10)

NAMES: Final = {
    value: name for name, value in list(globals().items()) if isinstance(value, tuple) and len(value) == 2
}

PREAMBLE: Final = b"AMQP\x00\x00\x09\x01"
FRAME_OVERHEAD: Final = 8


class Frame(NamedTuple):
    """One frame as it was cut."""

    kind: int
    channel: int
    payload: bytes

    @property
    def method(self) -> tuple[int, int]:
        """(class, method); (0, 0) for a frame that is no method."""
        if self.kind != METHOD:
            return 0, 0
        return int.from_bytes(self.payload[:2], "big"), int.from_bytes(self.payload[2:4], "big")

    @property
    def raw(self) -> bytes:
        return frame(*self)

    def __str__(self) -> str:
        if self.kind == METHOD:
            name = NAMES.get(self.method, str(self.method)).lower()
            detail = ""
            if self.method in (ACK, NACK):
                tag, bits = struct.unpack(">QB", self.payload[4:13])
                detail = f" {tag}{' multiple' if bits & 1 else ''}"
            elif self.method in (CLOSE, CHANNEL_CLOSE):
                detail = f" {close_code(self.payload)} {close_text(self.payload)}"
            elif self.method == RETURN:
                detail = f" {int.from_bytes(self.payload[4:6], 'big')}"
            return f"[{self.channel}] {name}{detail}"
        kind = {HEADER: "header", BODY: "body", HEARTBEAT: "heartbeat"}[self.kind]
        return f"[{self.channel}] {kind} of {len(self.payload)} bytes"


class Cutter:
    """Cuts one peer's bytes into frames. Raises AssertionError for what is none."""

    def __init__(self, preamble: bool = False) -> None:
        self._rest = bytearray()
        self.preamble = preamble

    @property
    def rest(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[Frame]:
        rest = self._rest
        rest += data
        frames: list[Frame] = []
        if self.preamble:
            if len(rest) < len(PREAMBLE):
                return frames
            assert bytes(rest[:8]) == PREAMBLE, "the protocol header"
            del rest[:8]
            self.preamble = False
        at = 0
        while len(rest) - at >= 7:
            kind, channel, size = struct.unpack_from(">BHI", rest, at)
            assert kind in (METHOD, HEADER, BODY, HEARTBEAT), f"frame type {kind}"
            stop = at + 7 + size
            if len(rest) <= stop:
                break
            assert rest[stop] == 0xCE, "frame end"
            frames.append(Frame(kind, channel, bytes(rest[at + 7 : stop])))
            at = stop + 1
        if at:
            del rest[:at]
        return frames


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def method(channel: int, name: tuple[int, int], arguments: bytes = b"") -> bytes:
    """A whole method frame."""
    return frame(METHOD, channel, struct.pack(">HH", *name) + arguments)


def short(value: bytes) -> bytes:
    return bytes((len(value),)) + value


def long(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def close_arguments(code: int, text: bytes) -> bytes:
    return struct.pack(">H", code) + short(text) + b"\0\0\0\0"


def close_code(payload: bytes) -> int:
    return int.from_bytes(payload[4:6], "big")


def close_text(payload: bytes) -> str:
    return payload[7 : 7 + payload[6]].decode()


def publish_arguments(exchange: bytes, routing_key: bytes, mandatory: bool) -> bytes:
    return b"\0\0" + short(exchange) + short(routing_key) + bytes((mandatory,))


def tag_arguments(tag: int, multiple: bool) -> bytes:
    """Of basic.ack and basic.nack; both have one octet of bits."""
    return struct.pack(">QB", tag, multiple)


def tag_of(payload: bytes) -> tuple[int, bool]:
    """(tag, multiple) of basic.ack and basic.nack."""
    tag, bits = struct.unpack(">QB", payload[4:13])
    return tag, bool(bits & 1)


def body_size(header: bytes) -> int:
    return int.from_bytes(header[4:12], "big")


#: Octets of a table's value by its type, of those that are used here; -1 stands for a length of four octets.
_SIZES: Final = {"t": 1, "I": 4, "l": 8, "S": -1, "x": -1, "F": -1, "A": -1, "V": 0}


class Header(NamedTuple):
    """A content header taken apart: property octets by index, and the header table's entries in order."""

    size: int
    properties: dict[int, bytes]
    entries: list[tuple[bytes, bytes]]


def read_header(payload: bytes) -> Header:
    """Each entry is (name, the entry's octets with its name)."""
    size, flags = struct.unpack_from(">QH", payload, 4)
    at = 14
    properties: dict[int, bytes] = {}
    entries: list[tuple[bytes, bytes]] = []
    for index in range(14):
        if not flags & 0x8000 >> index:
            continue
        if index == 2:
            length = int.from_bytes(payload[at : at + 4], "big")
            entries = read_table(payload[at + 4 : at + 4 + length])
            at += 4 + length
            continue
        length = {3: 1, 4: 1, 9: 8}.get(index) or 1 + payload[at]
        properties[index] = payload[at : at + length]
        at += length
    assert at == len(payload), "bytes after the properties"
    return Header(size, properties, entries)


def write_header(
    size: int, properties: dict[int, bytes], entries: list[tuple[bytes, bytes]], like: bytes
) -> bytes:
    """The reverse of `read_header`. `like` tells whether there is a table where it would be empty."""
    present = set(properties)
    if entries or like[12] & 0x20:
        present.add(2)
    flags = sum(0x8000 >> index for index in present)
    parts = [b"\0\x3c\0\0", struct.pack(">QH", size, flags)]
    for index in sorted(present):
        parts.append(long(b"".join(item[1] for item in entries)) if index == 2 else properties[index])
    return b"".join(parts)


def read_table(data: bytes) -> list[tuple[bytes, bytes]]:
    entries: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(data):
        start = at
        name = data[at + 1 : at + 1 + data[at]]
        at += 1 + len(name)
        length = _SIZES[chr(data[at])]
        at += 1
        if length < 0:
            length = 4 + int.from_bytes(data[at : at + 4], "big")
        at += length
        entries.append((name, data[start:at]))
    assert at == len(data), "a table's entry is past its end"
    return entries
