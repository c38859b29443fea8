"""Keys rotate under load: whoever hears of it first, nothing legitimate is refused, lost or run twice."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer
from support.rotation_rig import HOARD, TILL, WEB, Outcome, Rig, rotation_rig

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

SIGNERS = ["sidecar", "by-kombu", "by-pika"]
VERIFIERS = ["gateway-1", "gateway-2", "worker-sidecar", "w2"]
#: Seconds a machine may take for what is not about time.
SECONDS_MAX = 60
#: What differs from one look to the next in why a key can not be retired.
PASSING = re.compile(r"[0-9]+ messages?|127[.0-9:]+|[0-9]+[smh]( [0-9]+s)?")


class Sizes:
    """`validity` of the producers' seals; `spread_s` from the first to the last copy of a step's file."""

    def __init__(self, full: bool) -> None:
        self.full = full
        self.per_second = 200.0 if full else 60.0
        self.hoard = 5000 if full else 200
        self.validity = "60s" if full else "8s"
        self.spread_s = 60.0 if full else 0.5
        self.retire_seconds_max = 600 if full else 60
        self.between = 1000 if full else 40


class Rotation:
    """The steps, in an order from `seed`."""

    def __init__(self, rig: Rig, sizes: Sizes, seed: int) -> None:
        self.rig = rig
        self.sizes = sizes
        self.dice = random.Random(seed)
        self.told: list[str] = []
        self.began = time.monotonic()
        self.asked = [side for side in rig.gates() if side.name != "sidecar"]

    def say(self, text: str) -> None:
        self.told.append(f"  {time.monotonic() - self.began:6.1f} s: {text}")

    def spread(self, *groups: list[str]) -> None:
        """Everybody gets the operator's file, group by group, within a group in any order."""
        order = [name for group in groups for name in self.dice.sample(group, len(group))]
        most = 2 * self.sizes.spread_s / len(order)
        self.say(f"the file reaches {', '.join(order)}")
        self.rig.distribute(order, lambda: self.dice.uniform(0, most))

    def begin(self, old: str) -> None:
        code, output = self.rig.rotate("begin", "--kid", old)
        assert code == 0, output

    def promote(self, new: str) -> None:
        code, output = self.rig.rotate("promote", "--kid", new, asked=self.asked)
        assert code == 0, output
        self.say(f"{new} is promoted")

    def refused(self, step: str, kid: str) -> str:
        """Why the step is refused now; "" where it was done."""
        reasons = self._tried(step, kid)
        self.say(f"{step} {kid} is refused: {'; '.join(reasons)}" if reasons else f"{step} {kid} is done")
        return " ".join(reasons)

    def retires(self, kid: str, reasons: Counter[str]) -> bool:
        """Whether it is retired now; else why not is counted, without what changes from time to time."""
        found = self._tried("retire", kid)
        reasons.update(PASSING.sub("...", reason) for reason in found)
        if not found:
            self.say(f"{kid} is retired")
        return not found

    def _tried(self, step: str, kid: str) -> list[str]:
        more = ("-c", str(self.asked[0].gate.config), "--quiet", "1s") if step == "retire" else ()
        code, output = self.rig.rotate(step, "--kid", kid, *more, asked=self.asked)
        assert code in (0, 69), output
        reasons = [line.removeprefix("  - ") for line in output.splitlines() if line.startswith("  - ")]
        assert bool(reasons) == (code == 69), output
        return reasons

    def published(self, kid: str) -> float:
        """Messages that the gateways took under `kid`."""
        return sum(
            self.rig.gate_of(name).gate.metric("sealgate_key_messages_total", kid=kid, verdict="accepted")
            for name in ("gateway-1", "gateway-2")
        )

    def load(self, *kids: str) -> None:
        """Let some more messages come under each of these."""
        wanted = {kid: self.published(kid) + self.sizes.between for kid in kids}
        for kid in kids:
            wait_until(lambda kid=kid: self.published(kid) >= wanted[kid], 600, f"messages under {kid}")

    def report(self, lines: list[str], outcomes: Mapping[str, Outcome], reasons: Mapping[str, int]) -> None:
        """What was sent and done, for people to read."""
        count = {name: len(outcome.published) for name, outcome in outcomes.items()}
        each = ", ".join(f"{number} {name}" for name, number in count.items())
        lines.append(
            f"rotation under load: {sum(count.values())} tasks ({each}), each run once; 0 refused, 0 lost"
        )
        lines.extend(self.told)
        lines.extend(f"  retire refused {times} times: {reason}" for reason, times in reasons.items())


def test_keys_are_rotated_under_load(
    rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path, full: bool, closing_lines: list[str]
) -> None:
    sizes = Sizes(full)
    with rotation_rig(tmp_path, rabbitmq, vhost, sizes.validity, sizes.per_second) as rig:
        turn = Rotation(rig, sizes, seed=6)
        hoarded = rig.hoard(sizes.hoard)
        turn.load(f"{WEB}-a", f"{TILL}-a")

        turn.begin(f"{WEB}-a")
        turn.begin(f"{TILL}-a")
        assert f"does not have {WEB}-b" in turn.refused("promote", f"{WEB}-b")
        turn.spread([*SIGNERS, *VERIFIERS])

        # Signers hear first that they are to switch.
        turn.promote(f"{WEB}-b")
        turn.spread(SIGNERS)
        assert "has not read these keys yet" in turn.refused("retire", f"{WEB}-a")
        turn.spread(VERIFIERS)
        turn.load(f"{WEB}-b")

        # Gateways hear first of the other key. In a queue thousands of its messages wait for a worker.
        turn.promote(f"{TILL}-b")
        turn.spread(VERIFIERS, SIGNERS)
        turn.load(f"{TILL}-b")
        assert rabbitmq.depth(vhost, HOARD) == sizes.hoard
        rig.worker("late", rig.gate_of("worker-sidecar"), None, HOARD)

        reasons: Counter[str] = Counter()
        wait_until(
            lambda: turn.retires(f"{WEB}-a", reasons), sizes.retire_seconds_max, "the old key to be retired"
        )
        assert "are good for another 5" in turn.refused("retire", f"{TILL}-a")
        turn.spread([*SIGNERS, *VERIFIERS])
        turn.load(f"{WEB}-b", f"{TILL}-b")

        outcomes = {**rig.stop_producers(), "hoarder": hoarded}
        sent = [task_id for outcome in outcomes.values() for task_id in outcome.published]
        assert {name: outcome.failed for name, outcome in outcomes.items() if outcome.failed} == {}
        assert rig.refused() == {}
        wait_until(lambda: len(rig.runs()) >= len(sent), SECONDS_MAX, "all tasks to have run")
        assert rig.refused() == {}
        runs = rig.runs()
        assert {task_id: times for task_id, times in runs.items() if times > 1} == {}
        assert set(runs) == set(sent)
        turn.report(closing_lines, outcomes, reasons)
