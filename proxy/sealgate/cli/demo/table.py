"""The report for eyes: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final, Literal, Protocol

from sealgate.cli.demo.report import AttackResult, Report

if TYPE_CHECKING:
    from rich.table import Table

_PROGRESS_EVERY_S: Final = 5.0
_REFRESHES_PER_S: Final = 8
#: Title, frame, head and caption of the table, and the cursor's own line.
_LINES_AROUND_ROWS: Final = 7
_WHAT: Final = "what it is"
#: What these columns come to hold, so that nothing jumps about meanwhile.
_WIDTHS: Final = {"why": 22}
#: Below this the table does without that column, on a terminal.
_WIDE: Final = 118
_COLUMNS: Final = ("attack", _WHAT, "sent", "refused", "why", "got in")
_NUMBERS: Final = frozenset({"sent", "refused", "got in"})


class Display(Protocol):
    def update(self, report: Report) -> None:
        """The report changed."""

    def finish(self, report: Report) -> None:
        """It will not change any more."""

    def abandon(self) -> None:
        """It did not come to an end."""


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

    def abandon(self) -> None:
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

    def abandon(self) -> None:
        pass


class LiveTable:
    """As many rows as the terminal has room for, drawn again as they change; in the end all of them."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console: Final = Console()
        self._live: Final = Live(console=self._console, refresh_per_second=_REFRESHES_PER_S, transient=True)
        self._live.start()

    def update(self, report: Report) -> None:
        rows = max(1, self._console.height - _LINES_AROUND_ROWS)
        self._live.update(_rich_table(report, report.attacks[_window(report, rows)], self._console.width))

    def finish(self, report: Report) -> None:
        self._live.stop()
        self._console.print(_rich_table(report, report.attacks, self._console.width))
        for line in _summary(report):
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def abandon(self) -> None:
        self._live.stop()


def _window(report: Report, rows: int) -> slice:
    """The rows to show when not all fit: those around the attack that goes on."""
    done = sum(result.done for result in report.attacks)
    first = min(max(0, done + 1 - rows), max(0, len(report.attacks) - rows))
    return slice(first, first + rows)


def _row(result: AttackResult) -> tuple[str, ...]:
    """A row's texts, in the order of the columns."""
    why = ", ".join(sorted(result.refused)) or result.trouble
    refused = str(result.refused.total()) if result.sent else ""
    if result.passed:
        why += f", {result.passed} within it"
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


def _rich_table(report: Report, results: list[AttackResult], width: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    title = f"Sealgate ({report.core} core) in front of {report.broker}: {report.phase}"
    table = Table(title=title, caption=_progress(report))
    shown = [index for index, name in enumerate(_COLUMNS) if name != _WHAT or width >= _WIDE]
    for index in shown:
        name = _COLUMNS[index]
        widest = max(len(_row(result)[index]) for result in report.attacks)
        justify: Literal["left", "right"] = "right" if name in _NUMBERS else "left"
        table.add_column(name, justify=justify, min_width=max(widest, _WIDTHS.get(name, len(name))))
    for result in results:
        style = "dim" if not result.sent else "" if not result.done else "green" if result.ok else "bold red"
        texts = _row(result)
        table.add_row(*[Text(texts[index], no_wrap=True) for index in shown], style=style)
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
        f"core         {report.core}",
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
