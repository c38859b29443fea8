"""The Celery application of the canvas cases: tasks that leave a line behind, and one that nobody may run.

Each run leaves its task, id, `reply_to` and arguments in the file of `RUNS`, those that a map calls as well.
"""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery, Task, chain, group

BROKER = os.environ.get("PROJECT_BROKER", "memory://")
RESULTS = os.environ.get("PROJECT_RESULTS", "cache+memory://")
RUNS = os.environ.get("PROJECT_RUNS", "")
#: Consumed by the workers; consumed by nobody, and permitted to the keys of the cases or not.
QUEUES = ("celery", "slow")
PARKED, SECRET = "parked", "secret"

app = Celery("canvas", broker=BROKER, backend=RESULTS, set_as_current=False)
app.conf.update(
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=4,
    result_expires=600,
    # Where the operator of this application has the tasks of the vault run.
    task_routes={"vault.*": {"queue": SECRET}},
    task_allow_error_cb_on_chord_header=True,
    worker_hijack_root_logger=False,
)


class Recorded(Task):
    """Notes each run before the task's own code."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if RUNS:
            request = self.request
            line = json.dumps([self.name, request.id, request.reply_to, repr(args), repr(kwargs)]) + "\n"
            descriptor = os.open(RUNS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        return super().__call__(*args, **kwargs)


app.Task = Recorded


@app.task(name="shop.step", shared=False)
def step(*args: Any, **kwargs: Any) -> Any:
    """Returns its first argument, whatever it is, as many a task does."""
    return args[0] if args else None


@app.task(name="shop.fail", shared=False)
def fail(*args: Any) -> None:
    raise ValueError("as asked")


@app.task(name="shop.undo", shared=False)
def undo(task_id: str) -> None:
    """An errback as Celery had them first: it gets the id of the task that failed."""


@app.task(name="shop.told", shared=False)
def told(request: Any, exc: Any, traceback: Any) -> None:
    """An errback as Celery has them now, called in the process of the task that failed."""


@app.task(name="shop.again", shared=False, bind=True)
def again(self: Task, *args: Any) -> Any:
    """Retries once, and once more under whatever name the retry got."""
    if self.request.retries < 1:
        raise self.retry(countdown=0)
    return args[0]


@app.task(name="shop.replaced", shared=False, bind=True)
def replaced(self: Task, mark: str, shape: str) -> Any:
    """Replaced by a workflow of its own, which its chain and callbacks follow."""
    if shape == "group":
        return self.replace(group(step.si(mark), step.si(mark)))
    return self.replace(chain(step.si(mark), step.si(mark)))


@app.task(name="admin.wipe", shared=False)
def wipe(*args: Any, **kwargs: Any) -> None:
    """What no key of the cases may have run."""
