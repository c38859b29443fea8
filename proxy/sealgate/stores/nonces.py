"""The memory store's table of nonces: leased or committed, each until its own moment.

They are counted by the second until which they must be remembered. There are few such seconds at a time (the
freshness window), so forgetting is cheap, and a released nonce leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, unique
from heapq import heappop, heappush
from typing import Final, NamedTuple

from sealgate.stores.compact import DIGEST_BYTES, SECOND_MAX, CompactTable


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
    """Leased nonces as objects, committed ones in compact tables, one for each length of key.

    `forgotten_until` is the latest second whose nonces were forgotten: what was not to be remembered longer
    than that may have been here, whatever the wall clock says since. What is forgotten is counted no more;
    its octets are taken out a little later. A key is in one place only.
    """

    __slots__ = ("_by_second", "_compact", "_count", "_entries", "_seconds", "_walk", "forgotten_until")

    def __init__(self) -> None:
        self._entries: Final[dict[bytes, NonceEntry]] = {}
        self._compact: Final[dict[int, CompactTable]] = {}
        self._by_second: Final[dict[int, int]] = {}
        self._seconds: Final[list[int]] = []
        self._count = 0
        self._walk: Iterator[bytes] = iter(())
        self.forgotten_until = -1

    def __len__(self) -> int:
        return self._count

    def get(self, nonce_key: bytes) -> NonceEntry | None:
        entry = self._entries.get(nonce_key)
        if entry is not None:
            return entry
        table = self._compact.get(len(nonce_key))
        found = None if table is None else table.get(nonce_key)
        return None if found is None else NonceEntry(found[0], found[1], 0, None)

    def put(self, nonce_key: bytes, entry: NonceEntry) -> None:
        """Remember `entry`, in place of what was there."""
        self.drop(nonce_key)
        self.add(nonce_key, entry)

    def add(self, nonce_key: bytes, entry: NonceEntry) -> None:
        """As `put`, for a nonce that is not here: `get` has just found none."""
        second = entry.remember_until
        self._count += 1
        before = self._by_second.get(second)
        if before is None:
            heappush(self._seconds, second)
            before = 0
        self._by_second[second] = before + 1
        self._store(nonce_key, entry)

    def _store(self, nonce_key: bytes, entry: NonceEntry) -> None:
        if (
            entry.lease_until is None
            and len(entry.digest) == DIGEST_BYTES
            and 0 <= entry.remember_until <= SECOND_MAX
        ):
            length = len(nonce_key)
            table = self._compact.get(length)
            if table is None:
                table = self._compact[length] = CompactTable(length)
            table.add(nonce_key, entry.digest, entry.remember_until)
        else:
            self._entries[nonce_key] = entry

    def commit(self, nonce_key: bytes, digest: bytes, remember_until: int) -> None:
        """Remember that the message with this digest reached the broker, whoever holds the nonce."""
        entry = self._entries.get(nonce_key)
        if entry is not None and entry.digest == digest and entry.remember_until == remember_until:
            # Nearly always: the lease that the claim was granted.
            del self._entries[nonce_key]
            entry.lease_until = None
            self._store(nonce_key, entry)
        else:
            self.put(nonce_key, NonceEntry(digest, remember_until, 0, None))

    def drop(self, nonce_key: bytes) -> None:
        """Forget as if it had never been there (a release)."""
        entry = self.get(nonce_key)
        if entry is None:
            return
        if self._entries.pop(nonce_key, None) is None:
            self._compact[len(nonce_key)].drop(nonce_key)
        left = self._by_second.get(entry.remember_until, 0)
        if left:
            # Else its second was forgotten, and it with it.
            self._by_second[entry.remember_until] = left - 1
            self._count -= 1

    def forget(self, now: float, claims: int = 1) -> None:
        """Forget the nonces whose moment is over at `now` (Unix seconds); work in proportion to `claims`."""
        while self._seconds and self._seconds[0] < now:
            second = heappop(self._seconds)
            self.forgotten_until = max(self.forgotten_until, second)
            self._count -= self._by_second.pop(second)
        over = len(self._entries) - self._count
        for table in self._compact.values():
            over += table.count
        if over > 0:
            self._sweep(now, min(claims, over))

    def _sweep(self, now: float, steps: int) -> None:
        """Take out what is forgotten: from each table a bucket per step, and a lease that nobody ended."""
        for _ in range(steps):
            for table in self._compact.values():
                if table.count:
                    table.sweep(now)
            leased = next(self._walk, None)
            if leased is None:
                self._walk = iter(list(self._entries))
            else:
                entry = self._entries.get(leased)
                if entry is not None and entry.remember_until < now:
                    del self._entries[leased]

    def keys(self) -> Iterator[bytes]:
        """All keys, while others come and go; one may come twice."""
        leased, tables = list(self._entries), list(self._compact.values())
        yield from leased
        for table in tables:
            yield from table.keys()

    def remembered(self, nonce_key: bytes) -> Remembered | None:
        """The record of a nonce, leased or committed; None when it is gone."""
        entry = self.get(nonce_key)
        if entry is None:
            return None
        fate = Fate.COMMITTED if entry.lease_until is None else Fate.LEASED
        return Remembered(nonce_key, entry.digest, entry.remember_until, fate)
