"""The broker dies under load, again and again: clients find back by themselves, nothing confirmed is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pika
import pytest

from support.celery_setup import TESTS
from support.gateway import GatewayProcess, gateway, key, new_secret
from support.processes import end, spawn, wait_until
from support.publisher import arrivals
from support.rabbitmq_server import RabbitMQServer, private_rabbitmq
from support.robust_clients import QUEUE as ROBUST
from support.robust_clients import RobustClients, robust_clients
from support.tcp_table import connections_to
from support.watched import MIB, Watched, needs_proc

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    needs_proc,
    # A connection that dies in the middle of its opening leaves its socket to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CELERY = "celery"
#: Confirmed to each kind of client before the next broker dies, and after the last one.
SHARE = 50
GROWTH_BYTES = 64 * MIB
MANY = 1_000_000


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[RabbitMQServer]]:
    """Two brokers that know nothing of each other."""
    with private_rabbitmq() as first, private_rabbitmq() as second:
        yield [first, second]


def prepare(servers: list[RabbitMQServer]) -> str:
    """The same virtual host and queues on each; returns its name."""
    (vhost,) = {server.new_vhost() for server in servers}
    for server in servers:
        with pika.BlockingConnection(pika.URLParameters(server.url_of(vhost))) as connection:
            channel = connection.channel()
            channel.queue_declare(CELERY, durable=True, arguments={"x-max-priority": 10})
            channel.queue_declare(ROBUST, durable=True)
        server.write_definitions()
    return vhost


class CeleryProducer:
    """A process with confirms that publishes one task after the other, and goes on after an error."""

    def __init__(self, home: Path, url: str) -> None:
        self._log = home / "producer.log"
        env = {**os.environ, "PROJECT_BROKER": url, "PROJECT_CONFIRMS": "1", "PYTHONPATH": str(TESTS)}
        self._process: subprocess.Popen[bytes] = spawn(
            [sys.executable, "-m", "support.steady_producer", "steady"], self._log, env
        )

    def stop(self) -> tuple[list[str], list[str]]:
        """(ids of tasks that were confirmed, errors its caller saw)."""
        end(self._process, seconds=60)
        told = json.loads(self._log.read_text().splitlines()[-1])
        return told["published"], told["failed"]

    def kill(self) -> None:
        end(self._process, signal.SIGKILL)


def accepted(process: GatewayProcess) -> float:
    return process.metric("sealgate_messages_total", direction="publish", verdict="accepted")


class Progress:
    """Whether both kinds of clients get something done."""

    def __init__(self, process: GatewayProcess, robust: RobustClients) -> None:
        self._process = process
        self._robust = robust

    def wait(self, what: str) -> None:
        """Until each has published its share, and something was consumed."""
        robust, consumed, all_of_them = self._counts()

        def enough() -> bool:
            now = self._counts()
            others = (now[2] - all_of_them) - (now[0] - robust)
            return now[0] - robust >= SHARE and now[1] > consumed and others >= SHARE

        wait_until(enough, 120, f"clients to go on {what}")

    def _counts(self) -> tuple[int, int, float]:
        return len(self._robust.confirmed), self._robust.consumed.total(), accepted(self._process)


def serving(servers: list[RabbitMQServer]) -> RabbitMQServer:
    """The broker that most connections lead to."""
    return max(servers, key=lambda server: connections_to(server.port))


@pytest.mark.parametrize("brokers", [1, 2])
def test_broker_dies_under_load(
    brokers: int, nodes: list[RabbitMQServer], tmp_path: Path, full: bool, closing_lines: list[str]
) -> None:
    """With one broker clients wait until it is back; with two the other one takes over at once."""
    deaths = 20 if full else 1
    servers = nodes[:brokers]
    vhost = prepare(nodes)
    keys = [key("k1", new_secret())]
    urls = [f"amqp://guest:guest@127.0.0.1:{server.port}" for server in servers]
    sign = {"publish": {"action": "sign", "sign_with": "k1"}, "quarantine": {"enabled": False}}
    with ExitStack() as stack:
        process = stack.enter_context(gateway(tmp_path / "gateway", 0, keys, {"upstream": {"urls": urls}}))
        sidecar = stack.enter_context(gateway(tmp_path / "sidecar", process.port, keys, sign))
        watched = [Watched(each, GROWTH_BYTES) for each in (process, sidecar)]
        producer = CeleryProducer(tmp_path, sidecar.url(vhost))
        stack.callback(producer.kill)
        with robust_clients(sidecar.url(vhost)) as robust:
            progress = Progress(process, robust)
            progress.wait("before anything happens")
            for death in range(deaths):
                victim = serving(servers)
                victim.kill()
                if brokers > 1:
                    progress.wait(f"at the other broker after death {death + 1}")
                victim.start()
                progress.wait(f"after death {death + 1}")
            published, failed = producer.stop()
        assert process.refusals() == {}
        for each in watched:
            each.check_at_rest()
        memory = f"gateway: {watched[0].report()}; sidecar: {watched[1].report()}"
    left = Counter(
        task_id
        for server in servers
        for queue in (CELERY, ROBUST)
        for task_id in arrivals(server.port, vhost, queue, MANY)
    )
    missing_celery = [task_id for task_id in published if task_id not in left]
    missing_robust = [task_id for task_id in robust.confirmed if task_id not in left + robust.consumed]
    assert (len(missing_celery), len(missing_robust)) == (0, 0)
    closing_lines.append(
        f"broker dies under load, {brokers} of them: {deaths} deaths, {len(published)} tasks confirmed to "
        f"Celery ({len(failed)} errors) and {len(robust.confirmed)} to aio-pika ({robust.errors.total()} "
        f"errors), none missing; {memory}"
    )
