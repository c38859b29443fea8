"""When the demo says that all is well, and when it must not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from sealgate.cli.demo.attacks import ATTACKS
from sealgate.cli.demo.report import AttackResult, Legitimate, Report


def good_report() -> Report:
    attacks = [
        AttackResult(
            attack,
            sent=attack.allowed + 3,
            passed=attack.allowed,
            refused=Counter({attack.reason.value: 3}),
            done=True,
        )
        for attack in ATTACKS
    ]
    legitimate = Legitimate(sent={"a", "b"}, runs=Counter({("a", "0"): 1, ("b", "0"): 1, ("b", "1"): 1}))
    return Report(
        "x", attacks, legitimate, worker_alive=True, counted_by_broker=5, counted_by_auditor=5, seconds=1
    )


def test_report_of_a_good_run_is_ok() -> None:
    report = good_report()
    assert report.ok
    assert report.as_json()["ok"]
    assert (report.legitimate.run, report.legitimate.lost, report.legitimate.doubled) == (2, 0, 0)


BAD: dict[str, Callable[[Report], object]] = {
    "an attack reached the broker": lambda r: setattr(r.attacks[0], "reached", 1),
    "an attack was not refused": lambda r: setattr(r.attacks[0], "sent", 4),
    "an attack passed": lambda r: setattr(r.attacks[0], "passed", 1),
    "it was refused for another reason": lambda r: r.attacks[0].refused.update({"sig.kid": 1}),
    "it was not tried": lambda r: (r.attacks[0].refused.clear(), setattr(r.attacks[0], "sent", 0)),
    "it did not end": lambda r: setattr(r.attacks[0], "done", False),
    "it could not be sent": lambda r: setattr(r.attacks[0], "trouble", "TimeoutError"),
    "a task was lost": lambda r: r.legitimate.sent.add("c"),
    "a task ran twice": lambda r: r.legitimate.runs.update({("a", "0"): 1}),
    "a task ran that nobody asked for": lambda r: r.legitimate.runs.update({("x", "0"): 1}),
    "a legitimate message was refused": lambda r: r.legitimate.refused.update({"sig.bad": 1}),
    "a result was wrong": lambda r: r.legitimate.troubles.append("a wrong result"),
    "nothing legitimate was done": lambda r: (r.legitimate.sent.clear(), r.legitimate.runs.clear()),
    "the worker died": lambda r: setattr(r, "worker_alive", False),
    "the broker counted more": lambda r: setattr(r, "counted_by_broker", 6),
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD.keys())
def test_report_is_not_ok_when(spoil: Callable[[Report], object]) -> None:
    report = good_report()
    spoil(report)
    assert not report.ok
    assert not report.as_json()["ok"]
