"""Bytes of a peer as they came, in pieces of any size. Only what must lie in one is put together."""

from __future__ import annotations

from typing import Final

#: Pieces of up to so many bytes are put together as they come.
_DRIBBLE_BYTES_MAX: Final = 1024
#: What is left is copied when so many times as much was given out.
_SPENT_PARTS: Final = 4


class Pieces:
    """What came and was not taken yet. Who takes it reads in `_data` from `_at` on, and moves `_at`.

    A piece is read where it is. What begins in one and ends in another is copied once, and nothing behind it:
    else every message of a stream would be copied for the sake of those between two reads.
    """

    __slots__ = ("_at", "_data", "_dribble", "_pending", "_pending_at", "_pending_bytes")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0
        #: Pieces behind `_data`; of the first of them what lies before `_pending_at` is there already.
        self._pending: Final[list[bytes]] = []
        self._pending_at = 0
        self._pending_bytes = 0
        #: Small pieces, behind all others: an object for each is many times its size.
        self._dribble: Final = bytearray()

    @property
    def buffered(self) -> int:
        """Bytes fed and not yet given out."""
        return len(self._data) - self._at + self._pending_bytes

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the peer."""
        if self._at == len(self._data) and not self._pending_bytes:
            self._data = data
            self._at = 0
            return
        self._pending_bytes += len(data)
        if len(data) <= _DRIBBLE_BYTES_MAX:
            self._dribble.extend(data)
            return
        self._end_dribble()
        self._pending.append(data)

    def spent(self) -> bool:
        """Whether nothing is left of all that was fed; then nothing of it is kept either."""
        if self._at < len(self._data):
            return False
        if self._pending_bytes:
            self._turn()
            return False
        self._data = b""
        self._at = 0
        return True

    def rest(self) -> bytes:
        """Everything fed and not yet given out, once no more frames are wanted."""
        self._available(self.buffered)
        rest = self._data[self._at :]
        self._data = b""
        self._at = 0
        return rest

    def _available(self, needed: int) -> bool:
        """Whether `needed` bytes have come; then they lie at `_at` in `_data`."""
        if len(self._data) - self._at >= needed:
            return True
        if not self._pending_bytes or self.buffered < needed:
            return False
        if self._at == len(self._data):
            self._turn()
            return self._available(needed)
        self._join(needed)
        return True

    def _turn(self) -> None:
        """All of `_data` is taken: the next piece has its turn."""
        if not self._pending:
            self._end_dribble()
        data = self._pending.pop(0)
        self._data = data
        self._at = self._pending_at
        self._pending_at = 0
        self._pending_bytes -= len(data) - self._at

    def _join(self, needed: int) -> None:
        """Make `_data` the next `needed` bytes, which have come, and nothing else."""
        self._end_dribble()
        parts: list[memoryview] = [memoryview(self._data)[self._at :]]
        missing = needed - (len(self._data) - self._at)
        self._pending_bytes -= missing
        while missing:
            piece = self._pending[0]
            start = self._pending_at
            stop = min(start + missing, len(piece))
            parts.append(memoryview(piece)[start:stop])
            missing -= stop - start
            if stop == len(piece):
                self._pending.pop(0)
                stop = 0
            self._pending_at = stop
        self._data = b"".join(parts)
        self._at = 0

    def _let_go(self) -> None:
        """Do not keep all the bytes that came, until others do, for a few of them or none."""
        rest = len(self._data) - self._at
        if rest <= self._at // _SPENT_PARTS:
            self._data = self._data[self._at :]
            self._at = 0

    def _end_dribble(self) -> None:
        if self._dribble:
            self._pending.append(bytes(self._dribble))
            self._dribble.clear()
