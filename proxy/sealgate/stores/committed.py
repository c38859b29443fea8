"""Committed nonces in some 100 octets of memory each; a dict entry and its objects took 400.

A nonce is a record of one size, exact and whole, in one of many buckets, each of them a `bytes` object of a
few records. So there is no object per nonce for the garbage collector to walk through, and no table that
grows in leaps: adding a nonce writes one bucket anew, half a kilobyte.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

from sealgate.stores.names import NAME_BYTES, NONCE_CHARACTERS_MIN, Names

if TYPE_CHECKING:
    from mypy_extensions import i64

#: Unix seconds in five octets: a moment that a journal can not name is beyond the year 36,000.
_UNTIL_BYTES: Final = 5
UNTIL_MAX: Final = (1 << 8 * _UNTIL_BYTES) - 1
DIGEST_BYTES: Final = 32
_DIGEST_AT: Final = _UNTIL_BYTES + NAME_BYTES
_RECORD_BYTES: Final = _DIGEST_AT + DIGEST_BYTES
#: In a bucket of a full table: a bucket's own 50 octets are shared by so many, and so many are copied to
#: add one.
_RECORDS_PER_BUCKET: Final = 8
#: Records freed per claim at most: more than one claim can add, so the table shrinks under any load.
_FREED_PER_CLAIM: Final = 4


class Committed:
    """`len` counts what is to be remembered still. `forgotten_until` is the latest second that is over: what
    was not to be remembered longer may have been here, whatever the wall clock says since.

    A nonce that is leased has its record here as well (`put`), which is not counted, and taken out again
    (`take_out`), unless it is committed (`count`).
    """

    __slots__ = (
        "_buckets",
        "_by_second",
        "_keep_from",
        "_live",
        "_looked_for",
        "_mask",
        "_names",
        "_nonce",
        "_over",
        "_place",
        "_seconds",
        "_size",
        "_until",
        "_until_packed",
        "forgotten_until",
    )

    def __init__(self, entries_max: int) -> None:
        self._size: Final = 1 << (entries_max // _RECORDS_PER_BUCKET).bit_length()
        self._buckets: list[bytes] = [b""]
        self._mask: i64 = 0
        self._names: Final = Names()
        self._live = 0
        #: Of each record that counts and ends with a second its bucket, and these seconds as a heap.
        self._by_second: Final[dict[int, array[int]]] = {}
        self._seconds: Final[list[int]] = []
        #: The buckets of records that are over, and not freed yet.
        self._over: Final[list[array[int]]] = []
        self.forgotten_until = -1
        self._keep_from = _packed(0)
        #: What was looked for last, which is often put here next: its bucket and the end of its nonce.
        self._looked_for = b""
        self._place: i64 = 0
        self._nonce = b""
        #: The second of the last record, and the same as it is written.
        self._until = 0
        self._until_packed = self._keep_from

    def __len__(self) -> int:
        return self._live

    # Buckets are chosen by Python's own hash, which is keyed by chance at each start: a signer who chooses
    # nonces can not fill one bucket with them.

    def _look_for(self, nonce_key: bytes) -> None:
        if nonce_key is not self._looked_for:
            place: i64 = hash(nonce_key)
            self._place = place & self._mask
            self._nonce = nonce_key[-NONCE_CHARACTERS_MIN:]
            self._looked_for = nonce_key

    def may_have(self, nonce_key: bytes) -> bool:
        """False for nearly all that is not in here, and quick."""
        self._look_for(nonce_key)
        bucket = self._buckets[self._place]
        nonce = self._nonce
        if len(bucket) == 0 or len(nonce) < NONCE_CHARACTERS_MIN:
            return False
        # Octet by octet is native; `in` and `find` are calls, with half the cost of all that is done here.
        # The last character has two bits of the nonce, the one before it six.
        wanted: i64 = nonce[-2]
        size: i64 = len(bucket)
        end: i64 = _DIGEST_AT
        while end < size:
            octet: i64 = bucket[end - 2]
            if octet == wanted and bucket[end - NONCE_CHARACTERS_MIN : end] == nonce:
                return True
            end += _RECORD_BYTES
        return False

    def digest(self, nonce_key: bytes, now: float) -> bytes | None:
        """The digest that was committed with a nonce that is to be remembered at `now` (Unix seconds)."""
        name = self._names.short(nonce_key)
        self._look_for(nonce_key)
        # The last one counts: one that does not may be left before it.
        for record in reversed(_records(self._buckets[self._place])):
            if record[_UNTIL_BYTES:_DIGEST_AT] == name and _until(record) >= now:
                return record[_DIGEST_AT:]
        return None

    def add(self, nonce_key: bytes, digest: bytes, until: int) -> None:
        """Remember a nonce that is not in here, until Unix seconds."""
        if until > self.forgotten_until:
            self.count([self.put(nonce_key, digest, until)], until)
        # Else the wall clock went back. Who asks for it once more is refused with or without it.

    def put(self, nonce_key: bytes, digest: bytes, until: int) -> int:
        """Write the record of a nonce that is not in here. Returns its place."""
        if self._mask != self._size - 1:
            # Not before the first nonce: where signing sidecars publish none is ever stored.
            self._buckets = [b""] * self._size
            self._mask = self._size - 1
            self._looked_for = b""
        self._look_for(nonce_key)
        head = self._names.head(nonce_key)
        if until != self._until:
            self._until = until
            self._until_packed = _packed(until)
        place = self._place
        before = self._buckets[place]
        self._buckets[place] = b"%b%b%b%b%b" % (before, self._until_packed, head, self._nonce, digest)
        return place

    def count(self, places: list[int], until: int) -> None:
        """The records that were put there, until that second, are to be remembered so long."""
        if until <= self.forgotten_until:
            for place in places:
                self._free(place)
            return
        second = self._by_second.get(until)
        if second is None:
            second = self._by_second[until] = array("I")
            heappush(self._seconds, until)
        second.fromlist(places)
        self._live += len(places)

    def take_out(self, nonce_key: bytes, place: int) -> None:
        """Take out a record that was put there and is not counted."""
        name = self._names.short(nonce_key)
        bucket = self._buckets[place]
        for at in range(len(bucket) - _RECORD_BYTES, -1, -_RECORD_BYTES):
            if bucket[at + _UNTIL_BYTES : at + _DIGEST_AT] == name:
                self._buckets[place] = bucket[:at] + bucket[at + _RECORD_BYTES :]
                return
        # One that is over is as good as another: somebody has freed it in place of his own.
        self._free(place)

    def drop(self, nonce_key: bytes) -> None:
        """Forget a nonce that is not leased as if it had never been there. (What counts no more is left to be
        freed.)"""
        name = self._names.short(nonce_key)
        if not self.may_have(nonce_key):
            return
        place: int = self._place
        kept = []
        for record in _records(self._buckets[place]):
            if record[_UNTIL_BYTES:_DIGEST_AT] == name and _until(record) > self.forgotten_until:
                self._by_second[_until(record)].remove(place)
                self._live -= 1
            else:
                kept.append(record)
        self._buckets[place] = b"".join(kept)

    def forget(self, now: float, claims: int) -> None:
        """What is over at `now` (Unix seconds) counts no more, and a few are freed for each of `claims`."""
        while self._seconds and self._seconds[0] < now:
            self.forgotten_until = heappop(self._seconds)
            self._keep_from = _packed(self.forgotten_until + 1)
            indices = self._by_second.pop(self.forgotten_until)
            self._live -= len(indices)
            self._over.append(indices)
        left = _FREED_PER_CLAIM * claims
        while left and self._over:
            indices = self._over[-1]
            some = indices[-left:]
            del indices[-left:]
            left -= len(some)
            for place in some:
                self._free(place)
            if not indices:
                self._over.pop()

    def _free(self, place: int) -> None:
        """Take a record that is over out of this bucket."""
        bucket = self._buckets[place]
        # A record begins with its second.
        if bucket < self._keep_from:
            # Nearly always: records come in the order in which they go.
            self._buckets[place] = bucket[_RECORD_BYTES:]
        else:
            self._buckets[place] = self._without_one(bucket)

    def _without_one(self, bucket: bytes) -> bytes:
        for at in range(_RECORD_BYTES, len(bucket), _RECORD_BYTES):
            if bucket[at : at + _UNTIL_BYTES] < self._keep_from:
                return bucket[:at] + bucket[at + _RECORD_BYTES :]
        return bucket

    def records(self) -> Iterator[tuple[bytes, bytes, int]]:
        """`nonce_key`, digest and `remember_until` of all that counts when its turn comes."""
        for index in range(len(self._buckets)):
            for record in _records(self._buckets[index]):
                until = _until(record)
                # The bucket may have been written anew since the last one was asked for.
                if until > self.forgotten_until and record in self._buckets[index]:
                    yield self._names.long(record[_UNTIL_BYTES:_DIGEST_AT]), record[_DIGEST_AT:], until


def _packed(until: int) -> bytes:
    return until.to_bytes(_UNTIL_BYTES, "big")


def _until(record: bytes) -> int:
    return int.from_bytes(record[:_UNTIL_BYTES], "big")


def _records(bucket: bytes) -> list[bytes]:
    return [bucket[at : at + _RECORD_BYTES] for at in range(0, len(bucket), _RECORD_BYTES)]
