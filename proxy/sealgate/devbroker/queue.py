"""Queues: what waits, who gets it, and when it dies."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from sealgate.devbroker.arguments import Arguments
from sealgate.devbroker.deadletter import EXPIRED, MAXLEN, REJECTED
from sealgate.devbroker.limits import Memory
from sealgate.devbroker.message import Message


@dataclass(slots=True, eq=False)
class Entry:
    """A message's place in one queue. `expires_at` is in the loop's time."""

    message: Message
    position: int
    priority: int
    expires_at: float | None
    redelivered: bool = False


class Taker(Protocol):
    """A consumer, as its queue sees it."""

    @property
    def exclusive(self) -> bool: ...

    def ready(self) -> bool:
        """Whether it may be given a message now."""

    def deliver(self, entry: Entry) -> None: ...

    def cancelled(self) -> None:
        """Its queue is gone."""


class Queue:
    """One queue. `dead_letter` publishes what dies here, `on_unused` ends it (x-expires, auto-delete)."""

    def __init__(
        self,
        name: str,
        arguments: Arguments,
        memory: Memory,
        dead_letter: Callable[[Queue, Message, str], None],
        on_unused: Callable[[Queue], None],
    ) -> None:
        self.name: Final = name
        self.arguments: Final = arguments
        self.deleted = False
        self.durable = False
        self.auto_delete = False
        #: The connection that alone may use it.
        self.owner: object | None = None
        self.consumers: Final[deque[Taker]] = deque()
        self._memory: Final = memory
        self._dead_letter: Final = dead_letter
        self._on_unused: Final = on_unused
        self._loop: Final = asyncio.get_running_loop()
        self._levels: Final[list[deque[Entry]]] = [deque() for _ in range((arguments.max_priority or 0) + 1)]
        self._position = 0
        self._ready_bytes = 0
        self._expiry: asyncio.TimerHandle | None = None
        self._unused: asyncio.TimerHandle | None = None
        self.touch()

    def __len__(self) -> int:
        return sum(len(level) for level in self._levels)

    def put(self, message: Message) -> bool:
        """Take a message; false when the queue is full and rejects (x-overflow)."""
        if self.arguments.reject_publish and self._over_length(1, message.size):
            return False
        self._position += 1
        priority = min(message.priority, len(self._levels) - 1)
        now = self._loop.time()
        entry = Entry(message, self._position, priority, self._expires_at(message, now))
        self._levels[priority].append(entry)
        self._memory.used += message.size
        self._ready_bytes += message.size
        self.pump(now)
        while self._over_length(0, 0):
            self._die(self._pop(reverse=True), MAXLEN)
        return True

    def pump(self, now: float | None = None) -> None:
        """Hand out what waits while a consumer is ready."""
        self._expire(self._loop.time() if now is None else now)
        while len(self):
            taker = self._next_taker()
            if taker is None:
                break
            taker.deliver(self._pop())
        self._watch_expiry()

    def get(self) -> Entry | None:
        """Take the first message out, for basic.get."""
        self.touch()
        self._expire(self._loop.time())
        return self._pop() if len(self) else None

    def requeue(self, entries: Iterable[Entry]) -> None:
        """Put entries back where they were."""
        for entry in entries:
            if self.deleted:
                self.settle(entry)
                continue
            entry.redelivered = True
            level = self._levels[entry.priority]
            index = next((i for i, other in enumerate(level) if other.position > entry.position), len(level))
            level.insert(index, entry)
            self._ready_bytes += entry.message.size
        if not self.deleted:
            self.pump()

    def settle(self, entry: Entry) -> None:
        """An entry that was handed out is done with."""
        self._memory.used -= entry.message.size

    def reject(self, entry: Entry) -> None:
        """An entry that was handed out is not wanted."""
        if self.deleted:
            self.settle(entry)
        else:
            self._die(entry, REJECTED)

    def add_consumer(self, taker: Taker) -> None:
        self.consumers.append(taker)
        self.touch()

    def remove_consumer(self, taker: Taker) -> None:
        self.consumers.remove(taker)
        self.touch()
        if not self.consumers and self.auto_delete:
            self._on_unused(self)

    def purge(self) -> int:
        """Throw away what waits; returns how many."""
        count = 0
        while len(self):
            self.settle(self._pop())
            count += 1
        return count

    def delete(self) -> int:
        """End it: consumers are told, what waits is thrown away. Returns how many waited."""
        self.deleted = True
        for timer in (self._expiry, self._unused):
            if timer is not None:
                timer.cancel()
        takers = list(self.consumers)
        self.consumers.clear()
        for taker in takers:
            taker.cancelled()
        return self.purge()

    def touch(self) -> None:
        """It is in use: x-expires starts anew."""
        if self._unused is not None:
            self._unused.cancel()
            self._unused = None
        if self.arguments.expires_ms is not None and not self.deleted and not self.consumers:
            self._unused = self._loop.call_later(self.arguments.expires_ms / 1000, self._on_unused, self)

    def _next_taker(self) -> Taker | None:
        """The next consumer in turn that is ready."""
        for _ in range(len(self.consumers)):
            taker = self.consumers[0]
            self.consumers.rotate(-1)
            if taker.ready():
                return taker
        return None

    def _pop(self, reverse: bool = False) -> Entry:
        """Take out the head of the highest level that has one; `reverse`: of the lowest."""
        levels = self._levels if reverse else reversed(self._levels)
        entry = next(level for level in levels if level).popleft()
        self._ready_bytes -= entry.message.size
        return entry

    def _die(self, entry: Entry, reason: str) -> None:
        self.settle(entry)
        if self.arguments.dead_letter_exchange is not None:
            self._dead_letter(self, entry.message, reason)

    def _over_length(self, more: int, more_bytes: int) -> bool:
        length_max, bytes_max = self.arguments.max_length, self.arguments.max_bytes
        return len(self) > 0 and (
            (length_max is not None and len(self) + more > length_max)
            or (bytes_max is not None and self._ready_bytes + more_bytes > bytes_max)
        )

    def _expires_at(self, message: Message, now: float) -> float | None:
        times = [ms for ms in (self.arguments.ttl_ms, message.expiration_ms) if ms is not None]
        return now + min(times) / 1000 if times else None

    def _heads(self) -> Iterator[Entry]:
        return (level[0] for level in self._levels if level)

    def _expire(self, now: float) -> None:
        """Let heads die whose time is over. Only heads: as in RabbitMQ, one behind them waits."""
        for level in self._levels:
            while level and level[0].expires_at is not None and level[0].expires_at < now:
                entry = level.popleft()
                self._ready_bytes -= entry.message.size
                self._die(entry, EXPIRED)

    def _watch_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        times = [entry.expires_at for entry in self._heads() if entry.expires_at is not None]
        if times:
            # A millisecond late, for a timer may come a little early.
            self._expiry = self._loop.call_at(min(times) + 0.001, self.pump)
