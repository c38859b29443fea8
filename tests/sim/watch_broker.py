"""What the gate sends to the broker, held against what the client sent: nothing else, in order, unchanged."""

from __future__ import annotations

from collections import deque
from typing import Final

from sealgate.session.conversation import Role
from sim import octets
from sim.expect import check_forwarded, decide
from sim.script import Life, Method, Publish
from sim.shared import Run

#: What the gate writes when it closes a channel or a connection of its own accord.
OWN_TEXT: Final = "sealgate"


class BrokerWatch:
    """Reads the bytes as they leave the gate. `forwarded` and `own_closes` are emptied by whoever looks."""

    def __init__(self, run: Run, name: str, lives: dict[int, list[Life]]) -> None:
        self._run: Final = run
        self._name: Final = name
        self._lives: Final = lives
        self._cutter: Final = octets.Cutter(preamble=True)
        self._current: Final[dict[int, int]] = {}
        self._content: Final[dict[int, list[octets.Frame]]] = {}
        self._over = ""
        self.forwarded: list[Publish] = []
        self.own_closes: list[Life] = []
        #: For each frame, what the broker should know of it: the channel it opens, the publish it completes.
        self.marks: Final[deque[Life | Publish | None]] = deque()

    @property
    def half_sent(self) -> bool:
        """Whether part of a message or of a frame is there."""
        return bool(self._content or self._cutter.rest)

    def life(self, number: int) -> Life | None:
        """The channel as it is at the broker."""
        index = self._current.get(number)
        return None if index is None else self._lives[number][index]

    def sent(self, data: bytes) -> None:
        for frame in self._cutter.feed(data):
            self._run.world.say(f"{self._name}: gate > broker", frame)
            self.marks.append(self._frame(frame))

    def _frame(self, frame: octets.Frame) -> Life | Publish | None:
        if frame.kind == octets.HEARTBEAT:
            return None
        assert not self._over or (frame.channel, frame.method) == (0, octets.CLOSE_OK), (
            f"{frame} was sent after {self._over}"
        )
        if not frame.channel:
            if frame.method in (octets.CLOSE, octets.CLOSE_OK):
                whole = self._run.settings.role is Role.PASS or not self._content
                assert whole, "the connection is closed in the middle of a message"
                self._over = str(frame)
            return None
        if frame.method == octets.CHANNEL_OPEN:
            return self._opened(frame)
        life = self.life(frame.channel)
        assert life is not None, f"{frame} on a channel that is not open"
        content = self._content.get(frame.channel)
        if content is not None and frame.kind == octets.METHOD and life.broker_closed:
            # Passed as it came: a broker that has closed a channel listens for the close-ok alone.
            assert self._run.settings.role is Role.PASS, f"{frame} in a message"
            del self._content[frame.channel]
            content = None
        if content is not None:
            return self._continued(life, content, frame)
        assert frame.kind == octets.METHOD, f"{frame} belongs to no publish"
        self._method(life, frame)
        return None

    def _opened(self, frame: octets.Frame) -> Life:
        before = self.life(frame.channel)
        assert before is None or before.closed_upstream, "opened while it is open"
        index = self._current[frame.channel] = self._current.get(frame.channel, -1) + 1
        life = self._lives[frame.channel][index]
        life.opened_upstream = True
        self._next(life, frame)
        return life

    def _method(self, life: Life, frame: octets.Frame) -> None:
        assert not life.close_sent or frame.method == octets.CHANNEL_CLOSE_OK, f"{frame} after channel.close"
        if frame.method == octets.PUBLISH:
            self._content[frame.channel] = [frame]
        elif frame.method == octets.CHANNEL_CLOSE_OK:
            assert life.broker_closed, "a close-ok that answers no close"
            assert not life.close_ok_sent, "close-ok twice"
            life.close_ok_sent = True
        elif frame.method == octets.CHANNEL_CLOSE:
            life.close_sent = True
            if octets.close_text(frame.payload).startswith(OWN_TEXT):
                self.own_closes.append(life)
            elif not life.broker_closed:
                self._next(life, frame)
        else:
            self._next(life, frame)

    def _continued(self, life: Life, content: list[octets.Frame], frame: octets.Frame) -> Publish | None:
        assert frame.kind == (octets.BODY if len(content) > 1 else octets.HEADER), f"{frame} in a message"
        content.append(frame)
        missing = octets.body_size(content[1].payload) - sum(len(part.payload) for part in content[2:])
        assert missing >= 0, "more body than declared"
        if missing:
            return None
        del self._content[frame.channel]
        return self._published(life, content)

    def _published(self, life: Life, content: list[octets.Frame]) -> Publish:
        publish = self._skip_refused(life)
        assert isinstance(publish, Publish), f"a publish was forwarded in the place of {publish}"
        decision = decide(publish, self._run.settings)
        assert decision is not None, f"{publish} was forwarded before the store had answered"
        assert publish.arrived, f"{publish} was forwarded before it was whole"
        assert not publish.released, f"{publish} was forwarded although its claim was given back"
        check_forwarded(publish, content, decision, self._run.settings, self._run.world.now)
        life.cursor += 1
        publish.forwarded = True
        self.forwarded.append(publish)
        if publish.tag:
            life.forwarded.append(publish)
            for reader in life.direct:
                reader.published(len(life.forwarded))
        if not decision.reason:
            self._run.accepted(publish)
        return publish

    def _next(self, life: Life, frame: octets.Frame) -> None:
        """The frame must be the client's next on this channel that is not a refused publish."""
        item = self._skip_refused(life)
        assert isinstance(item, Method), f"{frame} overtook {item}"
        assert item.frame == frame, f"{frame} was sent in the place of {item}"
        assert item.arrived, f"{frame} was sent before the client did"
        life.cursor += 1

    def _skip_refused(self, life: Life) -> Method | Publish | None:
        while life.cursor < len(life.script):
            item = life.script[life.cursor]
            if isinstance(item, Method):
                return item
            decision = decide(item, self._run.settings)
            if decision is None or decision.passes:
                return item
            life.cursor += 1
        return None
