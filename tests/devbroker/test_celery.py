"""Real Celery workers on the built-in broker."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.canvas import Signature

from support.builtin_broker import BuiltinBroker, builtin_broker
from support.processes import end, spawn, wait_until

pytestmark = pytest.mark.system

TESTS = Path(__file__).resolve().parent.parent
SECONDS_MAX = 30


class Worker:
    """A worker process, and an application that gives it work."""

    def __init__(self, broker: BuiltinBroker, home: Path, pool: str, results: str) -> None:
        self.broker = broker
        self.log = home / "worker.log"
        self.app = Celery("asking", broker=broker.url, backend=results, set_as_current=False)
        self.app.conf.update(result_persistent=False, task_queue_max_priority=10)
        env = {
            **os.environ,
            "PROJECT_BROKER": broker.url,
            "PROJECT_RESULTS": results,
            "PYTHONPATH": str(TESTS),
        }
        command = [sys.executable, "-m", "celery", "-A", "support.celery_project", "worker", "-E"]
        self.process = spawn([*command, "-P", pool, "-c", "2", "-l", "INFO", "-n", "w@t"], self.log, env)

    def wait(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return "w@t ready" in self.log.read_text()

        wait_until(ready, SECONDS_MAX, "the worker to be ready")

    def close(self) -> None:
        consumer = getattr(self.app.backend, "result_consumer", None)
        if consumer is not None:
            consumer.stop()
        self.app.close()
        end(self.process)

    def call(self, name: str, *args: Any, **options: Any) -> Signature:
        return self.app.signature(name, args=args, **options)


@pytest.fixture(params=["threads", "prefork"])
def worker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Worker]:
    with builtin_broker() as broker:
        running = Worker(broker, tmp_path, request.param, "rpc://")
        try:
            running.wait()
            yield running
        finally:
            running.close()


def test_worker_does_everything_celery_asks_of_a_broker(worker: Worker) -> None:
    _tasks_and_results(worker)
    _composed_tasks(worker)
    _eta(worker)
    _remote_control(worker)
    _events(worker)
    assert worker.broker.ask(lambda b: b.queued_bytes) == 0


def _tasks_and_results(worker: Worker) -> None:
    results = [worker.call("shop.add", n, n).apply_async() for n in range(20)]
    assert [result.get(SECONDS_MAX) for result in results] == [2 * n for n in range(20)]
    with pytest.raises(ValueError, match="as asked"):
        worker.call("shop.fail").apply_async().get(SECONDS_MAX)
    assert worker.call("shop.flaky", 2).apply_async().get(SECONDS_MAX) == 2


def _composed_tasks(worker: Worker) -> None:
    steps = chain(worker.call("shop.add", 1, 1), worker.call("shop.add", 10), worker.call("shop.add", 100))
    assert steps.apply_async().get(SECONDS_MAX) == 112
    many = group(worker.call("shop.add", n, 1) for n in range(5))
    assert many.apply_async().get(SECONDS_MAX) == [1, 2, 3, 4, 5]


def _eta(worker: Worker) -> None:
    """More waiting tasks than the prefetch allows, and still others run meanwhile."""
    asked_at = time.monotonic()
    late = [worker.call("shop.echo", n).apply_async(countdown=5) for n in range(12)]
    soon = worker.call("shop.add", 1, 2).apply_async()
    assert soon.get(SECONDS_MAX) == 3
    assert [result.get(SECONDS_MAX)["value"] for result in late] == list(range(12))
    assert time.monotonic() - asked_at >= 5
    assert soon.date_done < min(result.date_done for result in late)


def _remote_control(worker: Worker) -> None:
    assert worker.app.control.ping(["w@t"], timeout=SECONDS_MAX) == [{"w@t": {"ok": "pong"}}]
    registered = worker.app.control.inspect(["w@t"], timeout=SECONDS_MAX).registered()
    assert "shop.add" in registered["w@t"]


def _events(worker: Worker) -> None:
    seen: list[str] = []
    listening, done = threading.Event(), threading.Event()

    def on_event(event: dict[str, Any]) -> None:
        seen.append(event["type"])
        if event["type"] == "task-succeeded":
            done.set()
            receiver.should_stop = True

    with worker.app.connection_for_read() as connection:
        receiver = worker.app.events.Receiver(connection, handlers={"*": on_event})

        def listen() -> None:
            for _ in receiver.itercapture(limit=None, timeout=SECONDS_MAX, wakeup=False):
                listening.set()
                if done.is_set():
                    return

        thread = threading.Thread(target=listen)
        thread.start()
        # Heartbeats come every two seconds: the first shows that the queue is bound.
        assert listening.wait(SECONDS_MAX)
        worker.call("shop.add", 1, 1).apply_async(ignore_result=True)
        assert done.wait(SECONDS_MAX)
        thread.join(SECONDS_MAX)
    assert {"task-received", "task-started", "task-succeeded"} <= set(seen)


def test_chord_runs_with_a_backend_that_knows_chords(tmp_path: Path) -> None:
    """Over rpc Celery refuses chords; any shared backend will do."""
    results = tmp_path / "results"
    results.mkdir()
    with builtin_broker() as broker:
        worker = Worker(broker, tmp_path, "threads", f"file://{results}")
        try:
            worker.wait()
            body = worker.call("shop.total")
            asked = chord((worker.call("shop.add", n, 0) for n in range(4)), body).apply_async()
            assert asked.get(SECONDS_MAX) == 6
        finally:
            worker.close()
