"""What the gate tells the client, held against what the broker said and what was the gate's to answer."""

from __future__ import annotations

from typing import Final

from sim import octets
from sim.expect import answer_to, decide
from sim.script import Life, Publish
from sim.shared import Run

OWN_CLOSE: Final = "sealgate: "
ACCESS_REFUSED: Final = 403


class Returned:
    """A message that the gate itself returned, and the publish that the very next frame answers."""

    __slots__ = ("content", "follower")

    def __init__(self, content: list[octets.Frame]) -> None:
        self.content: Final = content
        self.follower: Publish | None = None


class ClientWatch:
    """Reads the bytes as they leave the gate. `returns` and `closes` are emptied by whoever looks."""

    def __init__(self, run: Run, name: str, lives: dict[int, list[Life]]) -> None:
        self._run: Final = run
        self._name: Final = name
        self._lives: Final = lives
        self._cutter: Final = octets.Cutter()
        self._current: Final[dict[int, int]] = {}
        #: A publish that the gate itself returns, while its frames come.
        self._returning: Final[dict[int, list[octets.Frame]]] = {}
        self._answered_close: Final[set[int]] = set()
        #: connection.close or close-ok, once it was told.
        self.over = ""
        self.frame_max = 0
        self._last_return: Final[dict[int, Returned]] = {}
        #: Channels with content that is not whole yet: body bytes still to come, -1 before its header.
        self._content_left: Final[dict[int, int]] = {}
        self.returns: list[Returned] = []
        #: Channels whose end was told; those of them that the gate closed, with its text.
        self.ended: list[Life] = []
        self.closes: list[tuple[Life, str]] = []

    def told(self, data: bytes) -> None:
        for frame in self._cutter.feed(data):
            self._run.world.say(f"{self._name}: gate > client", frame)
            self._frame(frame)

    @property
    def half_sent(self) -> bool:
        return bool(self._cutter.rest)

    def life(self, number: int) -> Life | None:
        """The channel as the client knows it."""
        index = self._current.get(number)
        return None if index is None else self._lives[number][index]

    def _frame(self, frame: octets.Frame) -> None:
        if frame.kind == octets.HEARTBEAT:
            assert not self.over, "a heartbeat after connection.close"
            return
        if not frame.channel:
            closing = frame.method in (octets.CLOSE, octets.CLOSE_OK)
            assert not self.over or frame.method == octets.CLOSE_OK, f"{frame} was told after {self.over}"
            if closing:
                self.over = str(frame)
            return
        assert not self.over, f"{frame} was told after {self.over}"
        if frame.method == octets.CHANNEL_OPEN_OK:
            self._reopened(frame.channel)
        life = self.life(frame.channel)
        assert life is not None, f"{frame} was told before the channel was open"
        self._on_channel(life, frame)

    def _reopened(self, number: int) -> None:
        life = self.life(number)
        if life is None:
            self._current[number] = 0
        elif life.told_open or life.told_closed:
            assert life.told_closed, "open-ok twice"
            self._current[number] += 1

    def _on_channel(self, life: Life, frame: octets.Frame) -> None:
        if life.told_closed:
            assert frame.method == octets.CHANNEL_CLOSE_OK, f"{frame} was told after the channel's close"
            return
        self._follow_content(frame)
        content = self._returning.get(frame.channel)
        before = self._last_return.pop(frame.channel, None)
        if content is not None:
            self._returned(content, frame)
        elif frame.method in (octets.ACK, octets.NACK) and life.tags:
            if before is not None:
                before.follower = life.untold.get(octets.tag_of(frame.payload)[0])
            self._answered(life, frame)
        elif frame.method == octets.RETURN and OWN_CLOSE.encode() in frame.payload:
            assert int.from_bytes(frame.payload[4:6], "big") == ACCESS_REFUSED
            self._returning[frame.channel] = [frame]
        elif frame.method == octets.CHANNEL_CLOSE and OWN_CLOSE in octets.close_text(frame.payload):
            self._refused(life, frame)
        else:
            self._passed(life, frame)

    def _follow_content(self, frame: octets.Frame) -> None:
        """Nothing comes between the frames of one content on its channel."""
        left = self._content_left.pop(frame.channel, 0)
        assert not left or frame.kind != octets.METHOD, f"{frame} in the middle of content"
        if frame.kind == octets.HEADER:
            left = octets.body_size(frame.payload)
        elif frame.kind == octets.BODY:
            left -= len(frame.payload)
        elif frame.method in (octets.DELIVER, octets.RETURN):
            left = -1
        if left:
            self._content_left[frame.channel] = left

    def _refused(self, life: Life, frame: octets.Frame) -> None:
        assert octets.close_code(frame.payload) == ACCESS_REFUSED
        self._ends(life)
        self.closes.append((life, octets.close_text(frame.payload)))

    def _ends(self, life: Life) -> None:
        life.told_closed = True
        self.ended.append(life)

    def _passed(self, life: Life, frame: octets.Frame) -> None:
        """A frame of the broker's, in its order; bodies may be cut to fit the client's frames."""
        if frame.method == octets.CHANNEL_OPEN_OK:
            life.told_open = True
        elif frame.method in (octets.CHANNEL_CLOSE, octets.CHANNEL_CLOSE_OK):
            self._ends(life)
        assert life.expected, f"{frame} was told, which the broker did not say"
        expected = life.expected.popleft()
        if frame.kind == octets.BODY:
            expected = self._cut(life, frame, expected)
        assert frame == expected, f"{frame} was told in the place of {expected}"

    def _cut(self, life: Life, frame: octets.Frame, expected: octets.Frame) -> octets.Frame:
        """The part of an expected body that should be in `frame`: all frames but the last are full."""
        size = len(frame.payload)
        size_max = self.frame_max - octets.FRAME_OVERHEAD
        assert size <= size_max, "a body frame is too large"
        if not self._run.settings.apart or expected.kind != octets.BODY:
            return expected
        rest = expected.payload[size:]
        if rest:
            life.expected.appendleft(expected._replace(payload=rest))
        last = not rest and (life.expected or not life.body_left)
        assert size == size_max or last, "a body frame is not full"
        return expected._replace(payload=expected.payload[:size])

    def _answered(self, life: Life, frame: octets.Frame) -> None:
        kind = "ack" if frame.method == octets.ACK else "nack"
        tag, multiple = octets.tag_of(frame.payload)
        assert tag in life.untold, f"{frame}: the client does not wait for this tag"
        covered = [publish for publish in life.untold.values() if publish.tag <= tag] if multiple else []
        for publish in covered or [life.untold[tag]]:
            self._tell(life, publish, kind, multiple)
        if multiple:
            first = covered[0].tag
            spanned = [own for own in life.own if first < own < tag]
            assert not spanned, f"{frame} spans {spanned}, which were answered here"
        for reader in life.readers:
            reader.answered(kind, tag, multiple)

    def _tell(self, life: Life, publish: Publish, kind: str, multiple: bool) -> None:
        decision = decide(publish, self._run.settings)
        assert decision is not None, f"{publish} was answered before it was decided"
        if decision.passes:
            assert publish.forwarded, f"{publish} was answered and not forwarded"
            assert publish.verdict == kind, f"{publish}: {kind}, and the broker said {publish.verdict!r}"
        else:
            assert not multiple, f"{publish} was refused and answered with others"
            own = answer_to(publish, decision.reason, self._run.settings)
            assert own == f"basic.{kind}", f"{publish} was answered by {kind}, not by {own}"
            life.own.append(publish.tag)
        publish.told = kind
        del life.untold[publish.tag]

    def _returned(self, content: list[octets.Frame], frame: octets.Frame) -> None:
        """A refused publish comes back whole, with nothing between its frames, and its nack right behind."""
        content.append(frame)
        whole = len(content) > 1 and octets.body_size(content[1].payload) == sum(
            len(part.payload) for part in content[2:]
        )
        if not whole:
            return
        del self._returning[frame.channel]
        returned = self._last_return[frame.channel] = Returned(content)
        self.returns.append(returned)
