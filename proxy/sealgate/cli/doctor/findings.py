"""What a check says: a finding of a rule, about a place, with the line that would mend it.

Rule ids are part of the contract: suppressions and dashboards name them. No text here may hold a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, unique
from fnmatch import fnmatchcase


@unique
class Severity(IntEnum):
    """NOTE: worth knowing; WARNING: a mitigation is missing; ERROR: an attack works, or messages are lost."""

    NOTE = 1
    WARNING = 2
    ERROR = 3

    @property
    def word(self) -> str:
        """As options, JSON and SARIF's `level` write it."""
        return self.name.lower()


@dataclass(slots=True, frozen=True)
class Rule:
    """One thing that can be wrong: a stable id, what it is called, and why it matters."""

    id: str
    severity: Severity
    title: str
    why: str


@dataclass(slots=True, frozen=True)
class Place:
    """Where something is set, or should be: a file, its line when known (else 0), and the key."""

    file: str = ""
    line: int = 0
    key: str = ""

    def __str__(self) -> str:
        spot = f"{self.file}:{self.line}" if self.file and self.line else self.file
        return ": ".join([part for part in (spot, self.key) if part])


@dataclass(slots=True, frozen=True)
class Finding:
    """`message` says what was found, `change` the line to write; `subject` tells findings of one rule apart.

    `severity` is the rule's own unless the circumstances make it another.
    """

    rule: Rule
    message: str
    change: str
    place: Place = Place()
    subject: str = ""
    severity: Severity = Severity.NOTE

    @property
    def id(self) -> str:
        return self.rule.id


def found(
    rule: Rule,
    message: str,
    change: str,
    place: Place | None = None,
    subject: str = "",
    severity: Severity | None = None,
) -> Finding:
    """A finding of `rule`, at the rule's severity unless another is given."""
    where = place if place is not None else Place()
    return Finding(rule, message, change, where, subject, rule.severity if severity is None else severity)


@dataclass(slots=True)
class Report:
    """All that one run found, what it suppressed, and what it could not look at, with the reason."""

    target: str
    findings: list[Finding] = field(default_factory=list)
    #: what was looked at, in words
    examined: list[str] = field(default_factory=list)
    #: what was not, and why
    skipped: list[str] = field(default_factory=list)
    suppressed: list[Finding] = field(default_factory=list)
    #: suppressions that suppressed nothing
    idle: list[str] = field(default_factory=list)

    def add(self, findings: Iterable[Finding]) -> None:
        self.findings += findings

    def suppress(self, patterns: Sequence[str]) -> None:
        """Set aside what `patterns` name: an id or a glob of ids, or `ID@SUBJECT` for one subject alone."""
        used: set[str] = set()
        kept: list[Finding] = []
        for finding in self.findings:
            by = [pattern for pattern in patterns if _names(pattern, finding)]
            used.update(by)
            (self.suppressed if by else kept).append(finding)
        self.findings = kept
        self.idle = [pattern for pattern in patterns if pattern not in used]

    def sort(self) -> None:
        """The worst first, else as the checks gave them."""
        self.findings.sort(key=lambda finding: -finding.severity)

    def count(self, severity: Severity) -> int:
        return sum(1 for finding in self.findings if finding.severity is severity)

    def fails_at(self, severity: Severity | None) -> bool:
        """Whether anything is at least as bad as `severity`; None never fails."""
        return severity is not None and any(finding.severity >= severity for finding in self.findings)


def _names(pattern: str, finding: Finding) -> bool:
    rule, at, subject = pattern.partition("@")
    return fnmatchcase(finding.id, rule) and (not at or fnmatchcase(finding.subject, subject))
