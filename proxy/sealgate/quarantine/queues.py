"""Declares the queues that hold publications, on connections of the gateway's own, one per virtual host.

The queues are declared here and published to by the clients' own channels (`session.holding`). Answers are
bounded in time: a queue that can not be had within `timeout_s` is not there. aio-pika is imported on first
use.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from ssl import SSLContext
from typing import TYPE_CHECKING, Final

from sealgate.quarantine.link import LinkLostError, LinkRefusedError, broker_url, connect, error_text, hang_up
from sealgate.session.holding import HoldingQueue

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection
    from aiormq.abc import FieldTable

Answer = Callable[[str], None]

#: From a queue that is asked for to the answer, with the connection where that is to be made: well below the
#: leases of what waits for it, which are renewed meanwhile, and the patience of clients.
DECLARE_S_MAX: Final = 5.0
#: Queues asked for and not answered, of all sessions together: each is one message's metadata.
ASKED_MAX: Final = 10_000
#: Connections: one for each virtual host that has something to hold. More are refused.
CONNECTIONS_MAX: Final = 64
#: A connection that nobody needed for so long is closed.
IDLE_S_MAX: Final = 600.0
#: After a failure nobody waits for the next attempt before this.
PAUSE_S: Final = 1.0


class Queues:
    """`login` gives user and password for a broker, by its address. To be used from the event loop only."""

    def __init__(
        self,
        login: Callable[[str], tuple[str, str]],
        *,
        log: logging.Logger,
        ssl_context: SSLContext | None = None,
        timeout_s: float = DECLARE_S_MAX,
        idle_s: float = IDLE_S_MAX,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._login: Final = login
        self._log: Final = log
        self._ssl_context = ssl_context
        self._timeout_s: Final = timeout_s
        self._idle_s: Final = idle_s
        self._monotonic: Final = monotonic
        self._links: Final[dict[tuple[str, bool, str], _Link]] = {}
        self._asked = 0
        self._closing = False

    def use_tls(self, context: SSLContext) -> None:
        """For the next connection to a broker with TLS."""
        self._ssl_context = context

    def declare(self, broker: str, secure: bool, vhost: str, queue: HoldingQueue, answer: Answer) -> None:
        """Declare it at `broker` ("host:port"); `answer` is called later, once, with "" or the trouble."""
        loop = asyncio.get_running_loop()
        key = (broker, secure, vhost)
        link = self._links.get(key)
        trouble = ""
        if self._closing:
            trouble = "the gateway is closing"
        elif self._asked >= ASKED_MAX:
            trouble = f"over {ASKED_MAX} queues are being declared"
        elif link is None and len(self._links) >= CONNECTIONS_MAX:
            trouble = f"over {CONNECTIONS_MAX} virtual hosts have queues that hold messages"
        elif link is not None and self._monotonic() < link.broken_until:
            trouble = link.trouble
        if trouble:
            loop.call_soon(answer, trouble)
            return
        if link is None:
            link = self._links[key] = _Link()
        self._asked += 1
        link.wanted.append((queue, answer, loop.time() + self._timeout_s))
        if link.task is None:
            link.task = loop.create_task(self._serve(key, link), name="sealgate queues")
        link.wake.set()

    async def close(self) -> None:
        """Answer what is asked with trouble, and hang up."""
        self._closing = True
        tasks = [link.task for link in self._links.values() if link.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in self._links.values():
            self._answer_all(link, "the gateway is closing")
        self._links.clear()

    async def _serve(self, key: tuple[str, bool, str], link: _Link) -> None:
        """Declare what is asked for in one virtual host until nobody asks any more."""
        try:
            while True:
                link.wake.clear()
                if link.wanted:
                    await self._declare_next(key, link)
                    continue
                try:
                    async with asyncio.timeout(self._idle_s):
                        await link.wake.wait()
                except TimeoutError:
                    del self._links[key]
                    return
        finally:
            link.task = None
            await link.hang_up()

    async def _declare_next(self, key: tuple[str, bool, str], link: _Link) -> None:
        queue, answer, deadline = link.wanted[0]
        trouble = ""
        try:
            # From when it was asked for: what lies before it in the line counts.
            async with asyncio.timeout_at(deadline):
                channel = await self._channel(key, link)
                await _declare(channel, queue)
        except LinkRefusedError as error:
            trouble = error_text(error)
        except (LinkLostError, TimeoutError) as error:
            trouble = error_text(error)
            self._broken(link, trouble)
        if trouble:
            self._log.warning("holding.queue_refused", extra={"queue": queue.name, "error": trouble})
        link.wanted.pop(0)
        self._asked -= 1
        self._tell(answer, trouble)
        if link.broken_until > self._monotonic():
            # Those behind it need not wait for the same, one after the other.
            self._answer_all(link, trouble)
            await link.hang_up()

    def _broken(self, link: _Link, trouble: str) -> None:
        link.trouble = trouble
        link.broken_until = self._monotonic() + PAUSE_S

    async def _channel(self, key: tuple[str, bool, str], link: _Link) -> AbstractChannel:
        """Raises `LinkLostError` or `LinkRefusedError`."""
        from aio_pika import exceptions

        if link.connection is None or link.connection.is_closed:
            link.channel = None
            link.connection = await connect(self._url(*key), self._ssl_context, self._timeout_s)
        if link.channel is None or link.channel.is_closed:
            try:
                link.channel = await link.connection.channel(publisher_confirms=False)
            except exceptions.CONNECTION_EXCEPTIONS as error:
                raise LinkLostError(error_text(error)) from error
        return link.channel

    def _url(self, broker: str, secure: bool, vhost: str) -> str:
        return broker_url(broker, secure, vhost, self._login(broker))

    def _answer_all(self, link: _Link, trouble: str) -> None:
        wanted, link.wanted = link.wanted, []
        self._asked -= len(wanted)
        for _, answer, _ in wanted:
            self._tell(answer, trouble)

    def _tell(self, answer: Answer, trouble: str) -> None:
        """What a session makes of its answer must not end the work for the others."""
        try:
            answer(trouble)
        except Exception:
            self._log.exception("holding.answer_failed")


class _Link:
    """One virtual host's connection, and what is asked of it until when, the first in front."""

    __slots__ = ("broken_until", "channel", "connection", "task", "trouble", "wake", "wanted")

    def __init__(self) -> None:
        self.wanted: list[tuple[HoldingQueue, Answer, float]] = []
        self.wake: Final = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.connection: AbstractConnection | None = None
        self.channel: AbstractChannel | None = None
        #: After a failure: until when nothing is tried, and what it was.
        self.broken_until = 0.0
        self.trouble = ""

    async def hang_up(self) -> None:
        connection, self.connection, self.channel = self.connection, None, None
        if connection is not None:
            await hang_up(connection)


async def _declare(channel: AbstractChannel, queue: HoldingQueue) -> None:
    from aio_pika import exceptions

    arguments: FieldTable = {**queue.arguments()}
    try:
        await channel.declare_queue(queue.name, durable=True, arguments=arguments)
    except exceptions.ChannelClosed as error:
        raise LinkRefusedError(error_text(error)) from error
    except exceptions.CONNECTION_EXCEPTIONS as error:
        raise LinkLostError(error_text(error)) from error
