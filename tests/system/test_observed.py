"""Observe: what would have been refused is shown on a running gateway, over restarts, for all its workers."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pika
import pytest

from support.gateway import gateway, key, new_secret
from support.operator_commands import Operator
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]

RULES: dict[str, Any] = {
    "mode": {"default": "enforce"},
    "rule": [
        {"match": {"task": "shop.*"}, "mode": "observe"},
        {"match": {"exchange": "amq.fanout"}, "mode": "observe"},
    ],
}
WORKERS: dict[str, Any] = {"listen": {"workers": 2}, "replay": {"nonces": "session"}}


def publish_unsigned(port: int, task: str, count: int = 1, exchange: str = "") -> None:
    """Each over a connection of its own, so that all workers see some."""
    for number in range(count):
        properties = pika.BasicProperties(
            content_type="application/json",
            content_encoding="utf-8",
            headers={"task": task, "id": f"id-{number}"},
        )
        parameters = pika.ConnectionParameters("127.0.0.1", port, heartbeat=0)
        with pika.BlockingConnection(parameters) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish(exchange, "nowhere", b"[[], {}, {}]", properties)


def test_report_is_by_rule_reason_and_task_and_goes_on_after_a_kill(
    rabbitmq: RabbitMQServer, tmp_path: Path
) -> None:
    state = tmp_path / "control"
    settings = {**RULES, **WORKERS, "control": {"state": str(state)}}
    with gateway(tmp_path / "gateway", rabbitmq.port, [key("k1", new_secret())], settings) as gate:
        operator = Operator(gate)
        assert operator.observed()["rows"] == []
        assert "nothing would have been refused" in operator.run("observed").output
        publish_unsigned(gate.port, "shop.add", 8)
        publish_unsigned(gate.port, "other.task", exchange="amq.fanout")

        def rows() -> dict[tuple[str, str, str, str], int]:
            report = operator.observed()
            assert report["total"] == sum(row["count"] for row in report["rows"])
            return {
                (row["rule"], row["reason"], row["task"], row["key"]): row["count"] for row in report["rows"]
            }

        expected = {
            ("rule[0] task=shop.*", "sig.missing", "shop.add", ""): 8,
            ("rule[1] exchange=amq.fanout", "sig.missing", "other.task", ""): 1,
        }
        wait_until(lambda: rows() == expected, 10, "the report to have all")
        first = operator.observed()["rows"][0]
        assert 0 <= first["last_seen"] - first["first_seen"] < 60

        def written() -> bool:
            file = state.with_name("control.observed")
            return file.exists() and sum(row[4] for row in json.loads(file.read_text())["rows"]) == 9

        wait_until(written, 20, "the report to be written")
        gate.stop(signal.SIGKILL)
        gate.start()
        assert rows() == expected
        assert operator.observed()["rows"][0]["first_seen"] == first["first_seen"]
        publish_unsigned(gate.port, "shop.add")
        wait_until(lambda: max(rows().values()) == 9, 10, "the report to go on")
        shown = operator.run("observed")
        assert "COUNT  RULE" in shown.output
        status, page = gate.get("/observed")
        assert (status, json.loads(page)["total"]) == (200, 10)
