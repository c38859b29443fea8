"""A new gateway takes over the port while the old one drains, and no Celery producer notices."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from support.gateway import key, new_secret
from support.processes import wait_until
from support.publisher import arrivals
from support.rabbitmq_server import RabbitMQServer
from support.rolled import QUEUE, Rolled, declare, passed, producers

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

ROLLS, ROLLS_FULL = 3, 20
#: Published through each gateway before the next one takes over.
SHARE = 100


@pytest.mark.parametrize("rolled", ["gateway", "sidecar"])
def test_rolling_restart_fails_no_publish(
    rolled: str, rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path, full: bool, closing_lines: list[str]
) -> None:
    rolls = ROLLS_FULL if full else ROLLS
    declare(rabbitmq, vhost)
    keys = [key("k1", new_secret())]
    sign = {"publish": {"action": "sign", "sign_with": "k1"}, "quarantine": {"enabled": False}}
    gateway = Rolled(tmp_path / "gateway", rabbitmq.port, keys, {})
    sidecar = Rolled(tmp_path / "sidecar", gateway.process.port, keys, sign)
    try:
        with producers(tmp_path, sidecar.process.url(vhost)) as started:
            place = gateway if rolled == "gateway" else sidecar
            for _ in range(rolls):
                wait_until(lambda: passed(place.process) > SHARE, 60, "some load")
                place.roll()
            wait_until(lambda: passed(place.process) > SHARE, 60, "some load")
            outcomes = {producer.name: producer.stop() for producer in started}
        refused = {**gateway.process.refusals(), **sidecar.process.refusals()}
    finally:
        sidecar.process.stop(signal.SIGKILL)
        gateway.process.stop(signal.SIGKILL)
    assert refused == {}
    assert {name: failed for name, (_, failed) in outcomes.items() if failed} == {}
    wanted = [task_id for published, _ in outcomes.values() for task_id in published]
    found = Counter(arrivals(rabbitmq.port, vhost, QUEUE, 10 * len(wanted)))
    missing = {
        name: sum(task_id not in found for task_id in published) for name, (published, _) in outcomes.items()
    }
    assert {name: count for name, count in missing.items() if count} == {}
    doubled = sum(times > 1 for times in found.values())
    closing_lines.append(
        f"rolling restarts of the {rolled}: {len(wanted)} tasks by {len(outcomes)} producers, "
        f"{rolls} restarts, no publish failed, none missing, {doubled} there twice"
    )
