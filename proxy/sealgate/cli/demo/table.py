"""The report for eyes: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final, Protocol

from sealgate.cli.demo.report import AttackResult, Report

if TYPE_CHECKING:
    from rich.table import Table

_PROGRESS_EVERY_S: Final = 5.0
_REFRESHES_PER_S: Final = 8
_COLUMNS: Final = ("attack", "what it is", "sent", "refused", "why", "reached the broker")
_NUMBERS: Final = frozenset({"sent", "refused", "reached the broker"})


class Display(Protocol):
    def update(self, report: Report) -> None:
        """The report changed."""

    def finish(self, report: Report) -> None:
        """It will not change any more."""


def display(plain: bool, quiet: bool) -> Display:
    """The best one for standard output; rich, where it is used, honours NO_COLOR itself."""
    if quiet:
        return Silence()
    if not plain and sys.stdout.isatty():
        try:
            import rich  # noqa: F401 - whether it is there
        except ImportError:
            return Lines()
        return LiveTable()
    return Lines()


class Silence:
    """For --json: only the result is printed."""

    def update(self, report: Report) -> None:
        pass

    def finish(self, report: Report) -> None:
        pass


class Lines:
    """One line per attack as it ends, one now and then about the legitimate tasks, then the summary."""

    def __init__(self) -> None:
        self._phase = ""
        self._told: Final[set[str]] = set()
        self._progress_at = time.monotonic()

    def update(self, report: Report) -> None:
        if report.phase != self._phase:
            self._phase = report.phase
            print(f"-- {report.phase}", flush=True)
        for result in report.attacks:
            if result.done and result.attack.kind not in self._told:
                self._told.add(result.attack.kind)
                print(_line(result), flush=True)
        if time.monotonic() - self._progress_at > _PROGRESS_EVERY_S:
            self._progress_at = time.monotonic()
            print(f"   {_progress(report)}", flush=True)

    def finish(self, report: Report) -> None:
        print(_plain_table(report))
        print("\n".join(_summary(report)), flush=True)


class LiveTable:
    """The whole table, drawn again as it changes."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console: Final = Console()
        self._live: Final = Live(console=self._console, refresh_per_second=_REFRESHES_PER_S)
        self._live.start()

    def update(self, report: Report) -> None:
        self._live.update(_rich_table(report))

    def finish(self, report: Report) -> None:
        self._live.update(_rich_table(report), refresh=True)
        self._live.stop()
        for line in _summary(report):
            self._console.print(line, highlight=False, markup=False)


def _row(result: AttackResult) -> tuple[str, ...]:
    """A row's texts, in the order of the columns."""
    why = ", ".join(sorted(result.refused)) or result.trouble
    refused = str(result.refused.total()) if result.sent else ""
    if result.passed:
        why += f" ({result.passed} were within the rate)"
    reached = str(result.reached) if result.done else ""
    return result.attack.kind, result.attack.what, str(result.sent or ""), refused, why, reached


def _line(result: AttackResult) -> str:
    kind, _, sent, refused, why, _ = _row(result)
    return f"   {kind:<22} refused {refused:>3} of {sent:<3}  {why}"


def _progress(report: Report) -> str:
    legitimate = report.legitimate
    return (
        f"legitimate tasks: {len(legitimate.sent)} sent, {legitimate.run} run, {legitimate.results} results"
    )


def _plain_table(report: Report) -> str:
    rows = [_COLUMNS, *[_row(result) for result in report.attacks]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = []
    for row in rows:
        cells = [
            text.rjust(width) if name in _NUMBERS else text.ljust(width)
            for text, width, name in zip(row, widths, _COLUMNS, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n" + "\n".join(lines) + "\n"


def _rich_table(report: Report) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Sealgate in front of {report.broker}: {report.phase}", caption=_progress(report))
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", no_wrap=name == "attack")
    for result in report.attacks:
        style = "dim" if not result.sent else "" if not result.done else "green" if result.ok else "bold red"
        table.add_row(*[Text(text) for text in _row(result)], style=style)
    return table


def _summary(report: Report) -> list[str]:
    """What is to be remembered, ending with the verdict."""
    legitimate = report.legitimate
    sent = sum(result.sent - result.passed for result in report.attacks)
    reached = sum(result.reached for result in report.attacks)
    lines = [
        "",
        (
            f"attacks      {sent} messages of {len(report.attacks)} kinds, {reached} reached the broker, "
            f"{report.quarantined} kept in quarantine"
        ),
        (
            f"legitimate   {len(legitimate.sent)} tasks sent, {legitimate.run} run, {legitimate.lost} lost, "
            f"{legitimate.doubled} run twice, {legitimate.refused.total()} messages refused, "
            f"{legitimate.results} results came back"
        ),
        f"worker       {'alive' if report.worker_alive else 'DEAD'}",
    ]
    if report.counted_by_broker is not None:
        lines.append(
            f"broker       counted {report.counted_by_broker} publishes to the exchange; "
            f"{report.counted_by_auditor} are known to be legitimate"
        )
    lines += [f"trouble      {trouble}" for trouble in _troubles(report)]
    lines.append(f"\n{'All is well.' if report.ok else 'NOT all is well.'} ({report.seconds:.0f} s)")
    return lines


def _troubles(report: Report) -> list[str]:
    troubles = list(report.legitimate.troubles)
    if report.legitimate.uncalled:
        troubles.append(f"{report.legitimate.uncalled} runs of tasks that nobody legitimate asked for")
    for result in report.attacks:
        if not result.ok:
            expected = result.attack.reason.value
            troubles.append(f"{result.attack.kind}: expected {expected}; {result.trouble or result.told}")
    return troubles
