"""One client connection: handshake, frames to channels, heartbeats, closing."""

from __future__ import annotations

import asyncio
import struct
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast

from pamqp import base, commands, common

from sealgate.devbroker import limits
from sealgate.devbroker.channel import Channel
from sealgate.devbroker.errors import VHOST, AMQPChannelError, AMQPConnectionError, AMQPError
from sealgate.devbroker.message import BROKEN, Message
from sealgate.devbroker.vhost import VHost
from sealgate.reason import GateError
from sealgate.wire.constants import FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD
from sealgate.wire.frames import Frame, encode_frame
from sealgate.wire.sasl import sasl_user
from sealgate.wire.splitter import FrameSplitter

if TYPE_CHECKING:
    from sealgate.devbroker.server import DevBroker

_PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
_FRAME_OVERHEAD_BYTES: Final = 8
_METHOD_ID: Final = struct.Struct(">I")
_CONTENT_HEADER: Final = struct.Struct(">HHQ")
_BASIC: Final = 60
_SERVER_PROPERTIES: Final[common.FieldTable] = {
    # Not "RabbitMQ": nobody should take this for one. kombu asks for exactly that name before it uses
    # RabbitMQ's meaning of basic.qos, and expects AMQP's otherwise; see `Consuming.set_prefetch`.
    "product": "sealgate-devbroker",
    "platform": "Python",
    "information": "Built into sealgate for demonstrations; keeps nothing.",
    "capabilities": {
        "publisher_confirms": True,
        "exchange_exchange_bindings": True,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "per_consumer_qos": True,
        "direct_reply_to": True,
        "authentication_failure_close": True,
    },
}


class Phase(Enum):
    """How far the conversation is: what it waits for."""

    HEADER = "header"
    START_OK = "start-ok"
    TUNE_OK = "tune-ok"
    OPEN = "open"
    RUNNING = "running"
    CLOSE_OK = "close-ok"
    OVER = "over"


class Connection(asyncio.Protocol):
    """A client, from accept to the end. Everything is done in the call that brings its octets."""

    def __init__(self, broker: DevBroker) -> None:
        self.vhost: Final[VHost] = broker.vhost
        self.user = ""
        #: Done when the socket is closed.
        self.ended: Final = asyncio.get_running_loop().create_future()
        self._broker: Final = broker
        self._loop: Final = asyncio.get_running_loop()
        self._phase = Phase.HEADER
        self._splitter: Final = FrameSplitter(limits.FRAME_BYTES_MAX)
        self._head = b""
        self._channels: Final[dict[int, Channel]] = {}
        self._capabilities: dict[str, Any] = {}
        self._payload_bytes_max = limits.FRAME_BYTES_MAX - _FRAME_OVERHEAD_BYTES
        self._paused = False
        self._heartbeat_s = 0.0
        self._heard_at = self._told_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    @property
    def writable(self) -> bool:
        return not self._paused and self._phase is Phase.RUNNING

    def has_capability(self, name: str) -> bool:
        return self._capabilities.get(name) is True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=limits.SEND_BUFFER_HIGH_BYTES)
        if self._broker.closing:  # It was accepted in the last moment.
            self._transport.abort()
        self._broker.connections.add(self)
        self._timer = self._loop.call_later(limits.HANDSHAKE_S, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = Phase.OVER
        if self._timer is not None:
            self._timer.cancel()
        self._drop_channels()
        self._broker.connections.discard(self)
        self.ended.set_result(None)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        for channel in list(self._channels.values()):
            channel.consuming.pump()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        if self._phase is Phase.HEADER:
            data = self._take_header(data)
        self._splitter.feed(data)
        try:
            while self._phase not in (Phase.HEADER, Phase.OVER) and (frame := self._splitter.next()):
                self._take(frame)
        except GateError as error:
            self.close(AMQPConnectionError(501, error.detail))
            self._end()  # No answer could be read any more.

    def send(self, method: base.Frame, channel: int = 0) -> None:
        payload = _METHOD_ID.pack(method.index) + method.marshal()
        self._write(encode_frame(FRAME_METHOD, channel, payload))

    def send_message(self, method: base.Frame, message: Message, channel: int) -> None:
        """A method and its content, in one write."""
        header = _CONTENT_HEADER.pack(_BASIC, 0, len(message.body)) + message.properties
        parts = [
            encode_frame(FRAME_METHOD, channel, _METHOD_ID.pack(method.index) + method.marshal()),
            encode_frame(FRAME_HEADER, channel, header),
        ]
        step = self._payload_bytes_max
        for at in range(0, len(message.body), step):
            parts.append(encode_frame(FRAME_BODY, channel, message.body[at : at + step]))
        self._write(b"".join(parts))

    def close(self, error: AMQPError, class_id: int = 0, method_id: int = 0) -> None:
        """Tell the client why it is over, and wait a little for its answer."""
        self._close(error.code, error.text, class_id, method_id)

    def shut_down(self) -> None:
        """The broker stops."""
        self._close(320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'", 0, 0)

    def abort(self) -> None:
        self._transport.abort()

    def _close(self, code: int, text: str, class_id: int, method_id: int) -> None:
        if self._phase in (Phase.CLOSE_OK, Phase.OVER):
            return
        if self._phase is Phase.HEADER:
            self._end()
            return
        self._phase = Phase.CLOSE_OK
        self._drop_channels()
        self.send(commands.Connection.Close(code, text, class_id, method_id))
        self._schedule(limits.CLOSE_S, self._end)

    def _end(self) -> None:
        self._phase = Phase.OVER
        self._transport.close()

    def _drop_channels(self) -> None:
        channels = list(self._channels.values())
        self._channels.clear()
        for channel in channels:
            channel.close()
        self.vhost.drop_exclusive(self)

    def _write(self, data: bytes) -> None:
        self._told_at = self._loop.time()
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > limits.SEND_BUFFER_BYTES_MAX:
            self._transport.abort()

    def _schedule(self, seconds: float, what: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, what)

    def _take_header(self, data: bytes) -> bytes:
        """The protocol header; returns what follows it."""
        self._head += data
        if len(self._head) < len(_PROTOCOL_HEADER) and _PROTOCOL_HEADER.startswith(self._head):
            return b""
        if not self._head.startswith(_PROTOCOL_HEADER):
            self._transport.write(_PROTOCOL_HEADER)
            self._end()
            return b""
        self._phase = Phase.START_OK
        properties: common.FieldTable = {**_SERVER_PROPERTIES, "version": self._broker.version}
        self.send(commands.Connection.Start(0, 9, properties, "PLAIN AMQPLAIN", "en_US"))
        rest, self._head = self._head[len(_PROTOCOL_HEADER) :], b""
        return rest

    def _take(self, frame: Frame) -> None:
        """One frame. Errors end here, as closes."""
        method: base.Frame | None = None
        try:
            if frame.type == FRAME_HEARTBEAT:
                return
            if frame.type == FRAME_METHOD:
                method = _read_method(frame.payload)
            if self._phase is not Phase.RUNNING or frame.channel == 0:
                self._take_on_connection(method)
            else:
                self._take_on_channel(frame, method)
        except AMQPChannelError as error:
            self._close_channel(frame.channel, error, method)
        except AMQPConnectionError as error:
            self.close(error, *_ids(method))

    def _take_on_connection(self, method: base.Frame | None) -> None:
        match method:
            case commands.Connection.StartOk() if self._phase is Phase.START_OK:
                self._start_ok(method)
            case commands.Connection.TuneOk() if self._phase is Phase.TUNE_OK:
                self._tune_ok(method)
            case commands.Connection.Open() if self._phase is Phase.OPEN:
                if method.virtual_host != VHOST:
                    raise AMQPConnectionError(530, f"vhost {method.virtual_host} not found")
                self._phase = Phase.RUNNING
                self._start_heartbeats()
                self.send(commands.Connection.OpenOk())
            case commands.Connection.Close():
                self.send(commands.Connection.CloseOk())
                self._end()
            case commands.Connection.CloseOk() if self._phase is Phase.CLOSE_OK:
                self._end()
            case commands.Connection.UpdateSecret() if self._phase is Phase.RUNNING:
                self.send(commands.Connection.UpdateSecretOk())
            case _ if self._phase is not Phase.CLOSE_OK:
                raise AMQPConnectionError(504, f"unexpected frame while waiting for {self._phase.value}")

    def _start_ok(self, method: commands.Connection.StartOk) -> None:
        """Anybody may come in; the name is kept for the user_id property."""
        # pamqp gives a long string as text where it is UTF-8, else as octets.
        response: str | bytes = method.response
        self.user = sasl_user(
            method.mechanism, response if isinstance(response, bytes) else response.encode()
        )
        capabilities = (method.client_properties or {}).get("capabilities")
        self._capabilities = dict(capabilities) if isinstance(capabilities, dict) else {}
        self._phase = Phase.TUNE_OK
        self.send(commands.Connection.Tune(limits.CHANNELS_MAX, limits.FRAME_BYTES_MAX, limits.HEARTBEAT_S))

    def _tune_ok(self, method: commands.Connection.TuneOk) -> None:
        if not 4096 <= method.frame_max <= limits.FRAME_BYTES_MAX:
            raise AMQPConnectionError(530, f"negotiated frame_max = {method.frame_max} is out of range")
        self._payload_bytes_max = method.frame_max - _FRAME_OVERHEAD_BYTES
        self._heartbeat_s = method.heartbeat
        self._phase = Phase.OPEN

    def _start_heartbeats(self) -> None:
        if self._heartbeat_s:
            self._schedule(self._heartbeat_s / 2, self._beat)
        elif self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        """Twice per interval: say something when nothing was said, end it when nothing was heard."""
        now = self._loop.time()
        if now - self._heard_at > 2 * self._heartbeat_s:
            self._transport.abort()
            return
        if now - self._told_at >= self._heartbeat_s / 2:
            self._write(encode_frame(FRAME_HEARTBEAT, 0, b""))
        self._schedule(self._heartbeat_s / 2, self._beat)

    def _take_on_channel(self, frame: Frame, method: base.Frame | None) -> None:
        channel = self._channels.get(frame.channel)
        if channel is None:
            self._open_channel(frame.channel, method)
        elif isinstance(method, commands.Channel.Close):
            del self._channels[frame.channel]
            if not channel.closing:
                channel.close()
            self.send(commands.Channel.CloseOk(), frame.channel)
        elif channel.closing:
            if isinstance(method, commands.Channel.CloseOk):
                del self._channels[frame.channel]
        elif isinstance(method, commands.Channel.Open):
            raise AMQPConnectionError(504, "second 'channel.open' seen")
        elif method is not None:
            channel.handle(method)
        elif frame.type == FRAME_HEADER:
            channel.publishing.header(frame.payload)
        else:
            channel.publishing.body(frame.payload)

    def _open_channel(self, number: int, method: base.Frame | None) -> None:
        if isinstance(method, commands.Channel.CloseOk):
            return
        if not isinstance(method, commands.Channel.Open):
            raise AMQPConnectionError(504, "expected 'channel.open'")
        if len(self._channels) >= limits.CHANNELS_MAX:
            raise AMQPConnectionError(530, f"number of channels has reached the limit, {limits.CHANNELS_MAX}")
        self._channels[number] = Channel(self, number)
        self.send(commands.Channel.OpenOk(), number)

    def _close_channel(self, number: int, error: AMQPChannelError, method: base.Frame | None) -> None:
        channel = self._channels[number]
        channel.close()
        ids = _ids(method) if method is not None else _PUBLISH_IDS
        self.send(commands.Channel.Close(error.code, error.text, *ids), number)


def _ids(method: base.Frame | None) -> tuple[int, int]:
    """Class and method id for a close method."""
    return (0, 0) if method is None else (method.index >> 16, method.index & 0xFFFF)


#: What failed when it was content that did.
_PUBLISH_IDS: Final = _ids(commands.Basic.Publish())


def _read_method(payload: bytes) -> base.Frame:
    if len(payload) < _METHOD_ID.size:
        raise AMQPConnectionError(502, "method frame is too short")
    index = _METHOD_ID.unpack_from(payload)[0]
    if index not in commands.INDEX_MAPPING:
        raise AMQPConnectionError(503, f"unknown method {index >> 16},{index & 0xFFFF}")
    method = cast(base.Frame, commands.INDEX_MAPPING[index]())
    try:
        method.unmarshal(payload[_METHOD_ID.size :])
    except BROKEN as error:
        raise AMQPConnectionError(502, f"{method.name} does not decode") from error
    return method
