"""Frames as they are on the wire, one by one and as messages."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from sealgate.layout import mypyc_attr
from sealgate.wire.constants import (
    FRAME_BODY,
    FRAME_END,
    FRAME_HEADER,
    FRAME_HEADER_BYTES,
    FRAME_METHOD,
    FRAME_OVERHEAD_BYTES,
)

_HEADER: Final = struct.Struct(">BHI")
_END: Final = bytes((FRAME_END,))


@dataclass(slots=True, init=False)
class Frame:
    """One frame. `raw` is all of it as received, with header and end octet."""

    type: int
    channel: int
    raw: bytes = field(repr=False)

    def __init__(self, type: int, channel: int, raw: bytes) -> None:  # noqa: A002 - the protocol's word
        self.type = type
        self.channel = channel
        self.raw = raw

    @property
    def payload(self) -> bytes:
        """What lies between header and end octet: a copy, for what is short."""
        return self.raw[FRAME_HEADER_BYTES:-1]

    @property
    def view(self) -> memoryview:
        """The payload without a copy."""
        return memoryview(self.raw)[FRAME_HEADER_BYTES:-1]

    @property
    def payload_size(self) -> int:
        """Octets of the payload."""
        return len(self.raw) - FRAME_OVERHEAD_BYTES


def encode_frame(type: int, channel: int, payload: bytes) -> bytes:  # noqa: A002 - the protocol's word
    """The bytes of a frame around `payload`."""
    return b"%b%b%b" % (_HEADER.pack(type, channel, len(payload)), payload, _END)


@mypyc_attr(acyclic=True, free_list_len=1)
class Whole:
    """A method with its content, all of it, as it lies in the bytes of a peer.

    Its frames begin at `start`, `header_at` and `body_at`; it has one body frame or, when `body_size` is 0,
    none; `stop` is behind the last octet.
    """

    __slots__ = ("body_at", "body_size", "channel", "data", "header_at", "start", "stop")

    def __init__(
        self, data: bytes, channel: int, start: int, header_at: int, body_at: int, body_size: int, stop: int
    ) -> None:
        self.data: Final = data
        self.channel: Final = channel
        self.start: Final = start
        self.header_at: Final = header_at
        self.body_at: Final = body_at
        self.body_size: Final = body_size
        self.stop: Final = stop

    @property
    def method(self) -> bytes:
        """The whole frame of the method."""
        return self.data[self.start : self.header_at]

    @property
    def header_start(self) -> int:
        """Where the payload of the content header begins; it ends an octet before `body_at`."""
        return self.header_at + FRAME_HEADER_BYTES

    @property
    def header(self) -> bytes:
        """The payload of the content header."""
        return self.data[self.header_start : self.body_at - 1]

    @property
    def body(self) -> bytes:
        """The body."""
        if not self.body_size:
            return b""
        return self.data[self.body_at + FRAME_HEADER_BYTES : self.stop - 1]

    def alone(self) -> Whole:
        """The same, cut out of the bytes around it, so that it can be kept without them."""
        start = self.start
        return Whole(
            self.data[start : self.stop],
            self.channel,
            0,
            self.header_at - start,
            self.body_at - start,
            self.body_size,
            self.stop - start,
        )

    def method_frame(self) -> Frame:
        """The frame of the method."""
        return Frame(FRAME_METHOD, self.channel, self.method)

    def header_frame(self) -> Frame:
        """The frame of the content header."""
        return Frame(FRAME_HEADER, self.channel, self.data[self.header_at : self.body_at])

    def body_frames(self) -> list[Frame]:
        """The frame of the body, if there is one."""
        if not self.body_size:
            return []
        return [Frame(FRAME_BODY, self.channel, self.data[self.body_at : self.stop])]
