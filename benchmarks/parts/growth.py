"""Promise 7: cost per message grows with messages, not with connections, channels, keys, rates or rules.

Few and many get the same messages in the same portions, so that what is compared is the number alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import client
from benchmarks.client import Load
from benchmarks.gates import Gate
from benchmarks.judging import Part
from benchmarks.messages import Key, Template
from benchmarks.plan import Plan, Publishing, Sent
from benchmarks.stage import Proxy, Stage

NAME = "growth"
ITEMS = (7,)
TITLE = "CPU time per message as numbers grow"
BODY_BYTES = 300
LIMIT = 1.25
COUNT = 20_000
#: Each of many connections sends so many and waits for their confirms; then the next one does.
PORTION = 20
CONNECTIONS, CHANNELS, KEYS, RATES, RULES = 2000, 1000, 1000, 10_000, 1000


@dataclass(slots=True)
class Lanes:
    """Connections that stay open over all runs, and how far each of their channels has counted."""

    publishing: Publishing
    opened: Sequence[client.Opened]
    templates: Sequence[Template]
    sent: int = 0

    def send(self, total: int) -> Sent:
        """`total` messages in equal parts, portion after portion, lane after lane."""
        channels = len(self.templates)
        each = max(1, total // (len(self.opened) * channels))
        # A session's sequence counts for the connection: with several channels each must come once a round.
        assert channels == 1 or each <= PORTION
        load = Load(turn=PORTION, channels=channels, base=self.sent)
        done = self.publishing.over(self.opened, self._made(each), load)
        self.sent += each
        return done

    def _made(self, each: int) -> Iterator[bytes]:
        first, keys = self.sent * len(self.templates), self.publishing.keys
        for one in self.opened:
            for number, template in enumerate(self.templates):
                yield from template.sealed(each, keys, one.challenge, first + number * each)


@dataclass(slots=True, frozen=True)
class Size:
    """One number, few and many of it; each sends `total` messages. Without a limit it is for comparison."""

    row: str
    total: int
    few: tuple[str, Callable[[int], Sent]]
    many: tuple[str, Callable[[int], Sent]]
    limit: float | None = LIMIT


def _lanes(
    stack: ExitStack, stage: Stage, plan: Plan, proxy: Proxy, connections: int, channels: int = 1
) -> tuple[str, Callable[[int], Sent]]:
    templates = [Template(BODY_BYTES, channel=channel) for channel in range(1, channels + 1)]
    opened = stack.enter_context(client.connections(proxy.port, connections, channels))
    lanes = Lanes(Publishing(stage, proxy, templates[0], plan.keys), opened, templates)
    return f"{connections * channels:,}", lanes.send


def _gate(stage: Stage, plan: Plan) -> Proxy:
    return stage.gate(plan.gate(), stage.swallow().port)


def _by_window(stage: Stage, number: int, gate: Gate) -> tuple[str, Callable[[int], Sent]]:
    proxy = stage.gate(gate, stage.swallow().port)
    publishing = Publishing(stage, proxy, Template(BODY_BYTES), gate.keys)
    return f"{number:,}", lambda count: publishing.once(count, Load())


def _connected(stack: ExitStack, stage: Stage, plan: Plan) -> list[Size]:
    connections, channels = plan.count(CONNECTIONS, 50), plan.count(CHANNELS, 50)

    def lanes(proxy: Proxy, *numbers: int) -> tuple[str, Callable[[int], Sent]]:
        return _lanes(stack, stage, plan, proxy, *numbers)

    few = lanes(_gate(stage, plan), 1)
    haproxy = [stage.haproxy(stage.swallow().port) for _ in range(2)]
    copies = [stage.copy(stage.swallow().port) for _ in range(2)]
    total = connections * PORTION
    return [
        Size("connections", total, few, lanes(_gate(stage, plan), connections)),
        Size("connections of HAProxy", total, lanes(haproxy[0], 1), lanes(haproxy[1], connections), None),
        Size("connections of the copy", total, lanes(copies[0], 1), lanes(copies[1], connections), None),
        Size("channels", channels * PORTION, few, lanes(_gate(stage, plan), 1, channels)),
    ]


def _configured(stage: Stage, plan: Plan) -> list[Size]:
    kids, total = plan.count(KEYS, 50), plan.count(COUNT, 100)
    keys = [Key.make(number) for number in range(kids)]
    one, two, all_ = (
        _by_window(stage, len(some), plan.gate(keys=some)) for some in (keys[:1], keys[:2], keys)
    )
    found = [
        Size("keys taking turns", total, one, all_),
        Size("keys taking turns", total, one, two, None),
    ]
    for row, most in (("rates", plan.count(RATES, 50)), ("rules", plan.count(RULES, 50))):
        few, many = (_by_window(stage, number, plan.gate(**{row: number})) for number in (1, most))
        found.append(Size(row, total, few, many))
    return found


def measure(plan: Plan, stage: Stage) -> Part:
    part = Part(NAME, TITLE)
    with stage.part() as own, ExitStack() as stack:
        sizes = [*_connected(stack, own, plan), *_configured(own, plan)]
        for counts, turn in plan.interleaved(["few", "many"], NAME):
            for size in sizes:
                for which in turn:
                    column, send = size.few if which == "few" else size.many
                    sent = send(size.total)
                    if counts:
                        row = f"{size.row}, 1 or {size.many[0]}"
                        part.add(row, column, cpu_us=sent.cpu_us, per_second=sent.per_second)
    for size in sizes:
        row = f"{size.row}, 1 or {size.many[0]}"
        few, many = (part.of(row, column, "cpu_us") for column, _ in (size.few, size.many))
        part.judge(7, f"{size.row}, {size.many[0]} / 1", many, few, size.limit)
    return part
