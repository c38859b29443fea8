"""Committed nonces in about 85 octets of memory each; a dict entry and its objects took 400.

A nonce is a record of one size, exact and whole, in one of many buckets, each of them a `bytes` object of a
few records. So there is no object per nonce for the garbage collector to walk through, and no table that
grows in leaps: adding a nonce writes one bucket anew, half a kilobyte.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final

from sealgate.stores.names import NAME_BYTES, NONCE_BYTES_MIN, Names

#: Unix seconds in five octets: a moment that a journal can not name is beyond the year 36,000.
_UNTIL_BYTES: Final = 5
UNTIL_MAX: Final = (1 << 8 * _UNTIL_BYTES) - 1
DIGEST_BYTES: Final = 32
_DIGEST_AT: Final = NAME_BYTES + _UNTIL_BYTES
_RECORD_BYTES: Final = _DIGEST_AT + DIGEST_BYTES
#: In a bucket of a full table: a bucket's own 50 octets are shared by so many, and so many are copied to
#: add one.
_RECORDS_PER_BUCKET: Final = 8
#: What is over and still takes memory, as a part of what counts (and a few): more is looked for and freed.
_REMAINS_PART: Final = 4
_REMAINS_MIN: Final = 64
#: Buckets looked through per claim, in turn, while there is more than that.
_SWEPT_PER_CLAIM: Final = 4


class Committed:
    """`len` counts what is to be remembered still. `forgotten_until` is the latest second that is over: what
    was not to be remembered longer may have been here, whatever the wall clock says since."""

    __slots__ = (
        "_buckets",
        "_counts",
        "_hand",
        "_keep_from",
        "_live",
        "_mask",
        "_names",
        "_remains",
        "_seconds",
        "_size",
        "_tails",
        "_uncounted",
        "_until",
        "_until_packed",
        "forgotten_until",
    )

    def __init__(self, entries_max: int) -> None:
        self._size: Final = 1 << (entries_max // _RECORDS_PER_BUCKET).bit_length()
        self._buckets: list[bytes] = [b""]
        self._mask = 0
        self._names: Final = Names()
        self._tails: Final = self._names.usual
        #: How many records end with each second, and these seconds as a heap.
        self._counts: Final[dict[int, int]] = {}
        self._seconds: Final[list[int]] = []
        self._live = 0
        self._remains = 0
        self._hand = 0
        self.forgotten_until = -1
        self._keep_from = _packed(0)
        #: The second of the last record, and how many had it in a row: most of a burst have the same.
        self._until = -1
        self._until_packed = b""
        self._uncounted = 0

    def __len__(self) -> int:
        self._count()
        return self._live

    # Buckets are chosen by Python's own hash, which is keyed by chance at each start: a signer who chooses
    # nonces can not fill one bucket with them.

    def may_have(self, nonce_key: bytes) -> bool:
        """False for nearly all that is not in here, and quick."""
        return nonce_key[-NONCE_BYTES_MIN:] in self._buckets[hash(nonce_key) & self._mask]

    def digest(self, nonce_key: bytes, now: float) -> bytes | None:
        """The digest that was committed with a nonce that is to be remembered at `now` (Unix seconds)."""
        name = self._names.short(nonce_key)
        for record in _records(self._buckets[hash(nonce_key) & self._mask]):
            if record[:NAME_BYTES] == name and _until(record) >= now:
                return record[_DIGEST_AT:]
        return None

    def add(self, nonce_key: bytes, digest: bytes, until: int) -> None:
        """Remember a nonce that is not in here, until Unix seconds."""
        if until != self._until:
            self._turn_to(until)
        index = hash(nonce_key) & self._mask
        bucket = self._buckets[index]
        if self._remains and bucket[NAME_BYTES:_DIGEST_AT] < self._keep_from:
            bucket = self._without_first(bucket)
        tail = self._tails.get(nonce_key[:-NONCE_BYTES_MIN])
        name = self._names.short(nonce_key) if tail is None else nonce_key[-NONCE_BYTES_MIN:] + tail
        self._buckets[index] = bucket + (name + self._until_packed + digest)
        self._uncounted += 1

    def _turn_to(self, until: int) -> None:
        self._count()
        self._until = until
        self._until_packed = _packed(until)
        if self._mask != self._size - 1:
            # Not before the first nonce: where signing sidecars publish none is ever stored.
            self._buckets = [b""] * self._size
            self._mask = self._size - 1

    def _count(self) -> None:
        """Count the last records."""
        if not self._uncounted:
            return
        until, count = self._until, self._uncounted
        self._uncounted = 0
        if until <= self.forgotten_until:
            # After the wall clock went back. Whoever asks for it once more is refused with or without it.
            self._remains += count
            return
        if until not in self._counts:
            self._counts[until] = 0
            heappush(self._seconds, until)
        self._counts[until] += count
        self._live += count

    def drop(self, nonce_key: bytes) -> None:
        """Forget as if it had never been there."""
        name = self._names.short(nonce_key)
        if not self.may_have(nonce_key):
            return
        self._count()
        index = hash(nonce_key) & self._mask
        kept = []
        for record in _records(self._buckets[index]):
            if record[:NAME_BYTES] != name:
                kept.append(record)
            elif _until(record) > self.forgotten_until:
                self._counts[_until(record)] -= 1
                self._live -= 1
            else:
                self._remains -= 1
        self._buckets[index] = b"".join(kept)

    def forget(self, now: float, claims: int) -> None:
        """Count what is over at `now` (Unix seconds) no more, at once, and free a few buckets of it."""
        self._count()
        if self._seconds and self._seconds[0] < now:
            while self._seconds and self._seconds[0] < now:
                second = heappop(self._seconds)
                over = self._counts.pop(second)
                self._live -= over
                self._remains += over
                self.forgotten_until = second
            self._keep_from = _packed(self.forgotten_until + 1)
        for _ in range(_SWEPT_PER_CLAIM * claims):
            if self._remains <= _REMAINS_MIN + self._live // _REMAINS_PART:
                break
            self._sweep()

    def _sweep(self) -> None:
        """Free what is over in one bucket, wherever it stands there."""
        bucket = self._buckets[self._hand]
        if bucket:
            kept = [record for record in _records(bucket) if _until(record) > self.forgotten_until]
            swept = b"".join(kept)
            self._remains -= (len(bucket) - len(swept)) // _RECORD_BYTES
            self._buckets[self._hand] = swept
        self._hand = (self._hand + 1) & self._mask

    def _without_first(self, bucket: bytes) -> bytes:
        """`bucket` without what is over at its beginning: it is written anew anyway."""
        at = 0
        while at < len(bucket) and bucket[at + NAME_BYTES : at + _DIGEST_AT] < self._keep_from:
            at += _RECORD_BYTES
        self._remains -= at // _RECORD_BYTES
        return bucket[at:]

    def records(self) -> Iterator[tuple[bytes, bytes, int]]:
        """`nonce_key`, digest and `remember_until` of all that counts when its turn comes."""
        for index in range(len(self._buckets)):
            for record in _records(self._buckets[index]):
                until = _until(record)
                # The bucket may have been written anew since the last one was asked for.
                if until > self.forgotten_until and record in self._buckets[index]:
                    yield self._names.long(record[:NAME_BYTES]), record[_DIGEST_AT:], until


def _packed(until: int) -> bytes:
    return until.to_bytes(_UNTIL_BYTES, "big")


def _until(record: bytes) -> int:
    return int.from_bytes(record[NAME_BYTES:_DIGEST_AT], "big")


def _records(bucket: bytes) -> list[bytes]:
    return [bucket[at : at + _RECORD_BYTES] for at in range(0, len(bucket), _RECORD_BYTES)]
