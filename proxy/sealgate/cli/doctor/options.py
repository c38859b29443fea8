"""What every kind of doctor takes: the format, what to ignore, and when to fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import click

from sealgate.cli.doctor.catalogue import RULES
from sealgate.cli.doctor.findings import Report, Severity
from sealgate.cli.exits import EXIT_FAILED, EXIT_OK

Command = Callable[..., Any]

_FAIL_ON: Final = {severity.word: severity for severity in sorted(Severity, reverse=True)}
_NEVER: Final = "never"


@dataclass(slots=True, frozen=True)
class Output:
    """How a report is told."""

    format: str
    file: Path | None
    ignore: tuple[str, ...]
    fail_on: Severity | None

    def tell(self, report: Report) -> int:
        """Suppress, print, and return the exit code."""
        report.suppress(self.ignore)
        report.sort()
        text = self._text(report)
        if self.file is not None:
            self.file.write_text(click.unstyle(text), encoding="utf-8")
        else:
            click.echo(text, nl=False, color=False if os.environ.get("NO_COLOR") else None)
        return EXIT_FAILED if report.fails_at(self.fail_on) else EXIT_OK

    def _text(self, report: Report) -> str:
        if self.format == "text":
            from sealgate.cli.doctor.text import report_text

            return report_text(report)
        from sealgate.cli.doctor.machine import report_json, report_sarif

        return report_json(report) if self.format == "json" else report_sarif(report, RULES)


def output_options(command: Command) -> Command:
    """--format, --output, --ignore and --fail-on: the keyword arguments of `output_of`."""
    for option in (
        click.option(
            "--fail-on",
            type=click.Choice([*_FAIL_ON, _NEVER]),
            default=Severity.WARNING.word,
            show_default=True,
            help="Exit with 1 when anything at least as bad is found.",
        ),
        click.option(
            "--ignore",
            multiple=True,
            metavar="ID[@SUBJECT]",
            envvar="SEALGATE_DOCTOR_IGNORE",
            show_envvar=True,
            callback=_check_ignore,
            help="Set findings aside by id, or by id and subject (a task, a setting, a kid); globs work. "
            "Can be repeated.",
        ),
        click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file."),
        click.option(
            "--format",
            "form",
            type=click.Choice(["text", "json", "sarif"]),
            default="text",
            show_default=True,
            help="SARIF 2.1.0 is what code scanning reads.",
        ),
    ):
        command = option(command)
    return command


def output_of(form: str, output: Path | None, ignore: tuple[str, ...], fail_on: str) -> Output:
    return Output(form, output, ignore, _FAIL_ON.get(fail_on))


def _check_ignore(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """A suppression that names no rule is a slip of the pen."""
    for pattern in value:
        name = pattern.partition("@")[0]
        if not any(fnmatchcase(rule.id, name) for rule in RULES):
            raise click.BadParameter(f"no rule is called {name}; `sealgate doctor rules` lists them")
    return value
