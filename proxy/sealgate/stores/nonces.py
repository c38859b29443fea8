"""The memory store's table of nonces: leased or committed, each until its own moment.

A nonce is leased for milliseconds and committed for minutes: leases are their claims, committed nonces are
packed (`stores.committed`).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, unique
from typing import Final, NamedTuple

from sealgate.stores.committed import DIGEST_BYTES, UNTIL_MAX, Committed
from sealgate.stores.leases import Leases
from sealgate.verify.verdict import Claim

#: Leases looked at per claim, while some may be over: more than one claim can add.
_LEASES_SEEN_PER_CLAIM: Final = 4


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


class NonceTable:
    """A nonce that counts is in `leases` or in `committed`. `nonce_key` is what `nonce_name` makes; another
    form of it is a ValueError at the latest when it is committed. Times are Unix seconds."""

    __slots__ = ("committed", "leases")

    def __init__(self, entries_max: int, digest_bytes: int = DIGEST_BYTES) -> None:
        """Made for `entries_max` nonces; more are kept, only slower. All digests have `digest_bytes`."""
        self.leases: Final = Leases()
        self.committed: Final = Committed(entries_max, digest_bytes)

    def __len__(self) -> int:
        return len(self.committed) + len(self.leases.by_key)

    @property
    def forgotten_until(self) -> int:
        """The latest second whose nonces were forgotten: what was not to be remembered longer than that may
        have been here, whatever the wall clock says since."""
        return max(self.committed.forgotten_until, self.leases.forgotten_until)

    def commit(self, nonce_key: bytes, digest: bytes, remember_until: int) -> None:
        """Remember as committed, in place of what was there."""
        if self.leases.by_key.pop(nonce_key, None) is None:
            # Hardly ever; what is leased is not committed.
            self.committed.drop(nonce_key)
        self.committed.add(nonce_key, digest, remember_until)

    def forget(self, now: float, claims: int = 1) -> None:
        """Forget what is over at `now`; work is bounded for each of so many `claims`."""
        self.leases.forget(now, _LEASES_SEEN_PER_CLAIM * claims)
        self.committed.forget(now, claims)

    def read(self, record: Remembered, owner: int, lease_until: float) -> None:
        """Take over a record that was read from a journal. Raises ValueError for one that no store wrote."""
        nonce_key, digest, until, fate = record
        if len(digest) != DIGEST_BYTES or not 0 <= until <= UNTIL_MAX:
            raise ValueError("no record of a nonce")
        if fate is Fate.COMMITTED:
            self.commit(nonce_key, digest, until)
            return
        self.leases.by_key.pop(nonce_key, None)
        self.committed.drop(nonce_key)
        if fate is Fate.LEASED:
            lease = Claim(nonce_key, b"", 0, until, (), owner)
            lease.digest = digest
            lease.lease_until = lease_until
            self.leases.put(lease)

    def records(self, leased: bool) -> Iterator[Remembered]:
        """All that is committed, and leases if wanted: each as it is when its turn comes."""
        for nonce_key, digest, until in self.committed.records():
            yield Remembered(nonce_key, digest, until)
        if not leased:
            return
        for nonce_key in list(self.leases.by_key):
            lease = self.leases.by_key.get(nonce_key)
            if lease is not None:
                yield Remembered(nonce_key, lease.digest, lease.remember_until, Fate.LEASED)
