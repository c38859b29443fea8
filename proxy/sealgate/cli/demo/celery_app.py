"""The Celery application of the demo: what the worker runs and the producer asks for.

Ordinary code: nothing here knows of Sealgate but the URL, which is its sidecar's. Each run of a task leaves a
line in a file, so that the demo can tell once from never and from twice.
"""

from __future__ import annotations

import os
from typing import Any, Final

from celery import Celery, Task
from kombu.entity import Exchange, Queue

from sealgate.cli.demo.names import ROUTING_KEY, Names

NAMES: Final = Names(os.environ["SEALGATE_DEMO_RUN"])
_RUNS_FILE: Final = os.environ["SEALGATE_DEMO_RUNS_FILE"]

app: Final = Celery("sealgate-demo", broker=os.environ["SEALGATE_DEMO_BROKER"], backend="rpc://")
app.conf.update(
    task_queues=[Queue(NAMES.exchange, Exchange(NAMES.exchange, "topic"), routing_key=ROUTING_KEY)],
    task_default_queue=NAMES.exchange,
    task_default_exchange=NAMES.exchange,
    task_default_exchange_type="topic",
    task_default_routing_key=ROUTING_KEY,
    control_exchange=NAMES.control,
    event_exchange=NAMES.events,
    result_expires=300,
    result_persistent=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"confirm_publish": True},
    worker_hijack_root_logger=False,
)


class Noted(Task):  # type: ignore[misc]
    """Notes every run before the task's own code."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        line = f"{self.request.id} {self.request.retries}\n"
        descriptor = os.open(_RUNS_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
        return super().__call__(*args, **kwargs)


app.Task = Noted


@app.task(name="demo.add")  # type: ignore[untyped-decorator]
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="demo.flaky", bind=True)  # type: ignore[untyped-decorator]
def flaky(self: Task, failures: int) -> int:
    """Fails, and asks to be tried again: the worker publishes, too."""
    if self.request.retries < failures:
        raise self.retry(countdown=0.2)
    return int(self.request.retries)


@app.task(name="demo.send_email")  # type: ignore[untyped-decorator]
def send_email(number: int) -> int:
    """What nobody should be able to have done a thousand times."""
    return number


@app.task(name="demo.refund")  # type: ignore[untyped-decorator]
def refund(*args: Any) -> None:
    """What an attacker would like to have run. Nobody in the demo asks for it."""


@app.task(name="ops.wipe")  # type: ignore[untyped-decorator]
def wipe() -> None:
    """Another one, outside the producer's rights."""
