"""Celery set up in other ways: results in Redis (chords need it), quorum queues, threads, presets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.celery_project import add
from support.celery_setup import IN_PROCESS, SIDECAR, VERIFYING, celery_setup
from support.chopped import Chop
from support.operator_commands import Operator
from support.processes import end, wait_until
from support.rabbitmq_server import RabbitMQServer
from support.redis_server import RedisServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

PRODUCER = Path(__file__).resolve().parent.parent / "support" / "celery_producer.py"


@pytest.fixture
def chop() -> Chop | None:
    """Whole reads. The same tests are run with chopped ones in another place."""
    return None


@pytest.fixture(params=[SIDECAR, IN_PROCESS, VERIFYING])
def signing(request: pytest.FixtureRequest) -> str:
    """Who signs."""
    way: str = request.param
    return way


def produce(broker: str, env: dict[str, str], what: str) -> None:
    """Run a producer process to its end; its exit code says whether all it expected came true."""
    process = subprocess.run(
        [sys.executable, str(PRODUCER), what], env=env, capture_output=True, text=True, timeout=100
    )
    assert process.returncode == 0, process.stdout + process.stderr


def test_chord_with_results_in_redis_and_a_pool_of_threads(
    rabbitmq: RabbitMQServer, redis_server: RedisServer, tmp_path: Path, chop: Chop | None, signing: str
) -> None:
    vhost = rabbitmq.new_vhost()
    with celery_setup(
        tmp_path, rabbitmq.port, vhost, pool="threads", results=redis_server.url, chop=chop, signing=signing
    ) as setup:
        url = setup.producer.url(vhost)
        produce(url, setup.env(url), "chord")
        assert setup.refused() == {}
        assert set(setup.runs().values()) == {1}
        end(setup.worker)


def test_quorum_queues_retries_and_native_delayed_delivery(
    rabbitmq: RabbitMQServer, tmp_path: Path, chop: Chop | None, signing: str
) -> None:
    """Delays go through exchanges named after the bits of the delay (hostile.jsonl CE41)."""
    vhost = rabbitmq.new_vhost()
    with celery_setup(tmp_path, rabbitmq.port, vhost, quorum=True, chop=chop, signing=signing) as setup:
        url = setup.producer.url(vhost)
        produce(url, setup.env(url), "quorum")
        assert setup.refused() == {}
        assert set(setup.runs().values()) == {1}


# Celery's result consumer leaves its sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_presets_are_all_the_policy_that_celery_needs(
    rabbitmq: RabbitMQServer, tmp_path: Path, chop: Chop | None
) -> None:
    vhost = rabbitmq.new_vhost()
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("a-token-of-some-length")
    operated = {"admin": {"token": f"file:{token}"}, "control": {"state": str(tmp_path / "control")}}
    with celery_setup(
        tmp_path, rabbitmq.port, vhost, presets=True, chop=chop, gateway_settings=operated
    ) as setup:
        url = setup.producer.url(vhost)
        produce(url, setup.env(url), "chain")
        assert setup.refused() == {}
        for sidecar, name in ((setup.producer, "producer"), (setup.worker_side, "worker")):
            assert f'"preset" = "celery-{name}"' in sidecar.config.read_text()
            assert sidecar.metric("sealgate_messages_total", verdict="signed") > 0
        assert setup.gateway.metric("sealgate_messages_total", verdict="accepted") > 0
        handed_over = {"direction": "deliver", "verdict": "accepted"}
        assert setup.worker_side.metric("sealgate_messages_total", **handed_over) > 0
        assert setup.producer.metric("sealgate_messages_total", **handed_over) == 0

        # What was parked passes the worker's check as if it had come straight.
        operator = Operator(setup.gateway)
        assert operator.run("pause", "shop.add").exit_code == 0
        result = add.delay(2, 3)
        wait_until(lambda: setup.gateway.metric("sealgate_parked_total") == 1, 20, "the task to be parked")
        assert not result.ready()
        assert operator.run("resume", "shop.add").exit_code == 0
        assert result.get(timeout=40) == 5
        assert setup.refused() == {}
