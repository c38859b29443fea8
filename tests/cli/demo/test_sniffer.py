"""The wire that is listened on: everything arrives as it was sent, and what is wanted is copied."""

from __future__ import annotations

import aio_pika
import pytest

from sealgate.cli.demo.sniffer import Sniffer
from sealgate.devbroker.server import DevBroker


@pytest.mark.asyncio
async def test_publishes_to_the_exchange_are_copied_and_arrive() -> None:
    broker = DevBroker()
    await broker.start()
    sniffer = Sniffer(broker.port, "wanted")
    await sniffer.start()
    body = bytes(range(256)) * 1000
    try:
        connection = await aio_pika.connect(f"amqp://127.0.0.1:{sniffer.port}/")
        async with connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange("wanted", "fanout")
            queue = await channel.declare_queue("q")
            await queue.bind(exchange)
            await channel.default_exchange.publish(aio_pika.Message(b"not wanted"), "q")
            await exchange.publish(aio_pika.Message(body, correlation_id="c", headers={"n": 1}), "key")
            captured = await sniffer.next(5)
            assert (captured.exchange, captured.routing_key) == ("wanted", "key")
            assert (captured.body, captured.mark) == (body, "c")
            arrived = [await queue.get(no_ack=True) for _ in range(2)]
            assert [message.body for message in arrived] == [b"not wanted", body]
        with pytest.raises(TimeoutError):
            await sniffer.next(0.05)
    finally:
        await sniffer.close()
        await broker.close()
