"""What differs between a direct connection and the other routes, and whether it was expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from interop.running import Outcome, Outcomes
from interop.suites import Expected, Run

_ABSENT = Outcome("absent", why="no such test ran")


@dataclass(slots=True, frozen=True)
class Difference:
    """A test that does on `run` what it does not do directly. `reason` is empty when nobody expected it."""

    test: str
    run: Run
    direct: Outcome
    found: Outcome
    reason: str


@dataclass(slots=True, frozen=True)
class Comparison:
    """One suite on all its routes; the first run is the direct one."""

    suite: str
    by_run: Mapping[Run, Outcomes]
    differences: list[Difference]
    #: Expected differences that did not show: the list is wrong, or the test is not steady.
    unmet: list[tuple[Run, Expected]]

    @property
    def matches(self) -> bool:
        return not self.unmet and all(difference.reason for difference in self.differences)


def compare(suite: str, by_run: Mapping[Run, Outcomes], expected: Iterable[Expected]) -> Comparison:
    """Hold every run against the first, which is the direct one."""
    direct = next(iter(by_run.values()))
    listed = [entry for entry in expected if entry.suite == suite]
    differences, unmet = [], []
    for run, outcomes in by_run.items():
        wanted = {entry.test: entry for entry in listed if entry.applies(run)}
        for test in sorted(direct.keys() | outcomes.keys()):
            before, after = direct.get(test, _ABSENT), outcomes.get(test, _ABSENT)
            if before.kind == after.kind:
                continue
            entry = wanted.get(test)
            reason = ""
            if entry is not None and entry.outcome == after.kind:
                reason = entry.reason
                del wanted[test]
            differences.append(Difference(test, run, before, after, reason))
        unmet += [(run, entry) for entry in wanted.values()]
    return Comparison(suite, by_run, differences, unmet)


def lines(comparison: Comparison) -> list[str]:
    """The comparison for people: a row per route, then every test that needs a word."""
    rows = ["suite      route                passed failed  error skipped differ seconds"]
    for run, outcomes in comparison.by_run.items():
        counted = Counter(outcome.kind for outcome in outcomes.values())
        differ = sum(difference.run == run for difference in comparison.differences)
        seconds = sum(outcome.seconds for outcome in outcomes.values())
        rows.append(
            f"{comparison.suite:<10} {run.name:<20} {counted['passed']:>6} {counted['failed']:>6} "
            f"{counted['error']:>6} {counted['skipped']:>7} {differ:>6} {seconds:>7.1f}"
        )
    direct = next(iter(comparison.by_run.values()))
    for test, outcome in sorted(direct.items()):
        if outcome.kind != "passed":
            rows.append(f"  {outcome.kind} directly: {test}: {outcome.why}")
    rows += _expected(comparison.differences)
    for difference in comparison.differences:
        if not difference.reason:
            outcomes = f"{difference.direct.kind} directly, {difference.found.kind} here"
            rows.append(
                f"  DIFFERS, {difference.run.name}: {difference.test}: {outcomes}: {difference.found.why}"
            )
    for run, entry in comparison.unmet:
        rows.append(f"  NOT SEEN, {run.name}: {entry.test} should be {entry.outcome}: {entry.reason}")
    return rows


def _expected(differences: list[Difference]) -> list[str]:
    """Every expected difference by name, under its reason."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for difference in differences:
        if difference.reason:
            key = (difference.run.name, difference.found.kind, difference.reason)
            grouped.setdefault(key, []).append(difference.test)
    rows = []
    for (run, kind, reason), tests in grouped.items():
        rows.append(f"  {kind}, {run}, because {reason}:")
        rows += [f"    {test}" for test in tests]
    return rows
