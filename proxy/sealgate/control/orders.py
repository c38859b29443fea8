"""Orders of an operator to gateways that run: what is paused, shed and revoked, each until its time.

And what follows from a pause: the queues on the broker in which messages are parked. They are known from
before the first message goes there until well after the last one has left, whatever becomes of gateways.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any, Final, NamedTuple

from sealgate.verify.celery import is_task_name
from sealgate.verify.controls import Controls

PAUSE: Final = "pause"
#: A pause that is over, whose messages are still on their way: new ones go behind them.
RESUMING: Final = "resuming"
SHED: Final = "shed"
REVOKE: Final = "revoke"
KINDS: Final = (PAUSE, RESUMING, SHED, REVOKE)
#: No order: a queue that messages are parked in.
PARKED: Final = "parked"
AT: Final = "@"

#: Patterns are one regular expression that is asked for each message: an order is for an hour of trouble, and
#: what holds for ever belongs into the configuration.
PATTERNS_MAX: Final = 100
#: Ids are one look into a table. Who has more to revoke can shed the task; all of them are 2 MB of state.
REVOKED_MAX: Final = 10_000
#: Each id ends some time: by then no key's seal of it is good any more (`max_lifetime`, 7 days by default).
REVOKED_S: Final = 86_400.0
UNTIL_S_MAX: Final = 30 * 86_400.0
#: One for each pattern that pauses and each target of its tasks; as many as a gateway declares by default.
PARKED_MAX: Final = 1000
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


class Parked(NamedTuple):
    """A queue at `broker` ("host:port", with TLS if `secure`), for what `pattern` pauses.

    `subject` is `queue@broker`: several addresses may be one cluster or several brokers. The kind is always
    PARKED, `since` is Unix seconds. `empty`: nothing of a pause that is over is left.
    """

    kind: str
    subject: str
    since: float
    vhost: str
    pattern: str
    broker: str
    secure: bool
    empty: bool = False
    quorum: bool = False

    @property
    def queue(self) -> str:
        return self.subject.partition(AT)[0]


Entry = Order | Parked


class Orders:
    """Those in force, at most one for each kind and subject; and `parked`, the queues of pauses."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Raises `OrderError` when they are too many."""
        self._orders: Final[dict[tuple[str, str], Order]] = {}
        self._ids = 0
        self.parked: Final[dict[str, Parked]] = {}
        for entry in entries:
            self.put(entry)

    def __iter__(self) -> Iterator[Order]:
        return iter(self._orders.values())

    def __len__(self) -> int:
        return len(self._orders)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Orders) and self._orders == other._orders and self.parked == other.parked

    __hash__ = None  # type: ignore[assignment]

    def entries(self) -> list[Entry]:
        """All there is to be kept."""
        return [*self, *self.parked.values()]

    def get(self, kind: str, subject: str) -> Order | None:
        return self._orders.get((kind, subject))

    def of(self, kind: str) -> list[Order]:
        return [order for order in self if order.kind == kind]

    def put(self, entry: Entry) -> None:
        """Add it, in the place of the one before. Raises `OrderError`."""
        if isinstance(entry, Parked):
            if entry.subject not in self.parked and len(self.parked) >= PARKED_MAX:
                raise OrderError(409, f"{PARKED_MAX} queues are parked in already")
            self.parked[entry.subject] = entry
            return
        key = (entry.kind, entry.subject)
        if key not in self._orders:
            ids = self._ids
            if entry.kind == REVOKE and ids >= REVOKED_MAX:
                raise OrderError(409, f"{REVOKED_MAX} ids are revoked already; shed the task instead")
            if entry.kind in (PAUSE, SHED) and len(self) - ids >= PATTERNS_MAX:
                raise OrderError(409, f"there are {PATTERNS_MAX} orders on tasks already")
            self._ids += entry.kind == REVOKE
        self._orders[key] = entry

    def lift(self, entry: Entry) -> None:
        if isinstance(entry, Parked):
            self.parked.pop(entry.subject, None)
        elif self._orders.pop((entry.kind, entry.subject), None) is not None:
            self._ids -= entry.kind == REVOKE

    def over(self, now: float) -> list[Order]:
        """Those whose time has passed."""
        return [order for order in self if order.until and order.until <= now]

    def pauses(self, pattern: str) -> bool:
        return (PAUSE, pattern) in self._orders

    def parks(self, pattern: str) -> bool:
        """Whether messages are parked for it: while it pauses, and until all that was parked has left."""
        return self.pauses(pattern) or (RESUMING, pattern) in self._orders

    def controls(self) -> Controls | None:
        """What the core is asked to do; None for nothing."""
        if not self:
            return None
        shed = tuple(order.subject for order in self.of(SHED))
        paused = {order.subject for kind in (PAUSE, RESUMING) for order in self.of(kind)}
        revoked = {order.subject: order.until for order in self.of(REVOKE)}
        return Controls(shed, revoked, tuple(paused))


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


def plain(entries: Iterable[Entry]) -> list[list[Any]]:
    """As JSON has them."""
    return [list(entry) for entry in entries]


def orders_of(data: object) -> Orders:
    """What `plain` gave, after JSON. Raises `ValueError`."""
    if not isinstance(data, list):
        raise ValueError("no list of orders")
    try:
        return Orders([entry_of(item) for item in data])
    except OrderError as error:
        raise ValueError(str(error)) from error


def entry_of(item: object) -> Entry:
    """One of them. Raises `ValueError`."""
    if not isinstance(item, list) or not item:
        raise ValueError("no order")
    if item[0] == PARKED:
        return _parked(item)
    if len(item) != len(Order._fields):
        raise ValueError("no order")
    kind, subject, since, until, by = item
    if kind not in KINDS or not _are(str, subject, by) or (kind == REVOKE and not until):
        raise ValueError("no order of this version")
    return Order(kind, subject, _moment(since), _moment(until), by)


def _parked(item: list[Any]) -> Parked:
    if len(item) != len(Parked._fields):
        raise ValueError("no order")
    _, subject, since, vhost, pattern, broker, secure, empty, quorum = item
    if not _are(str, subject, vhost, pattern, broker) or not _are(bool, secure, empty, quorum):
        raise ValueError("no order of this version")
    return Parked(PARKED, subject, _moment(since), vhost, pattern, broker, secure, empty, quorum)


def _are(kind: type, *values: object) -> bool:
    return all(isinstance(value, kind) for value in values)


def _moment(value: object) -> float:
    if not isinstance(value, int | float) or not isfinite(value):
        raise ValueError("no order: not a moment")
    return float(value)
