"""Orders of an operator to gateways that run: what is shed and what is revoked, each until its time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any, Final, NamedTuple

from sealgate.verify.celery import is_task_name
from sealgate.verify.controls import Controls

SHED: Final = "shed"
REVOKE: Final = "revoke"
KINDS: Final = (SHED, REVOKE)

#: Patterns are one regular expression that is asked for each message: an order is for an hour of trouble, and
#: what holds for ever belongs into the configuration.
PATTERNS_MAX: Final = 100
#: Ids are one look into a table. Who has more to revoke can shed the task; all of them are 2 MB of state.
REVOKED_MAX: Final = 10_000
#: Each id ends some time: by then no key's seal of it is good any more (`max_lifetime`, 7 days by default).
REVOKED_S: Final = 86_400.0
UNTIL_S_MAX: Final = 30 * 86_400.0
#: Who ordered it, as they say themselves.
BY_CHARACTERS_MAX: Final = 64
#: Any that a library makes: UUIDs and what is like them. White space would be a slip of the keyboard.
_TASK_ID: Final = re.compile(r"[!-~]{1,255}")


class OrderError(Exception):
    """An order that can not be taken. `status` is HTTP's; the text is for who gave it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status: Final = status


class Order(NamedTuple):
    """`subject` is a task name or glob, of REVOKE a task id.

    Times are Unix seconds; an `until` of 0 means until it is lifted.
    """

    kind: str
    subject: str
    since: float
    until: float
    by: str


class Orders:
    """Those in force, at most one for each kind and subject."""

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        """Raises `OrderError` when they are too many."""
        self._orders: Final[dict[tuple[str, str], Order]] = {}
        for order in orders:
            self.put(order)

    def __iter__(self) -> Iterator[Order]:
        return iter(self._orders.values())

    def __len__(self) -> int:
        return len(self._orders)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Orders) and self._orders == other._orders

    __hash__ = None  # type: ignore[assignment]

    def get(self, kind: str, subject: str) -> Order | None:
        return self._orders.get((kind, subject))

    def count(self, kind: str) -> int:
        return sum(order.kind == kind for order in self)

    def put(self, order: Order) -> None:
        """Add it, in the place of the one before. Raises `OrderError`."""
        key = (order.kind, order.subject)
        if key not in self._orders:
            ids = self.count(REVOKE)
            if order.kind == REVOKE and ids >= REVOKED_MAX:
                raise OrderError(409, f"{REVOKED_MAX} ids are revoked already; shed the task instead")
            if order.kind != REVOKE and len(self) - ids >= PATTERNS_MAX:
                raise OrderError(409, f"there are {PATTERNS_MAX} orders on tasks already")
        self._orders[key] = order

    def lift(self, order: Order) -> None:
        self._orders.pop((order.kind, order.subject), None)

    def over(self, now: float) -> list[Order]:
        """Those whose time has passed."""
        return [order for order in self if order.until and order.until <= now]

    def controls(self) -> Controls | None:
        """What the core is asked to do; None for nothing."""
        if not self:
            return None
        shed = tuple(order.subject for order in self if order.kind == SHED)
        return Controls(shed, {order.subject: order.until for order in self if order.kind == REVOKE})


def new_order(kind: str, subject: object, for_s: object, by: object, now: float) -> Order:
    """An order as somebody gave it, checked. `for_s` None: until it is lifted, and a day for REVOKE.

    Raises `OrderError`.
    """
    if kind == REVOKE:
        if not isinstance(subject, str) or not _TASK_ID.fullmatch(subject):
            raise OrderError(400, "a task id is 1 to 255 printable characters without spaces")
    elif not is_task_name(subject):
        raise OrderError(400, "a task or pattern is printable text of up to 255 bytes")
    if for_s is None:
        for_s = REVOKED_S if kind == REVOKE else 0.0
    elif not isinstance(for_s, int | float) or not 0 < for_s <= UNTIL_S_MAX:
        raise OrderError(400, f"a time is over 0 and at most {UNTIL_S_MAX:g} seconds")
    return Order(kind, subject, now, now + for_s if for_s else 0.0, _name(by))


def _name(by: object) -> str:
    if not isinstance(by, str):
        return ""
    return "".join([character for character in by if character.isprintable()])[:BY_CHARACTERS_MAX]


def plain(orders: Iterable[Order]) -> list[list[Any]]:
    """As JSON has them."""
    return [list(order) for order in orders]


def orders_of(data: object) -> Orders:
    """What `plain` gave, after JSON. Raises `ValueError`."""
    if not isinstance(data, list):
        raise ValueError("no list of orders")
    try:
        return Orders([_order(item) for item in data])
    except OrderError as error:
        raise ValueError(str(error)) from error


def _order(item: object) -> Order:
    if not isinstance(item, list) or len(item) != len(Order._fields):
        raise ValueError("no order")
    kind, subject, since, until, by = item
    texts = isinstance(subject, str) and isinstance(by, str)
    times = all(isinstance(time, int | float) and isfinite(time) for time in (since, until))
    if kind not in KINDS or not texts or not times or (kind == REVOKE and not until):
        raise ValueError("no order of this version")
    return Order(kind, subject, float(since), float(until), by)
