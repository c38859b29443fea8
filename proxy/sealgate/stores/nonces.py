"""The memory store's table of nonces: leased or committed, each until its own moment.

Nonces are indexed by the second until which they must be remembered. There are few such seconds at a time
(the freshness window), so forgetting is cheap and a released nonce leaves nothing behind.
"""

from __future__ import annotations

from enum import Enum, unique
from heapq import heappop, heappush
from typing import Final, NamedTuple

#: Nonces forgotten per claim at most: more than one claim can add, so the table shrinks under any load.
_FORGET_PER_CLAIM_MAX: Final = 4


@unique
class Fate(Enum):
    """What became of a nonce; the value is the mark of its line in the journal."""

    COMMITTED = b""
    LEASED = b"L"
    RELEASED = b"R"


class Remembered(NamedTuple):
    """What the journal is told of a nonce. `remember_until` in Unix seconds."""

    nonce_key: bytes
    digest: bytes
    remember_until: int
    fate: Fate = Fate.COMMITTED


class NonceEntry:
    """`lease_until` is on the monotonic clock, and None once committed."""

    __slots__ = ("digest", "lease_until", "owner", "remember_until")

    def __init__(self, digest: bytes, remember_until: int, owner: int, lease_until: float | None) -> None:
        self.digest: Final = digest
        self.remember_until: Final = remember_until
        self.owner: Final = owner
        self.lease_until = lease_until


class NonceTable:
    """`forgotten_until` is the latest second whose nonces were forgotten: what was not to be remembered
    longer than that may have been here, whatever the wall clock says since."""

    __slots__ = ("_by_second", "_entries", "_seconds", "forgotten_until")

    def __init__(self) -> None:
        self._entries: Final[dict[bytes, NonceEntry]] = {}
        self._by_second: Final[dict[int, set[bytes]]] = {}
        self._seconds: Final[list[int]] = []
        self.forgotten_until = -1

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, nonce_key: bytes) -> NonceEntry | None:
        return self._entries.get(nonce_key)

    def put(self, nonce_key: bytes, entry: NonceEntry) -> None:
        """Remember `entry`, in place of what was there."""
        before = self._entries.get(nonce_key)
        self._entries[nonce_key] = entry
        if before is not None:
            if before.remember_until == entry.remember_until:
                return
            self._by_second[before.remember_until].discard(nonce_key)
        same_second = self._by_second.get(entry.remember_until)
        if same_second is None:
            same_second = self._by_second[entry.remember_until] = set()
            heappush(self._seconds, entry.remember_until)
        same_second.add(nonce_key)

    def drop(self, nonce_key: bytes) -> None:
        """Forget as if it had never been there (a release)."""
        entry = self._entries.pop(nonce_key, None)
        if entry is not None:
            self._by_second[entry.remember_until].discard(nonce_key)

    def forget(self, now: float, claims: int = 1) -> None:
        """Forget a few of the nonces whose moment is over at `now` (Unix seconds), for so many `claims`."""
        budget = _FORGET_PER_CLAIM_MAX * claims
        while budget and self._seconds and self._seconds[0] < now:
            second = self._seconds[0]
            keys = self._by_second[second]
            self.forgotten_until = max(self.forgotten_until, second)
            while keys and budget:
                del self._entries[keys.pop()]
                budget -= 1
            if not keys and budget:
                heappop(self._seconds)
                del self._by_second[second]
                budget -= 1

    def keys(self) -> list[bytes]:
        return list(self._entries)

    def remembered(self, nonce_key: bytes) -> Remembered | None:
        """The record of a nonce, leased or committed; None when it is gone."""
        entry = self._entries.get(nonce_key)
        if entry is None:
            return None
        fate = Fate.COMMITTED if entry.lease_until is None else Fate.LEASED
        return Remembered(nonce_key, entry.digest, entry.remember_until, fate)
