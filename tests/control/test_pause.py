"""The desk's part of a pause: what is parked where is known before and after, and when it is over."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sealgate.control.desk import LINGER_S, Desk
from sealgate.control.keepers import KeeperError, MemoryKeeper
from sealgate.control.orders import (
    PARKED,
    PARKED_MAX,
    PAUSE,
    RESUMING,
    REVOKE,
    SHED,
    Entry,
    Order,
    OrderError,
    Orders,
    Parked,
    orders_of,
    plain,
)

NOW = 1_800_000_000.0


def a_queue(name: str = "sealgate.park.1", pattern: str = "shop.*", empty: bool = False) -> Parked:
    """Told by its name alone here."""
    return Parked(PARKED, name, NOW, "/", pattern, "rabbitmq:5672", False, empty)


class Keeper(MemoryKeeper):
    def __init__(self) -> None:
        self.kept = "here"
        self.fails = False

    async def put(self, order: Entry, orders: Orders) -> None:
        if self.fails:
            raise KeeperError("disk full")

    async def lift(self, order: Entry, orders: Orders) -> None:
        await self.put(order, orders)


class Setup:
    def __init__(self, kept: bool = True) -> None:
        self.now = NOW
        self.keeper = Keeper()
        if not kept:
            self.keeper.kept = ""
        kinds = frozenset({PAUSE, SHED, REVOKE})
        self.desk = Desk(self.keeper, kinds, lambda orders: None, lambda: self.now)

    async def ask(self, order: str, subject: str = "shop.*", for_s: float | None = None) -> int:
        asked: dict[str, Any] = {"order": order, "subject": subject, "for_s": for_s, "by": "me"}
        return (await self.desk.change(asked)).status

    def kinds(self) -> list[str]:
        return sorted(order.kind for order in self.desk.orders)


@pytest.mark.asyncio
async def test_pause_needs_a_place_to_be_kept() -> None:
    it = Setup(kept=False)
    assert await it.ask("pause") == 409
    assert await it.ask("shed") == 200


@pytest.mark.asyncio
async def test_pause_ends_when_all_that_was_parked_has_left() -> None:
    it = Setup()
    assert await it.ask("pause") == 200
    assert await it.desk.register(a_queue("one")) == ""
    assert await it.desk.register(a_queue("two")) == ""
    await it.desk.emptied("one")  # while it pauses nothing of it is over
    assert not it.desk.orders.parked["one"].empty
    assert await it.ask("resume") == 200
    assert it.kinds() == [RESUMING]
    controls = it.desk.orders.controls()
    # New ones go behind those that are on their way.
    assert controls is not None
    assert controls.paused_by(["shop.add"]) == "shop.*"
    await it.desk.emptied("one")
    await it.desk._look()
    assert it.kinds() == [RESUMING]
    await it.desk.emptied("two")
    assert it.kinds() == []
    assert it.desk.orders.controls() is None


@pytest.mark.asyncio
async def test_pause_for_which_nothing_was_parked_ends_at_the_next_look() -> None:
    it = Setup()
    await it.ask("pause", for_s=60)
    it.now += 61
    await it.desk._look()
    await it.desk._look()
    assert it.kinds() == []


@pytest.mark.asyncio
async def test_pause_that_is_over_by_itself_resumes_what_was_parked() -> None:
    it = Setup()
    await it.ask("pause", for_s=60)
    await it.desk.register(a_queue())
    it.now += 61
    await it.desk._look()
    assert it.kinds() == [RESUMING]


@pytest.mark.asyncio
async def test_pause_does_not_end_in_memory_alone() -> None:
    it = Setup()
    await it.ask("pause", for_s=60)
    it.keeper.fails = True
    it.now += 61
    await it.desk._look()
    assert it.kinds() == [PAUSE]
    it.keeper.fails = False
    await it.desk._look()
    assert PAUSE not in it.kinds()


@pytest.mark.asyncio
async def test_queue_that_comes_after_the_pause_is_emptied_all_the_same() -> None:
    it = Setup()
    await it.ask("pause")
    await it.ask("resume")
    await it.desk._look()
    assert it.kinds() == []
    assert await it.desk.register(a_queue()) == ""
    assert it.kinds() == [RESUMING]


@pytest.mark.asyncio
async def test_pausing_again_parks_in_the_same_queues() -> None:
    it = Setup()
    await it.ask("pause")
    await it.desk.register(a_queue())
    await it.ask("resume")
    await it.desk.emptied("sealgate.park.1")
    assert it.desk.orders.parked["sealgate.park.1"].empty
    await it.ask("pause")
    assert not it.desk.orders.parked["sealgate.park.1"].empty
    await it.ask("resume")
    await it.ask("pause")
    assert it.kinds() == [PAUSE]


@pytest.mark.asyncio
async def test_queues_linger_for_who_has_not_heard_and_are_then_forgotten() -> None:
    it = Setup()
    await it.ask("pause")
    await it.desk.register(a_queue())
    await it.ask("resume")
    await it.desk.emptied("sealgate.park.1")
    await it.desk._look()
    it.now += LINGER_S - 1
    await it.desk._look()
    assert "sealgate.park.1" in it.desk.orders.parked
    await it.ask("pause")
    await it.desk._look()
    it.now += LINGER_S
    await it.desk._look()
    assert "sealgate.park.1" in it.desk.orders.parked
    await it.ask("resume")
    await it.desk.emptied("sealgate.park.1")
    await it.desk._look()
    it.now += LINGER_S
    await it.desk._look()
    assert it.desk.orders.parked == {}


@pytest.mark.asyncio
async def test_queue_that_can_not_be_kept_is_refused() -> None:
    it = Setup()
    await it.ask("pause")
    it.keeper.fails = True
    assert await it.desk.register(a_queue()) == "disk full"
    assert it.desk.orders.parked == {}


@pytest.mark.asyncio
async def test_shed_and_pause_of_one_pattern_are_lifted_together() -> None:
    it = Setup()
    await asyncio.gather(it.ask("pause"), it.ask("shed"))
    assert await it.ask("resume") == 200
    assert it.kinds() == [RESUMING]


def test_queues_are_bounded_and_outlive_json() -> None:
    orders = Orders([Order(PAUSE, "shop.*", NOW, 0.0, ""), a_queue(empty=True)])
    assert orders_of(json.loads(json.dumps(plain(orders.entries())))) == orders
    for number in range(PARKED_MAX - 1):
        orders.put(a_queue(f"q{number}"))
    with pytest.raises(OrderError):
        orders.put(a_queue("one-more"))
    orders.put(a_queue())


@pytest.mark.parametrize(
    "item",
    [
        [PARKED, "n", 1.0, "/", "p", "b", False, False],
        [PARKED, "n", 1.0, "/", "p", "b", 1, False, False],
        [PARKED, 1, 1.0, "/", "p", "b", False, False, False],
        [PARKED, "n", None, "/", "p", "b", False, False, True],
    ],
)
def test_what_is_no_queue_is_told(item: list[Any]) -> None:
    with pytest.raises(ValueError, match="no order"):
        orders_of([item])
