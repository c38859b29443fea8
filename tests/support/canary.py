"""A well-behaved client that must be served whatever others do: sealed tasks, confirmed and fetched again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pamqp import commands

from support.hostile_publish import a_task, publish
from support.raw_client import RawClient


class Canary(RawClient):
    """One connection. Each answer has the deadline of every read of a raw client."""

    def __init__(self, port: int, vhost: str, queue: str = "canary") -> None:
        super().__init__(port, vhost)
        self.served = 0
        self._queue = queue
        self.open_channel(confirms=True)
        self.ask(1, commands.Queue.Declare(queue=queue, exclusive=True), commands.Queue.DeclareOk)

    def sing(self, times: int = 1) -> None:
        """Publish a task, hear its confirm, and fetch that very task from the broker; so many times."""
        for _ in range(times):
            sent = publish(a_task(routing_key=self._queue), self)
            self.send(sent.frames(self))
            self.expect(1, commands.Basic.Ack)
            self._fetch(sent.arriving)
            self.served += 1

    def _fetch(self, payload: bytes) -> None:
        self.ask(1, commands.Basic.Get(queue=self._queue, no_ack=True), commands.Basic.GetOk)
        assert self.read().payload == payload, "another message than was published"
        self.read()


@contextmanager
def canary(port: int, vhost: str) -> Iterator[Canary]:
    """A connected canary that has been served once, closed at the end."""
    bird = Canary(port, vhost)
    try:
        bird.sing()
        yield bird
    finally:
        bird.close()
