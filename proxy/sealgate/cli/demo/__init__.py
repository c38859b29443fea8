"""`sealgate demo`: everything in one process but Celery, and an attacker.

    names       what a run calls its things        attacks   every kind, how it is made, its reason
    login       who everybody is at the broker     forge     messages built, sealed, captured and changed
    celery_app  an ordinary Celery application     attacker  the client that sends them
    producer    the process that uses it           sniffer   the wire the attacker listens on
    children    worker and producer processes      auditor   what reached the broker, seen from behind it
    scenario    from start to end                  report    the numbers; table shows them

Called by the command line. Its one warning: the numbers are proof only because worker, producer, wire and
broker are real; nothing here may look into a gate to decide that a message was stopped.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

from sealgate.cli.exits import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNAVAILABLE

if TYPE_CHECKING:
    from sealgate.cli.demo.report import Report

_EPILOG: Final = """\b
Examples:
  sealgate demo
  sealgate demo --upstream amqp://guest:guest@localhost:5672
  sealgate demo --json > report.json

\b
On a broker of your own the demo uses exchanges and queues of its own, and deletes them.
Exit codes: 0 every attack was refused for its right reason and no legitimate task was lost,
1 something else, 69 something could not be started."""


@click.command(epilog=_EPILOG)
@click.option("--upstream", metavar="URL", help="Use this RabbitMQ instead of the built-in broker.")
@click.option(
    "--tasks", default=60, show_default=True, type=click.IntRange(40, 100_000), help="Legitimate tasks."
)
@click.option(
    "--seconds", default=12.0, show_default=True, type=click.FloatRange(1, 3600), help="Time to send them in."
)
@click.option("--plain", is_flag=True, help="Lines instead of a live table.")
@click.option("--json", "as_json", is_flag=True, help="Only the report, as JSON.")
def demo(upstream: str | None, tasks: int, seconds: float, plain: bool, as_json: bool) -> int:
    """Show it all in one process: broker, gateway, Celery and an attacker."""
    if importlib.util.find_spec("celery") is None:
        click.echo("sealgate: the demo needs Celery: pip install 'sealgate[demo]'", err=True)
        return EXIT_UNAVAILABLE
    if upstream is not None and urlsplit(upstream).scheme not in ("amqp", "amqps"):
        raise click.BadParameter("want amqp://user:password@host:port", param_hint="--upstream")
    home = Path(tempfile.mkdtemp(prefix="sealgate-demo-"))
    report = _run(home, upstream, tasks, seconds, plain, as_json)
    if isinstance(report, int):
        shutil.rmtree(home)
        return report
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    if not report.ok:
        click.echo(f"The logs are in {home}.", err=True)
        return EXIT_FAILED
    shutil.rmtree(home)
    return EXIT_OK


def _run(
    home: Path, upstream: str | None, tasks: int, seconds: float, plain: bool, quiet: bool
) -> Report | int:
    """The report, or the exit code when it did not come to one."""
    from sealgate.app.errors import StartError
    from sealgate.cli.demo.scenario import Demo, Plan
    from sealgate.cli.demo.table import display
    from sealgate.ops.logging import configure_logging

    shown = display(plain, quiet)
    with (home / "gates.log").open("w") as log:
        configure_logging("info", "json", log)
        run = Demo(Plan(upstream, tasks, seconds), home, shown.update)
        try:
            asyncio.run(run.run())
        except (StartError, OSError, RuntimeError) as error:
            shown.abandon()
            click.echo(f"sealgate: {error}", err=True)
            return EXIT_UNAVAILABLE
        except KeyboardInterrupt:
            shown.abandon()
            return EXIT_INTERRUPTED
    shown.finish(run.report)
    return run.report
