"""Shed and revoke on a running system: at once, over a kill, in a file and in Redis, for all workers."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.exceptions import NackError

from support.gateway import GatewayProcess, gateway, key, new_secret
from support.operator_commands import Operator
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer
from support.redis_server import RedisServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

QUEUE = "celery"


class Running:
    """A gateway with a signing sidecar before it."""

    def __init__(self, vhost: str, gate: GatewayProcess, sidecar: GatewayProcess) -> None:
        self.vhost = vhost
        self.gate = gate
        self.sidecar = sidecar
        self.operator = Operator(gate)

    def order(self, *command: str) -> str:
        done = self.operator.run(*command)
        assert done.exit_code == 0, done.output
        return done.stdout

    def publish(self, task: str, task_id: str) -> bool:
        """Whether the broker has it; false when it was refused."""
        properties = pika.BasicProperties(
            content_type="application/json",
            content_encoding="utf-8",
            headers={"task": task, "id": task_id},
        )
        parameters = pika.ConnectionParameters("127.0.0.1", self.sidecar.port, self.vhost)
        with pika.BlockingConnection(parameters) as connection:
            channel = connection.channel()
            channel.queue_declare(QUEUE)
            channel.confirm_delivery()
            try:
                channel.basic_publish("", QUEUE, b"[[], {}, {}]", properties)
            except NackError:
                return False
            return True

    def kill_and_start(self) -> None:
        self.gate.stop(signal.SIGKILL)
        self.gate.start()


@pytest.fixture(params=["file, one process", "redis, two workers"])
def running(
    request: pytest.FixtureRequest, rabbitmq: RabbitMQServer, redis_server: RedisServer, tmp_path: Path
) -> Iterator[Running]:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_urlsafe(24))
    deployment = f"d{secrets.token_hex(4)}"
    settings: dict[str, Any] = {
        "deployment": deployment,
        "admin": {"token": f"file:{token}"},
        "replay": {"nonces": "session"},
    }
    if request.param.startswith("redis"):
        settings["replay"]["store"] = redis_server.url
        settings["listen"] = {"workers": 2}
    else:
        settings["control"] = {"state": str(tmp_path / "control")}
    keys = [key("k1", new_secret())]
    sign: dict[str, Any] = {
        "publish": {"action": "sign", "sign_with": "k1"},
        "quarantine": {"enabled": False},
        "deployment": deployment,
    }
    with (
        gateway(tmp_path / "gateway", rabbitmq.port, keys, settings) as gate,
        gateway(tmp_path / "sidecar", gate.port, keys, sign) as sidecar,
    ):
        yield Running(rabbitmq.new_vhost(), gate, sidecar)


def test_shed_and_revoke_hold_at_once_and_over_a_kill_until_they_are_lifted(running: Running) -> None:
    assert running.publish("shop.add", "id-1")
    running.order("shed", "shop.*")
    running.order("revoke", "id-2", "--for", "1h")

    def refused() -> list[bool]:
        found = [("shop.add", "id-3"), ("other.task", "id-2"), ("other.task", "id-4")]
        return [not running.publish(task, task_id) for task, task_id in found]

    wait_until(lambda: refused() == [True, True, False], 10, "the orders to be in force")
    running.kill_and_start()
    assert refused() == [True, True, False]
    gate = running.gate
    assert gate.refusals() == {"rate.shed": 1, "acl.revoked": 1}
    wait_until(lambda: gate.metric("sealgate_quarantined_total") == 2, 10, "both to be kept")
    assert gate.metric("sealgate_controls", kind="shed") == 1
    assert "shop.*" in running.order("controls")

    running.order("resume", "shop.*")
    running.order("unrevoke", "id-2")
    wait_until(lambda: refused() == [False, False, False], 10, "the orders to be lifted")
    assert running.order("controls") == "nothing is ordered\n"
    assert gate.metric("sealgate_control_changes_total", result="done") == 2
    assert gate.log_text().count("order.taken") == 4


def test_damaged_state_stops_the_start(rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    state = tmp_path / "control"
    state.write_text("not ours")
    process = GatewayProcess(
        tmp_path / "gateway", rabbitmq.port, [key("k1", new_secret())], {"control": {"state": str(state)}}
    )
    with pytest.raises(AssertionError, match="the gateway ended at once"):
        process.start()
    assert process.stop() == 78
    assert f"control.state: {state} is damaged" in process.log_text()
    assert state.read_text() == "not ours"
