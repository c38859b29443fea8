"""A process that holds connections with heartbeats, each with a consumer, until it is stopped or cut off.

    python -m support.holder HOST PORT VHOST COUNT HEARTBEAT_S QUEUE

It says `ready` once all are connected and every consumer has as many messages as it may have.
"""

from __future__ import annotations

import asyncio
import sys

from pamqp import commands

from support.peers import Client, connect
from support.raw_client import HEARTBEAT, frame

#: What each consumer takes and never acknowledges.
PREFETCH = 2


async def hold(host: str, port: int, vhost: str, heartbeat_s: int, queue: str) -> Client:
    """A connection that has got its share of the queue."""
    client = await (await connect(port, host=host)).shake_hands(heartbeat_s, vhost)
    await client.open_channel()
    client.say(1, commands.Basic.Qos(prefetch_count=PREFETCH))
    await client.expect(commands.Basic.QosOk)
    client.say(1, commands.Basic.Consume(queue=queue))
    await client.expect(commands.Basic.ConsumeOk)
    for _ in range(PREFETCH):
        await client.expect(commands.Basic.Deliver)
        await client.next()
        await client.next()
    return client


async def main(host: str, port: int, vhost: str, count: int, heartbeat_s: int, queue: str) -> None:
    clients: list[Client] = []

    async def beat() -> None:
        while True:
            await asyncio.sleep(heartbeat_s / 2)
            for client in clients:
                client.send(frame(HEARTBEAT, 0, b""))

    beating: asyncio.Future[None] = asyncio.Future()
    if heartbeat_s:
        beating = asyncio.create_task(beat())
    for _ in range(count):
        clients.append(await hold(host, port, vhost, heartbeat_s, queue))
    print("ready", flush=True)
    await beating


if __name__ == "__main__":
    words = sys.argv[1:]
    asyncio.run(main(words[0], int(words[1]), words[2], int(words[3]), int(words[4]), words[5]))
