"""Signing for aio-pika: a class of connection, for `connect_robust` and whoever calls it (taskiq,
FastStream).

    connection = await connect_robust(url, connection_class=sealing_connection())
    broker = AioPikaBroker(url, connection_class=sealing_connection())       # taskiq

Nonces are random: between the seal and the socket there are waits in which another task may publish first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from aio_pika.abc import AbstractMessage
from aio_pika.robust_channel import RobustChannel
from aio_pika.robust_connection import RobustConnection
from aio_pika.robust_exchange import RobustExchange
from pamqp.commands import Basic

from sealgate.integrations.options import Options
from sealgate.integrations.signer import Signer, as_message, open_signer, sealed_headers
from sealgate.verify.sealer import SignerSession


class _Sealed:
    """What `Exchange.publish` asks of a message."""

    __slots__ = ("body", "properties")

    def __init__(self, body: bytes, properties: Basic.Properties) -> None:
        self.body: Final = body
        self.properties: Final = properties

    def __repr__(self) -> str:
        return f"<sealed message of {len(self.body)} bytes>"


def sealing_connection(
    signer: Signer | Options | Mapping[str, Any] | None = None,
) -> type[RobustConnection]:
    """A connection class whose exchanges seal all that is published.

    `signer` is what `signer.open_signer` takes, or a signer. Raises `OptionsError`, `KeysError`.
    """
    opened = signer if isinstance(signer, Signer) else open_signer(signer)

    class SealingExchange(RobustExchange):
        async def publish(self, message: AbstractMessage, routing_key: str, **options: Any) -> Any:
            """As aio-pika's own. Raises `GateError` for what can not be sealed."""
            sealed: Any = seal(opened, self.name, routing_key, message, _vhost_of(self))
            return await super().publish(sealed, routing_key, **options)

    class SealingChannel(RobustChannel):
        EXCHANGE_CLASS = SealingExchange

    class SealingConnection(RobustConnection):
        CHANNEL_CLASS = SealingChannel

    return SealingConnection


def seal(
    signer: Signer, exchange: str, routing_key: str, message: AbstractMessage, vhost: str = "/"
) -> _Sealed:
    """`message` sealed for one publish. Raises `GateError`."""
    properties = message.properties
    if not properties.message_id:
        properties.message_id = uuid4().hex  # else aiormq would, after it was sealed
    body = message.body
    unsealed = as_message(exchange, routing_key, properties.marshal(), body)
    properties.headers = sealed_headers(properties.headers, signer.token(unsealed, vhost, SignerSession()))
    return _Sealed(body, properties)


def _vhost_of(exchange: RobustExchange) -> str:
    """The virtual host as aiormq reads it from the URL."""
    connection: Any = exchange.channel
    return str(connection._connection.url.path[1:] or "/")
