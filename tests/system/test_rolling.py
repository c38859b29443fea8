"""A new gateway takes over the port while the old one drains, and no Celery producer notices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pika
import pytest

from support.celery_setup import TESTS
from support.gateway import GatewayProcess, key, new_secret
from support.processes import end, spawn, wait_until
from support.publisher import arrivals
from support.rabbitmq_server import RabbitMQServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

ROLLS, ROLLS_FULL = 3, 20
QUEUE = "celery"
#: Published through each gateway before the next one takes over.
SHARE = 100


class Producer:
    """A `steady_producer` process."""

    def __init__(self, home: Path, how: str, url: str, confirms: bool) -> None:
        self.name = f"{how} {'confirmed' if confirms else 'unconfirmed'}"
        self._log = home / f"{self.name.replace(' ', '-')}.log"
        env = {
            **os.environ,
            "PROJECT_BROKER": url,
            "PROJECT_CONFIRMS": "1" if confirms else "0",
            "PYTHONPATH": str(TESTS),
        }
        self._process: subprocess.Popen[bytes] = spawn(
            [sys.executable, "-m", "support.steady_producer", how], self._log, env
        )

    def stop(self) -> tuple[list[str], list[str]]:
        """(ids published, failures seen)."""
        end(self._process)
        said = self._log.read_text().splitlines()
        told = json.loads(said[-1])
        return told["published"], told["failed"]

    def kill(self) -> None:
        end(self._process, signal.SIGKILL)


@contextmanager
def producers(home: Path, url: str) -> Iterator[list[Producer]]:
    with ExitStack() as stack:
        started = []
        for how in ("steady", "fresh"):
            for confirms in (True, False):
                started.append(Producer(home, how, url, confirms))
                stack.callback(started[-1].kill)
        yield started


def declare(server: RabbitMQServer, vhost: str) -> None:
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", server.port, vhost)) as connection:
        arguments = {"x-max-priority": 10}
        connection.channel().queue_declare(QUEUE, durable=True, arguments=arguments)


def passed(process: GatewayProcess) -> float:
    name = "sealgate_messages_total"
    return sum(process.metric(name, direction="publish", verdict=word) for word in ("accepted", "signed"))


class Rolled:
    """A gateway that is replaced while it runs."""

    def __init__(
        self, home: Path, upstream_port: int, keys: list[dict[str, object]], settings: object
    ) -> None:
        self._home = home
        self._upstream_port = upstream_port
        self._keys = keys
        self._settings = settings
        self._count = 0
        self.process = self._next(0)

    def _next(self, port: int) -> GatewayProcess:
        self._count += 1
        home = self._home / str(self._count)
        process = GatewayProcess(home, self._upstream_port, self._keys, self._settings, port)
        process.start()
        return process

    def roll(self) -> None:
        """The new one is there before the old one goes."""
        old, self.process = self.process, self._next(self.process.port)
        assert old.stop(signal.SIGTERM) == 0, old.log_text()[-2000:]
        for told in ("Traceback", '"level":"error"'):
            assert told not in old.log_text()


@pytest.mark.parametrize("rolled", ["gateway", "sidecar"])
def test_rolling_restart_fails_no_publish(
    rolled: str, rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path, full: bool, closing_lines: list[str]
) -> None:
    rolls = ROLLS_FULL if full else ROLLS
    declare(rabbitmq, vhost)
    keys = [key("k1", new_secret())]
    sign = {"publish": {"action": "sign", "sign_with": "k1"}, "quarantine": {"enabled": False}}
    gateway = Rolled(tmp_path / "gateway", rabbitmq.port, keys, {})
    sidecar = Rolled(tmp_path / "sidecar", gateway.process.port, keys, sign)
    try:
        with producers(tmp_path, sidecar.process.url(vhost)) as started:
            place = gateway if rolled == "gateway" else sidecar
            for _ in range(rolls):
                wait_until(lambda: passed(place.process) > SHARE, 60, "some load")
                place.roll()
            wait_until(lambda: passed(place.process) > SHARE, 60, "some load")
            outcomes = {producer.name: producer.stop() for producer in started}
        refused = {**gateway.process.refusals(), **sidecar.process.refusals()}
    finally:
        sidecar.process.stop(signal.SIGKILL)
        gateway.process.stop(signal.SIGKILL)
    assert refused == {}
    assert {name: failed for name, (_, failed) in outcomes.items() if failed} == {}
    wanted = [task_id for published, _ in outcomes.values() for task_id in published]
    found = Counter(arrivals(rabbitmq.port, vhost, QUEUE, 10 * len(wanted)))
    missing = {
        name: sum(task_id not in found for task_id in published) for name, (published, _) in outcomes.items()
    }
    assert {name: count for name, count in missing.items() if count} == {}
    doubled = sum(times > 1 for times in found.values())
    closing_lines.append(
        f"rolling restarts of the {rolled}: {len(wanted)} tasks by {len(outcomes)} producers, "
        f"{rolls} restarts, no publish failed, none missing, {doubled} there twice"
    )
