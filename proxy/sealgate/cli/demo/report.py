"""What the demo found: numbers per attack, numbers of the legitimate tasks, and whether all is well."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sealgate.cli.demo.attacks import Attack
from sealgate.variant import core_variant


@dataclass(slots=True)
class AttackResult:
    """`refused` counts by the reason the gateway gave; `reached` is what the auditor saw at the broker."""

    attack: Attack
    sent: int = 0
    passed: int = 0
    reached: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    #: what the attacker was told, the first time
    told: str = ""
    trouble: str = ""
    done: bool = False

    @property
    def ok(self) -> bool:
        """Every message was refused for the one right reason, but those within the rate."""
        return (
            self.done
            and not self.trouble
            and self.reached == 0
            and self.sent > 0
            and self.passed <= self.attack.allowed
            and self.refused == {self.attack.reason.value: self.sent - self.passed}
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.attack.kind,
            "what": self.attack.what,
            "sent": self.sent,
            "within_rate": self.passed,
            "refused": dict(self.refused),
            "expected_reason": self.attack.reason.value,
            "reached_broker": self.reached,
            "told": self.told,
            "trouble": self.trouble,
            "ok": self.ok,
        }


@dataclass(slots=True)
class Legitimate:
    """The tasks of the producer, of the cron job, and what the flood was entitled to."""

    #: task ids, as published
    sent: set[str] = field(default_factory=set)
    #: (task id, retry) -> runs
    runs: Counter[tuple[str, str]] = field(default_factory=Counter)
    results: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)

    @property
    def run(self) -> int:
        return len(self.sent & {task_id for task_id, _ in self.runs})

    @property
    def lost(self) -> int:
        return len(self.sent) - self.run

    @property
    def doubled(self) -> int:
        """Runs too many of the same try."""
        return sum(count - 1 for count in self.runs.values())

    @property
    def uncalled(self) -> int:
        """Runs of tasks that nobody legitimate asked for."""
        return sum(count for (task_id, _), count in self.runs.items() if task_id not in self.sent)

    @property
    def ok(self) -> bool:
        wrong = (self.lost, self.doubled, self.uncalled, self.refused.total(), len(self.troubles))
        return bool(self.sent) and not any(wrong)

    def as_json(self) -> dict[str, Any]:
        return {
            "sent": len(self.sent),
            "run": self.run,
            "lost": self.lost,
            "run_twice": self.doubled,
            "run_without_being_asked": self.uncalled,
            "results": self.results,
            "refused": dict(self.refused),
            "troubles": self.troubles,
            "ok": self.ok,
        }


@dataclass(slots=True)
class Report:
    broker: str
    attacks: list[AttackResult]
    legitimate: Legitimate = field(default_factory=Legitimate)
    phase: str = "starting"
    worker_alive: bool = False
    quarantined: int = 0
    seconds: float = 0.0
    #: publishes to the exchange as the built-in broker counted them, and as the auditor knows them
    counted_by_broker: int | None = None
    counted_by_auditor: int = 0
    #: compiled|plain
    core: str = field(default_factory=core_variant)

    @property
    def counts_agree(self) -> bool:
        return self.counted_by_broker is None or self.counted_by_broker == self.counted_by_auditor

    @property
    def ok(self) -> bool:
        attacks_ok = all(result.ok for result in self.attacks)
        return attacks_ok and self.legitimate.ok and self.worker_alive and self.counts_agree

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "broker": self.broker,
            "core": self.core,
            "seconds": round(self.seconds, 1),
            "attacks": [result.as_json() for result in self.attacks],
            "legitimate": self.legitimate.as_json(),
            "worker_alive": self.worker_alive,
            "quarantined": self.quarantined,
            "publishes_counted_by_broker": self.counted_by_broker,
            "publishes_known_to_auditor": self.counted_by_auditor,
        }
