"""Two brokers behind one gateway: the first is killed under load and comes back."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from pamqp import commands

from support.gateway import gateway, key, new_secret
from support.processes import wait_until
from support.publisher import Publisher, arrivals
from support.rabbitmq_server import RabbitMQServer, private_rabbitmq
from support.raw_client import PROTOCOL_HEADER, method
from support.tasks import task_frames

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

COUNT = 3000
QUEUE = "failover"
RATE = 500


@pytest.fixture
def brokers(rabbitmq: RabbitMQServer) -> Iterator[tuple[RabbitMQServer, RabbitMQServer]]:
    """The second one is everybody's; the first one may be killed."""
    with private_rabbitmq() as first:
        for server in (first, rabbitmq):
            with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", server.port)) as connection:
                connection.channel().queue_declare(QUEUE, durable=True)
        yield first, rabbitmq


def test_second_broker_takes_over_and_the_first_is_preferred_again_when_it_is_back(
    brokers: tuple[RabbitMQServer, RabbitMQServer], tmp_path: Path, closing_lines: list[str]
) -> None:
    first, second = brokers
    settings = {
        "publish": {"action": "pass"},
        "upstream": {"urls": [f"amqp://127.0.0.1:{server.port}" for server in brokers]},
    }
    with gateway(tmp_path, first.port, [key("k1", new_secret())], settings) as process:

        def up(server: RabbitMQServer) -> float:
            return process.metric("sealgate_upstream_up", upstream=f"127.0.0.1:{server.port}")

        wait_until(lambda: (up(first), up(second)) == (1, 1), 20, "both to be known")
        publisher = Publisher(process.port, "/", COUNT, lambda n: task_frames(n, QUEUE), rate=RATE)
        working = threading.Thread(target=lambda: asyncio.run(publisher.run()))
        working.start()
        wait_until(lambda: len(publisher.confirmed) > COUNT / 6, 60, "some load")
        first.kill()
        confirmed = len(publisher.confirmed)
        wait_until(lambda: len(publisher.confirmed) > confirmed + COUNT / 6, 60, "the second one")
        wait_until(lambda: (up(first), up(second)) == (0, 1), 20, "the loss to be noticed")
        assert process.ready()
        assert f"[!]upstream 127.0.0.1:{first.port} down: " in process.get("/readyz?verbose")[1]
        working.join(60)
        assert not working.is_alive()
        first.start()
        wait_until(lambda: up(first) == 1, 70, "the first one again")
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", process.port))
        depth = connection.channel().queue_declare(QUEUE, passive=True).method.message_count
        connection.close()
        assert "Traceback" not in process.log_text()
    found = [{int(n) for n in arrivals(server.port, "/", QUEUE, 2 * COUNT)} for server in brokers]
    assert depth >= len(found[0]), "the client after it came back was given the first one"
    assert publisher.confirmed == set(range(COUNT))
    assert found[0] | found[1] == publisher.confirmed
    assert found[0]
    assert found[1]
    closing_lines.append(
        f"failover: {COUNT} confirmed, {len(found[0])} on the first broker, {len(found[1])} on the second, "
        f"{len(found[0] & found[1])} on both, {len(publisher.cuts) - 1} connections lost"
    )


def test_no_client_makes_a_broker_look_broken(rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    """The broker hangs up on it when its `open` is passed on already, as a broker that fails would."""
    with gateway(tmp_path, rabbitmq.port, [key("k1", new_secret())], {}) as process:
        login = commands.Connection.StartOk({}, "PLAIN", "\x00guest\x00guest", "en_US")
        with socket.create_connection(("127.0.0.1", process.port), timeout=20) as client:
            client.sendall(PROTOCOL_HEADER)
            assert client.recv(65_536)
            client.sendall(method(0, login))
            assert client.recv(65_536)
            too_large = commands.Connection.TuneOk(2047, 1 << 30, 0)
            client.sendall(method(0, too_large) + method(0, commands.Connection.Open("/")))
            assert client.recv(65_536) == b""
        assert process.metric("sealgate_upstream_up", upstream=f"127.0.0.1:{rabbitmq.port}") == 1
        assert process.ready()
        assert "upstream.failed" not in process.log_text()
