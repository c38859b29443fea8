"""What the demo shows."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sealgate.cli.demo import table
from sealgate.cli.demo.attacks import ATTACKS
from sealgate.cli.demo.report import AttackResult, Report
from sealgate.reason import Reason


def a_report(done: int = 0) -> Report:
    report = Report("the built-in broker", [AttackResult(attack) for attack in ATTACKS])
    for result in report.attacks[:done]:
        result.sent = 3
        result.refused[result.attack.reason.value] = 3
        result.done = True
    return report


def test_every_kind_of_attack_expects_another_cell_of_the_table() -> None:
    assert len({attack.kind for attack in ATTACKS}) == len(ATTACKS)
    assert {Reason.SIG_MISSING, Reason.SIG_BAD, Reason.TARGET_MISMATCH, Reason.RATE_TASK} <= {
        attack.reason for attack in ATTACKS
    }


def test_lines_tell_each_attack_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = table.Lines()
    lines.update(a_report(1))
    lines.update(a_report(2))
    lines.update(a_report(2))
    printed = capsys.readouterr().out
    assert printed.count("refused   3 of 3") == 2
    assert "\x1b" not in printed


def test_summary_names_what_went_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    report = a_report(len(ATTACKS))
    report.attacks[3].reached = 2
    report.attacks[3].told = "basic.ack"
    report.legitimate.troubles.append("the worker does not answer a ping")
    table.Lines().finish(report)
    printed = capsys.readouterr().out
    assert "2 reached the broker" in printed
    assert f"trouble      {ATTACKS[3].kind}: expected {ATTACKS[3].reason.value}; basic.ack" in printed
    assert "trouble      the worker does not answer a ping" in printed
    assert "NOT all is well." in printed


def test_nothing_is_shown_beside_json(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = table.display(plain=False, quiet=True)
    quiet.update(a_report(3))
    quiet.finish(a_report(3))
    assert capsys.readouterr().out == ""


def test_what_is_no_terminal_gets_lines() -> None:
    assert isinstance(table.display(plain=False, quiet=False), table.Lines)


@pytest.mark.parametrize(("width", "what_shown"), [(80, False), (130, True)])
def test_table_fits_the_terminal(width: int, what_shown: bool) -> None:
    report = a_report(len(ATTACKS))
    report.attacks[-1].passed = 5
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(table._rich_table(report, report.attacks, width))
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert max(len(line) for line in printed.splitlines()) <= width
    assert ("what it is" in printed) is what_shown
    assert "…" not in printed
    assert "rate.task, 5 within it" in printed


@pytest.mark.parametrize("done", range(len(ATTACKS) + 1))
def test_live_rows_hold_the_attack_that_goes_on(done: int) -> None:
    shown = a_report(done).attacks[table._window(a_report(done), 8)]
    assert len(shown) == 8
    assert ATTACKS[min(done, len(ATTACKS) - 1)] in [result.attack for result in shown]
