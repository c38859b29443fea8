"""Producers that go on publishing, and a gateway that is replaced while they do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pika

from support.celery_setup import TESTS
from support.gateway import GatewayProcess
from support.processes import end, spawn
from support.rabbitmq_server import RabbitMQServer

QUEUE = "celery"


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


def declare(server: RabbitMQServer, vhost: str, queue: str = QUEUE) -> None:
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", server.port, vhost)) as connection:
        arguments = {"x-max-priority": 10}
        connection.channel().queue_declare(queue, durable=True, arguments=arguments)


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
