"""Nonces that are leased: few, because each waits for the broker. A lease is the claim it was granted to.

Those that nobody settles (what was in doubt when a broker died) are forgotten when their moment is over.
"""

from __future__ import annotations

from typing import Final

from sealgate.verify.verdict import Claim

#: Later than any `remember_until`.
_NEVER: Final = 1 << 62


class Leases:
    """`by_key` is for reading and taking out. `forgotten_until` as of `Committed`."""

    __slots__ = ("_earliest", "_to_see", "by_key", "forgotten_until")

    def __init__(self) -> None:
        self.by_key: Final[dict[bytes, Claim]] = {}
        #: Of those that may be over, those not looked at yet.
        self._to_see: list[bytes] = []
        #: All others are to be remembered at least until then.
        self._earliest = _NEVER
        self.forgotten_until = -1

    def put(self, lease: Claim) -> Claim | None:
        """Remember `lease`, in place of what is returned; its `lease_until` is on the monotonic clock."""
        if lease.remember_until < self._earliest:
            self._earliest = lease.remember_until
        count = len(self.by_key)
        before = self.by_key.setdefault(lease.nonce_key, lease)
        if len(self.by_key) > count:
            return None
        self.by_key[lease.nonce_key] = lease
        return before

    def forget(self, now: float, budget: int) -> list[Claim]:
        """Look at `budget` of them at most; forget those whose moment is over at `now` (Unix seconds)."""
        forgotten: list[Claim] = []
        if not self._to_see:
            if self._earliest >= now:
                return forgotten
            self._to_see = list(self.by_key)
            self._earliest = _NEVER
        for _ in range(min(budget, len(self._to_see))):
            nonce_key = self._to_see.pop()
            lease = self.by_key.get(nonce_key)
            if lease is None:
                continue
            if lease.remember_until < now:
                del self.by_key[nonce_key]
                forgotten.append(lease)
                self.forgotten_until = max(self.forgotten_until, lease.remember_until)
            elif lease.remember_until < self._earliest:
                self._earliest = lease.remember_until
        return forgotten
