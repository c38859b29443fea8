"""What rules that only observe would have refused in the last hour: by rule, reason, task and key.

Counted by the minute, so that what is older than an hour goes by itself. Tasks are named by whoever sends
them, with or without a seal: their number is bounded for each rule and reason, and what is beyond is counted
all the same, under no name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from math import isfinite
from pathlib import Path
from typing import Any, Final, NamedTuple

from sealgate.control.disk import DamagedError, read_whole, write_whole

MINUTES: Final = 60
_MINUTE_S: Final = 60.0
#: Tasks and keys told apart in one minute for one rule and reason: more than anybody reads, and no flood of
#: made-up names takes the room of another reason.
NAMES_MAX: Final = 50
#: All entries of the hour; 3 MB. Beyond, only `OTHER` of each rule and reason is added.
ENTRIES_MAX: Final = 10_000
#: Task and key of what has no room for its own.
OTHER: Final = "other"
#: Of the file: all entries with names of the longest kind.
FILE_BYTES_MAX: Final = 16_777_216
_VERSION: Final = 1

#: Rule, reason, task, kid.
What = tuple[str, str, str, str]


class Row(NamedTuple):
    """`times` messages, the first and the last of them at these Unix seconds."""

    rule: str
    reason: str
    task: str
    kid: str
    times: int
    first: float
    last: float


class _Minute:
    """The entries of one minute, and how many names each rule and reason has in it."""

    __slots__ = ("entries", "names")

    def __init__(self) -> None:
        self.entries: Final[dict[What, tuple[int, float, float]]] = {}
        self.names: Final[dict[tuple[str, str], int]] = {}


class Observed:
    """Bounded by `ENTRIES_MAX`, and one more entry for each rule and reason of each minute."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock: Final = clock
        self._minutes: Final[dict[int, _Minute]] = {}
        self._entries = 0
        #: Since when nothing is missing, Unix seconds.
        self._since = clock()
        self.changed = False

    def note(self, rule: str, reason: str, task: str, kid: str, at: float) -> None:
        """One message that would have been refused."""
        self.add(Row(rule, reason, task, kid, 1, at, at))

    def add(self, row: Row) -> None:
        """What was counted elsewhere, within one minute."""
        # A clock that was set back leaves nothing here for longer than an hour.
        number = int(min(row.last, self._clock()) // _MINUTE_S)
        minute = self._minutes.get(number)
        if minute is None:
            self._forget()
            if number <= self._oldest():
                return
            minute = self._minutes[number] = _Minute()
        what: What = (row.rule, row.reason, row.task, row.kid)
        known = minute.entries.get(what)
        if known is None:
            what = self._named(minute, what)
            known = minute.entries.get(what)
        if known is None:
            self._entries += 1
            minute.entries[what] = (row.times, row.first, row.last)
        else:
            count, first, last = known
            minute.entries[what] = (count + row.times, min(first, row.first), max(last, row.last))
        self.changed = True

    def _named(self, minute: _Minute, what: What) -> What:
        """`what`, or where it has no room, what it is counted as."""
        rule, reason, _, _ = what
        names = minute.names.get((rule, reason), 0)
        if names >= NAMES_MAX or self._entries >= ENTRIES_MAX:
            return (rule, reason, OTHER, OTHER)
        minute.names[rule, reason] = names + 1
        return what

    def rows(self) -> list[Row]:
        """The last hour, the most frequent first."""
        self._forget()
        total: dict[What, Row] = {}
        for row in self._all():
            what = row[:4]
            known = total.get(what)
            if known is not None:
                first, last = min(known.first, row.first), max(known.last, row.last)
                row = Row(*what, known.times + row.times, first, last)
            total[what] = row
        return sorted(total.values(), key=lambda row: (-row.times, row[:4]))

    @property
    def since(self) -> float:
        """From when on everything was counted, Unix seconds: an hour ago, or later."""
        return max(self._since, self._clock() - MINUTES * _MINUTE_S)

    def take(self) -> list[Row]:
        """Everything there is, by the minute; it is gone from here."""
        rows = list(self._all())
        self._minutes.clear()
        self._entries = 0
        return rows

    def dump(self) -> bytes:
        """For `load` of another process."""
        self._forget()
        content = {"version": _VERSION, "since": self.since, "rows": list(self._all())}
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()

    def load(self, data: bytes) -> None:
        """Take what `dump` gave. Raises `ValueError` when it is none; then nothing was taken."""
        content: Any = json.loads(data)
        if not isinstance(content, dict) or content.get("version") != _VERSION:
            raise ValueError("no report of this version")
        rows = rows_of(content.get("rows"))
        self._since = min(self._since, _moment(content.get("since")))
        for row in rows:
            self.add(row)
        self.changed = False

    def _all(self) -> Iterable[Row]:
        for minute in self._minutes.values():
            for what, counted in minute.entries.items():
                yield Row(*what, *counted)

    def _oldest(self) -> int:
        """The last minute that is over an hour old."""
        return int(self._clock() // _MINUTE_S) - MINUTES

    def _forget(self) -> None:
        oldest = self._oldest()
        for number in [number for number in self._minutes if number <= oldest]:
            self._entries -= len(self._minutes.pop(number).entries)


def rows_of(data: object) -> list[Row]:
    """Rows from what JSON made of them. Raises `ValueError`."""
    if not isinstance(data, list):
        raise ValueError("no list of rows")
    rows = []
    for item in data:
        if not isinstance(item, list) or len(item) != len(Row._fields):
            raise ValueError("no row")
        *names, count, first, last = item
        if not isinstance(count, int) or not all(isinstance(name, str) for name in names):
            raise ValueError("no row")
        rule, reason, task, kid = names
        rows.append(Row(rule, reason, task, kid, count, _moment(first), _moment(last)))
    return rows


def _moment(value: object) -> float:
    if not isinstance(value, int | float) or not isfinite(value):
        raise ValueError("no moment")
    return float(value)


def restore(observed: Observed, path: Path) -> str:
    """Fill `observed` from the file at `path`, if there is one; returns what was wrong with it, or "".

    A report of the past is no reason not to start: what can not be read is told and written anew.
    """
    try:
        data = read_whole(path, FILE_BYTES_MAX)
        if data is not None:
            observed.load(data)
    except (OSError, DamagedError, ValueError, RecursionError) as error:
        return str(error)
    return ""


def save(path: Path, data: bytes) -> None:
    """Write what `Observed.dump` gave. Raises `OSError`."""
    write_whole(path, data)
