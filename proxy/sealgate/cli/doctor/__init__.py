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

    live.py            everything that is asked of servers that run
    greeting.py        what a broker says to a client that has just connected
    live_broker.py     checks: brokers, certificates, ways around the gateway
    own_login.py       checks: Sealgate's own user, and the quarantine
    live_management.py checks: who else is connected
    live_redis.py      checks: the replay store
    live_traffic.py    checks: what a gateway has counted

    celery_command.py  `doctor celery`: one Celery application
    probe.py           run by the application's own Python: its configuration as JSON
    probing.py         the child process around it, with its deadline
    celery_facts.py    what the probe says, in types
    celery_case.py     facts, files and gateway together: what each check is given
    celery_content.py  checks: serializers and content types
    celery_limits.py   checks: time, rate, prefetch, control, events
    celery_ways.py     checks: brokers, confirms, result stores, slips of the pen
    celery_keys.py     checks: in-process signing
    celery_live.py     checks: the way around and the result store, when connecting is allowed
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
  sealgate doctor --config gateway.toml --offline --format sarif --output doctor.sarif
  sealgate doctor --config sidecar.toml --against gateway.toml
  sealgate doctor --config gateway.toml --admin 127.0.0.1:9672 --fail-on error
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
@click.option("--offline", is_flag=True, help="Ask no broker, no replay store and no gateway.")
@click.option(
    "--management",
    metavar="URL",
    envvar="SEALGATE_DOCTOR_MANAGEMENT",
    show_envvar=True,
    help="RabbitMQ's management API with a login, as http://user:password@host:15672: who else is connected?",
)
@click.option(
    "--from",
    "gateways",
    multiple=True,
    metavar="ADDRESS",
    help="With --management: an address that connections of a gateway come from. This host's, and those of "
    "gateways that keep a quarantine, are known. Can be repeated.",
)
@click.option("--timeout", default=5.0, show_default=True, help="Seconds for each question to a server.")
@output_options
@click.pass_context
def doctor(
    ctx: click.Context,
    /,
    against: Path | None,
    offline: bool,
    management: str | None,
    gateways: tuple[str, ...],
    timeout: float,
    **options: Any,
) -> int | None:
    """Find what is wrong with a set-up: what, why it matters, and the line to change.

    Without a command: a configuration, its keys, and what it leads to: the brokers, the replay store, and the
    traffic of the gateway at the admin address, if one runs there. Nothing is published, declared or changed.
    The configuration is given as for `sealgate run`.
    """
    if ctx.invoked_subcommand is not None:
        return None
    from sealgate.cli.doctor.config_command import examine_config
    from sealgate.cli.doctor.live import Live

    output = output_of(**{name: options.pop(name) for name in _OUTPUT})
    live = None if offline else Live(timeout, options["admin"] is not None, management or "", gateways)
    return examine_config(options, against, live, output)


@doctor.command("rules")
def rules() -> None:
    """List every rule: its id, how bad it is, and what it finds."""
    from sealgate.cli.doctor.catalogue import RULES

    width = max(len(rule.id) for rule in RULES)
    for rule in RULES:
        click.echo(f"{rule.id.ljust(width)}  {rule.severity.word.ljust(7)}  {rule.title}")


doctor.add_command(celery)
