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
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sealgate import __version__
from sealgate.app.errors import StartError, start_error
from sealgate.app.facts import about, process_values
from sealgate.app.fleet import Fleet, FleetHealth
from sealgate.app.slot import State
from sealgate.config.settings import Settings
from sealgate.net.sockets import reserve
from sealgate.ops.admin import Admin
from sealgate.ops.health import LoopLag
from sealgate.ops.metrics import PREFIX, TASKS, UPSTREAM_UP, TallyCollector

log: Final = logging.getLogger("sealgate.app")


def supervise(settings: Settings, values: dict[str, Any]) -> int:
    """Run `settings.listen.workers` workers until a signal ends them; returns the exit code.

    `values` is what `settings` was made from. Workers are given it, so that they are all the same, whatever
    becomes of the file. Exit codes as those of `process.run`, and 70 when workers die before they listen.
    """
    with ExitStack() as closing:
        try:
            return asyncio.run(_supervise(settings, values, closing))
        except StartError as error:
            print(f"sealgate: {error}", file=sys.stderr)
            return error.exit_code


async def _supervise(settings: Settings, values: dict[str, Any], closing: ExitStack) -> int:
    address = settings.listen.address
    try:
        port = await reserve(address.host, address.port, closing)
    except OSError as error:
        raise start_error("listen.address", error) from error

    def orders(in_service: bool) -> bytes:
        return json.dumps({"settings": values, "port": port, "in_service": in_service}).encode() + b"\n"

    fleet = Fleet(settings.listen.workers, _command(), orders, settings.drain.timeout)
    lag = LoopLag()
    health = FleetHealth(lag, fleet)
    admin = _build_admin(settings, fleet, health)
    _obey_signals(fleet, health)
    lag.start()
    try:
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
                "workers": settings.listen.workers,
                "version": __version__,
            },
        )
        return await fleet.run()
    finally:
        if admin is not None:
            await admin.close()
        lag.stop()


def _command() -> list[str]:
    """This very command, with the options of the interpreter; a worker is told by what is added."""
    return [sys.executable, *sys.orig_argv[1:]]


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


def _build_admin(settings: Settings, fleet: Fleet, health: FleetHealth) -> Admin | None:
    if not settings.admin.enabled:
        return None
    registry = CollectorRegistry(auto_describe=False)
    tasks = {"tasks": (TASKS, lambda: fleet.sum.tasks)}
    upstreams = {"upstream_up": (UPSTREAM_UP, "upstream", lambda: fleet.sum.upstreams)}
    registry.register(TallyCollector(fleet.sum.tally, fleet.sum, tasks, upstreams))
    registry.register(FleetCollector(fleet))
    facts = {**about(settings), "workers": str(settings.listen.workers)}
    address = str(settings.admin.address)
    return Admin(address, registry, health, fleet.sum.tally, facts, refresh=fleet.refresh)


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
