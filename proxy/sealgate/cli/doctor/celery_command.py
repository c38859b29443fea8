"""`sealgate doctor celery`: the configuration of one Celery application."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sealgate.cli.doctor.findings import Report
from sealgate.cli.doctor.options import output_of, output_options
from sealgate.cli.exits import EXIT_CONFIG, EXIT_OK
from sealgate.cli.options import FILE_PATH

if TYPE_CHECKING:
    from sealgate.cli.doctor.celery_facts import Facts
    from sealgate.cli.doctor.config_case import Case as PolicyCase

#: For each question to a server.
_ANSWER_S: Final = 5.0


@click.command(
    "celery",
    epilog="""\b
Examples:
  sealgate doctor celery -A proj
  sealgate doctor celery -A proj.celery:app --gateway 127.0.0.1:6672
  sealgate doctor celery --django proj.settings --namespace CELERY
  sealgate doctor celery --config-from proj.celeryconfig --format sarif --output doctor.sarif
  sealgate doctor celery -A proj --policy gateway.toml --ignore celery.no-rate-limit@shop.tasks.ping
  sealgate doctor celery -A proj --python /srv/shop/.venv/bin/python

\b
Exit codes: 0 nothing at or above --fail-on, 1 something is, 64 wrong usage,
78 the application can not be imported.""",
)
@click.option("--app", "-A", metavar="MODULE[:NAME]", help="The application, as for `celery -A`.")
@click.option("--config-from", metavar="MODULE", help="A settings module without an application.")
@click.option(
    "--django", metavar="MODULE", help="A Django project's settings module, without an application."
)
@click.option(
    "--namespace", metavar="NAME", help="Prefix of the settings in there; CELERY with --django unless given."
)
@click.option(
    "--workdir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="Where to import from; the current folder when not given.",
)
@click.option(
    "--python", metavar="PATH", default=sys.executable, help="The application's Python, if it has its own."
)
@click.option(
    "--gateway",
    multiple=True,
    metavar="HOST:PORT",
    help="Where a sidecar or gateway listens. With any given, a broker URL elsewhere is an error. "
    "Can be repeated.",
)
@click.option(
    "--policy",
    type=FILE_PATH,
    help="The configuration of the gateway: its content types, compression, protocol and rates are held "
    "against the application's.",
)
@click.option(
    "--connect",
    is_flag=True,
    help="Connect, too: does the broker of --policy let the application in from here, and may Redis evict "
    "results?",
)
@click.option("--timeout", default=30.0, show_default=True, help="Seconds that the import may take.")
@output_options
def celery(
    app: str | None,
    config_from: str | None,
    django: str | None,
    namespace: str | None,
    workdir: Path,
    python: str,
    gateway: tuple[str, ...],
    policy: Path | None,
    connect: bool,
    timeout: float,
    **output: Any,
) -> int:
    """Say which mitigations a Celery application lacks, and the line that brings each.

    The application is imported in a child process, by its own Python if that is another one. No task is run,
    and nothing is connected to but by what the import itself does, unless --connect asks for it.
    """
    from sealgate.cli.doctor.probing import ProbeError, Request, probe

    if sum(value is not None for value in (app, config_from, django)) != 1:
        raise click.UsageError("give one of --app, --config-from and --django")
    if namespace is None and django is not None:
        namespace = "CELERY"
    settings = None if policy is None else _policy(policy)
    request = Request(app, config_from or django, django is not None, namespace, workdir, python)
    target = app or config_from or django or ""
    try:
        facts = probe(request, timeout)
    except ProbeError as error:
        click.echo(f"sealgate: {target} can not be examined: {error}", err=True)
        return EXIT_CONFIG
    report = Report(_title(target, facts))
    _examine(report, facts, frozenset(gateway), settings, connect)
    return output_of(**output).tell(report) or EXIT_OK


def _policy(file: Path) -> PolicyCase:
    """The gateway's configuration and keys. Raises ConfigError."""
    from sealgate.cli.doctor.config_command import case_of, required
    from sealgate.config.loading import load

    case = case_of(load(file))
    required(case.loaded)
    return case


def _title(target: str, facts: Facts) -> str:
    count = len(facts.tasks)
    kind = "task" if count == 1 else "tasks"
    return f"Celery application {target}: {count} {kind}, Celery {facts.versions.get('celery', '?')}"


def _examine(
    report: Report, facts: Facts, gateways: frozenset[str], gateway: PolicyCase | None, connect: bool
) -> None:
    from sealgate.cli.doctor.celery_case import Case
    from sealgate.cli.doctor.celery_content import check_content
    from sealgate.cli.doctor.celery_keys import check_signing
    from sealgate.cli.doctor.celery_limits import check_limits
    from sealgate.cli.doctor.celery_ways import check_ways
    from sealgate.cli.doctor.locating import Locator

    case = Case(facts, Locator(facts, Path()), gateways, gateway)
    for check in (check_content, check_limits, check_ways):
        report.add(check(case))
    report.examined.append("the settings of the application and of each of its tasks")
    check_signing(case, report, time.time())
    if gateway is None:
        report.skipped.append("whether the gateway takes what is sent (--policy FILE)")
    else:
        report.examined.append(f"whether {gateway.name} takes what is sent")
    if connect:
        from sealgate.cli.doctor.celery_live import check_connected

        check_connected(case, report, _ANSWER_S)
