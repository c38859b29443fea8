"""The frame splitter: bytes in chunks of any size in, whole frames out."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.wire.constants import (
    BASIC_PUBLISH,
    FRAME_BODY,
    FRAME_END,
    FRAME_HEADER,
    FRAME_HEADER_BYTES,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    FRAME_OVERHEAD_BYTES,
)

_HEADER: Final = struct.Struct(">BHI")
_END: Final = bytes((FRAME_END,))
_PUBLISH: Final = BASIC_PUBLISH.to_bytes(4, "big")
#: A publish with empty names: its id, the ticket, two lengths and the bits.
_PUBLISH_BYTES_MIN: Final = FRAME_OVERHEAD_BYTES + 9
_CONTENT_HEADER_BYTES_MIN: Final = FRAME_OVERHEAD_BYTES + 14
_BODY_SIZE_AT: Final = 4
_NO_SIZE: Final = b"\x00\x00\x00\x00"


def _u32(data: bytes, at: int) -> int:
    return (data[at] << 24) | (data[at + 1] << 16) | (data[at + 2] << 8) | data[at + 3]


@dataclass(slots=True, init=False)
class Frame:
    """One frame. `raw` is all of it as received, with header and end octet; `payload` lies between them."""

    type: int
    channel: int
    payload: bytes = field(repr=False)
    raw: bytes = field(repr=False)

    def __init__(self, type: int, channel: int, payload: bytes, raw: bytes) -> None:  # noqa: A002
        self.type = type
        self.channel = channel
        self.payload = payload
        self.raw = raw


def encode_frame(type: int, channel: int, payload: bytes) -> bytes:  # noqa: A002 - the protocol's word
    """The bytes of a frame around `payload`."""
    return _HEADER.pack(type, channel, len(payload)) + payload + _END


class Whole:
    """A whole publish as it lies in the bytes of a peer.

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
    def header(self) -> bytes:
        """The payload of the content header."""
        return self.data[self.header_at + FRAME_HEADER_BYTES : self.body_at - 1]

    @property
    def body(self) -> bytes:
        """The body."""
        if not self.body_size:
            return b""
        return self.data[self.body_at + FRAME_HEADER_BYTES : self.stop - 1]

    def frames(self) -> list[Frame]:
        """Method, header and body, if any, as frames of their own."""
        ends = [self.start, self.header_at, self.body_at]
        if self.body_size:
            ends.append(self.stop)
        kinds = (FRAME_METHOD, FRAME_HEADER, FRAME_BODY)
        found: list[Frame] = []
        for number in range(len(ends) - 1):
            raw = self.data[ends[number] : ends[number + 1]]
            found.append(Frame(kinds[number], self.channel, raw[FRAME_HEADER_BYTES:-1], raw))
        return found


class FrameSplitter:
    """Splits the bytes of one peer into frames.

    `payload_bytes_max` bounds a frame's payload and may be set anew at any time (after tuning). A larger one
    is refused when the seven bytes of its header are there, before its payload is waited for. Fed bytes that
    were not yet asked for are kept: whoever feeds without asking bounds them by `buffered`.
    """

    __slots__ = ("_at", "_data", "_error", "_pending", "payload_bytes_max")

    def __init__(self, payload_bytes_max: int) -> None:
        self.payload_bytes_max = payload_bytes_max
        #: Frames are cut from `_data` at `_at`. What comes while that has bytes left waits in `_pending`; the
        #: two are joined at most twice per frame, so bytes that dribble in are not copied over and over.
        self._data = b""
        self._at = 0
        self._pending: Final = bytearray()
        self._error: GateError | None = None

    @property
    def buffered(self) -> int:
        """Bytes fed and not yet given out."""
        return len(self._data) - self._at + len(self._pending)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the peer."""
        if self._at == len(self._data) and not self._pending:
            self._data = data
            self._at = 0
        else:
            self._pending.extend(data)

    def rest(self) -> bytes:
        """Everything fed and not yet given out, once no more frames are wanted."""
        rest = self._data[self._at :] + bytes(self._pending)
        self._data = b""
        self._at = 0
        self._pending.clear()
        return rest

    def next(self) -> Frame | None:
        """The next whole frame, or None when more bytes are needed.

        Raises `GateError` (frame.type, frame.size, frame.end), and the same again for ever after.
        """
        if self._error is not None:
            raise GateError(self._error.reason, self._error.detail)
        try:
            return self._cut()
        except GateError as error:
            self._error = error
            raise

    def whole_publish(self) -> Whole | None:
        """The publish that lies next, all of it in order and here; None for whatever else does.

        It stays where it is: `skip` takes it, else its frames come one by one.
        """
        if self._error is not None:
            return None
        data = self._data
        start = self._at
        header_at = self._frame_end(start, FRAME_METHOD)
        if header_at < start + _PUBLISH_BYTES_MIN or data[start + 7 : start + 11] != _PUBLISH:
            return None
        body_at = self._frame_end(header_at, FRAME_HEADER)
        if (
            body_at < header_at + _CONTENT_HEADER_BYTES_MIN
            or data[start + 1 : start + 3] != (data[header_at + 1 : header_at + 3])
        ):
            return None
        channel = (data[start + 1] << 8) | data[start + 2]
        size_at = header_at + FRAME_HEADER_BYTES + _BODY_SIZE_AT
        if data[size_at : size_at + 4] != _NO_SIZE:
            return None
        size = _u32(data, size_at + 4)
        if not size:
            return Whole(data, channel, start, header_at, body_at, 0, body_at)
        stop = self._frame_end(body_at, FRAME_BODY)
        if (
            stop != body_at + size + FRAME_OVERHEAD_BYTES
            or data[start + 1 : start + 3] != (data[body_at + 1 : body_at + 3])
        ):
            return None
        return Whole(data, channel, start, header_at, body_at, size, stop)

    def skip(self, whole: Whole) -> None:
        """Take the publish that `whole_publish` has just found."""
        self._at = whole.stop

    def _frame_end(self, at: int, kind: int) -> int:
        """Where the frame at `at` ends; -1 when it is not of this `kind`, not all here or not in order."""
        data = self._data
        if at + FRAME_OVERHEAD_BYTES > len(data) or data[at] != kind:
            return -1
        size = _u32(data, at + 3)
        stop = at + size + FRAME_OVERHEAD_BYTES
        if size > self.payload_bytes_max or stop > len(data) or data[stop - 1] != FRAME_END:
            return -1
        return stop

    def _cut(self) -> Frame | None:
        if not self._available(FRAME_HEADER_BYTES):
            return None
        kind, channel, size = _HEADER.unpack_from(self._data, self._at)
        if kind != FRAME_METHOD and kind != FRAME_BODY and kind != FRAME_HEADER and kind != FRAME_HEARTBEAT:
            raise GateError(Reason.FRAME_TYPE, f"frame type {kind}")
        if size > self.payload_bytes_max:
            raise GateError(Reason.FRAME_SIZE, f"a payload of {size} bytes, over {self.payload_bytes_max}")
        if size and kind == FRAME_HEARTBEAT:
            raise GateError(Reason.FRAME_SIZE, "heartbeat with a payload")
        if not self._available(size + FRAME_OVERHEAD_BYTES):
            return None
        start = self._at
        stop = start + size + FRAME_OVERHEAD_BYTES
        data = self._data
        if data[stop - 1] != FRAME_END:
            raise GateError(Reason.FRAME_END, "frame end octet")
        self._at = stop
        return Frame(kind, channel, data[start + FRAME_HEADER_BYTES : stop - 1], data[start:stop])

    def _available(self, needed: int) -> bool:
        """Whether `needed` bytes lie at `_at` in `_data`; joins what is pending when that makes it so."""
        if len(self._data) - self._at >= needed:
            return True
        if not self._pending or self.buffered < needed:
            return False
        self._data = self._data[self._at :] + bytes(self._pending)
        self._at = 0
        self._pending.clear()
        return True
