"""Queues that hold messages are declared on a real RabbitMQ, or their trouble is told in time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pika
import pytest
import pytest_asyncio

from sealgate.quarantine import queues as room
from sealgate.quarantine.queues import Queues
from sealgate.session.holding import HoldingQueue
from support.processes import free_port
from support.rabbitmq_server import RabbitMQServer

LOG = logging.getLogger("sealgate.quarantine")
WAIT = HoldingQueue("sealgate.wait.1", "", "celery", expires_ms=600_000)


def guest(broker: str) -> tuple[str, str]:
    return "guest", "guest"


@pytest_asyncio.fixture
async def open_queues() -> AsyncIterator[Callable[..., Queues]]:
    opened: list[Queues] = []

    def make(login: Callable[[str], tuple[str, str]] = guest, **options: float) -> Queues:
        opened.append(Queues(login, log=LOG, **options))
        return opened[-1]

    yield make
    for queues in opened:
        await queues.close()


async def declare(queues: Queues, port: int, vhost: str, queue: HoldingQueue) -> str:
    answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    queues.declare(f"127.0.0.1:{port}", False, vhost, queue, answered.set_result)
    assert not answered.done()
    async with asyncio.timeout(20):
        return await answered


@pytest.mark.system
@pytest.mark.asyncio
@pytest.mark.parametrize("quorum", [False, True])
async def test_a_declared_queue_dead_letters_to_the_target_when_the_time_is_over(
    open_queues: Callable[..., Queues], rabbitmq: RabbitMQServer, vhost: str, quorum: bool
) -> None:
    queue = HoldingQueue(f"sealgate.wait.{quorum}", "", "celery", quorum, 600_000)
    queues = open_queues()
    assert await declare(queues, rabbitmq.port, vhost, queue) == ""
    # As often as wanted: that is what keeps the broker from letting it go.
    assert await declare(queues, rabbitmq.port, vhost, queue) == ""
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url_of(vhost))) as connection:
        channel = connection.channel()
        channel.queue_declare("celery", durable=True)
        channel.confirm_delivery()
        properties = pika.BasicProperties(expiration="10", delivery_mode=2)
        channel.basic_publish("", queue.name, b"held", properties)
        for method, arrived, body in channel.consume("celery", inactivity_timeout=10):
            assert method is not None, "nothing arrived"
            assert (method.routing_key, body) == ("celery", b"held")
            assert arrived.headers["x-death"][0]["queue"] == queue.name
            assert arrived.expiration is None
            break


@pytest.mark.system
@pytest.mark.asyncio
async def test_a_queue_the_broker_refuses_is_told_and_the_next_one_is_declared(
    open_queues: Callable[..., Queues], rabbitmq: RabbitMQServer, vhost: str
) -> None:
    queues = open_queues()
    assert await declare(queues, rabbitmq.port, vhost, WAIT) == ""
    other = HoldingQueue(WAIT.name, "", "elsewhere", expires_ms=600_000)
    assert "PRECONDITION_FAILED" in await declare(queues, rabbitmq.port, vhost, other)
    assert await declare(queues, rabbitmq.port, vhost, WAIT) == ""


@pytest.mark.system
@pytest.mark.asyncio
async def test_a_refused_login_and_a_missing_vhost_are_told_without_the_password(
    open_queues: Callable[..., Queues], rabbitmq: RabbitMQServer, vhost: str
) -> None:
    refused = await declare(open_queues(lambda broker: ("guest", "hunter2")), rabbitmq.port, vhost, WAIT)
    assert "login refused" in refused and "hunter2" not in refused
    assert "virtual host" in await declare(open_queues(), rabbitmq.port, "not-there", WAIT)


@pytest.mark.asyncio
async def test_a_broker_that_is_away_is_told_to_all_that_ask_and_then_at_once(
    open_queues: Callable[..., Queues],
) -> None:
    queues = open_queues()
    port = free_port()
    asked = [declare(queues, port, "/", HoldingQueue(f"q{n}", "", "q")) for n in range(3)]
    assert all(await asyncio.gather(*asked))
    assert "127.0.0.1" in await declare(queues, port, "/", WAIT)


@pytest.mark.asyncio
async def test_a_broker_that_says_nothing_is_given_up_in_time(open_queues: Callable[..., Queues]) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    assert await declare(open_queues(timeout_s=0.2), port, "/", WAIT)
    silent.close()


@pytest.mark.asyncio
async def test_what_is_asked_at_once_and_the_virtual_hosts_are_bounded(
    open_queues: Callable[..., Queues], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ASKED_MAX", 1)
    queues = open_queues()
    port = free_port()
    first, second = await asyncio.gather(*[declare(queues, port, "/", WAIT) for _ in range(2)])
    assert "over 1 queues" in first + second
    monkeypatch.setattr(room, "CONNECTIONS_MAX", 1)
    assert "virtual hosts" in await declare(queues, port, "/other", WAIT)


@pytest.mark.asyncio
async def test_a_closing_gateway_declares_nothing(open_queues: Callable[..., Queues]) -> None:
    queues = open_queues()
    await queues.close()
    assert await declare(queues, free_port(), "/", WAIT) == "the gateway is closing"
