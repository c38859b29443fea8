"""Messages over their rate wait in a real RabbitMQ, and come out at the rate, in order, every one of them.

`make pacing` runs the long version: ten minutes of a rate in one second, a gateway and a broker that die.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pika
import pytest

from support.celery_setup import TESTS, _disconnect
from support.gateway import GatewayProcess, gateway, key, new_secret
from support.processes import end, spawn, wait_until
from support.publisher import Publisher
from support.rabbitmq_server import RabbitMQServer
from support.redis_server import RedisServer
from support.tasks import StoredNonceSigner

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

TASK = "shop.add"


@dataclass
class Start:
    """A task that began to run."""

    number: int
    at: float


class Worker:
    """A real Celery worker with one process, straight at the broker: what it starts is what was released."""

    def __init__(self, home: Path, url: str) -> None:
        self._runs = home / "runs.jsonl"
        self._log = home / "worker.log"
        self._env = {
            **os.environ,
            "PROJECT_BROKER": url,
            "PROJECT_RUNS": str(self._runs),
            "PROJECT_RESULTS": "disabled://",
            "PYTHONPATH": str(TESTS),
        }
        self._process: subprocess.Popen[bytes]

    def start(self) -> None:
        words = ["-m", "celery", "-A", "support.celery_project", "worker", "-c", "1", "-l", "INFO"]
        self._process = spawn([sys.executable, *words, "-n", "paced@tests"], self._log, self._env)
        wait_until(lambda: "paced@tests ready" in self._log.read_text(), 60, "the worker to be ready")

    def stop(self) -> None:
        end(self._process)

    def starts(self) -> list[tuple[str, float]]:
        """(task id, when) of each run so far, in order."""
        if not self._runs.exists():
            return []
        lines = [json.loads(line) for line in self._runs.read_text().splitlines()]
        return [(line[0], line[4]) for line in lines]


@dataclass
class Stage:
    """A gateway with a rate, a signing sidecar before it, and a worker behind the broker."""

    gateway: GatewayProcess
    sidecar: GatewayProcess
    worker: Worker
    vhost: str

    def send(self, count: int) -> list[str]:
        """Send tasks as an application does; their ids in order."""
        from support import celery_project

        app = celery_project.app
        url = self.sidecar.url(self.vhost)
        app.conf.broker_url = app.conf.broker_write_url = app.conf.broker_read_url = url
        app.conf.broker_transport_options = {"confirm_publish": False}
        app.conf.broker_transport = None
        try:
            with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
                sent = [
                    app.send_task(TASK, (number, 1), producer=producer, ignore_result=True).id
                    for number in range(count)
                ]
        finally:
            _disconnect(app)
        return sent

    def started(self, sent: list[str], seconds: float) -> list[Start]:
        """Every task's start, once all have begun."""
        wait_until(lambda: len(self.worker.starts()) >= len(sent), seconds, f"{len(sent)} tasks to start")
        place = {task_id: number for number, task_id in enumerate(sent)}
        return [Start(place[task_id], at) for task_id, at in self.worker.starts()]


@contextmanager
def staged(
    home: Path, rabbitmq: RabbitMQServer, vhost: str, rate: str, works: bool = True, **refuse: str
) -> Iterator[Stage]:
    keys = [key("k1", new_secret())]
    settings = {
        "rate": {TASK: rate},
        "refuse": refuse,
        "replay": {"journal": str(home / "nonces"), "max_age": "5s", "clock_skew": "1s"},
    }
    signer = {"publish": {"action": "sign", "sign_with": "k1"}, "quarantine": {"enabled": False}}
    with ExitStack() as stack:
        process = stack.enter_context(gateway(home / "gateway", rabbitmq.port, keys, settings))
        sidecar = stack.enter_context(gateway(home / "sidecar", process.port, keys, signer))
        worker = Worker(home, rabbitmq.url_of(vhost))
        if works:
            worker.start()
            stack.callback(worker.stop)
        yield Stage(process, sidecar, worker, vhost)


def check_order(starts: list[Start], count: int) -> None:
    """Each once, and in the order in which they were sent."""
    assert [start.number for start in starts] == list(range(count))


def check_not_faster(moments: list[float], begun: float, rate: float, burst: int) -> None:
    """Never more than the burst and what the rate has allowed since `begun`, when the bucket was full.

    Whoever takes the messages may be held up, so this says nothing of the time between two of them.
    """
    for number, moment in enumerate(sorted(moments), start=1):
        assert number <= burst + rate * (moment - begun)


@pytest.mark.parametrize("queues", ["classic", "quorum"])
def test_tasks_over_their_rate_wait_in_the_broker_and_start_in_order(
    rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path, queues: str, full: bool, closing_lines: list[str]
) -> None:
    if queues == "quorum" and not full:
        pytest.skip("classic queues are what is the default: make pacing")
    count, rate, burst = 60, 20, 5
    with staged(tmp_path, rabbitmq, vhost, f"{rate}/s burst {burst}", delay_queues=queues) as stage:
        begun = time.time()
        sent = stage.send(count)
        starts = stage.started(sent, 60)
        delayed = stage.gateway.metric("sealgate_delayed_total", bucket=TASK)
        refusals = stage.gateway.refusals()
    check_order(starts, count)
    check_not_faster([start.at for start in starts], begun, rate, burst)
    # Nearly all; while they were sent some slots came.
    assert delayed is not None and count - burst - rate * 2 <= delayed <= count - burst
    assert refusals == {}
    lasted = starts[-1].at - starts[burst].at
    closing_lines.append(f"pacing ({queues}): {(count - burst - 1) / lasted:.2f}/s of {rate}/s")


# Two gateways


class Consumer:
    """Takes what arrives in a queue, and when."""

    def __init__(self, url: str, queue: str) -> None:
        self.arrived: list[tuple[float, str]] = []
        self._url = url
        self._queue = queue
        self._thread = threading.Thread(target=self._consume, daemon=True)
        self._stop = threading.Event()
        self._thread.start()

    def _consume(self) -> None:
        with pika.BlockingConnection(pika.URLParameters(self._url)) as connection:
            channel = connection.channel()
            for method, properties, _ in channel.consume(self._queue, auto_ack=True, inactivity_timeout=0.2):
                if method is not None:
                    self.arrived.append((time.monotonic(), properties.correlation_id))
                if self._stop.is_set():
                    return

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)


@pytest.fixture
def queue(rabbitmq: RabbitMQServer, vhost: str) -> str:
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url_of(vhost))) as connection:
        connection.channel().queue_declare("tasks", durable=True)
    return "tasks"


def test_what_would_wait_longer_than_it_may_is_refused_and_the_rest_waits(
    rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        stage = stack.enter_context(staged(tmp_path, rabbitmq, vhost, "2/s burst 1", False, delay_max="2s"))
        with pika.BlockingConnection(pika.URLParameters(rabbitmq.url_of(vhost))) as connection:
            connection.channel().queue_declare("celery", durable=True, arguments={"x-max-priority": 10})
        consumer = Consumer(rabbitmq.url_of(vhost), "celery")
        stack.callback(consumer.close)
        sent = stage.send(30)

        def decided() -> int:
            return sum(stage.gateway.refusals().values()) + len(consumer.arrived)

        wait_until(lambda: decided() == 30, 60, "all to arrive or to be refused")
        refused = stage.gateway.refusals()
    ran = [task_id for _, task_id in consumer.arrived]
    assert set(refused) == {"rate.task"} and 1 <= len(ran) <= 10
    assert ran == [task_id for task_id in sent if task_id in ran]


def test_two_gateways_that_share_redis_keep_the_rate_together(
    rabbitmq: RabbitMQServer, redis_server: RedisServer, vhost: str, tmp_path: Path, queue: str
) -> None:
    count, rate, burst = 60, 20, 5
    secret = new_secret()
    deployment = f"test-{uuid.uuid4().hex}"
    redis_server.age(deployment)
    settings = {
        "deployment": deployment,
        "rate": {"app.add": f"{rate}/s burst {burst}"},
        "replay": {"store": redis_server.url},
    }
    keys = [key("k1", secret)]
    with ExitStack() as stack:
        gateways = [
            stack.enter_context(gateway(tmp_path / name, rabbitmq.port, keys, settings)) for name in "ab"
        ]
        consumer = Consumer(rabbitmq.url_of(vhost), queue)
        stack.callback(consumer.close)
        publishers = []
        for number, process in enumerate(gateways):
            signer = StoredNonceSigner(secret, vhost, queue, deployment)
            frames = _numbered(signer, number * 1000)
            publishers.append(Publisher(process.port, vhost, count, frames))
        begun = time.monotonic()
        asyncio.run(_all(publishers))
        assert all(publisher.confirmed == set(range(count)) for publisher in publishers)
        assert not any(publisher.refused for publisher in publishers)
        wait_until(lambda: len(consumer.arrived) == 2 * count, 60, "all to arrive")
    check_not_faster([at for at, _ in consumer.arrived], begun, rate, burst)
    numbers = [int(name) for _, name in consumer.arrived]
    for first in (0, 1000):
        own = [number for number in numbers if first <= number < first + 1000]
        assert own == list(range(first, first + count))


def _numbered(signer: StoredNonceSigner, first: int) -> Callable[[int], bytes]:
    return lambda number: signer.frames(first + number)


async def _all(publishers: list[Publisher]) -> None:
    await asyncio.gather(*[publisher.run() for publisher in publishers])


# At full size: `make pacing`


def test_six_hundred_tasks_start_at_their_rate_while_gateway_and_broker_die(
    rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path, full: bool, closing_lines: list[str]
) -> None:
    if not full:
        pytest.skip("takes a minute and a half: make pacing")
    count, rate, burst = 600, 10, 20
    with staged(tmp_path, rabbitmq, vhost, f"{rate}/s burst {burst}") as stage:
        begun = time.time()
        sent = stage.send(count)
        sent_s = time.time() - begun
        _sleep_until(begun + 20)
        stage.gateway.stop(signal.SIGKILL)
        stage.gateway.start()
        restarted_s = time.time() - begun - 20
        _sleep_until(begun + 40)
        rabbitmq.stop()
        rabbitmq.start()
        away_s = time.time() - begun - 40
        starts = stage.started(sent, 120)
        # A task sent now finds the schedule where it was: nobody has taken its tokens twice.
        refusals = stage.gateway.refusals()
    check_order(starts, count)
    assert refusals == {}
    # Over the whole minute, the burst included; and while nothing but the gateway died.
    lasted = starts[-1].at - starts[0].at
    pace = (count - 1) / lasted
    before = [start.at for start in starts if start.at < begun + 39]
    steady = (len(before) - burst - 1) / (before[-1] - before[burst])
    closing_lines += [
        f"pacing: {count} tasks sent in {sent_s:.2f} s started at {pace:.3f}/s of {rate}/s",
        f"pacing: over {lasted:.1f} s, in order, none lost; at {steady:.3f}/s until RabbitMQ went away",
        f"pacing: gateway killed at 20 s, back after {restarted_s:.1f} s",
        f"pacing: RabbitMQ restarted at 40 s, back after {away_s:.1f} s",
    ]
    check_not_faster(before, begun, rate, burst)
    assert abs(steady - rate) <= 0.05 * rate
    assert abs(pace - rate) <= 0.05 * rate


def _sleep_until(moment: float) -> None:
    """Faults at full size come when they were announced."""
    time.sleep(max(moment - time.time(), 0))
