"""Look at what is in quarantine and throw it away: for the command line, one short connection each time.

Reading never takes anything out: messages are fetched with `basic.get`, left unacknowledged, and given back
at the end, when the broker puts them where they were. It gives them back by itself when this process dies.
Gateways may publish meanwhile: what comes in after the start is not looked at.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from ssl import SSLContext
from typing import TYPE_CHECKING, Final

from sealgate.quarantine.link import LinkLostError, LinkRefusedError, connect, error_text, hang_up
from sealgate.quarantine.record import Kept, NotAPublicationError, decode
from sealgate.session.records import RefusalRecord

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel, DeliveredMessage

#: Messages fetched by one command: more would keep the broker busy for minutes.
SCAN_MAX: Final = 100_000


class NoQueueError(Exception):
    """There is no quarantine queue of this name: no gateway has connected yet."""


@dataclass(slots=True, frozen=True)
class Unreadable:
    """A message in the queue that is not one of ours; `id` is its message id, if it has one."""

    id: str
    problem: str


Item = Kept | Unreadable


@dataclass(slots=True, frozen=True)
class Filter:
    """Which records are meant: exact texts or globs (`sig.*`); an empty one takes any."""

    reason: str = ""
    task: str = ""
    kid: str = ""

    def takes(self, item: Item) -> bool:
        """Whether `item` is meant; one that can not be read only when nothing is asked of it."""
        if isinstance(item, Unreadable):
            return self == EVERYTHING
        return self._takes_record(item.record)

    def _takes_record(self, record: RefusalRecord) -> bool:
        wanted = ((self.reason, record.reason.value), (self.task, record.task), (self.kid, record.kid))
        return all(not pattern or fnmatchcase(text, pattern) for pattern, text in wanted)


EVERYTHING: Final = Filter()


class Browser:
    """One connection to the quarantine queue `name`; see `browsing`.

    Every method raises `NoQueueError` when there is no such queue, and `LinkLostError` or
    `LinkRefusedError` when the broker is away or does not allow it.
    """

    def __init__(self, channel: AbstractChannel, name: str, timeout_s: float) -> None:
        self._channel = channel
        self._name = name
        self._timeout_s = timeout_s

    async def list(self, wanted: Filter, limit: int) -> list[Item]:
        """The first `limit` items that `wanted` takes, oldest first, without their bytes."""
        found: list[Item] = []
        async with aclosing(self._scan()) as scan:
            async for _, item in scan:
                if wanted.takes(item):
                    found.append(_without_bytes(item))
                if len(found) >= limit:
                    break
        return found

    async def show(self, message_id: str) -> Item | None:
        """The item with this id."""
        async with aclosing(self._scan()) as scan:
            async for _, item in scan:
                if item.id == message_id:
                    return item
        return None

    async def discard_one(self, message_id: str) -> bool:
        """Throw away the item with this id, and its repeat that a lost confirm left; whether it was there."""
        return await self._discard(lambda item: item.id == message_id) > 0

    async def discard(self, wanted: Filter) -> int:
        """Throw away what `wanted` takes of what is there now; how many."""
        return await self._discard(wanted.takes)

    async def _discard(self, takes: Callable[[Item], bool]) -> int:
        discarded = 0
        async with aclosing(self._scan()) as scan:
            async for tag, item in scan:
                if takes(item):
                    await self._channel.basic_ack(tag)
                    discarded += 1
        return discarded

    async def _scan(self) -> AsyncGenerator[tuple[int, Item], None]:
        """(delivery tag, item) of what is in the queue now, oldest first; what was not acknowledged in
        between is given back at the end."""
        await self._require_queue()
        left = SCAN_MAX
        try:
            while left:
                message = await self._channel.basic_get(self._name, timeout=self._timeout_s)
                if message.delivery_tag is None:
                    return
                # What lies behind the first message is all there is to look at. Not so the count that a
                # declare gives: it overtakes what an earlier scan is still giving back.
                left = min(left - 1, message.message_count or 0)
                yield message.delivery_tag, _item(message)
        finally:
            if not self._channel.is_closed:
                await self._channel.basic_nack(0, multiple=True, requeue=True)

    async def _require_queue(self) -> None:
        from aio_pika import exceptions

        try:
            await self._channel.queue_declare(self._name, passive=True, timeout=self._timeout_s)
        except exceptions.ChannelNotFoundEntity:
            raise NoQueueError(self._name) from None


@asynccontextmanager
async def browsing(
    url: str, name: str, *, ssl_context: SSLContext | None = None, timeout_s: float = 10.0
) -> AsyncIterator[Browser]:
    """A `Browser` of the queue `name` at the broker `url`. Do no other input or output inside.

    Raises `LinkLostError` or `LinkRefusedError`.
    """
    from aio_pika import exceptions

    connection = await connect(url, ssl_context, timeout_s)
    try:
        channel = connection.channel(publisher_confirms=False)
        await channel.initialize(timeout_s)
        yield Browser(await channel.get_underlay_channel(), name, timeout_s)
    except exceptions.ChannelClosed as error:
        raise LinkRefusedError(error_text(error)) from error
    except (exceptions.AMQPError, OSError) as error:
        raise LinkLostError(error_text(error)) from error
    finally:
        await hang_up(connection)


def _item(message: DeliveredMessage) -> Item:
    properties = message.header.properties
    try:
        return decode(properties.content_type, properties.message_id, properties.headers or {}, message.body)
    except NotAPublicationError as error:
        return Unreadable(properties.message_id or "", str(error))


def _without_bytes(item: Item) -> Item:
    if isinstance(item, Unreadable):
        return item
    return Kept(item.id, replace(item.record, method=b"", header=b"", body=b""))
