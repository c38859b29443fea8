"""Orders on a running system: at once, over kills, in a file and in Redis, for all workers.

Shed and revoked is refused; paused is parked in the broker, and brought on in order when it is resumed.
"""

from __future__ import annotations

import json
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

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

QUEUES = ("celery", "other")
COUNT = 150


class Running:
    """A gateway with a signing sidecar before it, and queues that nobody consumes."""

    def __init__(self, broker_port: int, vhost: str, gate: GatewayProcess, sidecar: GatewayProcess) -> None:
        self.vhost = vhost
        self.broker_port = broker_port
        self.gate = gate
        self.sidecar = sidecar
        self.operator = Operator(gate)
        self.sent = 0
        with self.connection(broker_port) as connection:
            for queue in QUEUES:
                connection.channel().queue_declare(queue, durable=True)

    def connection(self, port: int) -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, self.vhost))

    def order(self, *command: str) -> str:
        done = self.operator.run(*command)
        assert done.exit_code == 0, done.output
        return done.stdout

    def publish(self, count: int, task: str = "shop.add", queue: str = "celery") -> None:
        """Numbered messages, each confirmed."""
        with self.connection(self.sidecar.port) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for _ in range(count):
                properties = pika.BasicProperties(
                    content_type="application/json",
                    content_encoding="utf-8",
                    delivery_mode=2,
                    headers={"task": task, "id": f"id-{self.sent}"},
                )
                body = json.dumps([[self.sent], {}, {}]).encode()
                channel.basic_publish("", queue, body, properties)
                self.sent += 1

    def waiting(self, queue: str) -> int:
        with self.connection(self.broker_port) as connection:
            found = connection.channel().queue_declare(queue, passive=True)
            return int(found.method.message_count)

    def arrived(self, queue: str) -> list[int]:
        """Numbers of all that is in the queue, in its order."""
        numbers = []
        with self.connection(self.broker_port) as connection:
            channel = connection.channel()
            while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
                assert got[2] is not None
                numbers.append(json.loads(got[2])[0][0])
        return numbers

    def is_taken(self, task: str, task_id: str) -> bool:
        """Whether the broker has such a message; false when it was refused."""
        with self.connection(self.sidecar.port) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            properties = pika.BasicProperties(
                content_type="application/json",
                content_encoding="utf-8",
                headers={"task": task, "id": task_id},
            )
            try:
                channel.basic_publish("", "celery", b"[[-1], {}, {}]", properties)
            except NackError:
                return False
            return True

    def kill_and_start(self) -> None:
        self.gate.stop(signal.SIGKILL)
        self.gate.start()

    def controls(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.order("controls", "--json"))
        return found


@pytest.fixture(scope="module", params=["file, one process", "redis, two workers"])
def running(
    request: pytest.FixtureRequest,
    rabbitmq: RabbitMQServer,
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    """Killed and started again by every test: what they order is lifted when they are done."""
    tmp_path = tmp_path_factory.mktemp("controls")
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
        yield Running(rabbitmq.port, rabbitmq.new_vhost(), gate, sidecar)


def test_shed_and_revoke_hold_at_once_and_over_a_kill_until_they_are_lifted(running: Running) -> None:
    it = running
    assert it.is_taken("shop.add", "id-1")
    it.order("shed", "shop.*")
    it.order("revoke", "id-2", "--for", "1h")

    def refused() -> list[bool]:
        found = [("shop.add", "id-3"), ("other.task", "id-2"), ("other.task", "id-4")]
        return [not it.is_taken(task, task_id) for task, task_id in found]

    wait_until(lambda: refused() == [True, True, False], 10, "the orders to be in force")
    it.kill_and_start()
    assert refused() == [True, True, False]
    assert it.gate.refusals() == {"rate.shed": 1, "acl.revoked": 1}
    wait_until(lambda: it.gate.metric("sealgate_quarantined_total") == 2, 10, "both to be kept")
    assert it.gate.metric("sealgate_controls", kind="shed") == 1
    assert "shop.*" in it.order("controls")

    it.order("resume", "shop.*")
    it.order("unrevoke", "id-2")
    wait_until(lambda: refused() == [False, False, False], 10, "the orders to be lifted")
    assert it.order("controls") == "nothing is ordered\n"
    assert it.gate.metric("sealgate_control_changes_total", result="done") == 2
    assert it.gate.log_text().count("order.taken") == 4
    it.arrived("celery")


def test_pause_parks_in_the_broker_over_kills_and_what_was_parked_goes_on_in_order(running: Running) -> None:
    it = running
    it.order("pause", "shop.*")

    def is_parked() -> bool:
        it.publish(1)
        return it.gate.metric("sealgate_parked_total") > 0

    # With workers both have to hear of it.
    wait_until(is_parked, 10, "the pause to be in force")
    it.publish(COUNT)
    it.publish(3, queue="other")
    passed = it.arrived("celery")
    it.publish(1, task="another.task")
    # What is not paused goes on, and nothing else.
    assert it.arrived("celery") == [it.sent - 1]
    passed.append(it.sent - 1)
    assert it.waiting("other") == 0
    assert {queue["pattern"] for queue in it.controls()["parked"]} == {"shop.*"}

    it.kill_and_start()
    it.publish(COUNT)
    assert it.arrived("celery") == []
    it.order("resume", "shop.*")
    it.publish(3)
    # Whoever empties the queues dies in the middle of it, and the next one goes on.
    it.kill_and_start()
    it.publish(3)
    wait_until(lambda: it.controls()["orders"] == [], 20, "all that was parked to be on its way")
    it.publish(3)
    wait_until(lambda: it.waiting("celery") + 3 + len(passed) == it.sent, 10, "all to be there")
    found, other = it.arrived("celery"), it.arrived("other")
    assert len(other) == 3
    # None is missing, none is there twice, and all are in the order in which they were published.
    assert found == [number for number in range(it.sent) if number not in passed and number not in other]


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
