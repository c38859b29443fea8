"""A report for people. Plain lines; colour only marks severities, and only on a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

import click

from sealgate.cli.doctor.findings import Finding, Report, Severity

_WIDTH: Final = 110
_INDENT: Final = " " * 9
_COLOURS: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_PLURAL: Final = {Severity.ERROR: "errors", Severity.WARNING: "warnings", Severity.NOTE: "notes"}


def report_text(report: Report) -> str:
    """The whole report, as ANSI text that click strips where it is not wanted."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield report.target
    told: set[str] = set()
    for finding in report.findings:
        yield ""
        yield from _finding(finding, finding.id not in told)
        told.add(finding.id)
    yield ""
    for label, lines in (("looked at", report.examined), ("not looked at", report.skipped)):
        for line in lines:
            yield from _wrapped(f"{label}: {line}", "", "  ")
    for pattern in report.idle:
        yield f"ignored nothing: --ignore {pattern}"
    yield _summary(report)


def _finding(finding: Finding, with_why: bool) -> Iterator[str]:
    """The reason is told with the first finding of a rule."""
    word = click.style(finding.severity.word.ljust(8), fg=_COLOURS[finding.severity], bold=True)
    yield f"{word} {click.style(finding.id, bold=True)}: {finding.message}"
    place = str(finding.place)
    if place:
        yield f"{_INDENT}at      {place}"
    if with_why:
        yield from _wrapped(f"why     {finding.rule.why}", _INDENT, _INDENT + " " * 8)
    yield f"{_INDENT}change  {finding.change}"


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False)


def _summary(report: Report) -> str:
    counts = [
        f"{count} {severity.word if count == 1 else _PLURAL[severity]}"
        for severity in sorted(Severity, reverse=True)
        if (count := report.count(severity))
    ]
    text = ", ".join(counts) or "nothing found"
    return text + (f"; {len(report.suppressed)} ignored" if report.suppressed else "")
