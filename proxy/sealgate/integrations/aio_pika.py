"""Signing for aio-pika: a class of connection, for `connect_robust` and whoever calls it (taskiq,
FastStream).

    connection = await connect_robust(url, connection_class=sealing_connection())
    broker = AioPikaBroker(url, connection_class=sealing_connection())       # taskiq

Nonces are random: between the seal and the socket there are waits in which another task may publish first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    """What `Exchange.publish` asks of a message, once each: it reads `properties` when there is a connection.

    So a message that waits for one is sealed when it is sent, by the key of then.
    """

    __slots__ = ("_seal", "body")

    def __init__(self, body: bytes, seal: Callable[[], Basic.Properties]) -> None:
        self.body: Final = body
        self._seal: Final = seal

    @property
    def properties(self) -> Basic.Properties:
        """With the seal. Raises `GateError`."""
        return self._seal()

    def __repr__(self) -> str:
        return f"<message of {len(self.body)} bytes, to be sealed>"


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

            def sealed() -> Basic.Properties:
                return seal(opened, self.name, routing_key, message, _vhost_of(self))

            to_seal: Any = _Sealed(message.body, sealed)
            return await super().publish(to_seal, routing_key, **options)

    class SealingChannel(RobustChannel):
        EXCHANGE_CLASS = SealingExchange

    class SealingConnection(RobustConnection):
        CHANNEL_CLASS = SealingChannel

    return SealingConnection


def seal(
    signer: Signer, exchange: str, routing_key: str, message: AbstractMessage, vhost: str = "/"
) -> Basic.Properties:
    """Properties to publish `message` with, once. Raises `GateError`."""
    properties = message.properties
    if not properties.message_id:
        properties.message_id = uuid4().hex  # else aiormq would, after it was sealed
    unsealed = as_message(exchange, routing_key, properties.marshal(), message.body)
    properties.headers = sealed_headers(properties.headers, signer.token(unsealed, vhost, SignerSession()))
    return properties


def _vhost_of(exchange: RobustExchange) -> str:
    """The virtual host as aiormq reads it from the URL."""
    connection: Any = exchange.channel
    return str(connection._connection.url.path[1:] or "/")
