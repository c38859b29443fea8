"""Celery that signs and verifies for itself: beat; and someone who writes to the broker around every
gateway."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pika
import pytest

from support.celery_project import add
from support.celery_setup import IN_PROCESS, Setup, celery_setup
from support.processes import end, spawn, wait_until
from support.rabbitmq_server import RabbitMQServer
from support.sealed import task_headers

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(90),
    # Celery's result consumer leaves its sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

RESULT_SECONDS_MAX = 30
JSON = {"content_type": "application/json", "content_encoding": "utf-8"}


@pytest.fixture(scope="module")
def setup(rabbitmq: RabbitMQServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    home = tmp_path_factory.mktemp("celery")
    with celery_setup(home, rabbitmq.port, rabbitmq.new_vhost(), signing=IN_PROCESS) as running:
        yield running


@pytest.fixture
def forger(rabbitmq: RabbitMQServer, setup: Setup) -> Iterator[Any]:
    """A channel on the broker itself."""
    parameters = pika.ConnectionParameters("127.0.0.1", rabbitmq.port, setup.vhost)
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


def worker_refuses(setup: Setup, what: str) -> None:
    wait_until(lambda: what in setup.worker_log.read_text(), 20, f"the worker to say {what!r}")


def works(setup: Setup) -> None:
    """It runs tasks and answers to remote control, both ways sealed."""
    assert add.delay(2, 3).get(timeout=RESULT_SECONDS_MAX) == 5
    wait_until(
        lambda: setup.app.control.ping(timeout=2) == [{"w1@tests": {"ok": "pong"}}], 20, "the worker's pong"
    )
    assert setup.worker_alive()


def test_beat_signs_what_it_sends(setup: Setup) -> None:
    before = setup.runs_of("shop.total")
    beat = spawn(
        [
            *(sys.executable, "-m", "celery", "-A", "support.celery_project", "beat"),
            *("--schedule", setup.home / "schedule", "--pidfile", ""),
        ],
        setup.home / "beat.log",
        {**setup.env(setup.gateway.url(setup.vhost)), "PROJECT_BEAT": "1"},
    )
    try:
        wait_until(lambda: setup.runs_of("shop.total") > before, 30, "a task of beat's to run")
    finally:
        end(beat)
    assert setup.refused() == {}


def test_forged_shutdown_is_refused_and_the_worker_lives(setup: Setup, forger: Any) -> None:
    order = {"method": "shutdown", "arguments": {}, "destination": None, "pattern": None, "matcher": None}
    forger.basic_publish("celery.pidbox", "", json.dumps(order), pika.BasicProperties(**JSON))
    worker_refuses(
        setup, "refused 1 deliveries: sig.missing no x-seal header (the last: exchange 'celery.pidbox'"
    )
    works(setup)


def test_shutdown_copied_from_another_mailbox_is_refused(setup: Setup, forger: Any) -> None:
    """A sealed order to another application's workers, sent again to these."""
    forger.exchange_declare("other.pidbox", "fanout")
    caught = forger.queue_declare("", exclusive=True).method.queue
    forger.queue_bind(caught, "other.pidbox")
    with setup.app.connection_for_write() as connection:
        producer = setup.app.amqp.Producer(connection)
        producer.publish({"method": "shutdown", "arguments": {}}, exchange="other.pidbox", routing_key="")
    found: list[Any] = []

    def copied() -> bool:
        method, properties, body = forger.basic_get(caught, auto_ack=True)
        if method is not None:
            found.append((properties, body))
        return bool(found)

    wait_until(copied, 20, "the order to be there")
    properties, body = found[0]
    assert "x-seal" in properties.headers
    forger.basic_publish("celery.pidbox", "", body, properties)
    worker_refuses(setup, "target.mismatch")
    works(setup)


def test_forged_task_never_runs(rabbitmq: RabbitMQServer, setup: Setup, forger: Any) -> None:
    works(setup)
    task_id = str(uuid.uuid4())
    headers = task_headers(task="shop.echo", id=task_id, root_id=task_id)
    body = json.dumps([["forged"], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    before = setup.runs_of("shop.echo")
    for _ in range(20):
        forger.basic_publish("", "celery", body, pika.BasicProperties(headers=headers, **JSON))
    # What comes after it in the queue is taken after it.
    works(setup)
    assert setup.runs_of("shop.echo") == before
    wait_until(lambda: rabbitmq.depth(setup.vhost, "celery") == 0, 20, "the queue to be empty")


def test_forged_result_is_never_believed(setup: Setup, forger: Any) -> None:
    result = add.delay(20, 22)
    forged = {"task_id": result.id, "status": "SUCCESS", "result": 666, "traceback": None, "children": []}
    forger.basic_publish(
        "",
        setup.app.backend.oid,
        json.dumps(forged),
        pika.BasicProperties(correlation_id=result.id, **JSON),
    )
    assert result.get(timeout=RESULT_SECONDS_MAX) == 42
