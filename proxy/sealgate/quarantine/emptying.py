"""Empties park queues: what is rejected there, the broker itself brings on to where it was going.

Nothing is published a second time and no message is read here. A queue is emptied by one consumer of all
gateways, an exclusive one; when it dies, the broker puts what it had back in front, and the next one goes on.
aio-pika is imported on first use.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from ssl import SSLContext
from typing import TYPE_CHECKING, Final, NamedTuple

from sealgate.quarantine.link import LinkLostError, LinkRefusedError, broker_url, connect, error_text, hang_up

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

#: Messages on their way here at once: as many are put back when a consumer dies.
PREFETCH: Final = 200
#: Between two looks at how many are left.
LOOK_S: Final = 0.2
#: After a failure, and between attempts to become the consumer of a queue that has one.
RETRY_S: Final = 1.0
#: For anything the broker is asked.
CALL_S_MAX: Final = 5.0


#: Broker, with TLS, virtual host.
Where = tuple[str, bool, str]


class Filled(NamedTuple):
    """A park queue at `broker` ("host:port")."""

    name: str
    broker: str
    secure: bool
    vhost: str
    quorum: bool = False


class Emptier:
    """`empty` is told of each queue that has nothing left, again and again while that is so.

    Addresses of one cluster lead to the same queue. It is emptied over one of them, and counted over all.
    """

    def __init__(
        self,
        login: Callable[[str], tuple[str, str]],
        empty: Callable[[Filled], None],
        *,
        log: logging.Logger,
        ssl_context: SSLContext | None = None,
    ) -> None:
        self._login: Final = login
        self._empty: Final = empty
        self._log: Final = log
        self._ssl_context = ssl_context
        self._places: Final[dict[Where, _Place]] = {}

    def use_tls(self, context: SSLContext) -> None:
        """For the next connection to a broker with TLS."""
        self._ssl_context = context

    def use(self, queues: Iterable[Filled]) -> None:
        """Empty these from now on, and no others."""
        wanted: dict[Where, dict[str, Filled]] = {}
        for queue in queues:
            wanted.setdefault((queue.broker, queue.secure, queue.vhost), {})[queue.name] = queue
        for key, place in self._places.items():
            place.wanted = wanted.pop(key, {})
        for key, filled in wanted.items():
            place = self._places[key] = _Place(filled)
            place.task = asyncio.get_running_loop().create_task(self._run(key, place), name="sealgate parks")

    async def close(self) -> None:
        """Hang up; what is on its way is put back by the broker."""
        tasks = [place.task for place in self._places.values() if place.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._places.clear()

    async def _run(self, key: Where, place: _Place) -> None:
        from aio_pika import exceptions

        try:
            while place.wanted:
                try:
                    async with asyncio.timeout(CALL_S_MAX):
                        await self._look(key, place)
                except (
                    LinkLostError,
                    LinkRefusedError,
                    TimeoutError,
                    *exceptions.CONNECTION_EXCEPTIONS,
                ) as error:
                    self._log.warning(
                        "park.not_emptied", extra={"broker": key[0], "error": error_text(error)}
                    )
                    await place.hang_up()
                    await asyncio.sleep(RETRY_S)
                else:
                    await asyncio.sleep(LOOK_S)
        finally:
            if self._places.get(key) is place:
                del self._places[key]
            await place.hang_up()

    async def _look(self, key: Where, place: _Place) -> None:
        """Be the consumer of each queue, and tell of those that are empty."""
        if place.connection is None or place.connection.is_closed:
            await place.hang_up()
            broker, secure, vhost = key
            url = broker_url(broker, secure, vhost, self._login(broker))
            place.connection = await connect(url, self._ssl_context, CALL_S_MAX)
        for name in [name for name in place.channels if name not in place.wanted]:
            await place.channels.pop(name).close()
        for filled in list(place.wanted.values()):
            if await self._consumes(place, filled) or self._consumes_elsewhere(place, filled):
                await self._count(place, filled)

    def _consumes_elsewhere(self, place: _Place, filled: Filled) -> bool:
        """Whether this process empties a queue of this name over another address: in a cluster, the same."""
        for (_, _, other_vhost), other in self._places.items():
            if other is not place and other_vhost == filled.vhost:
                channel = other.channels.get(filled.name)
                if channel is not None and not channel.is_closed:
                    return True
        return False

    async def _consumes(self, place: _Place, filled: Filled) -> bool:
        """Whether this process is the one that empties the queue, over this address.

        Of a quorum queue it may be one that waits for its turn: the broker lets one consume at a time.
        """
        from aio_pika import exceptions

        name = filled.name
        channel = place.channels.get(name)
        if channel is not None and not channel.is_closed:
            return True
        if time.monotonic() < place.again_at.get(name, 0.0):
            return False
        place.again_at[name] = time.monotonic() + RETRY_S
        assert place.connection is not None  # the caller connected
        try:
            channel = await place.connection.channel(publisher_confirms=False)
            await channel.set_qos(PREFETCH)
            queue = await channel.declare_queue(name, passive=True)
            await queue.consume(_pass_on, exclusive=not filled.quorum)
        except exceptions.ChannelNotFoundEntity:
            # Somebody deleted it, with what was in it.
            self._log.error("park.queue_gone", extra={"queue": name})
            self._empty(filled)
            return False
        except exceptions.ChannelClosed:
            return False  # it has a consumer
        place.channels[name] = channel
        self._log.info("park.emptying", extra={"queue": name})
        return True

    async def _count(self, place: _Place, filled: Filled) -> None:
        assert place.connection is not None  # the caller connected
        if place.counting is None or place.counting.is_closed:
            place.counting = await place.connection.channel(publisher_confirms=False)
        queue = await place.counting.declare_queue(filled.name, passive=True)
        if queue.declaration_result.message_count == 0:
            self._empty(filled)


class _Place:
    """One virtual host's connection, with a channel for each queue that is emptied there."""

    __slots__ = ("again_at", "channels", "connection", "counting", "task", "wanted")

    def __init__(self, wanted: dict[str, Filled]) -> None:
        self.wanted = wanted
        self.task: asyncio.Task[None] | None = None
        self.connection: AbstractConnection | None = None
        self.channels: dict[str, AbstractChannel] = {}
        self.counting: AbstractChannel | None = None
        self.again_at: dict[str, float] = {}

    async def hang_up(self) -> None:
        connection, self.connection = self.connection, None
        self.channels, self.counting = {}, None
        if connection is not None:
            await hang_up(connection)


async def _pass_on(message: AbstractIncomingMessage) -> None:
    """The broker dead-letters it to where it was going."""
    await message.reject(requeue=False)
