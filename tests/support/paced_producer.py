"""A producer process of the project that publishes tasks at a steady rate until SIGTERM, or until all are
sent.

`celery` publishes as the project does; `pika` publishes the same messages on a channel that seals them, to a
queue. At the end it prints one line of JSON: the ids it published, and the failures its caller would have
seen.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from collections.abc import Callable

import pika
from celery.utils import uuid

from sealgate.integrations.pika import SealingChannel
from support.celery_project import BROKER, add, app


def by_celery(queue: str) -> Callable[[str], None]:
    def publish(task_id: str) -> None:
        add.apply_async((1, 1), task_id=task_id)

    return publish


def by_pika(queue: str) -> Callable[[str], None]:
    channel = SealingChannel(pika.BlockingConnection(pika.URLParameters(BROKER)).channel())
    channel.confirm_delivery()

    def publish(task_id: str) -> None:
        task = app.amqp.as_task_v2(task_id, add.name, (1, 1), {})
        properties = pika.BasicProperties(
            headers=task.headers,
            content_type="application/json",
            content_encoding="utf-8",
            correlation_id=task_id,
            delivery_mode=2,
        )
        channel.basic_publish("", queue, json.dumps(task.body), properties, mandatory=True)

    return publish


def main(how: str, per_second: float, queue: str, count: int) -> None:
    """`count` 0 is no end."""
    going = True

    def stop(*_: object) -> None:
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, stop)
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
    logging.getLogger("pika").setLevel(logging.WARNING)
    publish = {"celery": by_celery, "pika": by_pika}[how](queue)
    published: list[str] = []
    failed: list[str] = []
    began = time.monotonic()
    while going and not (count and len(published) + len(failed) >= count):
        task_id = uuid()
        try:
            publish(task_id)
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}")
        else:
            published.append(task_id)
        time.sleep(max(0.0, began + (len(published) + len(failed)) / per_second - time.monotonic()))
    print(json.dumps({"published": published, "failed": failed}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
