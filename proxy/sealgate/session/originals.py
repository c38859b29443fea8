"""Content headers as clients sent them, of mandatory publishes that bounds have changed.

The broker may return such a publish, and the client must get back what it sent (protocol.md O5).
"""

from __future__ import annotations

from typing import Final

from sealgate.session.confirms import Seal
from sealgate.session.records import Tally

#: For one connection. With confirms each is let go when the broker answers, so that this is some hundred
#: publishes in flight; without, nobody says when, and the oldest go first.
RETURNABLE_BYTES_MAX: Final = 262_144
#: Memory of an entry beside its bytes.
_ENTRY_BYTES: Final = 512


class Originals:
    """Headers by channel and by the seal of what was sent instead. Counts its memory in `tally`."""

    __slots__ = ("_headers", "_size", "_tally")

    def __init__(self, tally: Tally) -> None:
        self._tally: Final = tally
        #: In the order in which they were sent.
        self._headers: Final[dict[tuple[int, Seal], bytes]] = {}
        self._size = 0

    def keep(self, channel: int, seal: Seal, header: bytes) -> None:
        """Keep a header's payload. Where there is no room the oldest return as they were changed."""
        self.forget(channel, seal)
        self._headers[channel, seal] = header
        self._count(_ENTRY_BYTES + len(header))
        while self._size > RETURNABLE_BYTES_MAX:
            for oldest in self._headers:
                self.forget(*oldest)
                break
            self._tally.limits_hit["returnable_bytes_max"] += 1

    def of(self, channel: int, seal: Seal) -> bytes | None:
        """What the client had sent."""
        return self._headers.get((channel, seal))

    def forget(self, channel: int, seal: Seal) -> None:
        """The broker has answered it."""
        header = self._headers.pop((channel, seal), None)
        if header is not None:
            self._count(-_ENTRY_BYTES - len(header))

    def forget_all(self) -> None:
        """The conversation is over."""
        self._headers.clear()
        self._count(-self._size)

    def _count(self, size: int) -> None:
        self._size += size
        self._tally.buffered_bytes += size
