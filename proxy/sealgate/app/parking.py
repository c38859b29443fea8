"""Park queues of a gate: kept before their first message, and emptied when a pause is over.

Who keeps them is the gate's own desk, or its supervisor's; either way a queue may be used once it is among
the orders that the gate obeys.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from sealgate.control.desk import Desk
from sealgate.control.orders import AT, PARKED, Orders, Parked, plain
from sealgate.quarantine.emptying import Emptier, Filled
from sealgate.quarantine.queues import Answer, Queues
from sealgate.session.holding import HoldingQueue

#: For the desk to keep a queue, across a supervisor and a disk or Redis.
KEPT_S_MAX: Final = 5.0


class Clerk(Protocol):
    """Who brings to the desk what a gate has to say of queues."""

    def keep(self, parked: Parked, refuse: Callable[[str, str], None]) -> None:
        """Have a queue kept; `refuse` is told its name and the trouble, if that can not be."""

    def emptied(self, name: str) -> None:
        """Nothing is left in a queue of a pause that is over."""


class DeskClerk:
    """Goes to the desk of this very process."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Final = desk
        self._errands: Final[dict[str, asyncio.Task[None]]] = {}

    def keep(self, parked: Parked, refuse: Callable[[str, str], None]) -> None:
        async def errand() -> None:
            trouble = await self._desk.register(parked)
            if trouble:
                refuse(parked.subject, trouble)

        self._send(f"keep {parked.subject}", errand())

    def emptied(self, name: str) -> None:
        if f"empty {name}" not in self._errands:
            self._send(f"empty {name}", self._desk.emptied(name))

    def _send(self, name: str, errand: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(errand)
        self._errands[name] = task
        task.add_done_callback(lambda _: self._errands.pop(name, None))


class FarClerk:
    """Keeps what is to be said for the next report to a supervisor, and calls for one."""

    def __init__(self) -> None:
        #: Sends a report.
        self.call: Callable[[], None] = _nobody_listens
        self.wanted: Final[dict[str, Parked]] = {}
        self.empty: Final[set[str]] = set()

    def keep(self, parked: Parked, refuse: Callable[[str, str], None]) -> None:
        self.wanted[parked.subject] = parked
        self.call()

    def emptied(self, name: str) -> None:
        if name not in self.empty:
            self.empty.add(name)
            self.call()

    def take(self) -> dict[str, Any]:
        """What there is to say; it is said once."""
        told = {"wanted": plain(self.wanted.values()), "empty": sorted(self.empty)}
        self.wanted.clear()
        self.empty.clear()
        return told


def _nobody_listens() -> None:
    pass


class Parking:
    """Declares queues for sessions, as `net.relay` asks; a queue to park in is kept first, by `clerk`."""

    def __init__(self, queues: Queues, clerk: Clerk) -> None:
        self._queues: Final = queues
        self._clerk: Final = clerk
        #: Empties the queues; None where another process of this gateway does.
        self.emptier: Emptier | None = None
        self._orders = Orders()
        #: Subject -> the queue to be kept, and who waits for it.
        self._waiting: Final[dict[str, tuple[Parked, list[Callable[[str], None]]]]] = {}

    def declare(self, broker: str, secure: bool, vhost: str, queue: HoldingQueue, answer: Answer) -> None:
        """As `Queues.declare`; a park queue is kept first."""

        def declared(trouble: str) -> None:
            if trouble:
                answer(trouble)
            else:
                self._queues.declare(broker, secure, vhost, queue, answer)

        subject = queue.name + AT + broker
        if not queue.paused_by or self._is_kept(subject):
            self._queues.declare(broker, secure, vhost, queue, answer)
            return
        waiting = self._waiting.get(subject)
        if waiting is not None:
            waiting[1].append(declared)
            return
        parked = Parked(
            PARKED, subject, time.time(), vhost, queue.paused_by, broker, secure, quorum=queue.quorum
        )
        self._waiting[subject] = (parked, [declared])
        late = "it can not be kept in time"
        asyncio.get_running_loop().call_later(KEPT_S_MAX, self._not_kept, subject, late)
        self._clerk.keep(parked, self._not_kept)

    def _is_kept(self, subject: str) -> bool:
        kept = self._orders.parked.get(subject)
        return kept is not None and not kept.empty

    def _not_kept(self, subject: str, trouble: str) -> None:
        """A queue can not be kept, so nothing may go there."""
        _, waiting = self._waiting.pop(subject, (None, []))
        for declared in waiting:
            declared(trouble)

    def obey(self, orders: Orders) -> None:
        """These are the orders in force, and the queues that are kept."""
        self._orders = orders
        for subject in [subject for subject in self._waiting if self._is_kept(subject)]:
            _, waiting = self._waiting.pop(subject)
            for declared in waiting:
                declared("")
        if self.emptier is not None:
            self.emptier.use(
                [
                    Filled(parked.queue, parked.broker, parked.secure, parked.vhost, parked.quorum)
                    for parked in orders.parked.values()
                    if not orders.pauses(parked.pattern)
                ]
            )

    def emptied(self, queue: Filled) -> None:
        """Nothing is left in a queue that is emptied: told until it is known."""
        subject = queue.name + AT + queue.broker
        if self._is_kept(subject):
            self._clerk.emptied(subject)
