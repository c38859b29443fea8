"""aio-pika's robust clients, in a thread of their own: a publisher with confirms and a consumer.

Both are left alone with whatever happens to their connections; the publisher keeps the log a careful program
would keep, and tries a task again that it got an error for.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection

from support.sealed import BODY, task_headers

QUEUE = "robust"
PAUSE_S = 0.01
CONFIRM_S_MAX = 15.0


class RobustClients:
    """`published` by `consumed` and what is left in the brokers must come out even."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        #: Ids of tasks that were confirmed, and how often each was consumed.
        self.confirmed: set[str] = set()
        self.consumed: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.failure: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the task at hand, and disconnect."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the robust clients do not end"
        if self.failure is not None:
            raise self.failure

    async def _connect(self) -> AbstractRobustConnection:
        return await aio_pika.connect_robust(self._url, reconnect_interval=0.2, timeout=10)

    async def _run(self) -> None:
        try:
            async with await aio_pika.connect_robust(
                self._url, reconnect_interval=0.2, timeout=10
            ) as reading:
                channel = await reading.channel()
                await channel.set_qos(prefetch_count=10)
                queue = await channel.declare_queue(QUEUE, durable=True)
                await queue.consume(self._consume)
                async with await self._connect() as writing:
                    await self._publish(await writing.channel(publisher_confirms=True))
        except BaseException as error:
            self.failure = error

    async def _consume(self, message: AbstractIncomingMessage) -> None:
        self.consumed[str(message.correlation_id)] += 1
        await message.ack()

    async def _publish(self, channel: aio_pika.abc.AbstractChannel) -> None:
        while not self._stop.is_set():
            task_id = str(uuid.uuid4())
            while task_id not in self.confirmed:
                message = aio_pika.Message(
                    BODY,
                    headers=task_headers(id=task_id, root_id=task_id),
                    content_type="application/json",
                    content_encoding="utf-8",
                    correlation_id=task_id,
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                )
                try:
                    await channel.default_exchange.publish(message, QUEUE, timeout=CONFIRM_S_MAX)
                    self.confirmed.add(task_id)
                except Exception as error:
                    self.errors[type(error).__name__] += 1
                await asyncio.sleep(PAUSE_S)


@contextmanager
def robust_clients(url: str) -> Iterator[RobustClients]:
    """Started; ended at the latest here."""
    clients = RobustClients(url)
    clients.start()
    try:
        yield clients
    finally:
        clients.stop()
