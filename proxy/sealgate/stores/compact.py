"""Committed nonces in few octets each: records of one size in buckets that are searched as bytes.

A nonce in a dict, with its digest and its second as objects, takes 400 octets; here it takes its own length,
its digest, five octets for the second, and a little for room to grow. Exact: a key is found only where a
record begins.

The buckets grow by linear hashing: when they hold too much on average, the next one is split in two. No call
does more than one split, and a bucket keeps the order in which its records came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

DIGEST_BYTES: Final = 32
_SECOND_BYTES: Final = 5
#: Seconds that five octets hold, past the year 30,000.
SECOND_MAX: Final = 2**40 - 1
#: Records per bucket, on average, before one is split: few enough to be searched at once, and so many that
#: the 60 octets of a bucket itself do not matter.
_RECORDS_MAX: Final = 8
#: What is searched for: the end of a key is the random part of a nonce; its first octet already differs.
_TAIL_BYTES: Final = 16


class CompactTable:
    """Keys of `key_bytes` octets each, with their digests and the second until which they are remembered."""

    __slots__ = ("_buckets", "_digest_at", "_half", "_hand", "_second_at", "_size", "count", "key_bytes")

    def __init__(self, key_bytes: int) -> None:
        self.key_bytes: Final = key_bytes
        self.count = 0
        self._digest_at: Final = key_bytes
        self._second_at: Final = key_bytes + DIGEST_BYTES
        self._size: Final = key_bytes + DIGEST_BYTES + _SECOND_BYTES
        self._buckets: Final[list[bytearray]] = [bytearray()]
        # The power of two that the buckets are between: those before `len - half` were split in this round.
        self._half = 1
        self._hand = 0

    def _bucket_of(self, key: bytes) -> bytearray:
        code = hash(key)
        index = code & (2 * self._half - 1)
        if index >= len(self._buckets):
            index = code & (self._half - 1)
        return self._buckets[index]

    def _find(self, bucket: bytearray, key: bytes) -> int:
        """Where the record of `key` begins in `bucket`, -1 when there is none."""
        tail = key[-_TAIL_BYTES:]
        before = self.key_bytes - len(tail)
        found = bucket.find(tail)
        while found >= 0:
            at = found - before
            # Else these octets are elsewhere in a record: whoever chooses a nonce can do that.
            if at >= 0 and at % self._size == 0 and bucket[at:found] == key[:before]:
                return at
            found = bucket.find(tail, found + 1)
        return -1

    def get(self, key: bytes) -> tuple[bytes, int] | None:
        """Digest and second of `key`."""
        bucket = self._bucket_of(key)
        at = self._find(bucket, key)
        if at < 0:
            return None
        digest = bytes(bucket[at + self._digest_at : at + self._second_at])
        return digest, self._second(bucket, at)

    def _second(self, bucket: bytearray, at: int) -> int:
        return int.from_bytes(bucket[at + self._second_at : at + self._size], "big")

    def add(self, key: bytes, digest: bytes, second: int) -> None:
        """Remember `key`, which is not here. 32 octets of digest, a second of at most `SECOND_MAX`."""
        bucket = self._bucket_of(key)
        bucket += key + digest + second.to_bytes(_SECOND_BYTES, "big")
        self.count += 1
        if self.count > len(self._buckets) * _RECORDS_MAX:
            self._split()

    def _split(self) -> None:
        half, size = self._half, self._size
        index = len(self._buckets) - half
        records = bytes(self._buckets[index])
        stay, go = bytearray(), bytearray()
        for at in range(0, len(records), size):
            if hash(records[at : at + self.key_bytes]) & half:
                go += records[at : at + size]
            else:
                stay += records[at : at + size]
        self._buckets[index] = stay
        self._buckets.append(go)
        if len(self._buckets) == 2 * half:
            self._half = 2 * half

    def drop(self, key: bytes) -> None:
        bucket = self._bucket_of(key)
        at = self._find(bucket, key)
        if at >= 0:
            del bucket[at : at + self._size]
            self.count -= 1

    def sweep(self, now: float) -> None:
        """Take what is over at `now` (Unix seconds) out of the next bucket, from its oldest on."""
        self._hand = (self._hand + 1) % len(self._buckets)
        bucket = self._buckets[self._hand]
        size = self._size
        end = 0
        while end < len(bucket) and self._second(bucket, end) < now:
            end += size
        if end:
            del bucket[:end]
            self.count -= end // size

    def keys(self) -> Iterator[bytes]:
        """All keys, while others come and go: what was there at the start and stays comes once or twice."""
        index = 0
        # A split moves records to the end only: nothing is moved to where this has been.
        while index < len(self._buckets):
            records = bytes(self._buckets[index])
            for at in range(0, len(records), self._size):
                yield records[at : at + self.key_bytes]
            index += 1
