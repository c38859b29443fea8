"""The desk where orders are taken: kept first, then in force, then answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sealgate.control.keepers import Keeper, KeeperError
from sealgate.control.orders import (
    PAUSE,
    RESUMING,
    REVOKE,
    SHED,
    Entry,
    Order,
    OrderError,
    Orders,
    Parked,
    new_order,
)

#: How often others' orders are looked for, and those lifted whose time has passed: so late is every gateway
#: of several, and as long as a call may take.
WATCH_S: Final = 1.0

#: What an operator can ask for: the kinds of orders it puts, or lifts.
PUTS: Final[Mapping[str, str]] = {"pause": PAUSE, "shed": SHED, "revoke": REVOKE}
LIFTS: Final[Mapping[str, tuple[str, ...]]] = {"resume": (PAUSE, SHED), "unrevoke": (REVOKE,)}
#: A queue of a pause that is over is emptied for so long after it was empty: a gateway that had not heard of
#: it yet may still send something there.
LINGER_S: Final = 600.0
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
        #: Queues of pauses that are over: since when.
        self._idle_since: Final[dict[str, float]] = {}
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
            await self._end()
        except KeeperError as error:
            # What is in force stays so, but for what is over. A pause must not end in memory alone: its
            # messages would be left behind.
            self.trouble = str(error)
            over = [order for order in self.orders.over(self._clock()) if order.kind != PAUSE]
            if over:
                self._use(_without(self.orders, over))
        else:
            self.trouble = ""

    async def _end(self) -> None:
        """Lift what is over, and what is left of pauses when all that was parked has gone."""
        now = self._clock()
        for order in self.orders.over(now):
            await (self._begin_resuming(order) if order.kind == PAUSE else self._lift(order))
        for order in self.orders.of(RESUMING):
            queues = [parked for parked in self.orders.parked.values() if parked.pattern == order.subject]
            if all(parked.empty for parked in queues):
                await self._lift(order)
        for parked in list(self.orders.parked.values()):
            if self.orders.parks(parked.pattern):
                self._idle_since.pop(parked.subject, None)
            elif now - self._idle_since.setdefault(parked.subject, now) >= LINGER_S:
                del self._idle_since[parked.subject]
                await self._lift(parked)

    async def register(self, parked: Parked) -> str:
        """Keep that messages are about to be parked in a queue; returns why that can not be, or ""."""
        async with self._turn:
            known = self.orders.parked.get(parked.subject)
            if known is not None and not known.empty:
                return ""
            try:
                await self._keep(parked)
                if not self.orders.parks(parked.pattern):
                    # The pause ended meanwhile, and the message is on its way.
                    await self._keep(Order(RESUMING, parked.pattern, self._clock(), 0.0, ""))
            except (KeeperError, OrderError) as error:
                return str(error)
        return ""

    async def emptied(self, name: str) -> None:
        """The queue of this name holds nothing more of a pause that is over."""
        async with self._turn:
            parked = self.orders.parked.get(name)
            if parked is None or parked.empty or self.orders.pauses(parked.pattern):
                return
            try:
                await self._keep(parked._replace(empty=True))
                await self._end()
            except KeeperError as error:
                self.trouble = str(error)

    async def _begin_resuming(self, order: Order) -> None:
        await self._fill_again(order.subject)
        await self._keep(Order(RESUMING, order.subject, self._clock(), 0.0, order.by))
        await self._lift(order)

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
        if kind == PAUSE and not self.kept:
            raise OrderError(409, "a pause has to be kept over a restart: set control.state, or use Redis")
        await self._keep(order)
        if kind == PAUSE:
            await self._pause_again(order)
        return Told(200, {**order._asdict(), "kept": self.kept})

    async def _resume(self, name: str, asked: Mapping[str, Any]) -> Told:
        subject = asked.get("subject")
        found = [self.orders.get(kind, str(subject)) for kind in LIFTS[name]]
        lifted = [order for order in found if order is not None]
        if not lifted:
            raise OrderError(404, "there is no such order; `sealgate controls` lists those there are")
        for order in lifted:
            await (self._begin_resuming(order) if order.kind == PAUSE else self._lift(order))
        return Told(200, {"subject": subject, "lifted": [order.kind for order in lifted], "kept": self.kept})

    async def _pause_again(self, order: Order) -> None:
        """What was parked for it before is parked for it now."""
        await self._fill_again(order.subject)
        before = self.orders.get(RESUMING, order.subject)
        if before is not None:
            await self._lift(before)

    async def _fill_again(self, pattern: str) -> None:
        """Its queues may hold something, whatever was known of them."""
        for parked in list(self.orders.parked.values()):
            if parked.pattern == pattern and parked.empty:
                await self._keep(parked._replace(empty=False))

    async def _keep(self, entry: Entry) -> None:
        """Raises `KeeperError`, or `OrderError` when there is no room."""
        orders = Orders(self.orders.entries())
        orders.put(entry)
        await self._keeper.put(entry, orders)
        self._use(orders)

    async def _lift(self, entry: Entry) -> None:
        orders = _without(self.orders, [entry])
        await self._keeper.lift(entry, orders)
        self._use(orders)

    def _use(self, orders: Orders) -> None:
        self.orders = orders
        self._put_in_force(orders)


def _without(orders: Orders, gone: Sequence[Entry]) -> Orders:
    rest = Orders(orders.entries())
    for entry in gone:
        rest.lift(entry)
    return rest
