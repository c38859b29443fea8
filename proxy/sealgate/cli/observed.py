"""`sealgate observed`: what would have been refused, before anybody switches to enforce."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from sealgate.cli.asking import UnansweredError, ask_json
from sealgate.cli.exits import EXIT_FAILED, EXIT_OK, EXIT_UNAVAILABLE
from sealgate.cli.options import load_settings, settings_options
from sealgate.cli.text import aligned

PAGE: Final = "/observed"
_COLUMNS: Final = ("COUNT", "RULE", "REASON", "TASK", "KEY", "FIRST", "LAST")


@click.command(
    epilog="""\b
Examples:
  sealgate observed --config gateway.toml
  sealgate observed --admin 127.0.0.1:9672 --json
  sealgate observed -c gateway.toml && echo nothing would be refused

\b
Exit codes: 0 nothing would have been refused, 1 something would, 69 no gateway
answers.""",
)
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON, times in Unix seconds.")
def observed(as_json: bool, **options: Any) -> int:
    """Show what a gateway that observes would have refused in the last hour, by rule, reason, task and key.

    Asks the gateway that runs, at its admin address. KEY is empty where the message named no key that is
    known, TASK where it told none. With control.state the report goes on over a restart.
    """
    address = load_settings(**options).settings.admin.address
    try:
        report = ask_json(address, PAGE)
    except UnansweredError as error:
        click.echo(str(error), err=True)
        return EXIT_UNAVAILABLE
    if as_json:
        import json

        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        _show(report)
    return EXIT_FAILED if report["total"] else EXIT_OK


def _show(report: dict[str, Any]) -> None:
    total = report["total"]
    messages = "message" if total == 1 else "messages"
    told = f"{total} {messages} would have been refused" if total else "nothing would have been refused"
    click.echo(f"Since {_time(report['since'])} ({report['minutes']} minutes at most): {told}.")
    if not report["rows"]:
        return
    rows = [
        (
            str(row["count"]),
            row["rule"],
            row["reason"],
            row["task"] or "-",
            row["key"] or "-",
            _time(row["first_seen"]),
            _time(row["last_seen"]),
        )
        for row in report["rows"]
    ]
    click.echo()
    for line in aligned([_COLUMNS, *rows]):
        click.echo(line)


def _time(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))
