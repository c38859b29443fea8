"""`sealgate doctor`: what is wrong with a set-up, why that matters, and the line to change.

    __init__.py        the command group, and the list of rules
    options.py         format, suppressions, exit code
    findings.py        a rule, a finding, a report
    catalogue.py       all rules; their texts are in *_rules.py
    text.py machine.py the report for people; as JSON and SARIF
    celery_command.py  `doctor celery`: one Celery application
    probe.py           run by the application's own Python: its configuration as JSON
    probing.py         the child process around it, with its deadline
    celery_facts.py    what the probe says, in types
    celery_case.py     facts, files and gateway together: what each check is given
    celery_content.py  checks: serializers and content types
    celery_limits.py   checks: time, rate, prefetch, control, events
    celery_ways.py     checks: brokers, confirms, result stores, slips of the pen
    locating.py        where a setting is written, and how its line looks

Called by `cli`. A check is a function from a case to findings; it connects to nothing and prints nothing. Its
one warning: facts hold passwords (of broker and result store), and no finding may repeat one.
"""

from __future__ import annotations

import click

from sealgate.cli.doctor.celery_command import celery


@click.group()
def doctor() -> None:
    """Find what is wrong with a set-up: what, why it matters, and the line to change."""


@doctor.command("rules")
def rules() -> None:
    """List every rule: its id, how bad it is, and what it finds."""
    from sealgate.cli.doctor.catalogue import RULES

    width = max(len(rule.id) for rule in RULES)
    for rule in RULES:
        click.echo(f"{rule.id.ljust(width)}  {rule.severity.word.ljust(7)}  {rule.title}")


doctor.add_command(celery)
