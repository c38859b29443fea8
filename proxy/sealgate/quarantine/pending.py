"""The waiting room between the data path and the broker: bounded by count and by bytes, oldest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from sealgate.session.records import RefusalRecord

#: What one record costs in memory besides its bytes: the objects and the short texts, about.
OVERHEAD_BYTES: Final = 2048


@dataclass(slots=True, eq=False)
class Entry:
    """A record that waits, with the message id it keeps over all attempts.

    `attempts` counts only those that failed on the record itself, not on the connection.
    """

    id: str
    record: RefusalRecord
    size_bytes: int
    attempts: int = 0
    #: Who wants to know what became of it.
    done: Callable[[bool], None] | None = None


def size_of(record: RefusalRecord) -> int:
    """Bytes of memory `record` is taken to hold."""
    return len(record.method) + len(record.header) + len(record.body) + OVERHEAD_BYTES


class Pending:
    """Entries in the order they came. Nothing here blocks, and nothing is dropped that was once taken."""

    __slots__ = ("_bytes_max", "_count_max", "_entries", "size_bytes")

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._entries: dict[str, Entry] = {}
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def has_room(self, record: RefusalRecord) -> bool:
        """Whether `record` fits beside what is here; one that alone is too big never does."""
        return len(self._entries) < self._count_max and self.size_bytes + size_of(record) <= self._bytes_max

    def add(self, entry_id: str, record: RefusalRecord, done: Callable[[bool], None] | None = None) -> None:
        """Take `record`; ask `has_room` first."""
        size_bytes = size_of(record)
        self._entries[entry_id] = Entry(entry_id, record, size_bytes, done=done)
        self.size_bytes += size_bytes

    def remove(self, entry: Entry) -> None:
        """Let go of an entry that is here."""
        del self._entries[entry.id]
        self.size_bytes -= entry.size_bytes

    def batch(self, count_max: int, bytes_max: int) -> list[Entry]:
        """The oldest entries to publish together, at least one if there is any.

        An entry that failed before goes alone, so that it can not take others down with it again.
        """
        chosen: list[Entry] = []
        total_bytes = 0
        for entry in islice(self._entries.values(), count_max):
            total_bytes += entry.size_bytes
            if chosen and (entry.attempts or total_bytes > bytes_max):
                break
            chosen.append(entry)
            if entry.attempts:
                break
        return chosen
