"""Captured messages sent where, when or as what they were not meant: none of them reaches the broker.

What a second sending of the very same message gives is in test_replay.py.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from support.hostile_keys import KEY_TABLES
from support.hostile_play import check_arrived, check_kept, hear_ack, hear_nack
from support.hostile_publish import Publish, Seal, a_task, publish, stored
from support.hostile_stage import SOON, Gate, Stage
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer
from support.raw_client import RawClient, raw_client

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def stage(rabbitmq: RabbitMQServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as closing:
        yield Stage(rabbitmq, tmp_path_factory.mktemp("attacks"), closing)


def captured(stage: Stage, name: str, seal: Seal | None = None) -> Publish:
    """A message that the gateway of this configuration took, as somebody on the way saw it."""
    if name in ("stored", "staging"):
        stage.gate(name).wait_past_horizon()
    with stage.client(name) as producer:
        producer.open_channel(confirms=True)
        sent = publish(a_task(), producer, seal or stored())
        producer.send(sent.frames(producer))
        hear_ack(producer)
    check_arrived(stage, sent)
    return sent


def refused(stage: Stage, gate: Gate, sent: Publish, reason: str, vhost: str = "") -> None:
    """Sent by an attacker, it is refused, and nothing of it arrives."""
    with raw_client(gate.port, vhost or stage.vhost) as attacker:
        refused_to(attacker, stage, gate, sent, reason)


def refused_to(attacker: RawClient, stage: Stage, gate: Gate, sent: Publish, reason: str) -> None:
    attacker.open_channel(2, confirms=True)
    with gate.counting({f"refused {reason}": 1}):
        attacker.send(sent.frames(attacker, channel=2))
        hear_nack(attacker, channel=2)
    stage.broker.check_nothing_arrived()
    check_kept(gate, sent, reason, "basic.nack", channel=2)


def test_message_of_one_virtual_host_is_refused_on_another(stage: Stage) -> None:
    sent = captured(stage, "stored")
    refused(stage, stage.gate("stored"), sent, "sig.bad", stage.other_vhost)


def test_message_of_staging_is_refused_in_production(stage: Stage) -> None:
    """The same secret, kid and virtual host: the deployment alone differs."""
    sent = captured(stage, "staging", stored(deployment="staging"))
    refused(stage, stage.gate("stored"), sent, "sig.bad")


def test_message_over_a_session_nonce_is_good_on_no_other_connection(stage: Stage) -> None:
    sent = captured(stage, "plain", Seal())
    refused(stage, stage.gate("plain"), sent, "replay.session")


def test_message_over_a_session_nonce_is_good_once_on_its_connection(stage: Stage) -> None:
    gate = stage.gate("plain")
    with stage.client("plain") as client:
        client.open_channel(confirms=True)
        sent = publish(a_task(), client)
        client.send(sent.frames(client))
        hear_ack(client)
        check_arrived(stage, sent)
        refused_to(client, stage, gate, sent, "replay.session")


def test_stored_nonce_is_refused_where_only_session_nonces_are_taken(
    stage: Stage, rabbitmq: RabbitMQServer
) -> None:
    """With nothing remembered the message of another signer could be sent again and again."""
    gate = stage.start_gateway("sessions", rabbitmq.port, {"replay": {"nonces": "session"}})
    with raw_client(gate.port, stage.vhost) as client:
        client.open_channel(confirms=True)
        sent = publish(a_task(), client, Seal())
        client.send(sent.frames(client))
        hear_ack(client)
        check_arrived(stage, sent)
        refused_to(client, stage, gate, publish(a_task(), client, stored()), "replay.session")


def test_nonce_under_another_message_is_a_conflict(stage: Stage) -> None:
    """What only the holder of the key can make: a second message under a nonce that was used."""
    seal = stored()
    captured(stage, "stored", seal)
    with stage.client("stored") as client:
        other = publish(a_task(), client, seal)
    refused(stage, stage.gate("stored"), other, "replay.conflict")


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ({"created": -600, "expires": 3600}, "time.stale"),
        ({"created": -100, "expires": -60}, "time.expired"),
        ({"created": 300, "expires": 3600}, "time.future"),
    ],
)
def test_message_out_of_its_time_is_refused(stage: Stage, times: dict[str, int], reason: str) -> None:
    with stage.client("stored") as client:
        sent = publish(a_task(), client, replace(stored(), **times))
    refused(stage, stage.gate("stored"), sent, reason)


def test_message_of_a_key_that_is_revoked_meanwhile_is_refused(stage: Stage) -> None:
    gate = stage.gate("stored")
    seal = stored("k2")
    with stage.client("stored") as client:
        unsent = publish(a_task(), client, seal)
    captured(stage, "stored", stored("k2"))
    try:
        reload(gate, [{**key, "state": "revoked"} if key["kid"] == "k2" else key for key in KEY_TABLES])
        refused(stage, gate, unsent, "sig.key_state")
    finally:
        reload(gate, KEY_TABLES)


def reload(gate: Gate, keys: list[dict[str, object]]) -> None:
    reloads = gate.process.metric("sealgate_config_reloads_total", result="ok")
    gate.process.write_keys(keys)
    gate.process.send_signal(signal.SIGHUP)
    wait_until(
        lambda: gate.process.metric("sealgate_config_reloads_total", result="ok") > reloads, 10, "new keys"
    )


def test_journal_remembers_what_was_sent_before_the_gateway_was_killed(
    stage: Stage, rabbitmq: RabbitMQServer, tmp_path: Path
) -> None:
    settings = {"replay": {**SOON, "journal": str(tmp_path / "nonces")}}
    gate = stage.start_gateway("recorded", rabbitmq.port, settings)
    gate.wait_past_horizon()
    with raw_client(gate.port, stage.vhost) as client:
        client.open_channel(confirms=True)
        sent = publish(a_task(), client, stored())
        client.send(sent.frames(client))
        hear_ack(client)
    check_arrived(stage, sent)
    gate.process.stop(signal.SIGKILL)
    gate.process.start()
    with raw_client(gate.port, stage.vhost) as client, gate.counting({"refused replay.duplicate": 1}):
        client.open_channel(confirms=True)
        client.send(sent.frames(client))
        hear_ack(client)
    stage.broker.check_nothing_arrived()
    check_kept(gate, sent, "replay.duplicate", "basic.ack")
