"""An attacker who writes to the broker directly, past every gateway, and real workers behind their sidecars.

Every hostile message that the rows of hostile.jsonl know goes straight into the worker's queues: none is run,
the worker lives, and each is in quarantine with its reason.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pika
import pytest
from pamqp import commands

from support import hostile_bodies, hostile_envelopes, hostile_properties, hostile_tokens
from support.celery_project import add
from support.celery_setup import KEPT, VERIFYING, Setup, celery_setup
from support.hostile_broker import Direct
from support.hostile_catalogue import FILE
from support.hostile_keys import KEY_TABLES
from support.hostile_publish import Draft, publish
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer
from support.raw_client import METHOD, raw_client
from support.sealed_pika import connect

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(150),
    # Celery's result consumer leaves its sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROWS = (hostile_properties.ROWS, hostile_bodies.ROWS, hostile_envelopes.ROWS, hostile_tokens.ROWS)
#: Good at a consumer, or unknowable there.
ONLY_AT_THE_GATEWAY = {
    "HD32": "the delayed-message plugin has negated the delay",
    "PR11": "the user is that of the publisher, and RabbitMQ itself closes the channel",
    "PR16": "the broker writes such names itself",
    "SG32": "freshness is asked at the gateway",
    "SG33": "freshness is asked at the gateway",
}
#: What the broker refuses itself, by closing channel or connection, or has no queue for.
BY_THE_BROKER = {
    *("PR04", "PR05", "PR07", "PR09", "HD08", "HD10", "HD12", "HD14", "SG28"),
    *("CE37", "PR03", "SG27"),
}
#: Kids of the set-up's own keys: what hostile messages sign under these names is signed with another secret.
OWN = ("producer", "worker")
RELOADS = "sealgate_config_reloads_total"
#: What other reason the consumer's side has.
OTHER_REASONS = {"HD21": "sig.bad"}


def hostile() -> list[tuple[str, Draft]]:
    """Every message that no ordinary gateway lets pass."""
    return [
        (row, draft)
        for rows in ROWS
        for row, draft, gate in rows.written
        if gate == "plain" and FILE[row]["verdict"] == "reject" and row not in ONLY_AT_THE_GATEWAY
    ]


@pytest.fixture(scope="module", params=["prefork", "threads"])
def setup(
    request: pytest.FixtureRequest, rabbitmq: RabbitMQServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Setup]:
    home = tmp_path_factory.mktemp("attacked")
    vhost = rabbitmq.new_vhost()
    with celery_setup(home, rabbitmq.port, vhost, pool=request.param, signing=VERIFYING) as running:
        # The worker's sidecar knows all the keys that hostile messages are signed with, but for two.
        others = [table for table in KEY_TABLES if table["kid"] not in OWN]
        running.worker_side.write_keys([*running.keys, *others])
        wait_until(lambda: running.worker_side.metric(RELOADS, result="ok") > 0, 10, "the keys")
        yield running


@pytest.fixture
def kept(setup: Setup, rabbitmq: RabbitMQServer) -> Iterator[Direct]:
    direct = Direct(rabbitmq, setup.vhost)
    yield direct
    direct.close()


def reason_of(row: str, draft: Draft) -> str:
    """Why a consumer is not handed it."""
    code = FILE[row]["code"]
    sealed_by_another = draft.seal is not None and draft.seal.kid in OWN
    return OTHER_REASONS.get(row, "sig.bad" if sealed_by_another else code)


def send(port: int, vhost: str, draft: Draft) -> bool:
    """Write a message into the broker; whether it took it and had a queue for it."""
    sealing = draft.seal
    if sealing is not None and not sealing.nonce:
        sealing = replace(sealing, nonce=secrets.token_bytes(16))
    with raw_client(port, vhost) as client:
        client.open_channel(confirms=True)
        sent = publish(draft, client, sealing or None)
        client.send(sent.frames(client, mandatory=True))
        routed = True
        while True:
            heard = client.read()
            if heard.kind != METHOD:
                continue
            said = heard.said
            routed = routed and not isinstance(said, commands.Basic.Return)
            if isinstance(said, commands.Basic.Ack):
                return routed
            if isinstance(said, commands.Channel.Close | commands.Connection.Close):
                return False


def reasons_of(kept: Direct, count: int) -> Counter[str]:
    """Why the worker's sidecar kept exactly so many."""
    queue = KEPT + "worker"
    wait_until(
        lambda: kept.depth(queue) >= count, 20, f"{count} deliveries to be kept, not {kept.depth(queue)}"
    )
    return Counter([str(one.properties.headers["x-sealgate-reason"]) for one in kept.drain(queue)])


def test_no_hostile_message_is_run(setup: Setup, rabbitmq: RabbitMQServer, kept: Direct) -> None:
    assert add.delay(1, 1).get(timeout=30) == 2
    before = sum(setup.runs().values())
    expected: Counter[str] = Counter()
    refused_by_broker: set[str] = set()
    messages = hostile()
    assert len(messages) > 100
    for row, draft in messages:
        if send(rabbitmq.port, setup.vhost, draft):
            expected[reason_of(row, draft)] += 1
        else:
            refused_by_broker.add(row)
    assert refused_by_broker == BY_THE_BROKER, refused_by_broker ^ BY_THE_BROKER
    found = reasons_of(kept, sum(expected.values()))
    assert found == expected, (found - expected, expected - found)
    assert add.delay(2, 2).get(timeout=30) == 4
    assert setup.worker_alive()
    assert sum(setup.runs().values()) == before + 1
    for name in ("app.add", "app.mul", "app.evil"):
        assert setup.runs_of(name) == 0


def test_commands_events_and_results_of_a_stranger_are_not_heard(
    setup: Setup, rabbitmq: RabbitMQServer, kept: Direct
) -> None:
    """Workers consume these without acknowledgements: they are in quarantine, and nothing is to reject."""
    shutdown = b'{"method": "shutdown", "arguments": {}, "destination": null}'
    event = (
        b'{"type": "worker-offline", "hostname": "w1@tests", "timestamp": 1.0, "utcoffset": 0, "clock": 1}'
    )
    result = b'{"task_id": "x", "status": "SUCCESS", "result": 666, "traceback": null, "children": []}'
    json = pika.BasicProperties(content_type="application/json", content_encoding="utf-8")
    pending = add.apply_async((5, 5), countdown=3)
    with connect(rabbitmq.port, setup.vhost) as connection:
        channel = connection.channel()
        channel.basic_publish("celery.pidbox", "", shutdown, json)
        channel.basic_publish("celeryev", "worker.offline", event, json)
        forged = pika.BasicProperties(
            content_type="application/json", content_encoding="utf-8", correlation_id=pending.id
        )
        channel.basic_publish("", pending.backend.oid, result.replace(b"x", pending.id.encode()), forged)
    assert reasons_of(kept, 2) == {"sig.missing": 2}
    assert pending.get(timeout=30) == 10
    kept.wait_for(KEPT + "producer", 1)
    assert setup.worker_alive()
    assert setup.app.control.ping(timeout=2, destination=["w1@tests"])
