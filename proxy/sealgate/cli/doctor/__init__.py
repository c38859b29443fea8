"""`sealgate doctor`: what is wrong with a set-up, why that matters, and the line to change.

    __init__.py        the command group, and the list of rules
    options.py         format, suppressions, exit code
    findings.py        a rule, a finding, a report
    catalogue.py       all rules; their texts are in *_rules.py
    text.py machine.py the report for people; as JSON and SARIF

    config_command.py  `doctor`: a configuration
    config_case.py     settings, where each was set, and keys: what each check is given
    config_checks.py   checks: what may be asked without connecting
    keys_checks.py     checks: keys
    agreement.py       checks: whether signer and verifier agree
    toml_lines.py      the line of a TOML file that sets a key

    celery_command.py  `doctor celery`: one Celery application
    probe.py           run by the application's own Python: its configuration as JSON
    probing.py         the child process around it, with its deadline
    celery_facts.py    what the probe says, in types
    celery_case.py     facts, files and gateway together: what each check is given
    celery_content.py  checks: serializers and content types
    celery_limits.py   checks: time, rate, prefetch, control, events
    celery_ways.py     checks: brokers, confirms, result stores, slips of the pen
    locating.py        where a setting is written, and how its line looks

Called by `cli`. A check is a function from a case to findings; it prints nothing. Its one warning: cases hold
passwords (of broker and result store), and no finding may repeat one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sealgate.cli.doctor.celery_command import celery
from sealgate.cli.doctor.options import output_of, output_options
from sealgate.cli.options import FILE_PATH, settings_options

_OUTPUT = ("form", "output", "ignore", "fail_on")


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  sealgate doctor --config gateway.toml
  sealgate doctor --config sidecar.toml --against gateway.toml
  sealgate doctor celery -A proj
  sealgate doctor rules

\b
Exit codes: 0 nothing at or above --fail-on, 1 something is, 64 wrong usage, 78 the configuration can not be
used.""",
)
@settings_options
@click.option(
    "--against",
    type=FILE_PATH,
    help="The configuration of the other side: do signer and gateway agree on deployment, kids and secrets?",
)
@click.option("--offline", is_flag=True, help="Connect to nothing.")
@output_options
@click.pass_context
def doctor(ctx: click.Context, /, against: Path | None, offline: bool, **options: Any) -> int | None:
    """Find what is wrong with a set-up: what, why it matters, and the line to change.

    Without a command: a configuration and its keys. The configuration is given as for `sealgate run`.
    """
    if ctx.invoked_subcommand is not None:
        return None
    from sealgate.cli.doctor.config_command import examine_config

    output = output_of(**{name: options.pop(name) for name in _OUTPUT})
    return examine_config(options, against, output)


@doctor.command("rules")
def rules() -> None:
    """List every rule: its id, how bad it is, and what it finds."""
    from sealgate.cli.doctor.catalogue import RULES

    width = max(len(rule.id) for rule in RULES)
    for rule in RULES:
        click.echo(f"{rule.id.ljust(width)}  {rule.severity.word.ljust(7)}  {rule.title}")


doctor.add_command(celery)
