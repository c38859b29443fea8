"""Orders of an operator to this gateway: the desk, its page, its metrics, and who may change something."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sealgate.app.errors import EXIT_CONFIG, EXIT_PERMISSION, EXIT_UNAVAILABLE, StartError
from sealgate.app.parking import DeskClerk
from sealgate.control.desk import Desk
from sealgate.control.keepers import FileKeeper, Keeper, KeeperError, MemoryKeeper, RedisKeeper
from sealgate.control.orders import KINDS, PAUSE, REVOKE, SHED, Orders, Parked
from sealgate.ops.changes import Changes
from sealgate.ops.metrics import PREFIX
from sealgate.ops.tables import Table

if TYPE_CHECKING:
    from sealgate.config.settings import Settings

log: Final = logging.getLogger("sealgate.app")

PAGE: Final = "/controls"
_COLUMNS: Final = ("order", "subject", "since", "until", "by")


@dataclass(slots=True, frozen=True)
class ControlPlan:
    """What the desk is built from, as plain data. `store` is `replay.store`, `state` is `control.state`."""

    state: str | None
    store: str
    deployment: str
    kinds: list[str]
    token: str | None


def control_plan(settings: Settings) -> ControlPlan:
    """Raises `StartError` when `admin.token` does not serve."""
    from sealgate.config.errors import ConfigError
    from sealgate.config.sources import read_token, sources_of

    try:
        token = read_token(settings.admin.token, sources_of(settings, os.environ))
    except ConfigError as error:
        raise StartError(str(error), error.exit_code) from error
    verifies = settings.publish.action == "verify"
    kinds = [PAUSE, SHED] if verifies else []
    if verifies or settings.deliver.action != "pass":
        kinds.append(REVOKE)
    return ControlPlan(settings.control.state, settings.replay.store, settings.deployment, kinds, token)


class Controlling:
    """`desk` has the orders; `put_in_force` is given all of them on every change."""

    def __init__(self, plan: ControlPlan, put_in_force: Callable[[Orders], None]) -> None:
        self.desk: Final = Desk(_keeper(plan), frozenset(plan.kinds), put_in_force)
        self.changes: Final = Changes(plan.token, self.desk.change)
        self._clerk: Final = DeskClerk(self.desk)

    async def start(self) -> None:
        """Raises `StartError`, with 69 when Redis can not be asked."""
        try:
            await self.desk.start()
        except KeeperError as error:
            raise StartError(f"{_setting(self.desk)}: {error}", _code(self.desk, error)) from error

    async def close(self) -> None:
        await self.desk.close()

    def hear(self, wanted: Iterable[Parked], empty: Iterable[str]) -> None:
        """What a worker has to say of park queues: those to be kept, and names of those that are empty."""
        for parked in wanted:
            self._clerk.keep(parked, _tell_not_kept)
        for name in empty:
            self._clerk.emptied(name)

    def trouble(self) -> str:
        """For health: orders of other gateways may be missing."""
        return self.desk.trouble

    def collector(self) -> Collector:
        return ControlCollector(self)

    def table(self) -> Table:
        """The page."""
        orders = sorted(self.desk.orders)
        rows = [
            (
                order.kind,
                order.subject,
                _time(order.since),
                _time(order.until) if order.until else "",
                order.by,
            )
            for order in orders
        ]
        kept = self.desk.kept
        text = f"Kept in {kept}." if kept else "Not kept: they end with the process (control.state)."
        if self.desk.trouble:
            text += f" Those of other gateways may be missing: {self.desk.trouble}."
        data = {
            "now": time.time(),
            "kept": kept,
            "trouble": self.desk.trouble,
            "orders": [order._asdict() for order in orders],
            "parked": [parked._asdict() for parked in self.desk.orders.parked.values()],
        }
        return Table("Controls", text, _COLUMNS, rows, data)


def _tell_not_kept(name: str, trouble: str) -> None:
    log.error("a queue is not kept", extra={"event": "park.not_kept", "queue": name, "error": trouble})


def _keeper(plan: ControlPlan) -> Keeper:
    if plan.store != "memory":
        return RedisKeeper(plan.store, plan.deployment)
    return MemoryKeeper() if plan.state is None else FileKeeper(Path(plan.state))


def _setting(desk: Desk) -> str:
    return "replay.store" if desk.kept == "Redis" else "control.state"


def _code(desk: Desk, error: KeeperError) -> int:
    if desk.kept == "Redis":
        return EXIT_UNAVAILABLE
    cause = error.__cause__
    return EXIT_PERMISSION if isinstance(cause, PermissionError) else EXIT_CONFIG


class ControlCollector(Collector):
    """What there is to say of orders, for whoever has the desk."""

    def __init__(self, controlling: Controlling) -> None:
        self._controlling: Final = controlling

    def collect(self) -> Iterator[Metric]:
        desk = self._controlling.desk
        orders = GaugeMetricFamily(
            f"{PREFIX}controls", "Orders of operators in force, by kind.", labels=["kind"]
        )
        for kind in KINDS:
            orders.add_metric([kind], len(desk.orders.of(kind)))
        yield orders
        changes = CounterMetricFamily(
            f"{PREFIX}control_changes", "Orders that were asked for, by result.", labels=["order", "result"]
        )
        for (order, result), count in desk.changes.items():
            changes.add_metric([order, result], count)
        changes.add_metric(["unknown", "denied"], self._controlling.changes.denied)
        yield changes


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
