"""The frame splitter: bytes in chunks of any size in, whole frames out."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.wire.constants import (
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


@dataclass(slots=True)
class Frame:
    """One frame. `raw` is all of it as received, with header and end octet; `payload` lies between them."""

    type: int
    channel: int
    payload: bytes = field(repr=False)
    raw: bytes = field(repr=False)


def encode_frame(type: int, channel: int, payload: bytes) -> bytes:  # noqa: A002 - the protocol's word
    """The bytes of a frame around `payload`."""
    return _HEADER.pack(type, channel, len(payload)) + payload + _END


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
