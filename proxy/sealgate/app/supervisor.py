"""With several workers: the process that has no gate. It keeps the workers, and speaks for them all.

It reserves the port (bound, not listened on), so that a port of the system's choice is the same for all and
nobody else takes it while workers are away. Each worker has a listening socket of its own (SO_REUSEPORT): the
kernel gives a client to one of them, and a worker that dies takes no other's clients along.

Warning: import nothing here that brings the gate, or the supervisor gets as large as a worker.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sealgate import __version__
from sealgate.app.controlling import PAGE as CONTROLS_PAGE
from sealgate.app.controlling import Controlling
from sealgate.app.errors import StartError, start_error
from sealgate.app.facts import process_values
from sealgate.app.fleet import Fleet, FleetHealth
from sealgate.app.observing import PAGE as OBSERVED_PAGE
from sealgate.app.observing import Observing
from sealgate.app.plan import Plan, own_command
from sealgate.app.reports import Report
from sealgate.app.slot import State
from sealgate.control.orders import plain
from sealgate.net.sockets import reserve
from sealgate.ops.admin import Admin
from sealgate.ops.health import LoopLag
from sealgate.ops.key_metrics import KeyCollector
from sealgate.ops.keys import PAGE as KEYS_PAGE
from sealgate.ops.keys import KeysPage
from sealgate.ops.logging import configure_logging
from sealgate.ops.metrics import PREFIX, TASKS, UPSTREAM_UP, TallyCollector
from sealgate.ops.pages import Pages

log: Final = logging.getLogger("sealgate.app")


def supervise(plan: Plan) -> int:
    """Run the workers of `plan` until a signal ends them; returns the exit code.

    Exit codes are those of `process.run`, and 70 when workers die before they listen.
    """
    configure_logging(plan.log_level, plan.log_format)
    with ExitStack() as closing:
        try:
            return asyncio.run(_supervise(plan, closing))
        except StartError as error:
            print(f"sealgate: {error}", file=sys.stderr)
            return error.exit_code


async def _supervise(plan: Plan, closing: ExitStack) -> int:
    try:
        port = await reserve(plan.host, plan.port, closing)
    except OSError as error:
        raise start_error("listen.address", error) from error

    def orders(in_service: bool) -> bytes:
        first = {"settings": plan.values, "port": port, "in_service": in_service}
        return json.dumps({**first, "controls": plain(controlling.desk.orders.entries())}).encode() + b"\n"

    controlling = Controlling(plan.control, lambda orders: fleet.control(plain(orders.entries())))
    fleet = Fleet(plan.workers, own_command(), orders, plan.drain_s)
    lag = LoopLag()
    health = FleetHealth(lag, fleet)
    observing = Observing(plan.state, [])

    def heard(report: Report) -> None:
        observing.add(report.observed)
        controlling.hear(*report.parking)

    fleet.told = heard
    admin = _build_admin(plan, fleet, health, observing, controlling)
    _obey_signals(fleet, health)
    lag.start()
    health.watch("controls", controlling.trouble, advisory=True)
    keeping = [asyncio.create_task(observing.keep())]
    try:
        await controlling.start()
        keeping.append(asyncio.create_task(controlling.desk.watch()))
        if admin is not None:
            try:
                await admin.start()
            except OSError as error:
                raise start_error("admin.address", error) from error
        log.info(
            "supervising",
            extra={
                "event": "gate.supervising",
                "port": port,
                "admin_port": admin.port if admin is not None else 0,
                "workers": plan.workers,
                "version": __version__,
            },
        )
        return await fleet.run()
    finally:
        if admin is not None:
            await admin.close()
        for task in keeping:
            task.cancel()
        observing.close()
        await controlling.close()
        lag.stop()


def _obey_signals(fleet: Fleet, health: FleetHealth) -> None:
    def on_stop() -> None:
        if fleet.draining:
            fleet.cut()
            return
        health.draining = True
        log.info("draining", extra={"event": "gate.draining", "clients": fleet.sum.tally.client_connections})
        fleet.drain()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop)
    loop.add_signal_handler(signal.SIGHUP, fleet.reload)


def _build_admin(
    plan: Plan, fleet: Fleet, health: FleetHealth, observing: Observing, controlling: Controlling
) -> Admin | None:
    if not plan.admin:
        return None
    deployment = plan.about["deployment"]
    keys = KeysPage(deployment, lambda: [report.keys for report in fleet.reports()], fleet.sum.tally)
    registry = CollectorRegistry(auto_describe=False)
    tasks = {"tasks": (TASKS, lambda: fleet.sum.tasks)}
    upstreams = {"upstream_up": (UPSTREAM_UP, "upstream", lambda: fleet.sum.upstreams)}
    registry.register(TallyCollector(fleet.sum.tally, fleet.sum, tasks, upstreams))
    registry.register(FleetCollector(fleet))
    registry.register(controlling.collector())
    registry.register(KeyCollector(keys.ring))
    pages = Pages(
        registry,
        health,
        fleet.sum.tally,
        plan.about,
        refresh=fleet.refresh,
        tables={
            OBSERVED_PAGE: observing.table,
            CONTROLS_PAGE: controlling.table,
            KEYS_PAGE: keys.table,
        },
        changes={CONTROLS_PAGE: controlling.changes},
    )
    return Admin(plan.admin, pages)


class FleetCollector(Collector):
    """What there is to say of the workers one by one, and of all processes together."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet: Final = fleet

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(f"{PREFIX}worker_up", "Whether a worker listens.", labels=["worker"])
        clients = GaugeMetricFamily(
            f"{PREFIX}worker_client_connections", "Client connections open now, by worker.", labels=["worker"]
        )
        starts = CounterMetricFamily(
            f"{PREFIX}worker_restarts", "Workers started in place of one that ended.", labels=["worker"]
        )
        for slot in self._fleet.slots:
            number = str(slot.number)
            up.add_metric([number], float(slot.state is State.LISTENING))
            starts.add_metric([number], self._fleet.restarts[slot.number])
            report = slot.report
            clients.add_metric([number], report.tally.client_connections if report is not None else 0)
        yield from (up, clients, starts)
        yield from self._processes()

    def _processes(self) -> Iterator[Metric]:
        """Sums over supervisor and workers, under the names that a single process has."""
        for name, value in process_values().items():
            text = f"{name}, of the supervisor and all workers."
            total = value + self._fleet.sum.process[name]
            if name.endswith("_total"):
                yield CounterMetricFamily(name.removesuffix("_total"), text, value=total)
            else:
                yield GaugeMetricFamily(name, text, value=total)
