from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sealgate.control.desk import Desk, Told
from sealgate.control.keepers import KeeperError, MemoryKeeper
from sealgate.control.orders import REVOKE, SHED, Order, Orders

NOW = 1_800_000_000.0


class Keeper(MemoryKeeper):
    """Says what it was asked, fails when told to, and has news from elsewhere."""

    def __init__(self, before: Orders | None = None) -> None:
        self.kept = "here"
        self.before = before or Orders()
        self.fails = False
        self.news: Orders | None = None
        self.seen: list[tuple[str, Order, Orders]] = []

    async def start(self) -> Orders:
        return self.before

    async def put(self, order: Order, orders: Orders) -> None:
        self._note("put", order, orders)

    async def lift(self, order: Order, orders: Orders) -> None:
        self._note("lift", order, orders)

    def _note(self, what: str, order: Order, orders: Orders) -> None:
        if self.fails:
            raise KeeperError("disk full")
        self.seen.append((what, order, orders))

    async def poll(self, orders: Orders) -> Orders | None:
        if self.fails:
            raise KeeperError("away")
        news, self.news = self.news, None
        return news


class Setup:
    def __init__(self, before: Orders | None = None, kinds: tuple[str, ...] = (SHED, REVOKE)) -> None:
        self.now = NOW
        self.in_force: list[Orders] = []
        self.keeper = Keeper(before)
        self.desk = Desk(self.keeper, frozenset(kinds), self.in_force.append, lambda: self.now)

    async def ask(self, order: Any, subject: Any = "shop.*", for_s: Any = None) -> Told:
        return await self.desk.change({"order": order, "subject": subject, "for_s": for_s, "by": "me"})


@pytest.mark.asyncio
async def test_order_is_kept_then_in_force_then_answered() -> None:
    it = Setup()
    told = await it.ask("shed", for_s=60)
    order = Order(SHED, "shop.*", NOW, NOW + 60, "me")
    assert told == Told(200, {**order._asdict(), "kept": "here"})
    assert it.keeper.seen == [("put", order, Orders([order]))]
    assert it.in_force == [Orders([order])]
    assert it.desk.changes == {("shed", "done"): 1}


@pytest.mark.asyncio
async def test_what_was_kept_is_in_force_from_the_start() -> None:
    before = Orders([Order(SHED, "a", NOW, 0.0, "")])
    it = Setup(before)
    await it.desk.start()
    assert it.in_force == [before]


@pytest.mark.asyncio
async def test_order_that_can_not_be_kept_changes_nothing() -> None:
    it = Setup()
    it.keeper.fails = True
    told = await it.ask("shed")
    assert told.status == 503
    assert "disk full" in told.answer["error"]
    assert (list(it.desk.orders), it.in_force) == ([], [])
    assert it.desk.changes == {("shed", "refused"): 1}


@pytest.mark.asyncio
async def test_lifting_needs_the_very_subject() -> None:
    it = Setup()
    await it.ask("shed")
    await it.ask("revoke", "id-1")
    assert (await it.ask("resume", "shop.add")).status == 404
    assert (await it.ask("unrevoke", "shop.*")).status == 404
    assert (await it.ask("resume")).answer["lifted"] == [SHED]
    assert (await it.ask("unrevoke", "id-1")).answer["lifted"] == [REVOKE]
    assert list(it.in_force[-1]) == []
    assert (await it.ask("resume")).status == 404


@pytest.mark.parametrize("order", [None, "", "explode", ["shed"], {"a": 1}])
def test_other_orders_are_400_and_count_as_unknown(order: Any) -> None:
    it = Setup()
    told = asyncio.run(it.ask(order))
    assert told.status == 400
    assert it.desk.changes == {("unknown", "refused"): 1}


@pytest.mark.asyncio
async def test_what_means_nothing_to_this_gateway_is_409() -> None:
    it = Setup(kinds=(REVOKE,))
    assert (await it.ask("shed")).status == 409
    assert (await it.ask("revoke", "id-1")).status == 200


@pytest.mark.asyncio
async def test_what_is_over_makes_room_and_is_lifted() -> None:
    it = Setup()
    await it.ask("shed", for_s=60)
    it.now += 61
    await it.desk._look()
    assert list(it.desk.orders) == []
    assert [seen[0] for seen in it.keeper.seen] == ["put", "lift"]


@pytest.mark.asyncio
async def test_orders_from_elsewhere_come_into_force() -> None:
    it = Setup()
    it.keeper.news = Orders([Order(SHED, "other", NOW, 0.0, "them")])
    await it.desk._look()
    assert [order.subject for order in it.in_force[-1]] == ["other"]


@pytest.mark.asyncio
async def test_while_the_keeper_is_away_the_last_known_orders_hold_and_end_in_time() -> None:
    it = Setup()
    await it.ask("shed", "a")
    await it.ask("shed", "b", 60)
    it.keeper.fails = True
    await it.desk._look()
    assert it.desk.trouble == "away"
    assert len(it.desk.orders) == 2
    it.now += 61
    await it.desk._look()
    assert [order.subject for order in it.in_force[-1]] == ["a"]
    it.keeper.fails = False
    await it.desk._look()
    assert it.desk.trouble == ""


@pytest.mark.asyncio
async def test_changes_at_once_lose_none() -> None:
    it = Setup()
    await asyncio.gather(*[it.ask("shed", f"t{number}") for number in range(20)])
    assert len(it.desk.orders) == 20
    assert [len(orders) for orders in it.in_force] == list(range(1, 21))
