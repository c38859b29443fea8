"""Checks logins in threads: one at a time for each address; in turn, those without failures first.

So a flood waits for itself, from however many addresses it comes once each has guessed wrong. A client that
leaves takes its login out of the queue. When that is full, who has the most in it makes room.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from sealgate.accounts.desk import Desk, Work
from sealgate.accounts.login import Attempt, LoginResult, Outcome
from sealgate.accounts.users import UserBook

#: Hashing yields the processor to the event loop.
_NICENESS: Final = 5
#: What one customer of a provider has: failures are counted by it.
_IPV6_PREFIX: Final = 64

Answer = Callable[[Outcome], None]


@dataclass(slots=True, eq=False)
class Ticket:
    """One login that waits or is being checked."""

    attempt: Attempt
    address: str
    answer: Answer | None


class Logins:
    """The queue before the `Desk`. Everything but the hashes happens on the event loop."""

    def __init__(
        self,
        desk: Desk,
        workers: int,
        waiting_max: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk: Final = desk
        self._workers: Final = workers
        self._waiting_max: Final = waiting_max
        self._clock: Final = clock
        self._threads: Final = ThreadPoolExecutor(workers, "sealgate-login", _be_nice)
        #: Address -> its logins; the addresses in the order of their turn.
        self._queues: Final[dict[str, deque[Ticket]]] = {}
        #: Addresses whose login is with a thread.
        self._busy: Final[set[str]] = set()
        self._hashing: Final[set[asyncio.Future[bool]]] = set()
        self._closed = False
        self.waiting = 0

    @property
    def hashes(self) -> int:
        """Hashes computed, or being computed, so far."""
        return self._desk.hashes

    def use(self, book: UserBook) -> None:
        """Put other users in force."""
        self._desk.use(book)

    def offers_external(self, certificate: tuple[str, ...]) -> bool:
        """Whether the names in a verified certificate stand for a user."""
        return bool(certificate) and self._desk.book.of_certificate(certificate) is not None

    def check(self, attempt: Attempt, host: str, answer: Answer) -> Ticket | None:
        """Call `answer` once, now or later; None when it was now."""
        address = counted_address(host)
        outcome = self._desk.at_once(attempt, address, self._clock())
        if outcome is None and not self._has_room(address):
            outcome = Outcome(LoginResult.BUSY)
        if outcome is not None:
            answer(outcome)
            return None
        ticket = Ticket(attempt, address, answer)
        self._queues.setdefault(ticket.address, deque()).append(ticket)
        self.waiting += 1
        self._next()
        return ticket

    def _has_room(self, address: str) -> bool:
        """Whether one more may wait; where others of one address are in its way, the last of them goes.

        Connections are counted by address, but of IPv6 one customer has very many.
        """
        if self._closed or self.waiting < self._waiting_max:
            return not self._closed
        crowd = max(self._queues, key=lambda queued: len(self._queues[queued]))
        if len(self._queues[crowd]) <= len(self._queues.get(address, ())) + 1:
            return False
        self.waiting -= 1
        self._answer(self._queues[crowd].pop(), Outcome(LoginResult.BUSY))
        return True

    def cancel(self, ticket: Ticket) -> None:
        """Nobody waits for the answer any more. A hash that is being computed counts all the same."""
        ticket.answer = None
        queue = self._queues.get(ticket.address)
        if queue is None or ticket not in queue:
            return
        queue.remove(ticket)
        self.waiting -= 1
        if not queue:
            del self._queues[ticket.address]

    def close(self) -> None:
        """Answer nobody any more, and let the threads end."""
        self._closed = True
        self._queues.clear()
        self.waiting = 0
        for hashing in self._hashing:
            hashing.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _next(self) -> None:
        """Give the threads what they have room for, and answer what needs no thread."""
        if len(self._busy) >= self._workers:
            return
        now = self._clock()
        for address in sorted(self._queues, key=lambda queued: self._desk.is_suspect(queued, now)):
            while len(self._busy) < self._workers and address not in self._busy:
                ticket = self._take(address)
                if ticket is None:
                    break
                self._serve(ticket)

    def _take(self, address: str) -> Ticket | None:
        """The next login of an address, which then has its turn after all others."""
        queue = self._queues.pop(address, None)
        if queue is None:
            return None
        ticket = queue.popleft()
        if queue:
            self._queues[address] = queue
        self.waiting -= 1
        return ticket

    def _serve(self, ticket: Ticket) -> None:
        found = self._desk.begin(ticket.attempt, ticket.address, self._clock())
        if isinstance(found, Outcome):
            self._answer(ticket, found)
            return
        self._busy.add(ticket.address)
        hashing = asyncio.get_running_loop().run_in_executor(self._threads, found.run)
        self._hashing.add(hashing)
        hashing.add_done_callback(lambda done: self._hashed(ticket, found, done))

    def _hashed(self, ticket: Ticket, work: Work, done: asyncio.Future[bool]) -> None:
        self._busy.discard(ticket.address)
        self._hashing.discard(done)
        if done.cancelled() or self._closed:
            return
        if done.exception() is None:
            self._answer(ticket, self._desk.settle(work, done.result(), self._clock()))
        else:
            # No memory, most likely: that is no wrong password, and no right one.
            self._answer(ticket, Outcome(LoginResult.BUSY))
        self._next()

    def _answer(self, ticket: Ticket, outcome: Outcome) -> None:
        answer, ticket.answer = ticket.answer, None
        if answer is not None:
            answer(outcome)


def counted_address(host: str) -> str:
    """What failures from `host` are counted by: itself, or of IPv6 the network that one customer has."""
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, _IPV6_PREFIX), strict=False))
    return host


def _be_nice() -> None:
    """Linux counts niceness by thread; where it does not work, hashes compete with everybody."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
