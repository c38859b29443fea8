"""A simulated client: opens channels, publishes, answers, closes, and misbehaves as its dice say."""

from __future__ import annotations

import struct
from collections import deque
from typing import Final

from sealgate.session.conversation import Role
from sim import octets
from sim.gate import Gate, Peer, Socket
from sim.libraries import readers
from sim.messages import Author, Message
from sim.oracle import Oracle
from sim.poison import poison
from sim.script import Life, Method, Publish
from sim.shared import Run

#: Calls a client makes beside publishes.
_CALLS: Final = (
    (octets.QOS, struct.pack(">IHB", 0, 1, 0)),
    (octets.ACK, struct.pack(">QB", 1, 0)),
    (octets.DECLARE, b"\0\0\x01q\0\0\0\0\0"),
    (octets.CHANNEL_FLOW, b"\x01"),
)
#: A message is to be whole within this time (the product's own limit); a handshake done.
_STALL_S: Final = 30.0
_HANDSHAKE_S: Final = 10.0

Parts = list[tuple[bytes, Method | Publish]]


class Client(Peer):
    """`state` is "new", "running", "closing" or "closed"."""

    def __init__(self, run: Run, oracle: Oracle, author: Author) -> None:
        self._run: Final = run
        self._world: Final = run.world
        self._settings: Final = run.settings
        self._oracle: Final = oracle
        self._author: Final = author
        self._cutter: Final = octets.Cutter()
        self._steps = run.settings.steps
        self._mute = False
        self._reads_from = 0.0
        self._heard_at = 0.0
        self.frame_max = 4_096
        self.state = "new"
        self._ends_by: float | None = None
        self._stalled: Life | None = None
        self._stalled_at = 0.0
        self.gate: Gate | None = None
        self._socket: Socket | None = None

    @property
    def mute(self) -> bool:
        """Whether it says nothing more, not even that it leaves."""
        return self._mute

    @property
    def ends_by(self) -> float | None:
        """When the gate must have ended this, if it must."""
        stalled = self._stalled
        if stalled is not None and not stalled.ending and self._settings.role is not Role.PASS:
            # Another half minute for what is before it on its way, and one for what only time lets go on.
            return self._stalled_at + _STALL_S + 60
        return self._ends_by

    def connect(self, gate: Gate, broker: Peer) -> None:
        self.gate = gate
        self._socket = gate.accept(self, broker)
        self._heard_at = self._world.now
        self._send(octets.PREAMBLE, "protocol header")

    def _send(self, data: bytes, mark: Method | Publish | str, part: int = 0) -> None:
        if self._mute or self._socket is None or self.state == "closed":
            return
        self._oracle.client_marks.sent(len(data), (mark, part))
        self._socket.incoming.send(data)

    # The connection

    def ended(self) -> None:
        self.state = "closed"

    def hear(self, data: bytes) -> None:
        self._heard_at = self._world.now
        for frame in self._cutter.feed(data):
            if self.state == "closed":
                return
            if frame.channel:
                self._on_channel(frame)
            elif frame.kind == octets.METHOD:
                self._on_connection(frame)

    def _on_connection(self, frame: octets.Frame) -> None:
        name = frame.method
        if name == octets.START:
            self._start_ok(frame)
        elif name == octets.TUNE:
            self._tune_ok(frame)
        elif name == octets.OPEN_OK:
            self.state = "running"
            self._world.after(0.0, self._step)
            if self._settings.heartbeat_s:
                self._world.every(self._settings.heartbeat_s / 2, self._heartbeat)
        elif name == octets.CLOSE:
            self._send(octets.method(0, octets.CLOSE_OK), "close-ok")
            self._finish()
        elif name == octets.CLOSE_OK:
            assert self.state == "closing", f"{frame}, and it did not close"
            self._finish()

    def _finish(self) -> None:
        self.state = "closed"
        if self._socket is not None:
            self._socket.incoming.finish()

    def _start_ok(self, frame: octets.Frame) -> None:
        at = frame.payload.find(b"\x09challenge")
        if at >= 0:
            self._author.challenge = frame.payload[at + 15 : at + 31]
        if self._troubled("handshake"):
            self._fall_silent(_HANDSHAKE_S + 2)
            return
        product = octets.short(b"product") + b"S" + octets.long(self._settings.product.encode())
        arguments = octets.long(product) + octets.short(b"PLAIN") + octets.long(b"\0guest\0guest")
        self._send(octets.method(0, octets.START_OK, arguments + octets.short(b"en_US")), "start-ok")

    def _tune_ok(self, frame: octets.Frame) -> None:
        channel_max, frame_max, _ = struct.unpack(">HIH", frame.payload[4:12])
        self.frame_max = min(frame_max, self._settings.frame_max)
        self._oracle.client.frame_max = self.frame_max
        arguments = struct.pack(">HIH", channel_max, self.frame_max, self._settings.heartbeat_s)
        self._send(octets.method(0, octets.TUNE_OK, arguments), "tune-ok")
        self._send(octets.method(0, octets.OPEN, octets.short(b"/") + b"\0\0"), "open")

    def _heartbeat(self) -> bool:
        """Sends one, and looks whether the gate is alive: within two intervals it must have been heard."""
        if self.state not in ("running", "closing") or self._mute or self._oracle.client_over:
            return False
        interval = self._settings.heartbeat_s
        assert self._socket is not None
        if self._socket.outgoing.waiting or self._world.now < self._reads_from:
            self._heard_at = self._world.now
        quiet_s = self._world.now - self._heard_at
        alive = quiet_s <= 2 * interval + 1 or self.state == "closing"
        assert alive, f"the client has heard nothing for {quiet_s:.1f} s"
        self._send(octets.frame(octets.HEARTBEAT, 0, b""), "heartbeat")
        return True

    # Channels

    def _life(self, number: int) -> Life | None:
        lives = self._oracle.lives.get(number)
        return lives[-1] if lives else None

    def _on_channel(self, frame: octets.Frame) -> None:
        life = self._life(frame.channel)
        assert life is not None, f"{frame} on a channel it never opened"
        if frame.method == octets.CHANNEL_OPEN_OK:
            assert life.state != "closed", "open-ok on a closed channel"
            life.state = "open" if life.state == "opening" else life.state
        elif frame.method == octets.CHANNEL_CLOSE:
            assert life.state != "closed", "a closed channel is closed"
            if life.state != "closing":
                life.state = "closed"
            answer = Method(
                octets.Frame(octets.METHOD, life.number, struct.pack(">HH", *octets.CHANNEL_CLOSE_OK))
            )
            self._send(answer.frame.raw, answer)
        elif frame.method == octets.CHANNEL_CLOSE_OK:
            assert life.state == "closing", f"{frame}, and it did not close"
            life.state = "closed"

    def _method(self, life: Life, name: tuple[int, int], arguments: bytes = b"") -> Parts:
        item = Method(octets.Frame(octets.METHOD, life.number, struct.pack(">HH", *name) + arguments))
        life.script.append(item)
        return [(item.frame.raw, item)]

    def _open(self, number: int) -> Parts:
        life = Life(number)
        self._oracle.lives[number].append(life)
        parts = self._method(life, octets.CHANNEL_OPEN, b"\0")
        if self._world.dice.random() < self._settings.confirming:
            parts += self._select(life)
        return parts

    def _select(self, life: Life) -> Parts:
        if not life.confirms:
            life.confirms = True
            life.readers = readers(self._settings.one_at_a_time)
            life.direct = readers(self._settings.one_at_a_time)
        return self._method(life, octets.SELECT, b"\0")

    def _close(self, life: Life) -> Parts:
        life.state = "closing"
        return self._method(life, octets.CHANNEL_CLOSE, octets.close_arguments(200, b"bye"))

    def _publish(self, life: Life, message: Message) -> Parts:
        mandatory = self._world.dice.random() < self._settings.mandatory
        tag = len(life.tags) + 1 if life.confirms else 0
        self._run.publishes += 1
        publish = Publish(self._run.publishes, life, message, mandatory, tag)
        publish.frames = self._frames(life.number, message, mandatory)
        life.script.append(publish)
        if tag:
            life.tags.append(publish)
            life.untold[tag] = publish
            for reader in life.readers:
                reader.published(tag)
        return [(frame.raw, publish) for frame in publish.frames]

    def _frames(self, number: int, message: Message, mandatory: bool) -> list[octets.Frame]:
        dice = self._world.dice
        arguments = octets.publish_arguments(message.exchange, message.routing_key, mandatory)
        frames = [
            octets.Frame(octets.METHOD, number, struct.pack(">HH", *octets.PUBLISH) + arguments),
            octets.Frame(octets.HEADER, number, message.header),
        ]
        size_max = self.frame_max - octets.FRAME_OVERHEAD
        size = size_max if dice.random() < 0.5 else dice.randint(100, 1000)
        for start in range(0, len(message.body), size):
            frames.append(octets.Frame(octets.BODY, number, message.body[start : start + size]))
        if message.body and dice.random() < 0.05:
            frames.insert(2, octets.Frame(octets.BODY, number, b""))
        return frames

    # What it does

    def _troubled(self, kind: str) -> bool:
        return self._world.dice.random() < self._settings.trouble.get(kind, 0.0)

    def _step(self) -> None:
        if self.state != "running" or self._mute or not self._steps:
            return
        self._steps -= 1
        dice = self._world.dice
        self._emit()
        self._disturb()
        self._world.after(dice.choice((0.0, 0.0, 0.01, 0.3, 2.0)) * dice.random(), self._step)

    def _emit(self) -> None:
        """What it does on one to three channels, their frames mixed where nothing counts on their order."""
        dice = self._world.dice
        numbers = dice.sample(
            range(1, self._settings.channels + 1), min(dice.randint(1, 3), self._settings.channels)
        )
        queues = [deque(parts) for parts in (self._act(number) for number in numbers) if parts]
        if self._settings.session_nonces:
            queues = [deque(part for queue in queues for part in queue)] if queues else []
        counts: dict[int, int] = {}
        while queues:
            queue = dice.choice(queues)
            raw, item = queue.popleft()
            part = counts[id(item)] = counts.get(id(item), -1) + 1
            self._send(raw, item, part)
            if not queue:
                queues.remove(queue)

    def _act(self, number: int) -> Parts:
        """One thing to do on a channel, or a few publishes."""
        dice = self._world.dice
        life = self._life(number)
        if life is None or life.state == "closed":
            return self._open(number)
        if life.state == "closing":
            return []
        if self._troubled("channel closes"):
            return self._close(life)
        what = dice.random()
        if what < 0.1:
            return self._method(life, *dice.choice(_CALLS))
        if what < 0.15 and not self._settings.one_at_a_time:
            return self._select(life)
        if self._settings.one_at_a_time:
            return [] if life.untold else self._publish(life, self._message())
        parts: Parts = []
        for _ in range(dice.choice((1, 1, 2, 5))):
            parts += self._publish(life, self._message())
        return parts

    def _message(self) -> Message:
        settings, dice, author = self._settings, self._world.dice, self._author
        now = int(self._world.wall)
        weights = (settings.good, settings.wrong, settings.replayed, settings.conflicting)
        (kind,) = dice.choices(("good", "wrong", "replayed", "conflicting"), weights)
        message: Message | None = None
        if kind == "wrong":
            message = author.wrong(now)
        elif kind == "replayed":
            message = author.captured()
        elif kind == "conflicting":
            message = author.conflicting(now)
        return message or author.sealed(now, settings.session_nonces)

    def _disturb(self) -> None:
        assert self._socket is not None and self.gate is not None
        settings = self._settings
        if self._troubled("client closes"):
            self.close()
        elif self._troubled("client leaves"):
            self.leave()
        elif self._troubled("client half-closes"):
            self.half_close()
        elif settings.role is not Role.PASS and self._troubled("client breaks the protocol"):
            data, certain = poison(self._world.dice, settings, self._oracle.lives, self.frame_max)
            self._send(data, f"something broken: {data[:40].hex(' ')}")
            if certain:
                self._ends_by = self._world.now + 60
        elif self._troubled("client stalls"):
            self._stall()
        elif self._troubled("client falls silent"):
            self._fall_silent(3 * settings.heartbeat_s + 30 if settings.heartbeat_s else None)
        elif self._troubled("client stops reading"):
            self._stop_reading(self._world.dice.uniform(0.5, 20.0))
        elif self._troubled("drain"):
            self.gate.drain()

    def close(self) -> None:
        """Ask for the end of the connection."""
        if self.state == "running":
            self.state = "closing"
            self._send(octets.method(0, octets.CLOSE, octets.close_arguments(200, b"bye")), "bye")

    def leave(self) -> None:
        """Cut the connection without a word."""
        self._mute = True
        if self._socket is not None:
            self._world.say(f"{self._oracle.name}: client", "leaves")
            self._socket.cut()

    def half_close(self) -> None:
        """Say that nothing more will be said."""
        self._mute = True
        if self._socket is not None:
            self._socket.incoming.finish()

    def _stall(self) -> None:
        """Begin a message and never end it."""
        live = [lives[-1] for lives in self._oracle.lives.values() if lives and lives[-1].state == "open"]
        if not live:
            return
        life = self._world.dice.choice(live)
        frame = self._frames(life.number, self._author.plain(), False)[0]
        self._send(frame.raw, "the beginning of a message")
        self._mute = True
        self._stalled = life
        self._stalled_at = self._world.now

    def _fall_silent(self, for_s: float | None) -> None:
        self._world.say(f"{self._oracle.name}: client", "falls silent")
        self._mute = True
        if for_s is not None:
            self._ends_by = self._world.now + for_s

    def _stop_reading(self, for_s: float) -> None:
        self._reads_from = self._world.now + for_s
        socket = self._socket
        assert socket is not None
        socket.outgoing.hold(True)

        def read_again() -> None:
            if self._world.now >= self._reads_from:
                socket.outgoing.hold(False)

        self._world.after(for_s, read_again)
