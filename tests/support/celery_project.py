"""The Celery application of the system tests: ordinary tasks, configured from the environment.

Each run of a task leaves a line in the file of `RUNS`, so that a test can tell once from twice.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from celery import Celery, Task
from celery.exceptions import SoftTimeLimitExceeded

BROKER = os.environ.get("PROJECT_BROKER", "amqp://guest:guest@127.0.0.1:5672//")
RESULTS = os.environ.get("PROJECT_RESULTS", "rpc://")
RUNS = os.environ.get("PROJECT_RUNS", "")
CONFIRMS = os.environ.get("PROJECT_CONFIRMS") == "1"
TRANSPORT = os.environ.get("PROJECT_TRANSPORT")
TRANSPORT_OPTIONS = json.loads(os.environ.get("PROJECT_TRANSPORT_OPTIONS", "{}"))
QUORUM = os.environ.get("PROJECT_QUORUM") == "1"

app = Celery("project", broker=BROKER, backend=RESULTS)
app.conf.update(
    accept_content=["json", "msgpack"],
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=4,
    broker_transport=TRANSPORT,
    broker_transport_options={"confirm_publish": CONFIRMS, **TRANSPORT_OPTIONS},
    result_expires=600,
    result_persistent=False,
    task_acks_late=False,
    task_queue_max_priority=10,
    task_serializer="json",
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=4,
)


def use_quorum_queues() -> None:
    """Quorum queues; Celery then delays by exchanges of its own instead of in the worker."""
    app.conf.update(
        task_queue_max_priority=None,
        task_default_queue_type="quorum",
        task_default_exchange="tasks",
        task_default_exchange_type="topic",
        task_default_routing_key="celery",
    )


if QUORUM:
    use_quorum_queues()
if os.environ.get("PROJECT_BEAT") == "1":
    app.conf.beat_schedule = {"often": {"task": "shop.total", "schedule": 0.5, "args": ([1, 2],)}}


class Counted(Task):
    """Notes each run before the task's own code."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if RUNS:
            line = (
                json.dumps([self.request.id, self.name, self.request.retries, os.getpid(), time.time()])
                + "\n"
            )
            descriptor = os.open(RUNS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        return super().__call__(*args, **kwargs)


app.Task = Counted


@app.task(name="shop.add", shared=False)
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="shop.total", shared=False)
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="shop.echo", shared=False, bind=True)
def echo(self: Task, value: Any = None) -> Any:
    """What the worker was told about this run."""
    request = self.request
    return {
        "value": value,
        "headers": {k: v for k, v in (request.headers or {}).items() if isinstance(v, str | int)},
        "priority": (request.delivery_info or {}).get("priority"),
        "timelimit": list(request.timelimit or []),
        "stamps": request.stamps,
    }


@app.task(name="shop.flaky", shared=False, bind=True, max_retries=3)
def flaky(self: Task, failures: int) -> int:
    if self.request.retries < failures:
        raise self.retry(countdown=1)  # native delayed delivery takes no less
    return int(self.request.retries)


def _named(name: str) -> None:
    """A task that leaves its run behind, whatever it is given: hostile messages name it."""

    @app.task(name=name, shared=False)
    def run(*args: Any, **kwargs: Any) -> None:
        return None


for _name in ("app.add", "app.mul", "app.evil"):
    _named(_name)


@app.task(name="shop.fail", shared=False)
def fail() -> None:
    raise ValueError("as asked")


@app.task(name="shop.on_error", shared=False)
def on_error(request: Any, exc: Any, traceback: Any) -> None:
    """An errback: it leaves its run behind, and that is what is looked for."""


@app.task(name="shop.stubborn", shared=False, bind=True)
def stubborn(self: Task, seconds: float) -> None:
    """Does not give up at its soft time limit, and says so."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            time.sleep(0.05)
        except SoftTimeLimitExceeded:
            print(f"{self.request.id} heard of its soft limit", flush=True)


@app.task(name="shop.nap", shared=False)
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
