"""The deliveries of one channel that the broker waits to hear of, and what the client may say of them.

Tags are the broker's and pass unchanged. What the gate refused, or has not handed over yet, is unacknowledged
at the broker as well, and the client does not know: so an answer to `multiple` must not span it. RabbitMQ
3.10 closes the channel (406) for an answer to a tag that is not outstanding, `multiple` or not; 0 with
`multiple` means all that are, and is no error when there are none (rabbit_channel, `collect_acks`).
"""

from __future__ import annotations

from collections import deque
from typing import Final

#: So many that were answered are left in the order before it is tidied, on top of as many as are open.
_ANSWERED_MAX: Final = 256


class Unacked:
    """Tags of deliveries that want an answer: the client's, and those that the gate keeps to itself."""

    __slots__ = ("_kept", "_open", "_order", "_rises")

    def __init__(self) -> None:
        #: The client's: handed over, and not answered.
        self._open: Final[set[int]] = set()
        #: The same in the order in which they were handed over, with some that were answered in between.
        self._order: Final[deque[int]] = deque()
        #: Whether these rise: they do where no delivery has to wait for a store.
        self._rises = True
        #: Not the client's: undecided, or refused and not answered yet.
        self._kept: Final[set[int]] = set()

    def __len__(self) -> int:
        return len(self._open) + len(self._kept)

    def keep(self, tag: int) -> None:
        """A delivery is here, and the client knows nothing of it."""
        self._kept.add(tag)

    def let_go(self, tag: int) -> None:
        """The gate itself answers a delivery that it kept."""
        self._kept.discard(tag)

    def hand_over(self, tag: int) -> None:
        """A delivery becomes the client's."""
        self._kept.discard(tag)
        self._open.add(tag)
        if self._order and self._order[-1] > tag:
            self._rises = False
        self._order.append(tag)

    def has(self, tag: int) -> bool:
        """Whether the client may answer this tag."""
        return tag in self._open

    def answered(self, tag: int) -> None:
        """The client answered one delivery that it has."""
        self._open.discard(tag)
        order = self._order
        while order and order[0] not in self._open:
            order.popleft()
        if len(order) > 2 * len(self._open) + _ANSWERED_MAX:
            # The first one may stay for hours (a task with an ETA), and all others come and go behind it.
            left = [each for each in order if each in self._open]
            order.clear()
            order.extend(left)
        if not order:
            self._rises = True

    def answered_up_to(self, tag: int) -> list[int]:
        """The client answered all it has up to `tag`, or with 0 all of it: these tags, rising."""
        settled: list[int] = []
        order = self._order
        if self._rises:
            while order and (not tag or order[0] <= tag):
                each = order.popleft()
                if each in self._open:
                    settled.append(each)
        else:
            settled = sorted([each for each in self._open if not tag or each <= tag])
        self._open.difference_update(settled)
        self.answered(0)
        return settled

    def answers_for(self, settled: list[int]) -> list[tuple[int, bool]]:
        """The answers (tag, multiple) that tell the broker of `settled`, which rises, and of no other tag."""
        if not settled:
            return []
        first_kept = min(self._kept) if self._kept else settled[-1] + 1
        below = [tag for tag in settled if tag < first_kept]
        answers: list[tuple[int, bool]] = []
        if below:
            # Up to the first that is kept nothing else is outstanding: what is on its way has higher tags.
            answers.append((below[-1], len(below) > 1))
        answers.extend([(tag, False) for tag in settled[len(below) :]])
        return answers

    def clear(self) -> None:
        """Nothing is outstanding any more."""
        self._open.clear()
        self._order.clear()
        self._kept.clear()
        self._rises = True
