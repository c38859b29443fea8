"""An AMQP client that sends exactly the octets it is given, over a blocking socket.

It does the handshake of a decent client; what comes after is the test's own. Nothing it sends passes
through an AMQP library, so that no library corrects a broken frame.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pamqp import commands
from pamqp import frame as pamqp_frame

from sealgate.wire.methods import read_challenge, read_start

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
PY_AMQP = "py-amqp"
OTHER_CLIENT = "raw client"
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
#: Far above what any answer takes, far below a test's own deadline.
ANSWER_SECONDS_MAX = 20.0
_ENVELOPE = struct.Struct(">BHI")


def frame(kind: int, channel: int, payload: bytes, end: bytes = b"\xce") -> bytes:
    """A frame; `end` is its last octet."""
    return _ENVELOPE.pack(kind, channel, len(payload)) + payload + end


def method(channel: int, command: Any) -> bytes:
    """The frame of a method of pamqp's."""
    marshalled: bytes = pamqp_frame.marshal(command, channel)
    return marshalled


def content_bodies(channel: int, body: bytes, payload_bytes_max: int) -> bytes:
    """`body` in frames whose payload is at most `payload_bytes_max`."""
    starts = range(0, len(body), payload_bytes_max)
    return b"".join(frame(BODY, channel, body[start : start + payload_bytes_max]) for start in starts)


class ConnectionEndedError(Exception):
    """The peer closed the socket where a frame was wanted."""


@dataclass(frozen=True)
class Heard:
    """A frame as it came."""

    kind: int
    channel: int
    payload: bytes

    @property
    def said(self) -> Any:
        """The method, decoded by pamqp."""
        assert self.kind == METHOD, f"a frame of type {self.kind} where a method was wanted"
        return pamqp_frame.unmarshal(frame(METHOD, self.channel, self.payload))[2]


class RawClient:
    """One connection. Every read has a deadline; an unexpected frame fails with what it was."""

    def __init__(
        self,
        port: int,
        vhost: str = "/",
        product: str = OTHER_CLIENT,
        frame_max: int = 0,
        channel_max: int = 0,
        heartbeat_s: int = 0,
        capabilities: Sequence[str] = (),
    ) -> None:
        """`frame_max` and `channel_max` of 0 take what is offered; others are said whatever is offered.

        `capabilities` are announced beside those that every one of these clients has.
        """
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        #: What a gateway offers for session nonces (empty otherwise), and the next sequence.
        self.challenge = b""
        self.sequence = 0
        self.vhost = vhost
        try:
            self._shake_hands(product, frame_max, channel_max, heartbeat_s, capabilities)
        except BaseException:
            self.socket.close()
            raise

    def _shake_hands(
        self, product: str, frame_max: int, channel_max: int, heartbeat_s: int, capabilities: Sequence[str]
    ) -> None:
        self.send(PROTOCOL_HEADER)
        start = self.read()
        self.challenge = read_challenge(read_start(start.payload).server_properties.values)
        names = ("publisher_confirms", "basic.nack", "authentication_failure_close", *capabilities)
        properties = {"product": product, "capabilities": dict.fromkeys(names, True)}
        self.say(0, commands.Connection.StartOk(properties, "PLAIN", "\x00guest\x00guest", "en_US"))
        tune = self.expect(0, commands.Connection.Tune)
        self.frame_max = frame_max or tune.frame_max
        self.channel_max = channel_max or tune.channel_max
        self.say(0, commands.Connection.TuneOk(self.channel_max, self.frame_max, heartbeat_s))
        self.say(0, commands.Connection.Open(self.vhost))
        self.expect(0, commands.Connection.OpenOk)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def say(self, channel: int, command: Any) -> None:
        """Send a method of pamqp's."""
        self.send(method(channel, command))

    def ask(self, channel: int, command: Any, answer: type[Any]) -> Any:
        """Send a method and return its answer, the next frame."""
        self.say(channel, command)
        return self.expect(channel, answer)

    def open_channel(self, channel: int = 1, confirms: bool = False) -> None:
        self.ask(channel, commands.Channel.Open(), commands.Channel.OpenOk)
        if confirms:
            self.ask(channel, commands.Confirm.Select(), commands.Confirm.SelectOk)

    def read(self, seconds: float = ANSWER_SECONDS_MAX) -> Heard:
        """The next frame that is no heartbeat. Raises TimeoutError, or ConnectionEndedError at the end."""
        while True:
            heard = self._next()
            if heard is not None and heard.kind != HEARTBEAT:
                return heard
            if heard is None:
                self._receive(seconds)

    def _next(self) -> Heard | None:
        """A frame out of what was received."""
        if len(self._buffer) < _ENVELOPE.size:
            return None
        kind, channel, size = _ENVELOPE.unpack_from(self._buffer)
        end = _ENVELOPE.size + size
        if len(self._buffer) <= end:
            return None
        payload = self._buffer[_ENVELOPE.size : end]
        assert self._buffer[end] == 0xCE, "a frame to the client without its end octet"
        self._buffer = self._buffer[end + 1 :]
        return Heard(kind, channel, payload)

    def _receive(self, seconds: float) -> None:
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(65_536)
        except ConnectionError:
            data = b""
        if not data:
            raise ConnectionEndedError("the connection ended")
        self._buffer += data

    def expect(self, channel: int, command: type[Any]) -> Any:
        """The next frame, which must be this method on this channel."""
        heard = self.read()
        said = heard.said
        assert isinstance(said, command), f"{said.name} {dict(said)} where {command.name} was wanted"
        assert heard.channel == channel
        return said

    def wait_for_end(self, seconds: float = ANSWER_SECONDS_MAX) -> bytes:
        """Everything that still comes, up to the end of the connection."""
        with contextlib.suppress(ConnectionEndedError):
            while True:
                self._receive(seconds)
        rest, self._buffer = self._buffer, b""
        return rest

    def close(self) -> None:
        """Close as a decent client does, and without the ceremony when the connection is gone."""
        with contextlib.suppress(OSError, ConnectionEndedError, AssertionError):
            self.ask(0, commands.Connection.Close(200, "done", 0, 0), commands.Connection.CloseOk)
        self.socket.close()


@contextmanager
def raw_client(port: int, vhost: str = "/", **options: Any) -> Iterator[RawClient]:
    """A connected client, closed at the end."""
    client = RawClient(port, vhost, **options)
    try:
        yield client
    finally:
        client.close()
