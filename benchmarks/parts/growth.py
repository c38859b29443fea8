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
from benchmarks.stage import Stage

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
    """One number, few and many of it; each sends so many messages."""

    row: str
    few: tuple[str, Callable[[int], Sent]]
    many: tuple[str, Callable[[int], Sent]]


def _lanes(
    stack: ExitStack, stage: Stage, plan: Plan, connections: int, channels: int
) -> Callable[[int], Sent]:
    proxy = stage.gate(plan.gate(), stage.swallow().port)
    templates = [Template(BODY_BYTES, channel=channel) for channel in range(1, channels + 1)]
    opened = stack.enter_context(client.connections(proxy.port, connections, channels))
    return Lanes(Publishing(stage, proxy, templates[0], plan.keys), opened, templates).send


def _by_window(stage: Stage, gate: Gate) -> Callable[[int], Sent]:
    proxy = stage.gate(gate, stage.swallow().port)
    publishing = Publishing(stage, proxy, Template(BODY_BYTES), gate.keys)
    return lambda count: publishing.once(count, Load())


def _sizes(stack: ExitStack, stage: Stage, plan: Plan) -> list[Size]:
    one = _lanes(stack, stage, plan, 1, 1)
    connections, channels, kids = (plan.count(most, 50) for most in (CONNECTIONS, CHANNELS, KEYS))
    plainly = plan.gate()
    keys = plan.gate(keys=[Key.make(number) for number in range(kids)])
    found = [
        Size("connections", ("1", one), (f"{connections:,}", _lanes(stack, stage, plan, connections, 1))),
        Size("channels", ("1", one), (f"{channels:,}", _lanes(stack, stage, plan, 1, channels))),
        Size("keys", ("1", _by_window(stage, plainly)), (f"{kids:,}", _by_window(stage, keys))),
    ]
    for row, most in (("rates", plan.count(RATES, 50)), ("rules", plan.count(RULES, 50))):
        few, many = (_by_window(stage, plan.gate(**{row: number})) for number in (1, most))
        found.append(Size(row, ("1", few), (f"{most:,}", many)))
    return found


def measure(plan: Plan, stage: Stage) -> Part:
    part = Part(NAME, TITLE)
    with stage.part() as own, ExitStack() as stack:
        sizes = _sizes(stack, own, plan)
        for counts, turn in plan.interleaved(["few", "many"], NAME):
            for size in sizes:
                for which in turn:
                    column, send = size.few if which == "few" else size.many
                    sent = send(plan.count(COUNT, 100))
                    if counts:
                        part.add(size.row, column, cpu_us=sent.cpu_us, per_second=sent.per_second)
    for size in sizes:
        few, many = (part.of(size.row, column, "cpu_us") for column, _ in (size.few, size.many))
        part.judge(7, f"{size.row}, {size.many[0]} / 1", many, few, LIMIT)
    return part
