"""How `sealgate explain` prints: one line a check, what differs, the verdict. Colours on a terminal only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

import click

from sealgate.cli.explain.findings import OPEN, REFUSED, SKIPPED, Findings, Step, moment, shown
from sealgate.cli.explain.given import Given
from sealgate.cli.explain.guesses import Difference
from sealgate.reason import Reason

_COLOURS: Final = {"ok": "green", REFUSED: "red", SKIPPED: "yellow", OPEN: "yellow"}
_MARKS: Final = {"ok": "ok", REFUSED: "REFUSED", SKIPPED: "not asked", OPEN: "open"}


@dataclass(slots=True)
class Explained:
    """All that is printed. `differences` come from the original or from trials, as `how` says."""

    given: Given
    findings: Findings
    now: float
    differences: list[Difference]
    how: str = ""


def lines(explained: Explained) -> list[str]:
    """The whole as text."""
    given, findings = explained.given, explained.findings
    told = [
        f"message: {given.where}; exchange {shown(given.exchange)}, routing key {shown(given.routing_key)}",
        f"judged as of {moment(explained.now)}",
    ]
    if given.recorded:
        told.append(f"refused by the gateway: {given.recorded}")
    told.append("")
    for step in findings.steps:
        told += _step_lines(step)
    if findings.digests:
        told.append("")
        told += [f"{name}: {text}" for name, text in findings.digests.items()]
    if explained.differences or explained.how:
        told.append("")
    told += [_styled(f"differs in {difference}", "red") for difference in explained.differences]
    if explained.how:
        told.append(explained.how)
    return [*told, "", f"verdict: {verdict_text(explained)}"]


def _step_lines(step: Step) -> list[str]:
    mark = _styled(_MARKS[step.verdict].ljust(10), _COLOURS[step.verdict])
    text = ": ".join([part for part in (step.reason, step.detail) if part])
    told = [f"{mark}{step.name.ljust(12)}{text or step.saw}"]
    indent = " " * 22
    if text and step.saw:
        told.append(f"{indent}saw {step.saw}")
    if step.wanted and step.verdict != "ok":
        told.append(f"{indent}wanted {step.wanted}")
    return told


def verdict_text(explained: Explained) -> str:
    """The last line: the reason, and what it depends on."""
    reason = explained.findings.reason
    if reason is Reason.OK:
        recorded = explained.given.recorded
        if recorded:
            return f"ok by these checks; the gateway said {recorded}, which only it can tell"
        return "ok, if its nonce was never seen and its buckets have tokens"
    text: str = reason.value
    return text


def as_json(explained: Explained) -> dict[str, object]:
    """The same as plain data."""
    given, findings = explained.given, explained.findings
    return {
        "message": given.where,
        "exchange": given.exchange,
        "routing_key": given.routing_key,
        "task": findings.task,
        "at": moment(explained.now),
        "recorded": given.recorded or None,
        "checks": [
            {
                "name": step.name,
                "verdict": step.verdict,
                "saw": step.saw,
                "wanted": step.wanted,
                "reason": step.reason or None,
                "detail": step.detail,
            }
            for step in findings.steps
        ],
        **findings.digests,
        "differences": [
            {"section": difference.section, "name": difference.name, "what": difference.what}
            for difference in explained.differences
        ],
        "how": explained.how,
        "verdict": findings.reason.value,
    }


def _styled(text: str, colour: str) -> str:
    if os.environ.get("NO_COLOR"):
        return text
    styled: str = click.style(text, fg=colour)
    return styled
