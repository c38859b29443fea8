"""Park queues are emptied by one consumer, in order, and by the next one when it is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pika
import pytest

from sealgate.quarantine.emptying import PREFETCH, Emptier, Filled
from sealgate.session.holding import HoldingQueue
from support.rabbitmq_server import RabbitMQServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]

COUNT = 2 * PREFETCH + 50
PARK = "sealgate.park.1"


class Broker:
    def __init__(self, port: int, vhost: str, quorum: bool) -> None:
        self.queue = Filled(PARK, f"127.0.0.1:{port}", False, vhost, quorum)
        self._parameters = pika.ConnectionParameters("127.0.0.1", port, vhost)
        with pika.BlockingConnection(self._parameters) as connection:
            channel = connection.channel()
            channel.queue_declare("celery", durable=True)
            park = HoldingQueue(PARK, "", "celery", quorum, 0, "shop.*")
            channel.queue_declare(PARK, durable=True, arguments=park.arguments())

    def park(self, first: int, count: int) -> None:
        with pika.BlockingConnection(self._parameters) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for number in range(first, first + count):
                channel.basic_publish("", PARK, b"%d" % number)

    def arrived(self) -> list[int]:
        found = []
        with pika.BlockingConnection(self._parameters) as connection:
            channel = connection.channel()
            while (got := channel.basic_get("celery", auto_ack=True))[0] is not None:
                assert got[2] is not None
                found.append(int(got[2]))
        return found

    def waiting(self) -> int:
        with pika.BlockingConnection(self._parameters) as connection:
            found = connection.channel().queue_declare(PARK, passive=True, durable=True)
            return int(found.method.message_count)


@pytest.fixture(params=["classic", "quorum"])
def broker(rabbitmq: RabbitMQServer, vhost: str, request: pytest.FixtureRequest) -> Broker:
    return Broker(rabbitmq.port, vhost, request.param == "quorum")


def an_emptier(empty: Callable[[Filled], None]) -> Emptier:
    return Emptier(lambda broker: ("guest", "guest"), empty, log=logging.getLogger("test"))


async def reached(event: asyncio.Event) -> None:
    async with asyncio.timeout(20):
        await event.wait()


@pytest.mark.asyncio
async def test_all_goes_on_in_order_and_the_queue_is_told_to_be_empty(broker: Broker) -> None:
    empty = asyncio.Event()
    names: set[Filled] = set()

    def note(queue: Filled) -> None:
        names.add(queue)
        empty.set()

    await asyncio.to_thread(broker.park, 0, COUNT)
    emptier = an_emptier(note)
    emptier.use([broker.queue])
    await reached(empty)
    # What comes late goes on as well, as long as the queue is to be emptied.
    await asyncio.to_thread(broker.park, COUNT, 1)
    found = await asyncio.to_thread(broker.arrived)
    async with asyncio.timeout(20):
        while len(found) < COUNT + 1:
            found += await asyncio.to_thread(broker.arrived)
    assert found == list(range(COUNT + 1))
    assert names == {broker.queue}
    emptier.use([])
    await emptier.close()
    await asyncio.to_thread(broker.park, 0, 1)
    assert await asyncio.to_thread(broker.waiting) == 1


@pytest.mark.asyncio
async def test_one_of_two_empties_and_the_other_takes_over(broker: Broker) -> None:
    told: list[asyncio.Event] = [asyncio.Event(), asyncio.Event()]
    first, second = an_emptier(lambda _: told[0].set()), an_emptier(lambda _: told[1].set())
    first.use([broker.queue])
    await reached(told[0])
    second.use([broker.queue])
    await asyncio.to_thread(broker.park, 0, 20)
    told[0].clear()
    await reached(told[0])
    await first.close()
    told[1].clear()
    await asyncio.to_thread(broker.park, 20, 20)
    await reached(told[1])
    found = await asyncio.to_thread(broker.arrived)
    async with asyncio.timeout(20):
        while len(found) < 40:
            found += await asyncio.to_thread(broker.arrived)
    assert found == list(range(40))
    await second.close()


@pytest.mark.asyncio
async def test_queue_of_a_cluster_is_empty_over_all_its_addresses(broker: Broker) -> None:
    told: set[Filled] = set()
    other = broker.queue._replace(broker=broker.queue.broker.replace("127.0.0.1", "localhost"))
    await asyncio.to_thread(broker.park, 0, 20)
    emptier = an_emptier(told.add)
    emptier.use([broker.queue, other])
    async with asyncio.timeout(20):
        while told != {broker.queue, other}:
            await asyncio.sleep(0.01)
    assert await asyncio.to_thread(broker.arrived) == list(range(20))
    await emptier.close()


@pytest.mark.asyncio
async def test_queue_that_is_gone_holds_nothing_more(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    empty = asyncio.Event()
    emptier = an_emptier(lambda _: empty.set())
    emptier.use([broker.queue._replace(name="sealgate.park.gone")])
    await reached(empty)
    assert "park.queue_gone" in caplog.text
    await emptier.close()
