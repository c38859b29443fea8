"""`sealgate quarantine`: look at what was refused, and throw it away."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext
from typing import Any, Final, NoReturn, TypeVar

import click

from sealgate.cli.exits import EXIT_FAILED, EXIT_OK, EXIT_PERMISSION, EXIT_UNAVAILABLE
from sealgate.cli.options import FILE_PATH
from sealgate.cli.quarantine_text import item_json, show_lines, table_lines
from sealgate.config.loading import load
from sealgate.config.settings import Settings
from sealgate.quarantine.browse import Browser, Filter, Item, NoQueueError, browsing
from sealgate.quarantine.link import LinkLostError, LinkRefusedError
from sealgate.quarantine.record import Kept

#: What a listing shows unless told otherwise: some screens.
LIMIT: Final = 100

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")


@dataclass(slots=True, frozen=True)
class Place:
    """Where the quarantine is: brokers to try in order, and the queue's name."""

    urls: tuple[str, ...]
    queue: str
    tls: SSLContext | None


def _place_options(command: F) -> F:
    """`--config`, `--upstream` and `--queue`, the same for every command of the group."""
    for option in (
        click.option("--queue", metavar="NAME", help="The quarantine's name, instead of the configured one."),
        click.option(
            "--upstream",
            metavar="URL",
            help="The broker that holds the quarantine, as amqp://user:password@host:port/vhost.",
        ),
        click.option(
            "--config",
            "-c",
            type=FILE_PATH,
            envvar="SEALGATE_CONFIG",
            show_envvar=True,
            help="The gateway's TOML file.",
        ),
    ):
        command = option(command)
    return command


def _filter_options(command: F) -> F:
    """`--reason`, `--task` and `--kid`: exact, or globs."""
    reason = click.option("--reason", metavar="GLOB", default="", help="Only this reason, such as 'sig.*'.")
    task = click.option("--task", metavar="GLOB", default="", help="Only this task name.")
    kid = click.option("--kid", metavar="GLOB", default="", help="Only messages under this key.")
    return reason(task(kid(command)))


@click.group()
def quarantine() -> None:
    """Look at refused messages, and throw them away.

    Nothing here takes a message out but `discard`. While one command reads, another sees fewer messages:
    those that are being read. Messages that come in meanwhile are not looked at.

    The broker is the one of the gateway's configuration, or --upstream.

    \b
    Examples:
      sealgate quarantine list --config gateway.toml --reason 'sig.*'
      sealgate quarantine show 7f9a... --upstream amqp://rabbitmq --body raw > body.bin
      sealgate quarantine discard --reason replay.duplicate --upstream amqp://rabbitmq

    \b
    Exit codes: 0 done, 1 not found, 64 usage, 69 broker unavailable, 77 not allowed, 78 configuration.
    """


@quarantine.command("list")
@_place_options
@_filter_options
@click.option("--limit", type=click.IntRange(1, 100_000), default=LIMIT, show_default=True, help="At most.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line; the default without a terminal."
)
def list_command(
    config: Path | None,
    upstream: str | None,
    queue: str | None,
    reason: str,
    task: str,
    kid: str,
    limit: int,
    as_json: bool,
) -> int:
    """List what is kept, oldest first, as a table or as JSON lines.

    \b
    Examples:
      sealgate quarantine list --upstream amqp://rabbitmq
      sealgate quarantine list --upstream amqp://rabbitmq --task 'shop.*' --json | jq .reason
    """
    wanted = Filter(reason, task, kid)
    nothing: list[Item] = []
    items = browse(
        place_of(config, upstream, queue), lambda browser: browser.list(wanted, limit), empty=nothing
    )
    if as_json or not sys.stdout.isatty():
        lines = [json.dumps(item_json(item)) for item in items]
    else:
        lines = table_lines(items)
    for line in lines:
        click.echo(line)
    if len(items) == limit:
        click.echo(f"stopped at --limit {limit}; there may be more", err=True)
    return EXIT_OK


@quarantine.command("show")
@click.argument("message_id", metavar="ID")
@_place_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object, the whole body in base64.")
@click.option(
    "--body",
    type=click.Choice(["preview", "raw"]),
    default="preview",
    show_default=True,
    help="raw writes the body alone to standard output, byte for byte.",
)
def show_command(
    message_id: str, config: Path | None, upstream: str | None, queue: str | None, as_json: bool, body: str
) -> int:
    """Show one kept message: why it was refused, where it was going, properties, headers and body.

    \b
    Examples:
      sealgate quarantine show 7f9a... --upstream amqp://rabbitmq
      sealgate quarantine show 7f9a... --upstream amqp://rabbitmq --body raw > body.bin
    """
    if as_json and body == "raw":
        raise click.UsageError("--json and --body raw can not go together")
    item = browse(place_of(config, upstream, queue), lambda browser: browser.show(message_id), empty=None)
    if item is None:
        return _not_found(message_id)
    if body == "raw" and isinstance(item, Kept):
        sys.stdout.buffer.write(item.record.body)
    elif as_json:
        click.echo(json.dumps(item_json(item, whole_body=True)))
    else:
        click.echo("\n".join(show_lines(item)))
    return EXIT_OK


@quarantine.command("discard")
@click.argument("message_id", metavar="[ID]", required=False)
@_place_options
@_filter_options
@click.option("--all", "everything", is_flag=True, help="All that is there, unreadable messages included.")
@click.option("--yes", is_flag=True, help="Do not ask before --all.")
def discard_command(
    message_id: str | None,
    config: Path | None,
    upstream: str | None,
    queue: str | None,
    reason: str,
    task: str,
    kid: str,
    everything: bool,
    yes: bool,
) -> int:
    """Throw away one message by its ID, those a filter takes, or all. This can not be undone.

    \b
    Examples:
      sealgate quarantine discard 7f9a... --upstream amqp://rabbitmq
      sealgate quarantine discard --reason 'rate.*' --task 'shop.*' --upstream amqp://rabbitmq
      sealgate quarantine discard --all --yes --upstream amqp://rabbitmq
    """
    wanted = Filter(reason, task, kid)
    if [bool(message_id), bool(reason or task or kid), everything].count(True) != 1:
        raise click.UsageError("say which: an ID, or --reason/--task/--kid, or --all")
    place = place_of(config, upstream, queue)
    if message_id:
        if not browse(place, lambda browser: browser.discard_one(message_id), empty=False):
            return _not_found(message_id)
        count = 1
    else:
        if everything and not yes:
            click.confirm("Throw away everything in quarantine?", abort=True, err=True)
        count = browse(place, lambda browser: browser.discard(wanted), empty=0)
    click.echo(f"discarded {count}", err=True)
    return EXIT_OK


def place_of(config: Path | None, upstream: str | None, queue: str | None) -> Place:
    """Where the configuration says the quarantine is; the options outdo it. Raises `ConfigError`."""
    urls = ("--upstream", [upstream] if upstream else None)
    options: dict[str, tuple[str, object]] = {
        "upstream.urls": urls,
        "quarantine.url": ("--upstream", upstream),
        "quarantine.exchange": ("--queue", queue),
    }
    settings = load(config, options).require()
    kept_at = settings.quarantine.url
    brokers = settings.upstream.urls if kept_at is None else (kept_at,)
    return Place(brokers, settings.quarantine.exchange, _tls(settings, brokers))


def _tls(settings: Settings, urls: tuple[str, ...]) -> SSLContext | None:
    if not any(url.startswith("amqps:") for url in urls):
        return None
    from sealgate.app.build import build_upstream_tls
    from sealgate.app.errors import StartError

    try:
        return build_upstream_tls(settings, urls)
    except StartError as error:
        _fail(str(error), error.exit_code)


def browse(place: Place, work: Callable[[Browser], Awaitable[R]], empty: R) -> R:
    """What `work` finds in the quarantine at `place`, `empty` when there is no such queue yet."""
    # The AMQP library logs every failure besides raising it.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(_work_at(place, work))
    except NoQueueError:
        click.echo(f"there is no queue {place.queue}: no gateway has kept anything here", err=True)
        return empty
    except LinkLostError as error:
        _fail(f"the broker can not be reached: {error}", EXIT_UNAVAILABLE)
    except LinkRefusedError as error:
        _fail(f"the broker refused: {error}", EXIT_PERMISSION)


async def _work_at(place: Place, work: Callable[[Browser], Awaitable[R]]) -> R:
    """`work` at the first broker that can be reached. Raises what `browsing` raises for the last."""
    lost = LinkLostError("no broker is named")
    for url in place.urls:
        try:
            async with browsing(url, place.queue, ssl_context=place.tls) as browser:
                return await work(browser)
        except LinkLostError as error:
            lost = error
    raise lost


def _not_found(message_id: str) -> int:
    click.echo(f"sealgate: {message_id} is not in quarantine", err=True)
    return EXIT_FAILED


def _fail(text: str, status: int) -> NoReturn:
    click.echo(f"sealgate: {text}", err=True)
    raise click.exceptions.Exit(status)
