"""Random octets, asked for in advance: asking the system takes longer than all else of a nonce."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: Of 256 nonces. They are no secrets, so nothing is wrong with those that lie ready.
_POOL_BYTES: Final = 4096


class RandomPool:
    """Gives out what `rng` gives, each octet once. A process that forks must not use it on both sides."""

    __slots__ = ("_at", "_pool", "_rng")

    def __init__(self, rng: Callable[[int], bytes]) -> None:
        self._rng: Final = rng
        self._pool = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next `size` octets, a few."""
        at = self._at
        end = at + size
        if end > len(self._pool):
            assert size <= _POOL_BYTES
            self._pool = self._rng(_POOL_BYTES)
            at = 0
            end = size
        self._at = end
        return self._pool[at:end]
