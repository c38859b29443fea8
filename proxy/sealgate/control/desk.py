"""The desk where orders are taken: kept first, then in force, then answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from sealgate.control.keepers import Keeper, KeeperError
from sealgate.control.orders import REVOKE, SHED, Order, OrderError, Orders, new_order

#: How often others' orders are looked for, and those lifted whose time has passed: so late is every gateway
#: of several, and as long as a call may take.
WATCH_S: Final = 1.0

#: What an operator can ask for: the kinds of orders it puts, or lifts.
PUTS: Final[Mapping[str, str]] = {"shed": SHED, "revoke": REVOKE}
LIFTS: Final[Mapping[str, tuple[str, ...]]] = {"resume": (SHED,), "unrevoke": (REVOKE,)}
#: Of changes: how it ended.
DONE: Final = "done"
REFUSED: Final = "refused"


class Told(NamedTuple):
    """The answer: an HTTP status, and what JSON says."""

    status: int
    answer: dict[str, Any]


class Desk:
    """`orders` are those in force. `trouble` says why those of other gateways may be missing, or is ""."""

    def __init__(
        self,
        keeper: Keeper,
        kinds: frozenset[str],
        put_in_force: Callable[[Orders], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`kinds` are those that mean something to this gateway."""
        self.orders: Orders = Orders()
        self.kept: Final = keeper.kept
        self.trouble = ""
        #: (what was asked for, how it ended) -> times
        self.changes: Final[Counter[tuple[str, str]]] = Counter()
        self._keeper: Final = keeper
        self._kinds: Final = kinds
        self._put_in_force: Final = put_in_force
        self._clock: Final = clock
        #: One change at a time: each is made of what the one before left.
        self._turn: Final = asyncio.Lock()

    async def start(self) -> None:
        """Put in force what was kept. Raises `KeeperError`."""
        self._use(await self._keeper.start())

    async def close(self) -> None:
        await self._keeper.close()

    async def watch(self) -> None:
        """Look for what others ordered, and for what is over, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            async with self._turn:
                await self._look()

    async def _look(self) -> None:
        try:
            found = await self._keeper.poll(self.orders)
            if found is not None:
                self._use(found)
            for order in self.orders.over(self._clock()):
                await self._lift(order)
        except KeeperError as error:
            # What is in force stays so, but for what is over.
            self.trouble = str(error)
            over = self.orders.over(self._clock())
            if over:
                self._use(_without(self.orders, over))
        else:
            self.trouble = ""

    async def change(self, asked: Mapping[str, Any]) -> Told:
        """Carry out what an operator asks for: {"order": ..., "subject": ..., "for_s": ..., "by": ...}."""
        what = asked.get("order")
        known = isinstance(what, str) and (what in PUTS or what in LIFTS)
        name = what if isinstance(what, str) and known else "unknown"
        try:
            async with self._turn:
                if not known:
                    raise OrderError(400, f"order is one of {', '.join([*PUTS, *LIFTS])}")
                told = await (self._put(name, asked) if name in PUTS else self._resume(name, asked))
        except OrderError as error:
            told = Told(error.status, {"error": str(error)})
        except KeeperError as error:
            told = Told(503, {"error": f"nothing was changed, as it could not be kept: {error}"})
        self.changes[name, DONE if told.status == 200 else REFUSED] += 1
        return told

    async def _put(self, name: str, asked: Mapping[str, Any]) -> Told:
        kind = PUTS[name]
        if kind not in self._kinds:
            raise OrderError(409, f"this gateway can not {name}: it does not verify what it would concern")
        now = self._clock()
        order = new_order(kind, asked.get("subject"), asked.get("for_s"), asked.get("by"), now)
        orders = _without(self.orders, self.orders.over(now))
        orders.put(order)
        await self._keeper.put(order, orders)
        self._use(orders)
        return Told(200, {**order._asdict(), "kept": self.kept})

    async def _resume(self, name: str, asked: Mapping[str, Any]) -> Told:
        subject = asked.get("subject")
        found = [self.orders.get(kind, str(subject)) for kind in LIFTS[name]]
        lifted = [order for order in found if order is not None]
        if not lifted:
            raise OrderError(404, "there is no such order; `sealgate controls` lists those there are")
        for order in lifted:
            await self._lift(order)
        return Told(200, {"subject": subject, "lifted": [order.kind for order in lifted], "kept": self.kept})

    async def _lift(self, order: Order) -> None:
        orders = _without(self.orders, [order])
        await self._keeper.lift(order, orders)
        self._use(orders)

    def _use(self, orders: Orders) -> None:
        self.orders = orders
        self._put_in_force(orders)


def _without(orders: Orders, gone: list[Order]) -> Orders:
    rest = Orders(orders)
    for order in gone:
        rest.lift(order)
    return rest
