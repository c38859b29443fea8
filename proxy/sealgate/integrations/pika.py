"""Signing for pika: any channel of any adapter, wrapped.

    channel = SealingChannel(connection.channel())
    channel.basic_publish("", "orders", body)

With the option `verify` what it consumes is checked: callbacks, `consume` and `basic_get` see nothing forged.
A channel whose publishes another library makes (dramatiq's, say) can be wrapped as well. `seal` alone gives
properties to publish with, for who publishes in a way of his own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

from pika import BasicProperties

from sealgate.integrations.deliveries import open_check, without_seals
from sealgate.integrations.options import Options
from sealgate.integrations.signer import Line, Signer, as_message, open_signer, sealed_headers
from sealgate.verify.sealer import SignerSession
from sealgate.wire.methods import read_challenge
from sealgate.wire.properties import NAMES

#: A connection's line is that of all its channels: their messages have one row of numbers.
_lines: Final[WeakKeyDictionary[Any, dict[Signer, Line]]] = WeakKeyDictionary()


class SealingChannel:
    """`channel`, which seals what it publishes and checks what it consumes; in all else it is the channel's
    own.

    `signer` is what `signer.open_signer` takes, or a signer. Raises `OptionsError`, `KeysError`.
    """

    def __init__(self, channel: Any, signer: Signer | Options | Mapping[str, Any] | None = None) -> None:
        self._channel: Final = channel
        opened = as_signer(signer)
        self._line: Final = line_of(channel.connection, opened)
        self._check: Final = open_check(opened.options) if opened.options.verify else None

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes | str,
        properties: BasicProperties | None = None,
        mandatory: bool = False,
    ) -> None:
        """As pika's own. Raises `GateError` for what can not be sealed, as pika's own for all else."""
        octets = body.encode() if isinstance(body, str) else bytes(body)
        with self._line.in_order() as session:
            sealed = _sealed(self._line, session, exchange, routing_key, octets, properties)
            self._channel.basic_publish(exchange, routing_key, octets, sealed, mandatory)

    def basic_consume(
        self,
        queue: str,
        on_message_callback: Callable[..., object],
        auto_ack: bool = False,
        *args: Any,
        **options: Any,
    ) -> Any:
        """As pika's own."""

        def checked(channel: Any, method: Any, properties: BasicProperties, body: bytes) -> None:
            seen = self._opened(queue, method, properties, body, auto_ack)
            if seen is not None:
                on_message_callback(channel, method, seen, body)

        return self._channel.basic_consume(queue, checked, auto_ack, *args, **options)

    def consume(self, queue: str, auto_ack: bool = False, *args: Any, **options: Any) -> Iterator[Any]:
        """As that of a blocking channel."""
        for method, properties, body in self._channel.consume(queue, auto_ack, *args, **options):
            if method is None:  # nothing came for a while
                yield method, properties, body
                continue
            seen = self._opened(queue, method, properties, body, auto_ack)
            if seen is not None:
                yield method, seen, body

    def basic_get(self, queue: str, *args: Any, **options: Any) -> Any:
        """As that of a blocking channel: the next message that passes, or three times None.

        Channels that do not block have no `basic_get` here, but with `verify` off.
        """
        if self._check is None:
            return self._channel.basic_get(queue, *args, **options)
        auto_ack = bool(options.get("auto_ack", args[0] if args else False))
        if "callback" in options or callable(args[0] if args else None):
            raise TypeError("basic_get with a callback is not checked: consume instead")
        while True:
            method, properties, body = self._channel.basic_get(queue, auto_ack)
            if method is None:
                return method, properties, body
            seen = self._opened(queue, method, properties, body, auto_ack)
            if seen is not None:
                return method, seen, body

    def _opened(
        self, queue: str, method: Any, properties: BasicProperties, body: bytes, auto_ack: bool
    ) -> BasicProperties | None:
        """Properties for the application to see, None for a delivery that is refused."""
        if self._check is None:
            return properties
        values = [getattr(properties, name) for name in NAMES]
        target = (method.exchange, method.routing_key)
        if not self._check.passes_decoded(*target, values, body, self._line.vhost, queue):
            if not auto_ack:
                self._channel.basic_reject(method.delivery_tag, requeue=False)
            return None
        properties.headers = without_seals(properties.headers)
        return properties

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


def seal(
    signer: Signer,
    exchange: str,
    routing_key: str,
    body: bytes,
    properties: BasicProperties | None = None,
    vhost: str = "/",
) -> BasicProperties:
    """Properties to publish this message with, once: each publish is sealed anew.

    The nonce is random: a gateway with replay.nonces = "session" takes what a `SealingChannel` publishes
    only. Raises `GateError`.
    """
    return _sealed(Line(signer, vhost), SignerSession(), exchange, routing_key, body, properties)


def as_signer(signer: Signer | Options | Mapping[str, Any] | None) -> Signer:
    """Raises `OptionsError`, `KeysError`."""
    return signer if isinstance(signer, Signer) else open_signer(signer)


def line_of(connection: Any, signer: Signer) -> Line:
    """The line of an open pika connection, blocking or not."""
    connection = getattr(connection, "_impl", connection)  # a blocking one holds the one that speaks
    lines = _lines.setdefault(connection, {})
    line = lines.get(signer)
    if line is None:
        challenge = read_challenge(dict(connection.server_properties or {}))
        # A signer of its own row of numbers beside another one's would not be taken.
        challenge = b"" if lines else challenge
        line = lines[signer] = Line(signer, connection.params.virtual_host, challenge)
    return line


def _sealed(
    line: Line,
    session: SignerSession,
    exchange: str,
    routing_key: str,
    body: bytes,
    properties: BasicProperties | None,
) -> BasicProperties:
    sealed = copy.copy(properties) if properties is not None else BasicProperties()
    message = as_message(exchange, routing_key, b"".join(sealed.encode()), body)
    sealed.headers = sealed_headers(sealed.headers, line.signer.token(message, line.vhost, session))
    return sealed
