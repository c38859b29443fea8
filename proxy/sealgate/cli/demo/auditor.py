"""Watches the broker itself, behind the gateway's back: what reached it, and what of that was an attack."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Final

import aio_pika

from sealgate.cli.demo.names import Names

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractRobustConnection

_CONNECT_S_MAX: Final = 5.0
_SETTLE_S_MAX: Final = 10.0
#: The body and routing key of the auditor's own message, behind which nothing is left to look at.
_END: Final = "sealgate.demo.end"
_QUEUES: Final = 2


class Auditor:
    """A copy of everything published to the demo's exchange and mailbox, and a queue only attackers know.

    What carries an attack's mark, or was there before, reached the broker and should not have.
    """

    def __init__(self, url: str, names: Names) -> None:
        self._url: Final = url
        self._names: Final = names
        self._connection: AbstractRobustConnection | None = None
        self._channel: AbstractChannel | None = None
        self._ends: Final[set[str]] = set()
        self._ended: Final = asyncio.Event()
        self._seen: Final[set[tuple[str, str]]] = set()
        #: mark -> kind of attack, for what is forged from nothing
        self._forged: Final[dict[str, str]] = {}
        #: mark -> kind of attack, for what is made of a message that was captured: once is legitimate
        self._captured: Final[dict[str, str]] = {}
        #: kind of attack -> how many reached the broker
        self.reached: Final[Counter[str]] = Counter()
        #: messages that came to the exchange and were nobody's attack
        self.legitimate = 0

    async def start(self) -> None:
        """Declare the exchange and the queues, and listen. Raises what aio-pika raises."""
        self._connection = await aio_pika.connect(self._url, timeout=_CONNECT_S_MAX)  # type: ignore[assignment]
        assert self._connection is not None
        self._channel = await self._connection.channel()
        exchange = await self._channel.declare_exchange(self._names.exchange, "topic", durable=True)
        for name in (self._names.tap, self._names.decoy):
            queue = await self._channel.declare_queue(name)
            if name == self._names.tap:
                await queue.bind(exchange, "#")
            await queue.consume(self._on_message, no_ack=True)

    async def watch_mailbox(self) -> None:
        """Listen to remote control as well; the worker has made its exchange."""
        assert self._channel is not None
        tap = await self._channel.get_queue(self._names.tap, ensure=False)
        await tap.bind(self._names.pidbox, "")

    def expect(self, kind: str, mark: str, captured: bool) -> None:
        """A message with this mark is about to be sent as an attack of this kind."""
        (self._captured if captured else self._forged)[mark] = kind

    async def settle(self) -> None:
        """Wait until everything that reached the broker before this call was looked at."""
        assert self._channel is not None
        self._ends.clear()
        exchange = await self._channel.get_exchange(self._names.exchange, ensure=False)
        await exchange.publish(aio_pika.Message(_END.encode()), _END)
        await self._channel.default_exchange.publish(aio_pika.Message(_END.encode()), self._names.decoy)
        async with asyncio.timeout(_SETTLE_S_MAX):
            while len(self._ends) < _QUEUES:
                await self._ended.wait()
                self._ended.clear()

    async def clean_up(self) -> None:
        """Delete what the demo left on the broker, and go."""
        if self._connection is None or self._channel is None:
            return
        for queue in self._names.queues:
            await self._channel.queue_delete(queue)
        for exchange in self._names.exchanges:
            await self._channel.exchange_delete(exchange)
        await self._connection.close()
        self._connection = None

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        if message.body == _END.encode():
            self._ends.add(message.routing_key or "")
            self._ended.set()
            return
        mark = _mark(message)
        key = (mark, str(message.headers.get("retries", "")))
        if message.routing_key == self._names.decoy or mark in self._forged:
            self.reached[self._forged.get(mark) or self._captured.get(mark, "unknown")] += 1
        elif key in self._seen:
            self.reached[self._captured.get(mark, "unknown")] += 1
        else:
            self._seen.add(key)
            self.legitimate += message.exchange == self._names.exchange


def _mark(message: AbstractIncomingMessage) -> str:
    """The task id, or the ticket of a command."""
    task_id = message.headers.get("id")
    if isinstance(task_id, str):
        return task_id
    try:
        body = json.loads(message.body)
    except ValueError:
        return ""
    return str(body.get("ticket", "")) if isinstance(body, dict) else ""
