"""What gateways know of their keys, with two workers on either side: `GET /keys`, metrics, readiness, log."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pika
import pytest

from support.gateway import GatewayProcess, gateway, key, new_secret
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer
from system.test_workers import SESSIONS, SIGN, clients, connect, publish, workers_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

ANYTHING: dict[str, Any] = {"content": {"profile": "generic", "types": ["*"]}}
WORKERS = 2
#: Enough that each of two workers has some.
CONNECTIONS = 16
LIFETIME_S = 3600
DAY_S = 86_400


def keys_of(process: GatewayProcess) -> dict[str, dict[str, Any]]:
    status, body = process.get("/keys")
    assert status == 200
    answer = json.loads(body)
    assert answer["schema"] == 1
    assert answer["source"] == f"file:{process.keys_file}"
    assert abs(answer["at"] - time.time()) < 60
    return {entry["kid"]: entry for entry in answer["keys"]}


def evidence(process: GatewayProcess, kid: str) -> tuple[int, list[str], bool]:
    """Messages, users, and whether the end of their seals is that of seals made in the last minute."""
    entry = keys_of(process)[kid]
    fresh = (
        entry["expires_latest"] is not None and abs(entry["expires_latest"] - LIFETIME_S - time.time()) < 60
    )
    return entry["messages_last_hour"], entry["users"], fresh


def test_evidence_is_of_all_workers_and_of_good_seals_alone(rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    k1 = key("k1", new_secret(), max_lifetime="1h")
    sign = {**SIGN, **ANYTHING, "listen": {"workers": WORKERS}}
    with (
        gateway(tmp_path / "gateway", rabbitmq.port, [k1], {**ANYTHING, **SESSIONS}) as gate,
        gateway(tmp_path / "sidecar", gate.port, [k1], sign) as sidecar,
    ):
        started = keys_of(gate)["k1"]
        assert (started["state"], started["alg"], started["can_sign"]) == ("active", "hmac-sha256", True)
        assert (started["max_lifetime_s"], started["not_after"]) == (LIFETIME_S, None)
        assert evidence(gate, "k1") == (0, [], False)
        with ExitStack() as stack:
            for _ in range(CONNECTIONS):
                publish(stack.enter_context(connect(sidecar.port)))
            for process in (gate, sidecar):
                assert evidence(process, "k1") == (CONNECTIONS, ["guest"], True)
                assert min(clients(process)) > 0

        with connect(gate.port) as stranger:
            channel = stranger.channel()
            forged = {"x-seal": "seal1.k1.1.2.AAAA.c1.AAAA.AAAA"}
            for _ in range(5):
                channel.basic_publish("", "q", b"x", pika.BasicProperties(headers=forged))
            channel.queue_declare("", exclusive=True)  # its answer comes after what was published before
        assert gate.metric("sealgate_messages_total", verdict="refused") == 5
        assert evidence(gate, "k1") == (CONNECTIONS, ["guest"], True)

        os.kill(workers_of(gate)[0], signal.SIGKILL)
        wait_until(lambda: gate.metric("sealgate_worker_restarts_total") == 1, 20, "a worker to be replaced")
        wait_until(
            lambda: keys_of(gate)["k1"]["known_since"] > started["known_since"], 20, "it to have the key"
        )
        assert evidence(gate, "k1") == (CONNECTIONS, ["guest"], True), "what it had seen is not forgotten"

        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2.5 * DAY_S))
        gate.write_keys([{**k1, "state": "verify"}, key("k2", new_secret(), not_after=ends)])
        wait_until(lambda: (keys_of(gate).get("k2") or {}).get("known_since"), 20, "all to have the new key")
        wait_until(lambda: keys_of(gate)["k1"]["state"] == "verify", 20, "all to have the new state")
        old = keys_of(gate)["k1"]
        assert old["state_since"] > old["known_since"]
        status, checks = gate.get("/readyz?verbose")
        assert (status, checks.count("rotation k2 ends in 2.5 days")) == (200, WORKERS)
        assert gate.metric("sealgate_key_info", kid="k1", state="verify") == 1
        left = gate.metric("sealgate_key_not_after_timestamp_seconds", kid="k2") - time.time()
        assert 2 * DAY_S < left < 3 * DAY_S
        ending = [json.loads(line) for line in gate.log_text().splitlines() if '"keys.ending"' in line]
        assert [(line["level"], line["kid"]) for line in ending] == [("error", "k2")], "one worker tells it"
