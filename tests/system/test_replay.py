"""A captured message sent again: at once, after a restart, at another gateway. It is in the broker once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pika
import pytest

from support.gateway import GatewayProcess, gateway, key, new_secret
from support.processes import wait_until
from support.publisher import answers
from support.rabbitmq_server import RabbitMQServer
from support.redis_server import RedisServer
from support.tasks import StoredNonceSigner

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

QUEUE = "tasks"


@pytest.fixture
def queue(rabbitmq: RabbitMQServer, vhost: str) -> str:
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", rabbitmq.port, vhost)) as connection:
        connection.channel().queue_declare(QUEUE, durable=True)
    return QUEUE


def told(process: GatewayProcess, vhost: str, message: bytes) -> str:
    (answer,) = asyncio.run(answers(process.port, vhost, [message]))
    return answer


def wait_past_horizon(started: float) -> None:
    """Until a memory store that began at `started` with a skew of 1 s takes nonces made now."""
    wait_until(lambda: time.time() > started + 3, 5, "the horizon to pass")


def test_replay_at_once_and_after_a_restart_with_a_journal(
    rabbitmq: RabbitMQServer, vhost: str, queue: str, tmp_path: Path
) -> None:
    secret = new_secret()
    settings = {"replay": {"journal": str(tmp_path / "nonces"), "clock_skew": "1s"}}
    with gateway(tmp_path / "gateway", rabbitmq.port, [key("k1", secret)], settings) as process:
        wait_past_horizon(time.time())
        captured = StoredNonceSigner(secret, vhost, queue).frames(0)
        assert told(process, vhost, captured) == "Basic.Ack"
        assert told(process, vhost, captured) == "Basic.Ack"
        assert process.refusals() == {"replay.duplicate": 1}
        assert process.stop() == 0
        process.start()
        assert told(process, vhost, captured) == "Basic.Ack"
        assert process.refusals() == {"replay.duplicate": 1}
    assert rabbitmq.depth(vhost, queue) == 1


def test_replay_after_a_restart_without_a_journal_is_behind_the_horizon(
    rabbitmq: RabbitMQServer, vhost: str, queue: str, tmp_path: Path
) -> None:
    secret = new_secret()
    with gateway(
        tmp_path / "gateway", rabbitmq.port, [key("k1", secret)], {"replay": {"clock_skew": "1s"}}
    ) as process:
        wait_past_horizon(time.time())
        captured = StoredNonceSigner(secret, vhost, queue).frames(0)
        assert told(process, vhost, captured) == "Basic.Ack"
        assert process.stop() == 0
        process.start()
        assert told(process, vhost, captured) == "Basic.Nack"
        assert process.refusals() == {"store.horizon": 1}
    assert rabbitmq.depth(vhost, queue) == 1


def test_replay_at_a_second_gateway_that_shares_redis(
    rabbitmq: RabbitMQServer, redis_server: RedisServer, vhost: str, queue: str, tmp_path: Path
) -> None:
    secret = new_secret()
    redis_server.age("prod")
    settings = {"replay": {"store": redis_server.url}}
    keys = [key("k1", secret)]
    with (
        gateway(tmp_path / "one", rabbitmq.port, keys, settings) as one,
        gateway(tmp_path / "two", rabbitmq.port, keys, settings) as two,
    ):
        captured = StoredNonceSigner(secret, vhost, queue).frames(0)
        assert told(one, vhost, captured) == "Basic.Ack"
        assert told(two, vhost, captured) == "Basic.Ack"
        assert two.refusals() == {"replay.duplicate": 1}
    assert rabbitmq.depth(vhost, queue) == 1


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"state": "revoked"}, "sig.key_state"),
        ({"not_after": "2026-01-01T00:00:00Z"}, "sig.key_state"),
        ({"not_before": "2099-01-01T00:00:00Z"}, "sig.key_state"),
        ({"kid": "k9"}, "sig.kid"),
    ],
)
def test_unknown_revoked_and_outdated_keys(
    state: dict[str, object], reason: str, rabbitmq: RabbitMQServer, vhost: str, queue: str, tmp_path: Path
) -> None:
    secret = new_secret()
    with gateway(tmp_path / "gateway", rabbitmq.port, [{**key("k1", secret), **state}]) as process:
        assert told(process, vhost, StoredNonceSigner(secret, vhost, queue).frames(0)) == "Basic.Nack"
        assert process.refusals() == {reason: 1}
    assert rabbitmq.depth(vhost, queue) == 0
