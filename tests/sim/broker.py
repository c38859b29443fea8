"""A simulated RabbitMQ: takes publishes on open channels, confirms in any legal order, returns, delivers.

What it sends is marked with what it means ("ack", "nack", "return", "returned header", "close", "close-ok",
or "" for anything else), so that the oracle need not read it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from sim import octets
from sim.gate import Gate, Peer, Socket
from sim.oracle import Oracle
from sim.script import Life, Publish
from sim.settings import CHANNELS_MAX
from sim.shared import Run

_HANDSHAKE_S: Final = 10.0
#: Longer than a lease.
_SILENT_S: Final = 15.0
#: Answers to calls that are asked here.
_ANSWERS: Final = {
    octets.QOS: (octets.QOS_OK, b""),
    octets.DECLARE: (octets.DECLARE_OK, b"\x01q\0\0\0\0\0\0\0\0"),
    octets.CHANNEL_FLOW: ((20, 21), b"\x01"),
    octets.SELECT: (octets.SELECT_OK, b""),
}


@dataclass
class Channel:
    """An open channel; `unanswered` by delivery tag. While `closing`, only the client's close-ok counts."""

    life: Life
    confirms: bool = False
    tags: int = 0
    unanswered: dict[int, Publish] = field(default_factory=dict)
    content: list[octets.Frame] = field(default_factory=list)
    closing: bool = False


class Broker(Peer):
    """`state` is "new", "running", "closing" (it asked), "closed"."""

    def __init__(self, run: Run, oracle: Oracle) -> None:
        self._run: Final = run
        self._world: Final = run.world
        self._settings: Final = run.settings
        self._oracle: Final = oracle
        self._cutter: Final = octets.Cutter(preamble=True)
        self._channels: Final[dict[int, Channel]] = {}
        self._steps = run.settings.steps
        self._greeted = False
        self._silent_until = 0.0
        self._reads_from = 0.0
        self._heard_at = 0.0
        self.frame_max = 0
        self.state = "new"
        self.ends_by: float | None = None
        self.gate: Gate | None = None

    @property
    def _socket(self) -> Socket | None:
        return None if self.gate is None else self.gate.broker_socket

    def _troubled(self, kind: str) -> bool:
        return self._world.dice.random() < self._settings.trouble.get(kind, 0.0)

    def _send(
        self,
        frame: octets.Frame,
        what: str = "",
        life: Life | None = None,
        publishes: list[Publish] | None = None,
    ) -> None:
        socket = self._socket
        if socket is None or self.state == "closed" or self._world.now < self._silent_until:
            return
        raw = frame.raw
        self._oracle.broker_marks.sent(len(raw), (frame, what, life, publishes or []))
        socket.incoming.send(raw)

    def _method(
        self,
        channel: int,
        name: tuple[int, int],
        arguments: bytes = b"",
        what: str = "",
        life: Life | None = None,
    ) -> None:
        self._send(octets.Frame(octets.METHOD, channel, struct.pack(">HH", *name) + arguments), what, life)

    # The connection

    def ended(self) -> None:
        self.state = "closed"

    def hear(self, data: bytes) -> None:
        if self.state == "closed":
            return
        self._heard_at = self._world.now
        frames = self._cutter.feed(data)
        if not self._greeted and not self._cutter.preamble:
            self._greeted = True
            self._greet()
        for frame in frames:
            mark = self._oracle.broker.marks.popleft()
            if frame.channel:
                self._on_channel(frame, mark)
            elif frame.kind == octets.METHOD:
                self._on_connection(frame)

    def _greet(self) -> None:
        if self._troubled("handshake"):
            self.ends_by = self._world.now + _HANDSHAKE_S + 3
            self._silent_until = float("inf")
            return
        product = octets.short(b"product") + b"S" + octets.long(b"RabbitMQ")
        arguments = b"\0\x09" + octets.long(product) + octets.long(b"PLAIN") + octets.long(b"en_US")
        self._method(0, octets.START, arguments)

    def _on_connection(self, frame: octets.Frame) -> None:
        name = frame.method
        if name == octets.START_OK:
            arguments = struct.pack(">HIH", CHANNELS_MAX, 131_072, self._settings.heartbeat_s)
            if self._troubled("handshake"):
                self._close(403, b"ACCESS_REFUSED")
            else:
                self._method(0, octets.TUNE, arguments)
        elif name == octets.TUNE_OK:
            self.frame_max = struct.unpack(">I", frame.payload[6:10])[0]
        elif name == octets.OPEN:
            self._method(0, octets.OPEN_OK, b"\0")
            self.state = "running"
            self._world.after(0.0, self._step)
            if self._settings.heartbeat_s:
                self._world.every(self._settings.heartbeat_s / 2, self._heartbeat)
        elif name == octets.CLOSE:
            self._method(0, octets.CLOSE_OK)
            self._channels.clear()
            self.state = "left" if self.state != "closing" else self.state
        elif name == octets.CLOSE_OK:
            self._finish()

    def _finish(self) -> None:
        if self._socket is not None:
            self._socket.incoming.finish()
        self.state = "closed"

    def _close(self, code: int, text: bytes) -> None:
        self._method(0, octets.CLOSE, octets.close_arguments(code, text))
        self._channels.clear()
        self.state = "closing"

    def _heartbeat(self) -> bool:
        """Sends one, and looks whether the gate is alive: RabbitMQ cuts after two silent intervals."""
        if self.state != "running" or self._oracle.broker_over:
            return False
        socket = self._socket
        assert socket is not None
        if socket.outgoing.waiting or self._world.now < self._reads_from:
            self._heard_at = self._world.now
        quiet_s = self._world.now - self._heard_at
        assert quiet_s <= 2 * self._settings.heartbeat_s + 1, (
            f"the broker has heard nothing for {quiet_s:.1f} s"
        )
        self._send(octets.Frame(octets.HEARTBEAT, 0, b""))
        return True

    # Channels

    def _on_channel(self, frame: octets.Frame, mark: Life | Publish | None) -> None:
        if self.state != "running":
            return
        if frame.method == octets.CHANNEL_OPEN:
            assert isinstance(mark, Life)
            assert frame.channel not in self._channels, "the broker has this channel already"
            self._channels[frame.channel] = Channel(mark)
            self._method(frame.channel, octets.CHANNEL_OPEN_OK, b"\0\0\0\0", life=mark)
            return
        channel = self._channels.get(frame.channel)
        assert channel is not None, f"{frame} on a channel the broker has not"
        if frame.method == octets.CHANNEL_CLOSE:
            self._method(frame.channel, octets.CHANNEL_CLOSE_OK, what="close-ok", life=channel.life)
            if not channel.closing:
                channel.unanswered.clear()
                del self._channels[frame.channel]
        elif frame.method == octets.CHANNEL_CLOSE_OK:
            assert channel.closing, "close-ok, and the broker did not close"
            del self._channels[frame.channel]
        elif not channel.closing:
            self._take(channel, frame, mark)

    def _take(self, channel: Channel, frame: octets.Frame, mark: Life | Publish | None) -> None:
        if frame.method == octets.PUBLISH or channel.content:
            channel.content.append(frame)
            if isinstance(mark, Publish):
                content, channel.content = channel.content, []
                self._published(channel, mark, content)
            return
        if frame.method == octets.SELECT:
            channel.confirms = True
        answer = _ANSWERS.get(frame.method)
        if answer is not None:
            self._method(frame.channel, *answer, life=channel.life)

    def _published(self, channel: Channel, publish: Publish, content: list[octets.Frame]) -> None:
        if self._troubled("broker closes a channel"):
            self._close_channel(channel)
            return
        if publish.mandatory and not self._run.routes(publish.message):
            self._return(channel, publish, content)
        if channel.confirms:
            channel.tags += 1
            assert publish.tag, "a confirm that the client does not wait for"
            channel.unanswered[channel.tags] = publish
            self._world.after(
                self._settings.answer_s * self._world.dice.random(), lambda: self._answer(channel)
            )

    def _close_channel(self, channel: Channel) -> None:
        number = channel.life.number
        self._method(
            number, octets.CHANNEL_CLOSE, octets.close_arguments(404, b"NOT_FOUND"), "close", channel.life
        )
        channel.closing = True
        channel.unanswered.clear()
        channel.content.clear()

    def _return(self, channel: Channel, publish: Publish, content: list[octets.Frame]) -> None:
        message, number = publish.message, channel.life.number
        target = octets.short(message.exchange) + octets.short(message.routing_key)
        arguments = struct.pack(">HH", *octets.RETURN) + b"\x01\x38" + octets.short(b"NO_ROUTE") + target
        self._send(octets.Frame(octets.METHOD, number, arguments), "return", channel.life, [publish])
        self._send(content[1], "returned header", channel.life)
        self._bodies(number, message.body, channel.life)

    def _bodies(self, number: int, body: bytes, life: Life) -> None:
        size = self.frame_max - octets.FRAME_OVERHEAD
        for start in range(0, len(body), size):
            self._send(octets.Frame(octets.BODY, number, body[start : start + size]), life=life)

    def _answer(self, channel: Channel) -> None:
        """Confirm one publish, or several up to one of them."""
        if self._world.now < self._silent_until:
            if self._silent_until < float("inf"):
                self._world.after(self._silent_until - self._world.now, lambda: self._answer(channel))
            return
        if not channel.unanswered or self.state != "running":
            return
        dice, settings = self._world.dice, self._settings
        tags = list(channel.unanswered)
        tag = tags[0] if dice.random() < 0.4 else dice.choice(tags)
        multiple = dice.random() < settings.several and not settings.one_at_a_time
        covered = [other for other in tags if other <= tag] if multiple else [tag]
        publishes = [channel.unanswered.pop(other) for other in covered]
        what = "nack" if dice.random() < settings.nacks else "ack"
        name = octets.NACK if what == "nack" else octets.ACK
        arguments = octets.tag_arguments(tag, multiple)
        payload = struct.pack(">HH", *name) + arguments
        self._send(octets.Frame(octets.METHOD, channel.life.number, payload), what, channel.life, publishes)

    # What it does of its own accord

    def _step(self) -> None:
        if self.state != "running" or not self._steps:
            return
        self._steps -= 1
        if self._world.now >= self._silent_until:
            self._deliver()
            self._disturb()
        dice = self._world.dice
        self._world.after(dice.choice((0.0, 0.02, 0.5, 2.0)) * dice.random(), self._step)

    def _deliver(self) -> None:
        """Deliveries on some channels, their frames mixed."""
        dice = self._world.dice
        open_channels = [channel for channel in self._channels.values() if not channel.closing]
        queues: list[list[octets.Frame]] = []
        for channel in dice.sample(open_channels, min(len(open_channels), dice.randint(0, 2))):
            number = channel.life.number
            body = dice.randbytes(dice.choice((0, 5, 200, 10_000)))
            method = (
                struct.pack(">HH", *octets.DELIVER)
                + octets.short(b"t")
                + struct.pack(">QB", 1, 0)
                + b"\0\x01q"
            )
            frames = [octets.Frame(octets.METHOD, number, method)]
            frames.append(octets.Frame(octets.HEADER, number, struct.pack(">HHQH", 60, 0, len(body), 0)))
            size = self.frame_max - octets.FRAME_OVERHEAD
            for start in range(0, len(body), size):
                frames.append(octets.Frame(octets.BODY, number, body[start : start + size]))
            queues.append(frames)
        while queues:
            queue = dice.choice(queues)
            frame = queue.pop(0)
            self._send(frame, life=self._channels[frame.channel].life)
            if not queue:
                queues.remove(queue)

    def _disturb(self) -> None:
        socket = self._socket
        if socket is None:
            return
        dice = self._world.dice
        if self._troubled("broker closes"):
            self._close(320, b"CONNECTION_FORCED - closed via management")
        elif self._troubled("broker is lost"):
            self._world.say(f"{self._oracle.name}: broker", "is killed")
            socket.cut()
        elif self._troubled("broker falls silent"):
            self._fall_silent()
        elif self._troubled("broker stops reading"):
            self._stop_reading(socket, dice.uniform(0.5, 20.0))
        elif self._troubled("broker closes a channel") and self._channels:
            channel = dice.choice(list(self._channels.values()))
            if not channel.closing:
                self._close_channel(channel)

    def _fall_silent(self) -> None:
        """For good where heartbeats will tell; else for longer than a lease."""
        interval = self._settings.heartbeat_s
        self._world.say(f"{self._oracle.name}: broker", "falls silent")
        if interval:
            self._silent_until = float("inf")
            self.ends_by = self._world.now + 3 * interval + 30
        else:
            socket = self._socket
            assert socket is not None
            self._silent_until = self._world.now + _SILENT_S
            self._stop_reading(socket, _SILENT_S)

    def _stop_reading(self, socket: Socket, for_s: float) -> None:
        self._reads_from = self._world.now + for_s
        socket.outgoing.hold(True)

        def read_again() -> None:
            if self._world.now >= self._reads_from:
                socket.outgoing.hold(False)

        self._world.after(for_s, read_again)
