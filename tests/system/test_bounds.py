"""What a gateway lets a sender ask for, held against a real prefork worker and RabbitMQ's own words.

Mitigations (spec/mitigations.md): hard and soft time limits, prefetch, result expiry.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
from amqp.exceptions import AccessRefused
from celery.exceptions import TimeLimitExceeded

from support.celery_setup import Setup, celery_setup
from support.gateway import GatewayProcess, gateway, key, new_secret
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

BOUNDS: dict[str, Any] = {
    "publish": {"countersign_with": "gate"},
    "prefetch": {"max": 8, "default": 3},
    "expiry": {"expiration_max": "60s", "expires_max": "5m", "message_ttl_max": "90s"},
    "bound": [
        {
            "task": "shop.stubborn",
            "time_limit": {"max": "2s", "over": "clamp"},
            "soft_time_limit": {"max": "1s", "default": "1s", "over": "clamp"},
        },
        {
            "task": "shop.*",
            "time_limit": {"max": "10m", "default": "5m"},
            "soft_time_limit": {"default": "4m"},
            "priority": {"max": 5, "over": "clamp"},
            "arguments_bytes": {"max": 100},
        },
    ],
}


#: Deliveries must be the gateway's, whatever it has changed in them, and within the same bounds.
WORKER: dict[str, Any] = {
    "deliver": {"action": "verify", "require": "gateway", "countersigned_by": ["gate"]},
    "bound": BOUNDS["bound"],
}


@pytest.fixture(scope="module")
def prefetching(
    rabbitmq: RabbitMQServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway that passes all on as it is, but for how much may be delivered at once."""
    settings = {"publish": {"action": "pass"}, "prefetch": {"max": 8, "default": 3, "connection_max": 10}}
    home = tmp_path_factory.mktemp("prefetching")
    with gateway(home, rabbitmq.port, [key("k1", new_secret())], settings) as process:
        yield process


@pytest.fixture(scope="module")
def celery(rabbitmq: RabbitMQServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """Producer and prefork worker behind sidecars, and a gateway with bounds before the broker."""
    home = tmp_path_factory.mktemp("bounds")
    with celery_setup(
        home,
        rabbitmq.port,
        rabbitmq.new_vhost(),
        confirms=True,
        gateway_settings=BOUNDS,
        worker_settings=WORKER,
        more_keys=[key("gate", new_secret())],
    ) as setup:
        yield setup


def test_task_that_asks_for_an_hour_is_stopped_at_the_clamped_second(celery: Setup) -> None:
    """Softly after one second, which it does not heed, and for good after two."""
    result = celery.app.send_task("shop.stubborn", [600], time_limit=3600, soft_time_limit=3000)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=60)
    hard = f"Hard time limit (2s) exceeded for shop.stubborn[{result.id}]"
    wait_until(lambda: hard in celery.worker_log.read_text(), 20, "the worker to tell of it")
    log = celery.worker_log.read_text()
    assert f"Soft time limit (1s) exceeded for shop.stubborn[{result.id}]" in log
    assert log.index(f"{result.id} heard of its soft limit") < log.index("Hard time limit (2s)")
    assert celery.gateway.metric("sealgate_clamped_total", bound="time_limit") == 1
    assert '"event": "message.clamped"' in celery.gateway.log_text().replace('":"', '": "')


def test_worker_that_wants_the_gateways_signature_takes_nothing_else(
    celery: Setup, rabbitmq: RabbitMQServer, tmp_path: Path
) -> None:
    """It took what the gateway had clamped. Around the gateway a producer's own seal is not enough."""
    taken = celery.worker_side.metric("sealgate_messages_total", direction="deliver", verdict="accepted")
    assert taken >= 1
    signing = {"publish": {"action": "sign", "sign_with": "producer"}, "quarantine": {"enabled": False}}
    with gateway(tmp_path, rabbitmq.port, celery.keys, signing) as around:
        with celery.app.connection(around.url(celery.vhost)) as connection:
            options = {"time_limit": 3600, "ignore_result": True, "connection": connection}
            celery.app.send_task("shop.stubborn", [600], **options)
        refused = {"direction": "deliver", "verdict": "refused", "reason": "sig.missing"}
        wait_until(
            lambda: celery.worker_side.metric("sealgate_messages_total", **refused) == 1, 30, "the refusal"
        )
    assert celery.runs_of("shop.stubborn") == 1


def test_soft_limit_above_the_hard_one_does_not_keep_a_task_running(celery: Setup) -> None:
    """A prefork pool would start the hard limit's two seconds after an hour."""
    result = celery.app.send_task("shop.stubborn", [600], time_limit=2, soft_time_limit=3600)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=60)


def test_default_limits_and_the_clamped_priority_reach_the_task(celery: Setup) -> None:
    result = celery.app.send_task("shop.echo", priority=9).get(timeout=60)
    assert (result["timelimit"], result["priority"]) == ([300, 240], 5)
    result = celery.app.send_task("shop.echo", time_limit=30, soft_time_limit=20, priority=1).get(timeout=60)
    assert (result["timelimit"], result["priority"]) == ([30, 20], 1)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"time_limit": 601}, "celery.timelimit"), ({"args": ["x" * 200]}, "body.size")],
)
def test_bound_that_refuses_is_told_to_the_producer(
    celery: Setup, options: dict[str, Any], reason: str
) -> None:
    before = celery.runs_of("shop.echo")
    with pytest.raises(AccessRefused, match=rf"ACCESS_REFUSED - sealgate: {re.escape(reason)}"):
        celery.app.send_task("shop.echo", **options)
    wait_until(lambda: celery.gateway.refusals().get(reason) == 1, 20, "the refusal to be counted")
    assert celery.app.send_task("shop.add", [1, 2]).get(timeout=60) == 3
    assert celery.runs_of("shop.echo") == before


# Prefetch, in the broker's own words


def test_prefetch_of_a_celery_worker_is_cut_to_the_maximum(celery: Setup, rabbitmq: RabbitMQServer) -> None:
    """It asks for 16: four processes, four tasks for each."""
    assert max(shared_counts(rabbitmq, celery.vhost)) == 8
    assert celery.gateway.metric("sealgate_prefetch_limited_total", how="max") >= 1


def test_prefetch_of_any_consumer_is_cut_or_set(
    prefetching: GatewayProcess, rabbitmq: RabbitMQServer, vhost: str
) -> None:
    """Consumers that ask for too much, for no limit, for little, and for nothing; and the rest of the ten."""
    connections = [pika.BlockingConnection(pika.URLParameters(prefetching.url(vhost))) for _ in range(4)]
    asked: dict[str, int | None] = {"much": 1000, "endless": 0, "little": 2, "nothing": None}
    for connection, (queue, count) in zip(connections, asked.items(), strict=True):
        channel = connection.channel()
        channel.queue_declare(queue)
        if count is not None:
            channel.basic_qos(prefetch_count=count)
        channel.basic_consume(queue, _ignore)
        channel.basic_consume(queue, _ignore, auto_ack=True)
    channel = connections[0].channel()
    channel.queue_declare("rest")
    channel.basic_consume("rest", _ignore)
    columns = ("queue_name", "ack_required", "prefetch_count")
    lines = rabbitmq.ctl("list_consumers", "--vhost", vhost, "--no-table-headers", *columns)
    told = {(queue, acks): int(count) for queue, acks, count in map(str.split, lines.splitlines())}
    assert {queue: told[queue, "true"] for queue in (*asked, "rest")} == {
        "much": 8,
        "endless": 8,
        "little": 2,
        "nothing": 3,
        "rest": 2,
    }
    for connection in connections:
        connection.close()


def test_channel_as_a_whole_is_cut(prefetching: GatewayProcess, rabbitmq: RabbitMQServer, vhost: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(prefetching.url(vhost)))
    connection.channel().basic_qos(prefetch_count=0, global_qos=True)
    assert shared_counts(rabbitmq, vhost) == [8]
    connection.close()


def shared_counts(rabbitmq: RabbitMQServer, vhost: str) -> list[int]:
    """The prefetch count of each channel as a whole."""
    lines = rabbitmq.ctl("list_channels", "--no-table-headers", "vhost", "global_prefetch_count")
    rows = [line.split() for line in lines.splitlines()]
    return [int(count) for name, count in rows if name == vhost]


def _ignore(*delivery: object) -> None:
    """A consumer that acknowledges nothing."""


# Results and replies


def test_reply_queues_get_their_arguments_and_work(celery: Setup, rabbitmq: RabbitMQServer) -> None:
    """Celery itself lets the queue of its results live for ten minutes here."""
    assert celery.app.send_task("shop.add", [1, 2]).get(timeout=60) == 3
    assert celery.app.control.ping(timeout=10, destination=["w1@tests"]) == [{"w1@tests": {"ok": "pong"}}]
    lines = rabbitmq.ctl("list_queues", "--vhost", celery.vhost, "--no-table-headers", "name", "arguments")
    arguments = dict(line.split("\t") for line in lines.splitlines())
    results = arguments[celery.app.thread_oid]
    assert '{"x-expires",300000}' in results and '{"x-message-ttl",90000}' in results
    assert "x-message-ttl" not in arguments["celery"]
    limited = [
        celery.gateway.metric("sealgate_queue_arguments_limited_total", argument=argument)
        for argument in ("x-expires", "x-message-ttl")
    ]
    # The queue for answers to the ping, which is gone with them, had a shorter x-expires of its own.
    assert 1 <= limited[0] < limited[1]


def test_result_that_nobody_fetches_expires(celery: Setup, rabbitmq: RabbitMQServer) -> None:
    """It lies in a queue of a process that is gone, with the gateway's countersignature."""
    queue = str(uuid.uuid4())
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url_of(celery.vhost))) as connection:
        channel = connection.channel()
        channel.queue_declare(queue)
        celery.app.send_task("shop.add", [2, 3], reply_to=queue)
        found: list[Any] = []

        def arrived() -> bool:
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            found.append((properties, body))
            return method is not None

        wait_until(arrived, 60, "the result")
    properties, body = found[-1]
    assert json.loads(body)["result"] == 5
    assert properties.expiration == "60000"
    assert "x-countersign" in properties.headers
    assert celery.gateway.metric("sealgate_clamped_total", bound="expiration") >= 1
