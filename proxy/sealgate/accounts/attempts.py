"""Failed logins: counted per user and address, and slower per address; either is locked out for a while.

A lock is on a user from one address, so that nobody can lock a user out from elsewhere. Names that are no
user's are counted the same, so that a lock tells nothing. The time comes from the caller, monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

#: Names and addresses remembered; the one that failed longest ago is forgotten first. Some 200 bytes each.
ENTRIES_MAX: Final = 10_000
#: Each further failure doubles the lock, up to this many times the first.
BACK_OFF_MAX: Final = 32


@dataclass(slots=True, frozen=True)
class LockOut:
    """`failures_max` within `window_s` lock for `lock_s`; each failure after that for twice as long."""

    failures_max: int
    window_s: float
    lock_s: float


@dataclass(slots=True)
class _Row:
    failures: int
    since: float
    locked_until: float = 0.0
    lock_s: float = 0.0


class Counter:
    """Failures by key, bounded."""

    __slots__ = ("_rows", "_rule")

    def __init__(self, rule: LockOut) -> None:
        self._rule: Final = rule
        #: In the order of their last failure.
        self._rows: Final[dict[Hashable, _Row]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def locked(self, key: Hashable, now: float) -> bool:
        row = self._rows.get(key)
        return row is not None and now < row.locked_until

    def has_failed(self, key: Hashable, now: float) -> bool:
        """Whether there are failures that still count."""
        row = self._rows.get(key)
        return row is not None and not self._is_over(row, now)

    def _is_over(self, row: _Row, now: float) -> bool:
        return now - max(row.since, row.locked_until) >= self._rule.window_s

    def failed(self, key: Hashable, now: float) -> None:
        rule = self._rule
        row = self._rows.pop(key, None)
        if row is None or self._is_over(row, now):
            row = _Row(0, now)
        row.failures += 1
        if row.failures >= rule.failures_max:
            row.lock_s = min(row.lock_s * 2, rule.lock_s * BACK_OFF_MAX) or rule.lock_s
            row.locked_until = now + row.lock_s
        self._rows[key] = row
        if len(self._rows) > ENTRIES_MAX:
            del self._rows[next(iter(self._rows))]

    def forget(self, key: Hashable) -> None:
        self._rows.pop(key, None)

    def clear(self) -> None:
        self._rows.clear()


class Attempts:
    """Both counters."""

    __slots__ = ("_addresses", "_users")

    def __init__(self, user: LockOut, address: LockOut) -> None:
        self._users: Final = Counter(user)
        self._addresses: Final = Counter(address)

    def __len__(self) -> int:
        return len(self._users) + len(self._addresses)

    def locked(self, user: str, address: str, now: float) -> bool:
        return self._users.locked((user, address), now) or self._addresses.locked(address, now)

    def is_suspect(self, address: str, now: float) -> bool:
        """Whether a login from there has failed of late."""
        return self._addresses.has_failed(address, now)

    def failed(self, user: str, address: str, now: float) -> None:
        self._users.failed((user, address), now)
        self._addresses.failed(address, now)

    def succeeded(self, user: str, address: str) -> None:
        """The right password. The address keeps its count, or one account would serve to guess at others."""
        self._users.forget((user, address))

    def clear(self) -> None:
        """Start anew, as after a change of the users."""
        self._users.clear()
        self._addresses.clear()
