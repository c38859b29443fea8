"""Signing for dramatiq on RabbitMQ: `broker.add_middleware(SealingMiddleware())`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dramatiq.middleware import Middleware

from sealgate.integrations.options import Options
from sealgate.integrations.pika import SealingChannel, as_signer
from sealgate.integrations.signer import Signer


class SealingMiddleware(Middleware):
    """Has a `RabbitmqBroker` publish through channels that seal.

    dramatiq encodes a message after its middleware has seen it, so what is replaced is the channel that it is
    about to publish on. `signer` is what `signer.open_signer` takes, or a signer. Raises `OptionsError`,
    `KeysError`.
    """

    def __init__(self, signer: Signer | Options | Mapping[str, Any] | None = None) -> None:
        self._signer: Final = as_signer(signer)

    def before_enqueue(self, broker: Any, message: object, delay: int | None) -> None:
        channel = broker.channel
        if isinstance(channel, SealingChannel):
            return
        sealing = SealingChannel(channel, self._signer)
        # The broker's own books, by which it closes a channel when it is done with it.
        broker.channels.discard(channel)
        broker.channels.add(sealing)
        broker.state.channel = sealing
