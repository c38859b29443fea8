"""A gate's park queues: kept first, then declared; and told to be empty until that is known."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from sealgate.app import parking
from sealgate.app.parking import DeskClerk, FarClerk, Parking
from sealgate.app.reports import parking_of
from sealgate.control.desk import Desk
from sealgate.control.keepers import KeeperError, MemoryKeeper
from sealgate.control.orders import PARKED, PAUSE, RESUMING, SHED, Entry, Order, Orders, Parked
from sealgate.quarantine.emptying import Filled
from sealgate.session.holding import HoldingQueue

NAME = "sealgate.park.1"
BROKER = "rabbitmq:5672"
SUBJECT = f"{NAME}@{BROKER}"
QUEUE = HoldingQueue(NAME, "", "celery", False, 0, "shop.*")
PARKED_ONE = Parked(PARKED, SUBJECT, 1.0, "/", "shop.*", BROKER, False)


class Queues:
    """Declares nothing, and says that it did."""

    def __init__(self) -> None:
        self.declared: list[str] = []

    def declare(
        self, broker: str, secure: bool, vhost: str, queue: HoldingQueue, answer: Callable[[str], None]
    ) -> None:
        self.declared.append(queue.name)
        answer("")


class Clerk:
    def __init__(self) -> None:
        self.kept: list[str] = []
        self.told: list[str] = []
        self.refuse: Callable[[str, str], None] = lambda subject, trouble: None

    def keep(self, parked: Parked, refuse: Callable[[str, str], None]) -> None:
        self.kept.append(parked.subject)
        self.refuse = refuse

    def emptied(self, name: str) -> None:
        self.told.append(name)


class Emptier:
    def __init__(self) -> None:
        self.queues: list[Filled] = []

    def use(self, queues: Iterable[Filled]) -> None:
        self.queues = list(queues)


class Setup:
    def __init__(self) -> None:
        self.queues, self.clerk, self.emptier = Queues(), Clerk(), Emptier()
        self.parking = Parking(self.queues, self.clerk)  # type: ignore[arg-type]
        self.parking.emptier = self.emptier  # type: ignore[assignment]
        self.answers: list[str] = []

    def declare(self, queue: HoldingQueue = QUEUE) -> None:
        self.parking.declare(BROKER, False, "/", queue, self.answers.append)


@pytest.mark.asyncio
async def test_queue_is_declared_once_it_is_kept_and_all_who_wait_are_answered() -> None:
    it = Setup()
    it.declare()
    it.declare()
    assert (it.clerk.kept, it.queues.declared, it.answers) == ([SUBJECT], [], [])
    it.parking.obey(Orders([Order(PAUSE, "shop.*", 1.0, 0.0, ""), PARKED_ONE]))
    assert (it.queues.declared, it.answers) == ([NAME, NAME], ["", ""])
    it.declare()
    assert (it.clerk.kept, it.answers) == ([SUBJECT], [""] * 3)


@pytest.mark.asyncio
async def test_wait_queue_needs_no_keeping() -> None:
    it = Setup()
    it.declare(HoldingQueue("sealgate.wait.1", "", "celery"))
    assert (it.clerk.kept, it.queues.declared) == ([], ["sealgate.wait.1"])


@pytest.mark.asyncio
async def test_queue_that_can_not_be_kept_is_not_declared() -> None:
    it = Setup()
    it.declare()
    it.clerk.refuse(SUBJECT, "disk full")
    assert (it.queues.declared, it.answers) == ([], ["disk full"])


@pytest.mark.asyncio
async def test_queue_that_nobody_answers_for_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "KEPT_S_MAX", 0.01)
    it = Setup()
    it.declare()
    async with asyncio.timeout(10):
        while not it.answers:
            await asyncio.sleep(0.01)
    assert it.answers == ["it can not be kept in time"]


@pytest.mark.asyncio
async def test_queues_are_emptied_unless_their_pattern_pauses() -> None:
    it = Setup()
    it.parking.obey(Orders([Order(PAUSE, "shop.*", 1.0, 0.0, ""), PARKED_ONE]))
    assert it.emptier.queues == []
    filled = Filled(NAME, BROKER, False, "/")
    it.parking.obey(Orders([Order(RESUMING, "shop.*", 1.0, 0.0, ""), PARKED_ONE]))
    assert it.emptier.queues == [filled]
    it.parking.emptied(filled)
    it.parking.emptied(filled)
    assert it.clerk.told == [SUBJECT] * 2
    # Still emptied, for who has not heard of it; and nobody need be told again.
    it.parking.obey(Orders([PARKED_ONE._replace(empty=True)]))
    it.parking.emptied(filled)
    assert (it.emptier.queues, len(it.clerk.told)) == ([filled], 2)


@pytest.mark.asyncio
async def test_queue_that_was_empty_is_kept_again_before_it_is_used() -> None:
    it = Setup()
    it.parking.obey(Orders([PARKED_ONE._replace(empty=True)]))
    it.declare()
    assert (it.clerk.kept, it.answers) == ([SUBJECT], [])


class Failing(MemoryKeeper):
    async def put(self, order: Entry, orders: Orders) -> None:
        raise KeeperError("disk full")


@pytest.mark.asyncio
@pytest.mark.parametrize(("keeper", "expected"), [(MemoryKeeper(), []), (Failing(), ["disk full"])])
async def test_desk_of_this_process_keeps_it(keeper: MemoryKeeper, expected: list[str]) -> None:
    desk = Desk(keeper, frozenset({SHED}), lambda orders: None)
    refused: list[str] = []
    clerk = DeskClerk(desk)
    clerk.keep(PARKED_ONE, lambda _, trouble: refused.append(trouble))
    async with asyncio.timeout(10):
        while not desk.orders.parked and not refused:
            await asyncio.sleep(0)
    assert refused == expected
    if not expected:
        clerk.emptied(SUBJECT)
        clerk.emptied(SUBJECT)
        async with asyncio.timeout(10):
            while not desk.orders.parked[SUBJECT].empty:
                await asyncio.sleep(0)


def test_supervisor_is_called_and_told_once() -> None:
    calls: list[int] = []
    clerk = FarClerk()
    clerk.call = lambda: calls.append(1)
    clerk.keep(PARKED_ONE, lambda subject, trouble: None)
    clerk.emptied(SUBJECT)
    clerk.emptied(SUBJECT)
    told: dict[str, Any] = json.loads(json.dumps(clerk.take()))
    assert parking_of(told) == ([PARKED_ONE], [SUBJECT])
    assert len(calls) == 2
    assert parking_of(clerk.take()) == ([], [])
