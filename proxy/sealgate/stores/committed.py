"""Committed nonces in 85 to 100 octets of memory each, and 24 less with short digests; a dict entry and its
objects took 400.

A nonce is a record of one size, exact and whole, in one of many buckets, each of them a `bytes` object of a
few records. So there is no object per nonce for the garbage collector to walk through, and no table that
grows in leaps: adding a nonce writes one bucket anew, half a kilobyte.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final

from sealgate.stores.names import NAME_BYTES, NONCE_BYTES_MIN, Names

#: Unix seconds in five octets: a moment that a journal can not name is beyond the year 36,000.
_UNTIL_BYTES: Final = 5
UNTIL_MAX: Final = (1 << 8 * _UNTIL_BYTES) - 1
DIGEST_BYTES: Final = 32
_DIGEST_AT: Final = _UNTIL_BYTES + NAME_BYTES
#: In a bucket of a full table: a bucket's own 50 octets are shared by so many, and so many are copied to
#: add one.
_RECORDS_PER_BUCKET: Final = 8
#: Records freed per claim at most: more than one claim can add, so the table shrinks under any load.
_FREED_PER_CLAIM: Final = 4


class _Second:
    """The buckets of the records that end with one second, one for each record."""

    __slots__ = ("indices", "packed")

    def __init__(self, until: int) -> None:
        self.packed: Final = _packed(until)
        self.indices: Final[array[int]] = array("I")


class Committed:
    """`len` counts what is to be remembered still. `forgotten_until` is the latest second that is over: what
    was not to be remembered longer may have been here, whatever the wall clock says since."""

    __slots__ = (
        "_buckets",
        "_by_second",
        "_heads",
        "_keep_from",
        "_live",
        "_mask",
        "_names",
        "_over",
        "_record_bytes",
        "_seconds",
        "_size",
        "forgotten_until",
    )

    def __init__(self, entries_max: int, digest_bytes: int = DIGEST_BYTES) -> None:
        self._record_bytes: Final = _DIGEST_AT + digest_bytes
        self._size: Final = 1 << (entries_max // _RECORDS_PER_BUCKET).bit_length()
        self._buckets: list[bytes] = [b""]
        self._mask = 0
        self._names: Final = Names()
        self._heads: Final = self._names.usual
        self._live = 0
        #: What ends with each second, and these seconds as a heap.
        self._by_second: Final[dict[int, _Second]] = {}
        self._seconds: Final[list[int]] = []
        #: The buckets of records that are over, and not freed yet.
        self._over: Final[list[array[int]]] = []
        self.forgotten_until = -1
        self._keep_from = _packed(0)

    def __len__(self) -> int:
        return self._live

    # Buckets are chosen by Python's own hash, which is keyed by chance at each start: a signer who chooses
    # nonces can not fill one bucket with them.

    def may_have(self, nonce_key: bytes) -> bool:
        """False for nearly all that is not in here, and quick."""
        # Not `in`: of octets that asks first whether they are a number, which makes an exception each time.
        return self._buckets[hash(nonce_key) & self._mask].find(nonce_key[-NONCE_BYTES_MIN:]) >= 0

    def digest(self, nonce_key: bytes, now: float) -> bytes | None:
        """The digest that was committed with a nonce that is to be remembered at `now` (Unix seconds)."""
        name = self._names.short(nonce_key)
        # The last one counts: one that does not may be left before it.
        for record in reversed(self._records(self._buckets[hash(nonce_key) & self._mask])):
            if record[_UNTIL_BYTES:_DIGEST_AT] == name and _until(record) >= now:
                return record[_DIGEST_AT:]
        return None

    def add(self, nonce_key: bytes, digest: bytes, until: int) -> None:
        """Remember a nonce that is not in here, until Unix seconds."""
        second = self._by_second.get(until)
        if second is None:
            if until <= self.forgotten_until:
                # After the wall clock went back. Who asks for it once more is refused with or without it.
                return
            second = self._begin(until)
        head = self._heads.get(nonce_key[:-NONCE_BYTES_MIN])
        if head is None:
            head = self._names.short(nonce_key)[:-NONCE_BYTES_MIN]
        index = hash(nonce_key) & self._mask
        parts = (self._buckets[index], second.packed, head, nonce_key[-NONCE_BYTES_MIN:], digest)
        self._buckets[index] = b"".join(parts)
        second.indices.append(index)
        self._live += 1

    def _begin(self, until: int) -> _Second:
        if self._mask != self._size - 1:
            # Not before the first nonce: where signing sidecars publish none is ever stored.
            self._buckets = [b""] * self._size
            self._mask = self._size - 1
        second = self._by_second[until] = _Second(until)
        heappush(self._seconds, until)
        return second

    def drop(self, nonce_key: bytes) -> None:
        """Forget as if it had never been there. (What counts no more is left to be freed.)"""
        name = self._names.short(nonce_key)
        if not self.may_have(nonce_key):
            return
        index = hash(nonce_key) & self._mask
        kept = []
        for record in self._records(self._buckets[index]):
            if record[_UNTIL_BYTES:_DIGEST_AT] == name and _until(record) > self.forgotten_until:
                self._by_second[_until(record)].indices.remove(index)
                self._live -= 1
            else:
                kept.append(record)
        self._buckets[index] = b"".join(kept)

    def forget(self, now: float, claims: int) -> None:
        """What is over at `now` (Unix seconds) counts no more, and a few are freed for each of `claims`."""
        while self._seconds and self._seconds[0] < now:
            self.forgotten_until = heappop(self._seconds)
            self._keep_from = _packed(self.forgotten_until + 1)
            indices = self._by_second.pop(self.forgotten_until).indices
            self._live -= len(indices)
            self._over.append(indices)
        left = _FREED_PER_CLAIM * claims
        while left and self._over:
            indices = self._over[-1]
            some = indices[-left:]
            del indices[-left:]
            left -= len(some)
            self._free(some)
            if not indices:
                self._over.pop()

    def _free(self, indices: array[int]) -> None:
        """Take a record that is over out of each of these buckets."""
        for index in indices:
            bucket = self._buckets[index]
            # A record begins with its second.
            if bucket < self._keep_from:
                # Nearly always: records come in the order in which they go.
                self._buckets[index] = bucket[self._record_bytes :]
            else:
                self._buckets[index] = self._without_one(bucket)

    def _without_one(self, bucket: bytes) -> bytes:
        size = self._record_bytes
        for at in range(size, len(bucket), size):
            if bucket[at : at + _UNTIL_BYTES] < self._keep_from:
                return bucket[:at] + bucket[at + size :]
        return bucket

    def _records(self, bucket: bytes) -> list[bytes]:
        size = self._record_bytes
        return [bucket[at : at + size] for at in range(0, len(bucket), size)]

    def records(self) -> Iterator[tuple[bytes, bytes, int]]:
        """`nonce_key`, digest and `remember_until` of all that counts when its turn comes."""
        for index in range(len(self._buckets)):
            for record in self._records(self._buckets[index]):
                until = _until(record)
                # The bucket may have been written anew since the last one was asked for.
                if until > self.forgotten_until and record in self._buckets[index]:
                    yield self._names.long(record[_UNTIL_BYTES:_DIGEST_AT]), record[_DIGEST_AT:], until


def _packed(until: int) -> bytes:
    return until.to_bytes(_UNTIL_BYTES, "big")


def _until(record: bytes) -> int:
    return int.from_bytes(record[:_UNTIL_BYTES], "big")
