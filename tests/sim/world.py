"""Time and the wires of a simulation: all that happens is an entry of one queue, drawn from one seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

#: Unix seconds when the simulation begins.
EPOCH_S: Final = 1_800_000_000.0
#: What one reading of a socket brings at most.
READ_BYTES_MAX: Final = 65_536
#: Readings that a wire delivers before others have their turn.
_READINGS_PER_TURN: Final = 64


class World:
    """The virtual clock. `now` is in seconds from 0."""

    def __init__(self, seed: int, transcript: bool = False) -> None:
        self.dice: Final = random.Random(seed)
        self.now = 0.0
        self.steps = 0
        #: Entries that are not there for ever: when there are none left, the world is at rest.
        self.pending = 0
        self.lines: list[str] | None = [] if transcript else None
        self._queue: list[tuple[float, int, bool, Callable[[], None]]] = []
        self._count = 0

    @property
    def wall(self) -> float:
        """Unix seconds."""
        return EPOCH_S + self.now

    def say(self, who: str, what: object) -> None:
        """A line of the transcript, when one is kept."""
        if self.lines is not None:
            self.lines.append(f"{self.now:9.3f}  {who:<20} {what}")

    def after(self, seconds: float, act: Callable[[], None], background: bool = False) -> None:
        """Let `act` happen `seconds` from now. The background goes on for ever, and is not waited for."""
        self._count += 1
        self.pending += not background
        heappush(self._queue, (self.now + seconds, self._count, background, act))

    def every(self, seconds: float, act: Callable[[], bool]) -> None:
        """Let `act` happen again and again for as long as it returns true."""

        def again() -> None:
            if act():
                self.after(seconds, again, background=True)

        self.after(seconds, again, background=True)

    def run(self, until: float) -> None:
        """Let time pass up to `until`."""
        while self._queue and self._queue[0][0] <= until:
            self._step()
        self.now = max(self.now, until)

    def rest(self, seconds_max: float) -> bool:
        """Let time pass until only the background goes on. False when that takes longer than told."""
        until = self.now + seconds_max
        while self.pending and self._queue and self._queue[0][0] <= until:
            self._step()
        return not self.pending

    def _step(self) -> None:
        at, _, background, act = heappop(self._queue)
        self.now = at
        self.steps += 1
        self.pending -= not background
        act()


class Wire:
    """Bytes one way, in order, in pieces and after delays of its own.

    `style` is "whole", "pieces" or "bytes". `deliver` gets each piece; `ended` is called once, after the last
    one, when the sender has finished.
    """

    def __init__(
        self,
        world: World,
        style: str,
        latency_s: float,
        deliver: Callable[[bytes], None],
        ended: Callable[[], None],
    ) -> None:
        self._world: Final = world
        self._style: Final = style
        #: Thousands of single octets must not take minutes.
        self._latency_s: Final = latency_s / 100 if style == "bytes" else latency_s
        self._deliver: Final = deliver
        self._ended: Final = ended
        self._data = bytearray()
        self._finished = False
        self._moving = False
        self._held = False
        self.closed = False

    @property
    def waiting(self) -> int:
        """Bytes sent and not delivered."""
        return len(self._data)

    def send(self, data: bytes) -> None:
        if not self._finished and not self.closed:
            self._data += data
            self._move()

    def finish(self) -> None:
        """The sender will send no more."""
        if not self._finished and not self.closed:
            self._finished = True
            self._move()

    def cut(self) -> None:
        """What is under way is lost, and nobody is told."""
        self.closed = True
        self._data.clear()

    def hold(self, on: bool) -> None:
        """The receiver does not read for now, or reads again."""
        self._held = on
        if not on:
            self._move()

    def _move(self) -> None:
        if not self._moving and not self._held and not self.closed and (self._data or self._finished):
            self._moving = True
            self._world.after(self._latency_s * self._world.dice.random(), self._turn)

    def _turn(self) -> None:
        self._moving = False
        for _ in range(_READINGS_PER_TURN):
            if self._held or self.closed or not self._data:
                break
            size = self._size()
            data = bytes(self._data[:size])
            del self._data[:size]
            self._deliver(data)
            if self._style != "bytes":
                break
        if self._data:
            self._move()
        elif self._finished and not self._held and not self.closed:
            self.closed = True
            self._ended()

    def _size(self) -> int:
        waiting = min(len(self._data), READ_BYTES_MAX)
        if self._style == "bytes":
            return 1
        if self._style == "whole" or self._world.dice.random() < 0.3:
            return waiting
        return self._world.dice.randint(1, waiting)
