"""The memory store's table of nonces: leased or committed, each until its own moment.

A nonce is leased for milliseconds and committed for minutes. Both are packed records (`stores.committed`);
that one is leased, and by whom, tells its claim (`stores.leases`).
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
    """A nonce that counts is in `leases`, or counted in `committed`. `nonce_key` is what `nonce_name` makes;
    another form of it is a ValueError. Times are Unix seconds."""

    __slots__ = ("committed", "leases")

    def __init__(self, entries_max: int) -> None:
        """Made for `entries_max` nonces; more are kept, only slower."""
        self.leases: Final = Leases()
        self.committed: Final = Committed(entries_max)

    def __len__(self) -> int:
        return len(self.committed) + len(self.leases.by_key)

    @property
    def forgotten_until(self) -> int:
        """The latest second whose nonces were forgotten: what was not to be remembered longer than that may
        have been here, whatever the wall clock says since."""
        return max(self.committed.forgotten_until, self.leases.forgotten_until)

    def lease(self, claim: Claim) -> None:
        """Remember `claim` as leased, in place of a lease that is over. Its `lease_until` is set."""
        before = self.leases.put(claim)
        if before is not None:
            self.committed.take_out(before.nonce_key, before.place)
        claim.place = self.committed.put(claim.nonce_key, claim.digest, claim.remember_until)

    def commit(self, claims: list[Claim]) -> None:
        """Remember those with a nonce as committed, in place of what was there."""
        leases = self.leases.by_key
        places: list[int] = []
        until = -1
        for claim in claims:
            nonce_key = claim.nonce_key
            if len(nonce_key) == 0:
                continue
            leased = leases.get(nonce_key) is claim
            # Nearly all of an event are leased, and end with one second.
            if places and (not leased or claim.remember_until != until):
                self.committed.count(places, until)
                places = []
            if leased:
                del leases[nonce_key]
                until = claim.remember_until
                places.append(claim.place)
            else:
                self._commit_anew(claim)
        if places:
            self.committed.count(places, until)

    def _commit_anew(self, claim: Claim) -> None:
        """Somebody has taken the lease over, or it is forgotten. Hardly ever."""
        nonce_key = claim.nonce_key
        lease = self.leases.by_key.pop(nonce_key, None)
        if lease is not None:
            self.committed.take_out(nonce_key, lease.place)
        self.committed.drop(nonce_key)
        self.committed.add(nonce_key, claim.digest, claim.remember_until)

    def release(self, lease: Claim) -> None:
        """Forget a lease as if it had never been there."""
        del self.leases.by_key[lease.nonce_key]
        self.committed.take_out(lease.nonce_key, lease.place)

    def forget(self, now: float, claims: int = 1) -> None:
        """Forget what is over at `now`; work is bounded for each of so many `claims`."""
        for lease in self.leases.forget(now, _LEASES_SEEN_PER_CLAIM * claims):
            self.committed.take_out(lease.nonce_key, lease.place)
        self.committed.forget(now, claims)

    def read(self, record: Remembered, owner: int, lease_until: float) -> None:
        """Take over a record that was read from a journal. Raises ValueError for one that no store wrote."""
        nonce_key, digest, until, fate = record
        if len(digest) != DIGEST_BYTES or not 0 <= until <= UNTIL_MAX:
            raise ValueError("no record of a nonce")
        claim = Claim(nonce_key, b"", 0, until, (), owner)
        claim.digest = digest
        claim.lease_until = lease_until
        if fate is Fate.COMMITTED:
            self.commit([claim])
            return
        lease = self.leases.by_key.get(nonce_key)
        if lease is not None:
            self.release(lease)
        self.committed.drop(nonce_key)
        if fate is Fate.LEASED:
            self.lease(claim)

    def records(self, leased: bool) -> Iterator[Remembered]:
        """All that is committed, and leases if wanted: each as it is when its turn comes."""
        for nonce_key, digest, until in self.committed.records():
            if nonce_key not in self.leases.by_key:
                yield Remembered(nonce_key, digest, until)
            elif leased:
                yield Remembered(nonce_key, digest, until, Fate.LEASED)
