"""Messages that kill a stock Celery worker: behind the gateway it lives, even if the producer sends them."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pika
import pytest
from pamqp import commands, frame

from support.celery_setup import TESTS, Setup, celery_setup
from support.processes import end, spawn, wait_until
from support.publisher import answers
from support.rabbitmq_server import RabbitMQServer
from support.sealed import BODY, EMBED, JSON_HEADER, table, task_headers
from support.wire_bytes import content_header, entry, long, nested, short

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(120),
    # Celery's result consumer leaves its sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FAR_TIMESTAMP = entry("when", "T", struct.pack(">Q", 253_402_300_800))
DEEP = nested(1200)


def poison(
    body: bytes = BODY,
    properties: Mapping[int, bytes] | None = None,
    entries: bytes = b"",
    **headers: object,
) -> bytes:
    """The frames of a task on channel 1 with something deadly in it."""
    own = table(task_headers(**{"task": "shop.add", **headers})) + entries
    given = JSON_HEADER if properties is None else properties
    flags, octets = 0x2000, b""
    for index in (0, 1):
        if index in given:
            flags |= 0x8000 >> index
            octets += short(given[index])
    octets += long(own)
    if 5 in given:
        flags |= 0x8000 >> 5
        octets += short(given[5])
    payload = content_header(flags, octets, len(body))
    parts = [(2, payload)] + ([(3, body)] if body else [])
    raw = [
        bytes([kind]) + b"\x00\x01" + len(data).to_bytes(4, "big") + data + b"\xce" for kind, data in parts
    ]
    return frame.marshal(commands.Basic.Publish(routing_key="celery"), 1) + b"".join(raw)


def embedded(*parts: object) -> bytes:
    return json.dumps(list(parts)).encode()


#: name -> (frames, what the gateway or the sidecar says)
POISONS: dict[str, tuple[bytes, str]] = {
    "PR01": (poison(properties={0: b"\xff", 1: b"utf-8"}), "props.utf8"),
    "PR02": (poison(properties={**JSON_HEADER, 5: b"\xff"}), "props.utf8"),
    "HD02": (poison(entries=DEEP), "header.depth"),
    "HD06": (poison(entries=FAR_TIMESTAMP), "header.timestamp"),
    "CT07": (poison(properties={}), "content.type"),
    "CE09": (poison(b"null"), "celery.envelope"),
    "CE10": (poison(b"5"), "celery.envelope"),
    "CE12": (poison(b"[1]"), "celery.envelope"),
    "CE14": (poison(embedded([], {}, EMBED, {})), "celery.envelope"),
    "CE15": (poison(id=...), "celery.id"),
    "CE17": (poison(task=["a"]), "celery.task_name"),
    "CE21": (poison(timelimit="abc"), "celery.timelimit"),
    # This one it survives, and neither runs nor acknowledges.
    "stamps": (poison(stamped_headers=5), "celery.envelope"),
}
#: Those a stock worker was measured to die of, tried here so that this test is about something real.
DEADLY = ("HD06", "PR01", "PR02")


@pytest.fixture(scope="module")
def setup(rabbitmq: RabbitMQServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    with celery_setup(tmp_path_factory.mktemp("poison"), rabbitmq.port, rabbitmq.new_vhost()) as running:
        yield running


def test_worker_behind_the_gateway_survives_every_poison_of_a_signing_producer(setup: Setup) -> None:
    """The sidecar signs whatever its application sends: it is the checks, not the signature, that protect."""
    messages = [message for message, _ in POISONS.values()]
    told = asyncio.run(answers(setup.producer.port, setup.vhost, messages))
    assert told == ["Basic.Nack"] * len(POISONS)
    refused = setup.refused()
    for _, reason in POISONS.values():
        assert refused.get(reason, 0) > 0, reason
    assert sum(refused.values()) == len(POISONS)
    assert still_works(setup)


def test_worker_behind_the_gateway_survives_every_poison_of_a_stranger(setup: Setup) -> None:
    before = sum(setup.gateway.refusals().values())
    messages = [message for message, _ in POISONS.values()]
    told = asyncio.run(answers(setup.gateway.port, setup.vhost, messages))
    assert told == ["Basic.Nack"] * len(POISONS)
    assert sum(setup.gateway.refusals().values()) == before + len(POISONS)
    assert still_works(setup)


def still_works(setup: Setup) -> bool:
    """Whether the worker lives and runs what it is sent."""
    script = (
        "import sys; from support.celery_project import add; sys.exit(add.delay(1, 2).get(timeout=20) != 3)"
    )
    url = setup.producer.url(setup.vhost)
    done = subprocess.run([sys.executable, "-c", script], env=setup.env(url), timeout=60)
    return done.returncode == 0 and setup.worker_alive()


@pytest.mark.parametrize("name", DEADLY)
def test_stock_worker_dies_of_it(name: str, rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    """Without the gateway the same bytes end the worker."""
    vhost = rabbitmq.new_vhost()
    broker = f"amqp://guest:guest@127.0.0.1:{rabbitmq.port}/{vhost}"
    env = {**os.environ, "PROJECT_BROKER": broker, "PYTHONPATH": str(TESTS)}
    log = tmp_path / "worker.log"
    worker = spawn(
        [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "support.celery_project",
            "worker",
            "-P",
            "prefork",
            "-c",
            "1",
            "-l",
            "INFO",
        ],
        log,
        env,
    )
    try:
        wait_until(lambda: " ready." in log.read_text(), 60, "the worker to be ready")
        with pika.BlockingConnection(
            pika.ConnectionParameters("127.0.0.1", rabbitmq.port, vhost)
        ) as connection:
            connection.channel().queue_declare("celery", passive=True)
        assert asyncio.run(answers(rabbitmq.port, vhost, [POISONS[name][0]])) == ["Basic.Ack"]
        wait_until(lambda: worker.poll() is not None, 10, "the worker to die")
    finally:
        end(worker)
