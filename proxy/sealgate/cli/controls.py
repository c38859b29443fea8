"""Orders to a gateway that runs: `pause`, `shed`, `revoke`, `resume`, `unrevoke`; `controls` shows them."""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import click

from sealgate.cli.asking import UnansweredError, ask, ask_json
from sealgate.cli.exits import EXIT_FAILED, EXIT_OK, EXIT_PERMISSION, EXIT_UNAVAILABLE, EXIT_USAGE
from sealgate.cli.options import duration, load_settings, settings_options
from sealgate.cli.text import aligned
from sealgate.config.fields import format_duration

PAGE: Final = "/controls"
_COLUMNS: Final = ("ORDER", "SUBJECT", "SINCE", "ENDS IN", "BY")
_CODES: Final = """\b
Exit codes: 0 done, 1 the gateway says no, 64 wrong usage, 69 no gateway answers,
77 admin.token is missing or another one."""

Command = Callable[..., Any]


def _for(text: str) -> Callable[[Command], Command]:
    return click.option("--for", "for_s", callback=duration, metavar="TIME", help=text)


_FOR_PATTERN: Final = _for(
    "End it by itself after that time: 90s, 30m, 2h, 1d. Until it is lifted if not given."
)
_FOR_ID: Final = _for("How long: 30m, 2h, 7d. A day if not given, 30 days at most.")
_PATTERN: Final = click.argument("pattern")
_TASK_ID: Final = click.argument("task_id")


@click.command(
    epilog=f"""\b
Examples:
  sealgate pause 'shop.payments.*' --config gateway.toml
  sealgate pause shop.tasks.import_prices --for 30m -c gateway.toml
  sealgate resume 'shop.payments.*' -c gateway.toml

{_CODES}"""
)
@_PATTERN
@_FOR_PATTERN
@settings_options
def pause(pattern: str, for_s: float | None, **options: Any) -> int:
    """Park messages of the task PATTERN (a name, or a glob with * and ?) in the broker until it is resumed.

    For while what the tasks need is away: producers go on and are confirmed, workers get none. Parked
    messages lie in durable queues (sealgate.park.*) and outlive restarts of gateway and broker. When the task
    is resumed, the broker brings them to where they were going, in their order, before new ones. What is in
    queues already goes on. A message with an expiration of its own can not be parked and is refused
    (rate.shed). It needs admin.token, and control.state or Redis.
    """
    return _give({"order": "pause", "subject": pattern, "for_s": for_s}, options)


@click.command(
    epilog=f"""\b
Examples:
  sealgate shed shop.tasks.send_newsletter --config gateway.toml
  sealgate shed 'shop.reports.*' --for 2h -c gateway.toml
  sealgate resume 'shop.reports.*' -c gateway.toml

{_CODES}"""
)
@_PATTERN
@_FOR_PATTERN
@settings_options
def shed(pattern: str, for_s: float | None, **options: Any) -> int:
    """Refuse messages of the task PATTERN (a name, or a glob with * and ?) until it is resumed.

    For an hour of trouble: a task that floods the workers, a broken release. Who publishes one is told
    rate.shed, as of any other refusal, and the message is kept in quarantine. What is in queues already
    goes on. It needs admin.token, holds where rules only observe too, and outlives restarts where
    control.state is set or replay.store is Redis; gateways that share Redis obey within two seconds.
    """
    return _give({"order": "shed", "subject": pattern, "for_s": for_s}, options)


@click.command(
    epilog=f"""\b
Examples:
  sealgate revoke 0f3a7d1e-6a55-4d36-9a70-3f1d1f0f7c1e --config gateway.toml
  sealgate revoke 0f3a7d1e-6a55-4d36-9a70-3f1d1f0f7c1e --for 7d -c gateway.toml

{_CODES}"""
)
@_TASK_ID
@_FOR_ID
@settings_options
def revoke(task_id: str, for_s: float | None, **options: Any) -> int:
    """Refuse the one task with the id TASK_ID: when it is published, and where deliveries are verified, too.

    Celery's own revoke tells the workers that run at that moment; this holds before the broker, over their
    restarts, and for retries, which keep their id. The reason is acl.revoked. It always ends some time.
    """
    return _give({"order": "revoke", "subject": task_id, "for_s": for_s}, options)


@click.command(
    epilog=f"""\b
Examples:
  sealgate resume 'shop.reports.*' --config gateway.toml

{_CODES}"""
)
@_PATTERN
@settings_options
def resume(pattern: str, **options: Any) -> int:
    """Lift what was ordered for exactly this PATTERN, as `sealgate controls` shows it."""
    return _give({"order": "resume", "subject": pattern}, options)


@click.command(
    epilog=f"""\b
Examples:
  sealgate unrevoke 0f3a7d1e-6a55-4d36-9a70-3f1d1f0f7c1e --config gateway.toml

{_CODES}"""
)
@_TASK_ID
@settings_options
def unrevoke(task_id: str, **options: Any) -> int:
    """Let the task with the id TASK_ID through again."""
    return _give({"order": "unrevoke", "subject": task_id}, options)


@click.command(
    epilog="""\b
Examples:
  sealgate controls --config gateway.toml
  sealgate controls --admin 127.0.0.1:9672 --json

\b
Exit codes: 0 shown, 69 no gateway answers."""
)
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON, times in Unix seconds.")
def controls(as_json: bool, **options: Any) -> int:
    """List what operators have ordered a gateway that runs: what is shed, what is revoked, and until when."""
    address = load_settings(**options).settings.admin.address
    try:
        answer = ask_json(address, PAGE)
    except UnansweredError as error:
        click.echo(str(error), err=True)
        return EXIT_UNAVAILABLE
    if as_json:
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return EXIT_OK
    for line in _lines(answer):
        click.echo(line)
    return EXIT_OK


def _lines(answer: dict[str, Any]) -> list[str]:
    if answer["trouble"]:
        click.echo(f"orders of other gateways may be missing: {answer['trouble']}", err=True)
    if not answer["orders"]:
        return ["nothing is ordered"]
    rows = [
        (
            order["kind"],
            order["subject"],
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(order["since"])),
            _left(order["until"] - answer["now"]) if order["until"] else "-",
            order["by"] or "-",
        )
        for order in answer["orders"]
    ]
    return aligned([_COLUMNS, *rows])


def _left(seconds: float) -> str:
    """Rounded to what anybody asks for."""
    for unit in (3600, 60):
        if seconds >= 2 * unit:
            return format_duration(seconds // unit * unit)
    return format_duration(max(seconds, 0) // 1)


def _give(asked: dict[str, Any], options: dict[str, Any]) -> int:
    """Ask the gateway for it, and tell how it ended."""
    settings = load_settings(**options).settings
    token = _token(settings.admin.token)
    if token is None:
        click.echo("admin.token is not set here: give the configuration of the gateway (--config)", err=True)
        return EXIT_PERMISSION
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps({**asked, "by": _who()}).encode()
    address = settings.admin.address
    try:
        status, answer = ask(address, PAGE, method="POST", body=body, headers=headers)
    except UnansweredError as error:
        click.echo(str(error), err=True)
        return EXIT_UNAVAILABLE
    told = _read(answer)
    if status != HTTPStatus.OK:
        click.echo(f"{address}: {told.get('error') or f'HTTP status {status}'}", err=True)
        return _EXITS.get(status, EXIT_FAILED)
    click.echo(_done(asked, told))
    return EXIT_OK


def _done(asked: dict[str, Any], told: dict[str, Any]) -> str:
    subject = asked["subject"]
    if "lifted" in told:
        return f"{subject}: no longer {' or '.join([_PARTICIPLES[kind] for kind in told['lifted']])}"
    until = told["until"]
    ends = f"for {_left(until - told['since'])}" if until else "until it is resumed"
    kept = f"kept in {told['kept']}" if told["kept"] else "not kept over a restart: set control.state"
    return f"{subject}: {_PARTICIPLES[told['kind']]} {ends} ({kept})"


_EXITS: Final[dict[int, int]] = {HTTPStatus.FORBIDDEN: EXIT_PERMISSION, HTTPStatus.BAD_REQUEST: EXIT_USAGE}
_PARTICIPLES: Final = {"pause": "paused", "shed": "shed", "revoke": "revoked"}


def _token(reference: str | None) -> str | None:
    """Raises `ConfigError` when what it refers to does not serve."""
    from sealgate.config.sources import Sources, read_token

    return read_token(reference, Sources(os.environ))


def _read(answer: bytes) -> dict[str, Any]:
    try:
        told = json.loads(answer)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _who() -> str:
    try:
        return f"{getpass.getuser()}@{os.uname().nodename}"
    except (OSError, KeyError):
        return ""
