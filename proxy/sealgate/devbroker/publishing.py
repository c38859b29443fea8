"""Messages coming in on a channel: content put together, routed, confirmed or returned."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pamqp import commands

from sealgate.devbroker.errors import AMQPChannelError, AMQPConnectionError
from sealgate.devbroker.limits import MESSAGE_BYTES_MAX
from sealgate.devbroker.message import (
    EXPIRATION,
    PRIORITY,
    REPLY_TO,
    USER_ID,
    Message,
    Properties,
    PropertiesError,
)
from sealgate.devbroker.methods import Return
from sealgate.devbroker.vhost import DIRECT_REPLY

if TYPE_CHECKING:
    from sealgate.devbroker.channel import Channel

_CONTENT_HEADER: Final = struct.Struct(">HHQ")
_BASIC: Final = 60
_EXPIRATION_MS_MAX: Final = 2**32 - 1


@dataclass(slots=True)
class _Incoming:
    """A publish of which not everything is here. `properties` is None until its content header is."""

    method: commands.Basic.Publish
    properties: bytes | None = None
    body_size: int = 0
    body: bytearray = field(default_factory=bytearray)


class Publishing:
    def __init__(self, channel: Channel) -> None:
        self._channel: Final = channel
        self._incoming: _Incoming | None = None
        self._confirms = False
        self._published = 0

    @property
    def expecting_content(self) -> bool:
        return self._incoming is not None

    def select_confirms(self, method: commands.Confirm.Select) -> None:
        self._confirms = True
        if not method.nowait:
            self._channel.send(commands.Confirm.SelectOk())

    def begin(self, method: commands.Basic.Publish) -> None:
        if method.immediate:
            raise AMQPConnectionError(540, "immediate=true")
        self._incoming = _Incoming(method)

    def header(self, payload: bytes) -> None:
        """The content header. Raises 505, and 406 for a message that is too large."""
        incoming = self._incoming
        if incoming is None or incoming.properties is not None:
            raise AMQPConnectionError(505, "expected method frame, got non method frame instead")
        if len(payload) < _CONTENT_HEADER.size:
            raise AMQPConnectionError(502, "content header is too short")
        class_id, weight, incoming.body_size = _CONTENT_HEADER.unpack_from(payload)
        if class_id != _BASIC or weight:
            raise AMQPConnectionError(505, f"expected content header for class 60, got one for {class_id}")
        if incoming.body_size > MESSAGE_BYTES_MAX:
            raise AMQPChannelError(
                406,
                f"message size {incoming.body_size} is larger than configured max size {MESSAGE_BYTES_MAX}",
            )
        incoming.properties = payload[_CONTENT_HEADER.size :]
        self._finish_when_whole()

    def body(self, payload: bytes) -> None:
        """A piece of the body. Raises 505 when none, or less, is due."""
        incoming = self._incoming
        if incoming is None or incoming.properties is None:
            raise AMQPConnectionError(505, "expected method frame or content header, got a content body")
        incoming.body += payload
        if len(incoming.body) > incoming.body_size:
            raise AMQPConnectionError(
                505, f"content body is longer than the {incoming.body_size} octets declared"
            )
        self._finish_when_whole()

    def _finish_when_whole(self) -> None:
        incoming = self._incoming
        if incoming is None or incoming.properties is None or len(incoming.body) < incoming.body_size:
            return
        self._incoming = None
        message = self._read(incoming.method, incoming.properties, bytes(incoming.body))
        vhost = self._channel.vhost
        if not vhost.memory.has_room(message.size):
            raise AMQPChannelError(
                506, f"the built-in broker is full: {vhost.memory.used} octets wait in its queues"
            )
        # Counted before it is routed: a publish that fails has used its number up.
        self._published += 1
        routed = vhost.publish(message)
        if incoming.method.mandatory and not routed.anywhere:
            self._return(message)
        if self._confirms:
            self._channel.send(
                commands.Basic.Ack(self._published)
                if routed.taken
                else commands.Basic.Nack(self._published, multiple=False, requeue=False)
            )

    def _read(self, method: commands.Basic.Publish, octets: bytes, body: bytes) -> Message:
        """The message, its properties checked as by RabbitMQ. Raises 406, and 541 for broken ones."""
        try:
            properties = Properties.parse(octets)
            properties.headers()
            user_id, expiration = properties.text(USER_ID), properties.text(EXPIRATION)
            reply_to = properties.text(REPLY_TO)
        except PropertiesError as error:
            raise AMQPConnectionError(541, f"message properties: {error}") from error
        user = self._channel.user
        if user_id is not None and user_id != user:
            raise AMQPChannelError(
                406, f"user_id property set to '{user_id}' but authenticated user was '{user}'"
            )
        if reply_to == DIRECT_REPLY:
            properties.set_text(REPLY_TO, self._channel.consuming.direct_reply_address())
        return Message(
            exchange=method.exchange,
            routing_key=method.routing_key,
            properties=properties.encode(),
            body=body,
            priority=properties.octet(PRIORITY) or 0,
            expiration_ms=_milliseconds(expiration),
        )

    def _return(self, message: Message) -> None:
        method = Return(312, "NO_ROUTE", message.exchange, message.routing_key)
        self._channel.send_message(method, message)


def _milliseconds(expiration: str | None) -> int | None:
    if expiration is None:
        return None
    if not (expiration.isascii() and expiration.isdigit() and int(expiration[:12]) <= _EXPIRATION_MS_MAX):
        raise AMQPChannelError(406, f"invalid expiration '{expiration[:20]}': not a number of milliseconds")
    return int(expiration[:12])
