"""The frame splitter: bytes in chunks of any size in, whole frames out."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from sealgate.reason import GateError, Reason
from sealgate.wire.constants import (
    BODY_SIZE_LOWER_AT,
    CONTENT_BEGINNING,
    FRAME_BODY,
    FRAME_END,
    FRAME_HEADER,
    FRAME_HEADER_BYTES,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    FRAME_OVERHEAD_BYTES,
)
from sealgate.wire.frames import Frame, Whole
from sealgate.wire.numbers import u16, u32
from sealgate.wire.pieces import Pieces

if TYPE_CHECKING:
    from mypy_extensions import i64

_HEADER: Final = struct.Struct(">BHI")
_METHOD_BYTES_MIN: Final = FRAME_OVERHEAD_BYTES + 4
#: What a method's frame begins with: type, channel, size, and which method it is.
_METHOD_HEAD_BYTES: Final = FRAME_HEADER_BYTES + 4
#: Frames of a run that are looked at in one step: who can take the first alone has the rest looked at again.
_RUN_MAX: Final = 32
_BEGINNING_UPPER: Final = u32(CONTENT_BEGINNING, 0)
_BEGINNING_LOWER: Final = u32(CONTENT_BEGINNING, 4)
_CONTENT_HEADER_BYTES_MIN: Final = FRAME_OVERHEAD_BYTES + 14
#: exchange, queue and basic: whatever their methods do, no channel opens, closes or changes its mode.
_MESSAGE_CLASSES: Final = frozenset({40, 50, 60})
#: Of a content header's frame as much as tells how large the body is.
_CONTENT_HEAD_BYTES: Final = FRAME_HEADER_BYTES + BODY_SIZE_LOWER_AT + 4
#: More octets than any message has.
_NO_EXTENT: Final = 1 << 40
#: Of a `basic.ack`: its id, tag and flags.
_ACK_BYTES: Final = 13


class FrameSplitter(Pieces):
    """Splits the bytes of one peer into frames.

    `payload_bytes_max` bounds a frame's payload and may be set anew at any time (after tuning). A larger one
    is refused when the seven bytes of its header are there, before its payload is waited for. Fed bytes that
    were not yet asked for are kept: whoever feeds without asking bounds them by `buffered`.
    """

    __slots__ = ("_error", "payload_bytes_max")

    def __init__(self, payload_bytes_max: int) -> None:
        super().__init__()
        self.payload_bytes_max = payload_bytes_max
        self._error: GateError | None = None

    def next(self) -> Frame | None:
        """The next whole frame, or None when more bytes are needed.

        Raises `GateError` (frame.type, frame.size, frame.end), and the same again for ever after.
        """
        if self._error is not None:
            raise GateError(self._error.reason, self._error.detail)
        try:
            frame = self._cut()
            if frame is None and self._at:
                self._let_go()
            return frame
        except GateError as error:
            self._error = error
            raise

    def whole(self, method: bytes) -> Whole | None:
        """The `method` (its id) with its content that lies next, all of it in order and here.

        None for whatever else lies next. It stays where it is: `skip` takes it, else its frames come one by
        one.
        """
        if self._error is not None:
            return None
        whole = self._whole(method)
        if whole is None and self._pending_bytes:
            extent = self._extent(method)
            if extent > 0 and self._available(extent):
                return self._whole(method)
        return whole

    def begins(self, method: bytes, bytes_max: int) -> bool:
        """Whether all that is left may be the beginning of a `method` with its content, in one body frame.

        Of no more than `bytes_max` in all. What is all here begins nothing: it is to be taken, in whatever
        frames it came.
        """
        if self._error is not None or self.buffered > bytes_max:
            return False
        extent = self._extent(method)
        return not extent or self.buffered < extent <= bytes_max

    def _extent(self, method: bytes) -> int:
        """Octets of the `method` with its content that lies next; 0 while there are too few to tell.

        `_NO_EXTENT` for whatever else lies next. Only `_whole` knows whether all of it is in order.
        """
        if not self._available(1):
            return 0
        if self._data[self._at] != FRAME_METHOD:
            return _NO_EXTENT
        if not self._available(_METHOD_HEAD_BYTES):
            return 0
        size = u32(self._data, self._at + 3)
        if size > self.payload_bytes_max or u32(self._data, self._at + FRAME_HEADER_BYTES) != u32(method, 0):
            return _NO_EXTENT
        header = size + FRAME_OVERHEAD_BYTES
        if not self._available(header + _CONTENT_HEAD_BYTES):
            return 0
        at = self._at + header
        size = u32(self._data, at + 3)
        if (
            self._data[at] != FRAME_HEADER
            or size > self.payload_bytes_max
            or u32(self._data, at + FRAME_HEADER_BYTES) != _BEGINNING_UPPER
            or u32(self._data, at + FRAME_HEADER_BYTES + 4) != _BEGINNING_LOWER
        ):
            return _NO_EXTENT
        body = header + size + FRAME_OVERHEAD_BYTES
        size = u32(self._data, at + FRAME_HEADER_BYTES + BODY_SIZE_LOWER_AT)
        if size > self.payload_bytes_max:
            return _NO_EXTENT
        return body + size + FRAME_OVERHEAD_BYTES if size else body

    def _whole(self, method: bytes) -> Whole | None:
        """As `whole`, of what lies in `_data`."""
        data = self._data
        start: i64 = self._at
        header_at = self._frame_end(start, FRAME_METHOD)
        if header_at < start + _METHOD_BYTES_MIN or u32(data, start + FRAME_HEADER_BYTES) != u32(method, 0):
            return None
        channel = u16(data, start + 1)
        body_at = self._content_header_end(header_at, channel)
        if body_at < 0:
            return None
        size = u32(data, header_at + FRAME_HEADER_BYTES + BODY_SIZE_LOWER_AT)
        stop = self._body_end(body_at, size, channel)
        if stop < 0:
            return None
        return Whole(data, channel, start, header_at, body_at, size, stop)

    def skip(self, whole: Whole) -> None:
        """Take what `whole` has just found."""
        self._at = whole.stop

    def skip_alike(self, whole: Whole, body_bytes_max: int) -> int:
        """Take what `whole` has just found, and what follows that is like it; returns where that ends.

        Like it: the same method on the same channel, its frame as large, with its content, all of it in order
        and here; the body no larger than `body_bytes_max`.
        """
        data = self._data
        start = whole.start
        method_bytes = whole.header_at - start
        head = data[start : start + _METHOD_HEAD_BYTES]
        at: i64 = whole.stop
        while True:
            header_at = at + method_bytes
            if (
                header_at > len(data)
                or data[at : at + _METHOD_HEAD_BYTES] != head
                or data[header_at - 1] != FRAME_END
            ):
                break
            body_at = self._content_header_end(header_at, whole.channel)
            if body_at < 0:
                break
            size = u32(data, header_at + FRAME_HEADER_BYTES + BODY_SIZE_LOWER_AT)
            stop = self._body_end(body_at, size, whole.channel)
            if stop < 0 or size > body_bytes_max:
                break
            at = stop
        self._at = at
        return at

    def method_ahead(self) -> int:
        """The id of the method whose frame, all here, lies next; 0 for whatever else does."""
        start = self._at
        stop = self._frame_end(start, FRAME_METHOD)
        if self._error is not None or stop < start + _METHOD_BYTES_MIN:
            return 0
        return u32(self._data, start + FRAME_HEADER_BYTES)

    def channel_ahead(self) -> int:
        """The channel of the frame that lies next, which is here."""
        return (self._data[self._at + 1] << 8) | self._data[self._at + 2]

    def ack_ahead(self) -> tuple[int, bool]:
        """Delivery tag and `multiple` of the `basic.ack` that `method_ahead` has found; 0 of a wrong one."""
        data = self._data
        at = self._at + FRAME_HEADER_BYTES
        if u32(data, at - 4) != _ACK_BYTES:
            return 0, False
        return (u32(data, at + 4) << 32) | u32(data, at + 8), data[at + 12] & 1 != 0

    def take_method(self) -> tuple[bytes, int, int]:
        """Take the frame that `method_ahead` has found: bytes, and where in these it begins and ends."""
        start = self._at
        self._at = start + u32(self._data, start + 3) + FRAME_OVERHEAD_BYTES
        return self._data, start, self._at

    def alike_ahead(self) -> tuple[bytes, int, int]:
        """The method's frame that `method_ahead` has found, and some of those behind it that are like it.

        Like it: the same method on the same channel, its frame as large, all of it in order and here. Returns
        bytes, and where in these the frames begin and end; they stay where they are: `skip_to` takes them.
        """
        data = self._data
        start = self._at
        size = u32(data, start + 3) + FRAME_OVERHEAD_BYTES
        head = data[start : start + _METHOD_HEAD_BYTES]
        at = start + size
        for _ in range(_RUN_MAX):
            stop = at + size
            if stop > len(data) or data[at : at + _METHOD_HEAD_BYTES] != head or data[stop - 1] != FRAME_END:
                break
            at = stop
        return data, start, at

    def skip_to(self, at: int) -> None:
        """Take the frames that `alike_ahead` has found, those that end at `at` or before."""
        self._at = at

    def stretch(self, methods: bool, apart: frozenset[int] | None = None) -> tuple[bytes, int, int]:
        """Take the frames that come next, as long as they are whole and in order and on a channel above 0.

        With `methods` all kinds of them; without, content, and methods of the classes that deal with messages
        alone; never one whose id is in `apart`. Returns bytes, and where in these the frames begin and end:
        nowhere when there are none.
        """
        data = self._data
        start = self._at
        if self._error is not None:
            return data, start, start
        at = start
        length = len(data)
        size_max = self.payload_bytes_max
        while at + FRAME_OVERHEAD_BYTES <= length:
            kind = data[at]
            size = u32(data, at + 3)
            stop = at + size + FRAME_OVERHEAD_BYTES
            if stop > length or size > size_max or data[stop - 1] != FRAME_END:
                break
            if not data[at + 1] and not data[at + 2]:
                break
            if kind == FRAME_METHOD:
                if not methods and (size < 4 or data[at + 7] or data[at + 8] not in _MESSAGE_CLASSES):
                    break
                if apart is not None and (size < 4 or u32(data, at + FRAME_HEADER_BYTES) in apart):
                    break
            elif kind != FRAME_HEADER and kind != FRAME_BODY:
                break
            at = stop
        self._at = at
        return data, start, at

    def _frame_end(self, at: i64, kind: i64) -> i64:
        """Where the frame at `at` ends; -1 when it is not of this `kind`, not all here or not in order."""
        data = self._data
        if at + FRAME_OVERHEAD_BYTES > len(data) or data[at] != kind:
            return -1
        size = u32(data, at + 3)
        stop = at + size + FRAME_OVERHEAD_BYTES
        if size > self.payload_bytes_max or stop > len(data) or data[stop - 1] != FRAME_END:
            return -1
        return stop

    def _content_header_end(self, at: i64, channel: i64) -> i64:
        """Where the content header at `at` ends; -1 for whatever is none of `channel`, all here, in order.

        Or announces a body of 4 GiB.
        """
        data = self._data
        stop = self._frame_end(at, FRAME_HEADER)
        content_at = at + FRAME_HEADER_BYTES
        if (
            stop < at + _CONTENT_HEADER_BYTES_MIN
            or u16(data, at + 1) != channel
            or u32(data, content_at) != _BEGINNING_UPPER
            or u32(data, content_at + 4) != _BEGINNING_LOWER
        ):
            return -1
        return stop

    def _body_end(self, at: i64, size: i64, channel: i64) -> i64:
        """Where the one frame ends that holds a body of `size`; -1 when it does not lie at `at`."""
        if not size:
            return at
        stop = self._frame_end(at, FRAME_BODY)
        if stop != at + size + FRAME_OVERHEAD_BYTES or u16(self._data, at + 1) != channel:
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
        # Compiled, a slice of all bytes is a copy of them.
        return Frame(kind, channel, data if stop - start == len(data) else data[start:stop])
