"""What every part is given: how often, how much, which variants; and the one way to measure publishes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from benchmarks import client, messages
from benchmarks.client import Load, Replayed
from benchmarks.gates import Gate, Variant
from benchmarks.messages import Key, Template
from benchmarks.stage import Proxy, Stage

#: How messages are made: session nonces of the gateway's challenge, stored nonces, or no seal at all.
Kind = Literal["session", "stored", "plain"]
_YOUNG_STORE_S_MAX = 15


@dataclass(slots=True, frozen=True)
class Plan:
    """`share` scales how many messages are sent, for a quick look; `full` asks for the long measurements."""

    runs: int
    share: float
    full: bool
    plain: Variant
    compiled: Variant | None
    keys: Sequence[Key] = field(default_factory=lambda: (Key.make(),))

    @property
    def product(self) -> Variant:
        """The variant that promises are judged on."""
        return self.compiled or self.plain

    def count(self, messages_: int, least: int = 20) -> int:
        return max(least, int(messages_ * self.share))

    def gate(self, **settings: object) -> Gate:
        return Gate(self.product, self.keys).but(**settings)

    def interleaved(self, columns: Sequence[str], what: str) -> Iterator[tuple[bool, Sequence[str]]]:
        """For each run whether it counts, and its columns in turn. The first one only warms everything up;
        each begins with another column, so that no column always follows the same one."""
        for run in range(self.runs + 1):
            at = run % len(columns)
            yield run > 0, [*columns[at:], *columns[:at]]
            say(f"{what}: run {run} of {self.runs} done" if run else f"{what}: warmed up")


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


@dataclass(slots=True, frozen=True)
class Publishing:
    """Messages of one template, or mixed of several, through one proxy."""

    stage: Stage
    proxy: Proxy
    template: Template | Sequence[Template]
    keys: Sequence[Key]
    kind: Kind = "session"

    def once(self, count: int, load: Load, connections: int = 1, others: Sequence[Proxy] = ()) -> Sent:
        """Open connections, seal `count` messages for each, and send them; `others` are processes whose CPU
        time is wanted too."""
        with client.connections(self.proxy.port, connections) as opened:
            made = (message for one in opened for message in self.made(count, one.challenge))
            return self.over(opened, made, load, others)

    def over(
        self, opened: Sequence[client.Opened], made: Iterable[bytes], load: Load, others: Sequence[Proxy] = ()
    ) -> Sent:
        """Send these messages and wait for all confirms; CPU time is read just before and just after."""
        path = self.stage.folder / "messages"
        total = messages.write_messages(path, made)
        before = [process.cpu_s() for process in (self.proxy, *others)]
        done = client.replay(self.stage.program("replay"), opened, path, load)
        after = [process.cpu_s() for process in (self.proxy, *others)]
        path.unlink()
        assert done.messages == total * load.passes
        spent = [(later - sooner) / done.messages * 1e6 for sooner, later in zip(before, after, strict=True)]
        return Sent(spent[0], tuple(spent[1:]), done)

    def made(self, count: int, challenge: bytes, first: int = 0) -> Iterator[bytes]:
        """Messages for the connection that was given `challenge`."""
        templates = [self.template] if isinstance(self.template, Template) else self.template
        if self.kind == "plain":
            return messages.plain(templates, count)
        if self.kind == "stored":
            return messages.sealed(templates, count, self.keys)
        # What reads no nonce is sent messages of the same form.
        return messages.sealed(templates, count, self.keys, challenge or bytes(16), first)

    def wait_for_horizon(self) -> None:
        """A store without memory of before refuses stored nonces that were signed before it started."""
        deadline = time.monotonic() + _YOUNG_STORE_S_MAX
        while True:
            try:
                self.once(1, Load())
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def insist_on_refusal(self) -> None:
        """A gateway that let an unsealed message through would make a fine benchmark and a wrong one."""
        unsealed = Publishing(self.stage, self.proxy, self.template, self.keys, "plain")
        try:
            unsealed.once(1, Load())
        except RuntimeError:
            return
        raise RuntimeError("the gateway confirmed an unsealed message")


@dataclass(slots=True, frozen=True)
class Sent:
    """CPU microseconds per message in the proxy and in others; the rest as replay.c told it."""

    cpu_us: float
    others_cpu_us: tuple[float, ...]
    done: Replayed

    @property
    def per_second(self) -> float:
        return self.done.messages / self.done.seconds

    @property
    def generator_cpu_us(self) -> float:
        return self.done.generator_cpu_s / self.done.messages * 1e6
