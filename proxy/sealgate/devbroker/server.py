"""The built-in broker as the demo and `sealgate dev` hold it."""

from __future__ import annotations

import asyncio
from typing import Final

from sealgate import __version__
from sealgate.devbroker.connection import Connection
from sealgate.devbroker.limits import QUEUED_BYTES_MAX, Memory
from sealgate.devbroker.vhost import VHost

_GOODBYE_S: Final = 2.0


class DevBroker:
    """A broker in this event loop. `port` 0 takes a free one. Any user and password are good."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, queued_bytes_max: int = QUEUED_BYTES_MAX
    ) -> None:
        self.version: Final = __version__
        self.connections: Final[set[Connection]] = set()
        self.vhost: Final = VHost(Memory(queued_bytes_max))
        self.closing = False
        self._host: Final = host
        self._port = port
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        """What a client connects to."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"amqp://guest:guest@{host}:{self._port}/"

    @property
    def published_total(self) -> int:
        """Messages clients published, routed or not."""
        return sum(self.vhost.published.values())

    @property
    def queued_bytes(self) -> int:
        """What all queues hold, handed out and not yet acknowledged included."""
        return self.vhost.memory.used

    def published_to(self, exchange: str) -> int:
        return self.vhost.published[exchange]

    def queue_depth(self, name: str) -> int:
        """Messages that wait in a queue; 0 when there is none of that name."""
        queue = self.vhost.queues.get(name)
        return 0 if queue is None else len(queue)

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Tell every client, and be gone. What was queued is lost."""
        if self._server is None:
            return
        self.closing = True
        self._server.close()
        for connection in list(self.connections):
            connection.shut_down()
        if self.connections:
            await asyncio.wait([connection.ended for connection in self.connections], timeout=_GOODBYE_S)
        for connection in list(self.connections):
            connection.abort()
        for queue in list(self.vhost.queues.values()):
            self.vhost.drop_queue(queue)
        await self._server.wait_closed()
        self._server = None
