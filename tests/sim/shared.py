"""What the watchers of one run share: marks on the bytes under way, counts, and where each nonce went."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from sealgate.session.commands import Command
from sealgate.session.conversation import Role
from sealgate.session.records import Tally
from sim import octets
from sim.messages import Message
from sim.script import Life, Publish
from sim.settings import Settings
from sim.store import Store
from sim.world import World

T = TypeVar("T")


class Marks(Generic[T]):
    """What each stretch of a byte stream means, given out when the last byte of it has been delivered."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, T]] = deque()
        self._sent = 0
        self._delivered = 0

    def sent(self, size: int, mark: T) -> None:
        self._sent += size
        self._marks.append((self._sent, mark))

    def delivered(self, size: int) -> list[T]:
        self._delivered += size
        found: list[T] = []
        while self._marks and self._marks[0][0] <= self._delivered:
            found.append(self._marks.popleft()[1])
        return found


class Run:
    """Shared by all gates of a run, which are one process: its settings, its store, its counts."""

    def __init__(self, world: World, settings: Settings, store: Store, tally: Tally) -> None:
        self.world: Final = world
        self.settings: Final = settings
        self.store: Final = store
        self.tally: Final = tally
        #: What the tally must say: (verdict, reason) -> messages.
        self.counts: Final[Counter[tuple[str, str]]] = Counter()
        self.unconfirmed_refusals = 0
        self.arrivals: Final[dict[bytes, list[Publish]]] = defaultdict(list)
        self._routes: Final[dict[tuple[bytes, bytes], bool]] = {}
        self.totals: Final[Counter[str]] = Counter()
        self.publishes = 0
        #: (exchange, routing key) -> the queue where messages to it wait, and when it was last declared.
        self.queues: Final[dict[tuple[str, str], tuple[str, float]]] = {}
        self.delayed = 0
        #: Is told every command of every gate: (the gate's name, the command).
        self.watch: Callable[[str, Command], None] | None = None

    def routes(self, message: Message) -> bool:
        """Whether brokers have a queue for it: the same for all that goes the same way."""
        target = (message.exchange, message.routing_key)
        if target not in self._routes:
            self._routes[target] = self.world.dice.random() >= self.settings.unroutable
        return self._routes[target]

    def accepted(self, publish: Publish) -> None:
        """It went to the broker, and not only because it is observed. No nonce is accepted twice."""
        message = publish.message
        if message.nonce and self.settings.role is Role.VERIFY:
            for earlier in self.arrivals[message.nonce]:
                assert not is_certain(earlier), f"{publish} was accepted although {earlier} arrived"
                assert not is_awaited(earlier), f"{publish} was accepted while {earlier} is under way"
            self.arrivals[message.nonce].append(publish)

    def check_counts(self) -> None:
        """One count for each publish, under its own reason. Connections count under reasons of their own."""
        self.tally.settle()
        told: dict[tuple[str, str], int] = {}
        for (_, verdict, reason), count in self.tally.messages.items():
            if reason.partition(".")[0] not in ("frame", "conn", "method"):
                told[verdict, reason] = count
        assert told == self.counts, f"counted {dict(told)}, not {dict(self.counts)}"
        assert sum(self.tally.delayed.values()) == self.delayed, "messages that wait"
        assert self.tally.unconfirmed_refusals == self.unconfirmed_refusals, "unconfirmed refusals"


def is_certain(publish: Publish) -> bool:
    """It is in the broker, and the gate knows."""
    if not publish.tag:
        return True
    return publish.verdict == "ack" and not publish.returned


def is_awaited(publish: Publish) -> bool:
    """The broker will still answer, and the gate waits for it."""
    life = publish.life
    ended = life.broker_closed or life.closed_upstream or life.upstream_lost
    return bool(publish.tag) and publish.forwarded and not publish.verdict and not ended


Said = tuple[octets.Frame, str, Life | None, list[Publish]]
"""A frame of the broker's, what it is (see `sim.broker`), its channel, and the publishes it is about."""
