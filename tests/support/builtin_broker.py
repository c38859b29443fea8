"""The built-in broker in a thread of its own, for clients that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sealgate.devbroker.server import DevBroker

T = TypeVar("T")
SECONDS_MAX = 10


class BuiltinBroker:
    """A running `DevBroker`; `ask` reads its state where it lives."""

    def __init__(self, broker: DevBroker, loop: asyncio.AbstractEventLoop) -> None:
        self.broker = broker
        self.url = broker.url
        self.port = broker.port
        self._loop = loop

    def ask(self, question: Callable[[DevBroker], T]) -> T:
        async def answer() -> T:
            return question(self.broker)

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(SECONDS_MAX)

    def depth(self, queue: str) -> int:
        return self.ask(lambda broker: broker.queue_depth(queue))


@contextmanager
def builtin_broker(**options: Any) -> Iterator[BuiltinBroker]:
    """Started, and closed at the end; fails when something in its loop went wrong."""
    loop = asyncio.new_event_loop()
    troubles: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: troubles.append(context))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def started() -> DevBroker:
        broker = DevBroker(**options)
        await broker.start()
        return broker

    broker = asyncio.run_coroutine_threadsafe(started(), loop).result(SECONDS_MAX)
    try:
        yield BuiltinBroker(broker, loop)
    finally:
        asyncio.run_coroutine_threadsafe(broker.close(), loop).result(SECONDS_MAX)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS_MAX)
        loop.close()
    assert not troubles, troubles
