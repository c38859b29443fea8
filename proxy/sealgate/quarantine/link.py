"""One connection to the broker that keeps the quarantine: topology, publish with confirm, loss.

A plain aio-pika connection, not a robust one: a robust publish waits without end for a reconnect, and never
publishes again what was lost. `publish.Quarantine` knows what is unconfirmed, so it does both itself.
aio-pika is imported here on first use: a gateway without quarantine does not pay for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from ssl import SSLContext
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote, urlsplit

from sealgate.quarantine.record import CONTENT_TYPE, at_us, encode_body, encode_headers

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractMessage

    from sealgate.quarantine.pending import Entry

#: To say goodbye; the broker requeues and forgets by itself when it is not heard.
CLOSE_SECONDS_MAX: Final = 2.0
#: Of a foreign error text that is passed on to a log.
ERROR_TEXT_MAX: Final = 200


class LinkLostError(Exception):
    """The broker is away, or went away, or does not answer in time: try again."""


class LinkRefusedError(Exception):
    """The broker will not have the connection or the topology as they are: an operator must act."""


class PublicationRefusedError(Exception):
    """The broker will not have this one message."""


@dataclass(slots=True, frozen=True)
class Topology:
    """The exchange, the queue of the same name, and the queue's bounds."""

    name: str
    length_max: int
    bytes_max: int
    age_max_s: float

    def queue_arguments(self) -> dict[str, str | int]:
        return {
            "x-max-length": self.length_max,
            "x-max-length-bytes": self.bytes_max,
            "x-message-ttl": int(self.age_max_s * 1000),
            "x-overflow": "drop-head",
        }


def without_credentials(url: str) -> str:
    """`url` as it may be logged: scheme, host, port and virtual host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an unreadable URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def broker_url(broker: str, secure: bool, vhost: str, login: tuple[str, str]) -> str:
    """The URL of `vhost` at `broker` ("host:port") for a user and password."""
    user, password = [quote(part, safe="") for part in login]
    return f"{'amqps' if secure else 'amqp'}://{user}:{password}@{broker}/{quote(vhost, safe='')}"


def error_text(error: BaseException) -> str:
    """Name and text of an error in one short line."""
    text = " ".join(str(error).split())[:ERROR_TEXT_MAX]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


async def connect(url: str, ssl_context: SSLContext | None, timeout_s: float) -> AbstractConnection:
    """A plain connection. Raises `LinkLostError` or `LinkRefusedError` (credentials, virtual host, URL)."""
    import aio_pika
    from aio_pika import exceptions

    try:
        async with asyncio.timeout(timeout_s):
            return await aio_pika.connect(
                url, ssl_context=ssl_context, client_properties={"connection_name": "sealgate quarantine"}
            )
    except (exceptions.ProbableAuthenticationError, exceptions.AuthenticationError) as error:
        raise LinkRefusedError(f"login refused at {without_credentials(url)}") from error
    except exceptions.InvalidFrameError as error:
        # How aiormq tells that `connection.close` was the answer to `connection.open`.
        place = without_credentials(url)
        raise LinkRefusedError(f"the virtual host is missing, not allowed or full: {place}") from error
    except ValueError as error:
        raise LinkRefusedError(f"not a usable URL: {without_credentials(url)}") from error
    except (*exceptions.CONNECTION_EXCEPTIONS, TimeoutError) as error:
        raise LinkLostError(f"{without_credentials(url)}: {error_text(error)}") from error


async def hang_up(connection: AbstractConnection) -> None:
    """Close without waiting long and without complaint: it may be gone already."""
    from aio_pika import exceptions

    with contextlib.suppress(*exceptions.CONNECTION_EXCEPTIONS, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS_MAX):
            await connection.close()


class Link:
    """A declared topology and a channel with confirms. `lost` is set when either side closed either."""

    def __init__(
        self,
        connection: AbstractConnection,
        channel: AbstractChannel,
        exchange: AbstractExchange,
        timeout_s: float,
        on_lost: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._exchange = exchange
        self._timeout_s = timeout_s
        self._on_lost = on_lost
        self.lost = False
        connection.close_callbacks.add(self._note_loss)
        channel.close_callbacks.add(self._note_loss)

    @classmethod
    async def open(
        cls,
        url: str,
        ssl_context: SSLContext | None,
        topology: Topology,
        timeout_s: float,
        on_lost: Callable[[], None],
    ) -> Self:
        """Connect and declare; `on_lost` is called when the link breaks.

        Raises `LinkLostError` or `LinkRefusedError`.
        """
        connection = await connect(url, ssl_context, timeout_s)
        try:
            channel, exchange = await _declare(connection, topology, timeout_s)
        except BaseException:
            await hang_up(connection)
            raise
        return cls(connection, channel, exchange, timeout_s, on_lost)

    async def publish(self, entry: Entry) -> None:
        """Return when the broker has confirmed that `entry` is in a queue.

        Raises `PublicationRefusedError` or `LinkLostError`; after either, open another link.
        """
        from aio_pika import exceptions

        try:
            await self._exchange.publish(_message(entry), "", mandatory=True, timeout=self._timeout_s)
        except (exceptions.DeliveryError, exceptions.ChannelClosed) as error:
            raise PublicationRefusedError(type(error).__name__) from error
        except (*exceptions.CONNECTION_EXCEPTIONS, TimeoutError) as error:
            raise LinkLostError(error_text(error)) from error
        except Exception as error:
            # It can not be written as AMQP; what the text of such an error may quote is the record.
            raise PublicationRefusedError(type(error).__name__) from error

    async def close(self) -> None:
        """Say goodbye; what is unconfirmed stays so."""
        self.lost = True
        await hang_up(self._connection)

    def _note_loss(self, *_: object) -> None:
        if not self.lost:
            self.lost = True
            self._on_lost()


async def _declare(
    connection: AbstractConnection, topology: Topology, timeout_s: float
) -> tuple[AbstractChannel, AbstractExchange]:
    from aio_pika import ExchangeType, exceptions

    try:
        async with asyncio.timeout(timeout_s):
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            exchange = await channel.declare_exchange(topology.name, ExchangeType.FANOUT, durable=True)
            queue = await channel.declare_queue(
                topology.name, durable=True, arguments=dict(topology.queue_arguments())
            )
            await queue.bind(exchange)
            return channel, exchange
    except exceptions.ChannelClosed as error:
        raise LinkRefusedError(error_text(error)) from error
    except (*exceptions.CONNECTION_EXCEPTIONS, TimeoutError) as error:
        raise LinkLostError(error_text(error)) from error


def _message(entry: Entry) -> AbstractMessage:
    from aio_pika import DeliveryMode, Message

    return Message(
        encode_body(entry.record),
        headers=dict(encode_headers(entry.record)),
        content_type=CONTENT_TYPE,
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=entry.id,
        timestamp=at_us(entry.record) // 1_000_000,
    )
