"""Method arguments, one after the other: the reader that checks each length first, and the encoders."""

from __future__ import annotations

import struct
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.wire.constants import SHORT_TEXT_BYTES_MAX

_U16: Final = struct.Struct(">H")
_U32: Final = struct.Struct(">I")
_METHOD_ID_BYTES: Final = 4


class Arguments:
    """Reads a method's arguments in order. Raises `GateError` frame.truncated when they end too early."""

    __slots__ = ("_at", "_payload")

    def __init__(self, payload: bytes) -> None:
        self._payload: Final = payload
        self._at = 0
        self._take(_METHOD_ID_BYTES)

    def octet(self) -> int:
        return self._payload[self._take(1)]

    def u16(self) -> int:
        return int(_U16.unpack_from(self._payload, self._take(2))[0])

    def u32(self) -> int:
        return int(_U32.unpack_from(self._payload, self._take(4))[0])

    def short_bytes(self) -> bytes:
        size = self.octet()
        start = self._take(size)
        return self._payload[start : start + size]

    def short_text(self) -> str:
        """A short string that is only shown: what is not UTF-8 becomes replacement characters."""
        return self.short_bytes().decode(errors="replace")

    def long_bytes(self) -> bytes:
        start, end = self.long_span()
        return self._payload[start:end]

    def long_span(self) -> tuple[int, int]:
        """Where a long string or a table lies in the payload, without its four-byte length."""
        size = self.u32()
        start = self._take(size)
        return start, start + size

    def finish(self) -> None:
        """No more arguments. Raises `GateError` frame.trailing."""
        if self._at != len(self._payload):
            raise GateError(
                Reason.FRAME_TRAILING, f"{len(self._payload) - self._at} bytes after the arguments"
            )

    def _take(self, size: int) -> int:
        """Step over `size` bytes; returns where they begin."""
        start = self._at
        if start + size > len(self._payload):
            raise GateError(Reason.FRAME_TRUNCATED, "method arguments")
        self._at = start + size
        return start


def encode_short_text(text: str) -> bytes:
    """A short string of at most 255 bytes, as every exchange and routing key that was read is."""
    value = text.encode()
    assert len(value) <= SHORT_TEXT_BYTES_MAX
    return bytes((len(value),)) + value


def encode_reply_text(text: str) -> bytes:
    """A short string of a text of any length, cut after the last character that still fits."""
    value = text.encode(errors="replace")
    if len(value) > SHORT_TEXT_BYTES_MAX:
        value = value[:SHORT_TEXT_BYTES_MAX].decode(errors="ignore").encode()
    return bytes((len(value),)) + value
