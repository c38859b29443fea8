"""What a process has seen of the use of a key, for its rotation (docs/keys.md, "What a gateway knows ...").

Only seals whose signature was good, or was made here, are told of. One call counts all messages of an event.
"""

from __future__ import annotations

from typing import Final

#: The minutes of an hour, and the one that is under way: what is told of an hour is at least that.
MINUTES: Final = 61
#: Users told apart for each key: more than anybody looks for one by one, and 3 KB.
KEY_USERS_MAX: Final = 20
_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0


class KeyUse:
    """When a key was used last, how often, by whom, and until when its seals are good; Unix seconds.

    `last_used` is 0 while no message passed under it. `clock_skew_s` is the newest publish's created less the
    time here, None before the first. `expires_latest` is the latest end of a seal, 0 for none. `users` are
    those who published or signed, and when they did last.
    """

    __slots__ = (
        "_begun",
        "_counts",
        "_minute",
        "_place",
        "clock_skew_s",
        "expires_latest",
        "last_used",
        "more_users_at",
        "users",
    )

    def __init__(self) -> None:
        self.last_used = 0.0
        self.clock_skew_s: float | None = None
        self.expires_latest = 0
        self.users: dict[str, float] = {}
        #: When somebody used it last who is not in `users`, as that is full.
        self.more_users_at = 0.0
        #: Messages by minute, each at the place of its number modulo `MINUTES`. Of the newest one the number,
        #: the place, and when it began.
        self._counts: list[int] = [0] * MINUTES
        self._minute = 0
        self._place = 0
        self._begun = 0.0

    def note(self, count: int, now: float, expires: int, user: str) -> None:
        """Count messages that passed at `now`, whose seals end at `expires` at the latest.

        `user` is who sent them; "" where that is not known: who is handed a delivery did not seal it. `now`
        may be up to a minute before what was told last: sessions tell each at a time of its own.
        """
        self.last_used = _later(self.last_used, now)
        if expires > self.expires_latest:
            self.expires_latest = expires
        place = self._place
        if not 0.0 <= now - self._begun < _MINUTE_S:
            if -_MINUTE_S <= now - self._begun < 0.0:
                place = (self._minute - 1) % MINUTES
            else:
                self._turn(now)
                place = self._place
        self._counts[place] += count
        if user:
            users = self.users
            if user in users or len(users) < KEY_USERS_MAX:
                users[user] = _later(users.get(user, 0.0), now)
            else:
                self.more_users_at = now

    def seen(self, expires: int) -> None:
        """A seal was good, and its message did not pass: quarantine may release it."""
        if expires > self.expires_latest:
            self.expires_latest = expires

    def _turn(self, now: float) -> None:
        """Begin a minute: what is older than an hour is forgotten, and who has not come since."""
        minute = int(now // _MINUTE_S)
        passed = minute - self._minute
        kept = 0
        if passed < 0:
            # The clock was set back. What was counted is taken to be of now: it goes, but not too early.
            kept, passed = sum(self._counts), MINUTES
        if passed >= MINUTES:
            self._counts = [0] * MINUTES
        else:
            for number in range(passed):
                self._counts[(minute - number) % MINUTES] = 0
        self._begin(minute)
        self._counts[self._place] = kept
        for user in [name for name, at in self.users.items() if at < now - _HOUR_S]:
            del self.users[user]

    def _begin(self, minute: int) -> None:
        self._minute = minute
        self._place = minute % MINUTES
        self._begun = minute * _MINUTE_S

    def messages_last_hour(self, now: float) -> int:
        """Messages of the 60 minutes before `now`, and of the rest of the first of them."""
        oldest = max(int(now // _MINUTE_S), self._minute) - MINUTES + 1
        return sum([self._counts[minute % MINUTES] for minute in range(oldest, self._minute + 1)])

    def recent_users(self) -> list[str]:
        """Who used it in the last hour in which anybody did, sorted; at most `KEY_USERS_MAX`."""
        return sorted([name for name, at in self.users.items() if at >= self.last_used - _HOUR_S])

    @property
    def has_more_users(self) -> bool:
        """Whether there were others in that hour."""
        return self.more_users_at > 0.0 and self.more_users_at >= self.last_used - _HOUR_S

    def add(self, other: KeyUse) -> None:
        """Unite with what another process has seen of the same key."""
        if other.last_used >= self.last_used and other.clock_skew_s is not None:
            self.clock_skew_s = other.clock_skew_s
        self.last_used = max(self.last_used, other.last_used)
        self.expires_latest = max(self.expires_latest, other.expires_latest)
        self.more_users_at = max(self.more_users_at, other.more_users_at)
        newest = max(self._minute, other._minute)
        counts = [0] * MINUTES
        for use in (self, other):
            for minute in range(newest - MINUTES + 1, use._minute + 1):
                counts[minute % MINUTES] += use._counts[minute % MINUTES]
        self._counts = counts
        self._begin(newest)
        for name, at in other.users.items():
            self.users[name] = max(at, self.users.get(name, at))
        by_time = sorted(self.users.items(), key=_when, reverse=True)
        for name, at in by_time[KEY_USERS_MAX:]:
            del self.users[name]
            self.more_users_at = max(self.more_users_at, at)

    def plain(self) -> list[object]:
        """All of it as JSON has it, for `of_plain`."""
        ends = [self.last_used, self.clock_skew_s, self.expires_latest, self.more_users_at]
        return [*ends, self.users, self._minute, self._counts]


def of_plain(data: list[object]) -> KeyUse:
    """What `plain` gave. Raises ValueError or TypeError for anything else."""
    last_used, clock_skew_s, expires_latest, more_users_at, users, minute, counts = data
    if not isinstance(users, dict) or not isinstance(counts, list) or len(counts) != MINUTES:
        raise TypeError("not the use of a key")
    use = KeyUse()
    use.last_used, use.more_users_at = _seconds(last_used), _seconds(more_users_at)
    use.clock_skew_s = None if clock_skew_s is None else _seconds(clock_skew_s)
    use.expires_latest = int(_seconds(expires_latest))
    use._begin(int(_seconds(minute)))
    use.users = {str(name): _seconds(at) for name, at in users.items()}
    use._counts = [int(_seconds(count)) for count in counts]
    return use


def _later(known: float, told: float) -> float:
    """The later of two moments; what is told, if it is so much earlier that the clock was set back."""
    return known if told < known <= told + _MINUTE_S else told


def _seconds(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError("not a number")
    return float(value)


def _when(user: tuple[str, float]) -> float:
    return user[1]
