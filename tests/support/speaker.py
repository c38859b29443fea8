"""A client that says exactly what a conversation tells it to, and notes down every frame it hears.

Its words are octets, or methods and messages built by pamqp; the sockets are its own. When a frame that is
waited for does not come, that is noted down as well, and the conversation is over: the comparison shows it.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import BrokenBarrierError
from typing import Any

from pamqp import commands, header
from pamqp import frame as pamqp_frame

from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL
from sealgate.verify.message import Message as Checked
from sealgate.wire.properties import scan_content_header, splice
from support.raw_client import BODY, HEADER, HEARTBEAT, METHOD, content_bodies, frame, method
from support.transcript import PROTOCOL_HEADER_KIND, Heard, Notation, Transcript

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
#: Far above what any answer takes, far below a test's own deadline.
ANSWER_S_MAX = 20.0
READ_BYTES = 65_536
FRAME_MAX = 131_072
HEARTBEAT_FRAME = frame(HEARTBEAT, 0, b"")
CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "exchange_exchange_bindings": True,
    "publisher_confirms": True,
}
GUEST = "\x00guest\x00guest"
_ENVELOPE = struct.Struct(">BHI")

Seal = Callable[[Checked], bytes]


class MissedError(Exception):
    """What a conversation waits for does not come."""


@dataclass(frozen=True)
class Message:
    """A publish with its content. `properties` may be the octets after the body size: flags and values."""

    channel: int
    key: str = ""
    body: bytes = b""
    exchange: str = ""
    properties: commands.Basic.Properties | bytes = field(default_factory=commands.Basic.Properties)
    mandatory: bool = False
    body_frame_bytes_max: int = 0

    def parts(self, seal: Seal | None) -> list[bytes]:
        """Its frames: method, header, bodies; sealed where the route asks its clients for it."""
        publish = commands.Basic.Publish(
            exchange=self.exchange, routing_key=self.key, mandatory=self.mandatory
        )
        size = self.body_frame_bytes_max or FRAME_MAX - 8 - 1024
        bodies = [
            content_bodies(self.channel, self.body[start : start + size], size)
            for start in range(0, len(self.body), size)
        ]
        return [method(self.channel, publish), frame(HEADER, self.channel, self._header(seal)), *bodies]

    def _header(self, seal: Seal | None) -> bytes:
        if isinstance(self.properties, bytes):
            payload = struct.pack(">HHQ", 60, 0, len(self.body)) + self.properties
        else:
            payload = header.ContentHeader(body_size=len(self.body), properties=self.properties).marshal()
        if seal is None:
            return payload
        scanned = scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES)
        digest = hashlib.sha256(self.body).digest()
        checked = Checked(self.exchange, self.key, self.mandatory, scanned, self.body, digest)
        return splice(scanned, frozenset(), seal(checked))


Part = bytes | Message


@dataclass(frozen=True)
class Way:
    """Where a speaker connects, and what is agreed there."""

    port: int
    vhost: str
    notation: Notation
    seal: Seal | None = None
    gated: bool = False


class Speaker:
    """One connection of a conversation; the first one also makes the others."""

    def __init__(self, way: Way, name: str = "client") -> None:
        self.way = way
        self.name = name
        self.vhost = way.vhost
        self.others: list[Speaker] = []
        self.heard: list[Heard] = []
        self.remarks: list[str] = []
        self.ending = ""
        #: How long it waits for anything.
        self.patience_s = ANSWER_S_MAX
        #: Whether its confirms are compared.
        self.counts_confirms = True
        self._mark = 0
        self._buffer = b""
        self.socket = socket.create_connection(("127.0.0.1", way.port), timeout=ANSWER_S_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headerless = True

    def another(self, name: str) -> Speaker:
        """A further connection on the same way."""
        other = Speaker(self.way, name)
        self.others.append(other)
        return other

    # Speaking

    def say(self, *parts: Part) -> None:
        """Send all of it in one go."""
        self._send(self.octets(*parts))

    def octets(self, *parts: Part) -> bytes:
        """`parts` as they are on this way."""
        return b"".join(
            part if isinstance(part, bytes) else b"".join(part.parts(self.way.seal)) for part in parts
        )

    def dribble(self, data: bytes, pause_s: float = 0.0) -> None:
        """Send octet by octet."""
        for octet in data:
            self._send(bytes((octet,)))
            if pause_s:
                self.listen_for(pause_s)

    def _send(self, data: bytes) -> None:
        # Who is not listened to any more finds out by reading.
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def hang_up_half(self) -> None:
        """Shut the sending side only."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def vanish(self) -> None:
        """End with a reset, as a crashed client's kernel does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        self.ending = "by itself"

    # Listening

    def wait(self, wanted: type[Any] | tuple[type[Any], ...], channel: int | None = None) -> Any:
        """The next method of this kind (or one of these); what comes before it is noted down as well."""
        deadline = time.monotonic() + self.patience_s
        while True:
            while self._mark < len(self.heard):
                heard = self.heard[self._mark]
                self._mark += 1
                if heard.kind == METHOD and channel in (None, heard.channel):
                    said = self._decoded(heard)
                    if isinstance(said, wanted):
                        return said
            if not self._receive(deadline - time.monotonic()):
                raise MissedError(f"{self.name} waits in vain for {wanted}")

    def wait_for_confirms(self, last: int, channel: int = 1) -> None:
        """Until each tag up to `last` is answered, since the channel was opened last."""
        deadline = time.monotonic() + self.patience_s
        while not set(range(1, last + 1)) <= self._answered(channel):
            if not self._receive(deadline - time.monotonic()):
                raise MissedError(f"{self.name} waits in vain for the confirm of {last}")
        self._mark = len(self.heard)

    def _answered(self, channel: int) -> set[int]:
        tags: set[int] = set()
        for heard in self.heard:
            said = self._decoded(heard) if heard.kind == METHOD and heard.channel == channel else None
            if isinstance(said, commands.Channel.OpenOk):
                tags.clear()
            elif isinstance(said, commands.Basic.Ack | commands.Basic.Nack):
                tags.update(range(1 if said.multiple else said.delivery_tag, said.delivery_tag + 1))
        return tags

    def wait_for_content(self, channel: int = 1) -> None:
        """Until the content announced by the method heard last is whole."""
        deadline = time.monotonic() + self.patience_s
        left = -1
        while left:
            while self._mark < len(self.heard) and left:
                heard = self.heard[self._mark]
                self._mark += 1
                if heard.channel == channel and heard.kind == HEADER:
                    left = int.from_bytes(heard.payload[4:12], "big")
                elif heard.channel == channel and heard.kind == BODY:
                    left -= len(heard.payload)
            if left and not self._receive(deadline - time.monotonic()):
                raise MissedError(f"{self.name} waits in vain for content")

    def said_last(self) -> Any:
        """The properties of the content heard last."""
        last = [heard for heard in self.heard if heard.kind == HEADER][-1]
        return pamqp_frame.unmarshal(frame(HEADER, last.channel, last.payload))[2].properties

    def listen_for(self, seconds: float) -> None:
        """Take what comes within this time. For what the clock does, not to wait for an answer."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not self._receive(left):
                return

    def wait_for_end(self, not_before_s: float = 0.0) -> None:
        """Until the peer closes the socket; notes when it did so too early, or not at all."""
        started = time.monotonic()
        deadline = started + self.patience_s
        while not self.ending and self._receive(deadline - time.monotonic()):
            pass
        if not self.ending:
            self.remarks.append(f"{self.name} waits in vain for the end")
        elif time.monotonic() - started < not_before_s:
            self.remarks.append(f"{self.name} was cut in less than {not_before_s:g} s")

    def count(self, wanted: type[Any]) -> int:
        """How many methods of this kind were heard so far."""
        said = [self._decoded(heard) for heard in self.heard if heard.kind == METHOD]
        return sum(isinstance(each, wanted) for each in said)

    def _receive(self, seconds: float) -> bool:
        """Take what is there, or comes in time; false when nothing can or does."""
        if self.ending or seconds <= 0:
            return False
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(READ_BYTES)
        except TimeoutError:
            return False
        except ConnectionError:
            data = b""
        if not data:
            self.ending = "by the peer"
            if self._buffer:
                self.remarks.append(f"{self.name} heard half a frame: {self._buffer[:64]!r}")
            return True
        self._buffer += data
        self._cut()
        return True

    def _cut(self) -> None:
        if self._headerless and self._buffer[:1] == b"A":
            if len(self._buffer) < 8:
                return
            self.heard.append(Heard(PROTOCOL_HEADER_KIND, 0, self._buffer[:8]))
            self._buffer = self._buffer[8:]
        self._headerless = False
        while len(self._buffer) > _ENVELOPE.size:
            kind, channel, size = _ENVELOPE.unpack_from(self._buffer)
            end = _ENVELOPE.size + size
            if len(self._buffer) <= end:
                return
            if self._buffer[end] != 0xCE:
                raise MissedError(f"{self.name} heard a frame without its end octet")
            self.heard.append(Heard(kind, channel, self._buffer[_ENVELOPE.size : end]))
            self._buffer = self._buffer[end + 1 :]

    def _decoded(self, heard: Heard) -> Any:
        with contextlib.suppress(Exception):
            return pamqp_frame.unmarshal(frame(METHOD, heard.channel, heard.payload))[2]
        return None

    # What decent clients do

    def start_ok(self, response: str = GUEST, mechanism: str = "PLAIN", **more: Any) -> bytes:
        """The frame of `connection.start-ok`; `more` are capabilities, None to leave one out."""
        capabilities = {name: on for name, on in {**CAPABILITIES, **more}.items() if on is not None}
        properties = {"product": "speaker", "capabilities": capabilities}
        return method(0, commands.Connection.StartOk(properties, mechanism, response, "en_US"))

    def log_in(self, **start_ok: Any) -> commands.Connection.Tune:
        """Up to `connection.tune`."""
        self.say(PROTOCOL_HEADER)
        self.wait(commands.Connection.Start)
        self.say(self.start_ok(**start_ok))
        tune: commands.Connection.Tune = self.wait(commands.Connection.Tune)
        return tune

    def shake_hands(
        self,
        frame_max: int = 0,
        channel_max: int | None = None,
        heartbeat: int = 60,
        **start_ok: Any,
    ) -> Speaker:
        """The whole handshake."""
        tune = self.log_in(**start_ok)
        channels = tune.channel_max if channel_max is None else channel_max
        self.say(
            method(0, commands.Connection.TuneOk(channels, frame_max or tune.frame_max, heartbeat)),
            method(0, commands.Connection.Open(self.vhost)),
        )
        self.wait(commands.Connection.OpenOk)
        return self

    def open(self, channel: int = 1, confirms: bool = False) -> Speaker:
        """A channel, after the handshake when that is still to be done."""
        if not self.heard:
            self.shake_hands()
        self.ask(channel, commands.Channel.Open(), commands.Channel.OpenOk)
        if confirms:
            self.ask(channel, commands.Confirm.Select(), commands.Confirm.SelectOk)
        return self

    def tell(self, channel: int, *said: Any) -> None:
        """Send methods of pamqp's."""
        self.say(b"".join(method(channel, each) for each in said))

    def ask(self, channel: int, said: Any, answer: type[Any] | tuple[type[Any], ...]) -> Any:
        """Send a method and wait for its answer on the same channel."""
        self.tell(channel, said)
        return self.wait(answer, channel)

    def queue(self, name: str, channel: int = 1, **options: Any) -> commands.Queue.DeclareOk:
        declared: commands.Queue.DeclareOk = self.ask(
            channel, commands.Queue.Declare(queue=name, **options), commands.Queue.DeclareOk
        )
        return declared

    def sync(self, channel: int = 1) -> None:
        """A question and its answer: whatever was said on the channel before is done."""
        self.ask(channel, commands.Basic.Qos(prefetch_count=0), commands.Basic.QosOk)

    def leave(self) -> None:
        """Close the connection as a decent client does; what still comes is noted down."""
        if not self.ending and not self.count(commands.Connection.CloseOk):
            with contextlib.suppress(MissedError):
                self.ask(0, commands.Connection.Close(200, "bye", 0, 0), commands.Connection.CloseOk)
        if self.count(commands.Connection.CloseOk):
            # RabbitMQ then waits for the client, Sealgate does not.
            self.ending = "with close-ok"
        self.socket.close()


def play(way: Way, script: Callable[[Speaker], None]) -> Transcript:
    """Play a conversation, and write down what its clients heard."""
    speaker = Speaker(way)
    remarks: list[str] = []
    try:
        script(speaker)
    except (MissedError, BrokenBarrierError) as missed:
        remarks.append(str(missed) or "somebody else was missed")
    except BaseException:
        for each in [speaker, *speaker.others]:
            each.socket.close()
        raise
    speakers = [speaker, *speaker.others]
    streams: dict[str, list[str]] = {}
    for each in speakers:
        each.leave()
        remarks += each.remarks
        for channel in sorted({heard.channel for heard in each.heard}):
            frames = [heard for heard in each.heard if heard.channel == channel]
            streams[f"{each.name} {channel}"] = way.notation.lines(frames, each.counts_confirms)
    endings = {each.name: each.ending or "not at all" for each in speakers}
    return Transcript(streams, endings, remarks, way.notation.frame_max_taken > 0)
