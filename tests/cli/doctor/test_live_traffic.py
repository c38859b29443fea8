"""What a running gateway has counted becomes findings about its producers, its store and its broker."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pytest

from sealgate.cli.doctor.config_case import Case
from sealgate.cli.doctor.greeting import greet
from sealgate.cli.doctor.live_traffic import _samples, _traffic
from sealgate.config.loading import load
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key, Keyring
from sealgate.verify.message import Message, Peer
from sealgate.verify.sealer import Sealer, SignerSession
from support.doctor_apps import doctor, pairs
from support.doctor_configs import Place
from support.gateway import GatewayProcess, gateway, key, new_secret
from support.publisher import answers
from support.rabbitmq_server import RabbitMQServer
from support.redis_server import RedisServer
from support.tasks import task_frames

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

QUEUE = "tasks"
DEPLOYMENT = "doctor"


@pytest.fixture
def secret() -> str:
    return new_secret()


@pytest.fixture
def running(
    rabbitmq: RabbitMQServer, redis_server: RedisServer, vhost: str, secret: str, tmp_path: Path
) -> Iterator[GatewayProcess]:
    """A gateway with the key `web`, a store that has been there for long, and a queue behind it."""
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", rabbitmq.port, vhost)) as own:
        own.channel().queue_declare(QUEUE, durable=True)
    redis_server.age(DEPLOYMENT)
    settings = {
        "deployment": DEPLOYMENT,
        "mode": {"default": "observe"},
        "replay": {"store": redis_server.url, "clock_skew": "30s"},
    }
    limits = {"classes": ["task"], "not_after": "2099-01-01T00:00:00Z"}
    keys = [key("web", secret, **limits)]
    with gateway(tmp_path / "gateway", rabbitmq.port, keys, settings) as process:
        yield process


def sealing(secret: str, vhost: str, kid: str = "web", late_s: float = 0) -> Callable[[Message], bytes]:
    keyring = Keyring([Key(kid, HmacSha256(bytes.fromhex(secret.removeprefix("hex:"))))])
    sealer = Sealer(keyring, kid, DEPLOYMENT, os.urandom)
    return lambda message: sealer.seal(
        message, Peer(DEPLOYMENT, vhost), SignerSession(), time.time() - late_s
    )


def traffic(process: GatewayProcess) -> set[tuple[str, str]]:
    ignored = ("config.*", "live.*", "keys.*")
    arguments = [word for pattern in ignored for word in ("--ignore", pattern)]
    result = doctor("--config", process.config, "--format", "json", *arguments)
    assert result.exit_code in (0, 1), result.output
    return pairs(json.loads(result.stdout)["findings"])


def test_producers_that_are_not_as_they_should_be_are_found(
    running: GatewayProcess, rabbitmq: RabbitMQServer, vhost: str, secret: str
) -> None:
    assert greet("127.0.0.1", running.port, None, None, 10).is_gateway
    assert not greet("127.0.0.1", rabbitmq.port, None, None, 10).is_gateway
    assert traffic(running) == set()
    messages = [
        task_frames(1, QUEUE),
        task_frames(2, QUEUE, seal=sealing(new_secret(), vhost, "web2")),
        task_frames(3, QUEUE, seal=sealing(new_secret(), vhost)),
        task_frames(4, QUEUE, seal=sealing(secret, vhost, late_s=3600)),
        task_frames(5, QUEUE, seal=sealing(secret, vhost, late_s=-20)),
    ]
    assert asyncio.run(answers(running.port, vhost, messages)) == ["Basic.Ack"] * 5
    assert traffic(running) == {
        ("traffic.unsigned", "sig.missing"),
        ("traffic.unknown-kid", "sig.kid"),
        ("traffic.bad-seal", "sig.bad"),
        ("traffic.off-time", "time.stale"),
        ("traffic.clock-drift", "web"),
        ("traffic.observed", ""),
    }


def test_a_gateway_that_was_named_has_to_answer(tmp_path: Path) -> None:
    place = Place(tmp_path)
    arguments = ("--ignore", "live.[br]*", "--timeout", "2")
    assert pairs(place.findings(*arguments)) == set()
    found = place.findings(*arguments, "--admin", "127.0.0.1:1")
    assert pairs(found) == {("live.gateway-unreachable", "127.0.0.1:1")}


def test_what_a_gateway_counts_of_itself_is_found() -> None:
    """Lines as a gateway writes them, each with a count that is none of the above."""
    lines = {
        'sealgate_messages_total{direction="publish",verdict="accepted",reason="ok"} 900.0': set(),
        "sealgate_unconfirmed_refusals_total 2.0": {"traffic.unconfirmed"},
        "sealgate_unconfirmed_refusals_total 0.0": set(),
        "sealgate_replay_store_errors_total 1.0": {"traffic.store-errors"},
        'sealgate_quarantine_dropped_total{reason="sig.bad"} 1.0': {"traffic.quarantine-dropped"},
        'sealgate_config_reloads_total{result="failed"} 1.0': {"traffic.reload-failed"},
        'sealgate_config_reloads_total{result="ok"} 7.0': set(),
        'sealgate_logins_total{result="broker"} 3.0': {"traffic.login-refused"},
        'sealgate_upstream_up{upstream="rabbit:5672"} 0.0': {"traffic.upstream-down"},
        'sealgate_upstream_up{upstream="rabbit:5672"} 1.0': set(),
        'sealgate_producer_clock_skew_seconds{kid="web"} 14.0': set(),
        'sealgate_producer_clock_skew_seconds{kid="web"} -16.0': {"traffic.clock-drift"},
        'sealgate_messages_total{direction="publish",verdict="refused",reason="celery.expires"} 1.0': {
            "traffic.no-expiry"
        },
        'sealgate_messages_total{direction="publish",verdict="refused",reason="sig.key_state"} 1.0': {
            "traffic.key-state"
        },
    }
    case = Case(load(environ={}))
    for line, expected in lines.items():
        assert {each.id for each in _traffic(case, _samples(f"{line}\n".encode()))} == expected, line
