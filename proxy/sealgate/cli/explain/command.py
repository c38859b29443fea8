"""`sealgate explain`: the command."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import click

from sealgate.cli.exits import EXIT_FAILED, EXIT_OK
from sealgate.cli.explain.compare import compare, compare_digests, read_digests
from sealgate.cli.explain.given import Given, of_kept, read_given
from sealgate.cli.explain.guesses import guess
from sealgate.cli.explain.steps import run_steps
from sealgate.cli.explain.text import Explained, as_json, lines
from sealgate.cli.explain.values import Hints, usual_deployments
from sealgate.cli.message_json import JSON_BYTES_MAX, MessageError
from sealgate.cli.options import FILE_PATH
from sealgate.cli.quarantine import browse, place_of
from sealgate.config.fields import is_reference
from sealgate.config.loading import load
from sealgate.config.settings import Settings
from sealgate.config.sources import read_keyring, sources_of
from sealgate.quarantine.browse import Browser, Filter, Item, Unreadable
from sealgate.reason import Reason
from sealgate.signing.keyring import Keyring
from sealgate.verify.checks import Verifier
from sealgate.verify.message import Peer

_NUMBER_MAX: Final = 10_000


@click.command()
@click.argument("file", required=False)
@click.option(
    "--quarantine", "wanted", metavar="ID|NUMBER", help="A refused message, by id or place in the list."
)
@click.option(
    "--config",
    "-c",
    type=FILE_PATH,
    envvar="SEALGATE_CONFIG",
    show_envvar=True,
    help="The gateway's TOML file.",
)
@click.option(
    "--keys", "source", metavar="FILE", help="The key file, or a reference.  [default: the configuration's]"
)
@click.option(
    "--upstream", metavar="URL", help="The broker that holds the quarantine, instead of the configured one."
)
@click.option(
    "--number", type=click.IntRange(1, _NUMBER_MAX), help="Which publish of a capture that holds several."
)
@click.option("--original", metavar="FILE", help="The message as it was sealed: what differs is then known.")
@click.option("--vhost", help="Where it was sent, when the message does not tell.  [default: /]")
@click.option("--user", help="Who sent it, when the message does not tell.")
@click.option("--deployment", help="Instead of the configured one.")
@click.option(
    "--at", metavar="TIME", help="Judge as of then, ISO 8601.  [default: when it was refused, else now]"
)
@click.option(
    "--task", "tasks", multiple=True, metavar="NAME", help="A task it may have named. Can be repeated."
)
@click.option("--json", "to_json", is_flag=True, help="Print one JSON object.")
def explain(
    file: str | None,
    wanted: str | None,
    config: Path | None,
    source: str | None,
    upstream: str | None,
    number: int | None,
    original: str | None,
    vhost: str | None,
    user: str | None,
    deployment: str | None,
    at: str | None,
    tasks: tuple[str, ...],
    to_json: bool,
) -> int:
    """Say why one message passes or not: every check in order, what it saw and what it wanted.

    FILE is a message as JSON (as `sealgate sign` takes it), or AMQP frames, binary or in hexadecimal; - is
    standard input. With a bad signature it tries which single change makes it good again, and names the
    header or property. What was changed from a value that nobody can guess is only found with --original: the
    message as it was sealed, or what `sealgate sign --json` printed of it (then the section is named).

    No secret, no signature and no body is printed.

    \b
    Examples:
      sealgate explain message.json --config gateway.toml
      sealgate explain --quarantine 7f9a... --config gateway.toml
      sealgate explain capture.hex --original sent.json --keys keys.toml

    \b
    Exit codes: 0 it would pass, 1 it would not (or is not in quarantine), 64 usage, 69 broker unavailable,
    77 or 78 keys or configuration can not be read.
    """
    if (file is None) == (wanted is None):
        raise click.UsageError("say which message: FILE, or --quarantine")
    now = None if at is None else _moment(at)
    settings = Settings() if config is None else load(config).require()
    given = _from_quarantine(str(wanted), config, upstream) if file is None else _from_file(file, number)
    if given is None:
        click.echo(f"sealgate: {wanted} is not in quarantine", err=True)
        return EXIT_FAILED
    earlier = None if original is None else _original(original)
    keyring = _read_keyring(source or settings.keys.source, settings)
    if now is None:
        now = time.time() if given.at is None else given.at
    explained = _explain(given, earlier, settings, keyring, _Said(vhost, user, deployment, tasks), now)
    if to_json:
        click.echo(json.dumps(as_json(explained)))
    else:
        click.echo("\n".join(lines(explained)))
    return EXIT_OK if explained.findings.reason is Reason.OK else EXIT_FAILED


class _Said:
    """What the command line says of the message, for what the message does not tell."""

    def __init__(
        self, vhost: str | None, user: str | None, deployment: str | None, tasks: tuple[str, ...]
    ) -> None:
        self.vhost: Final = vhost
        self.user: Final = user
        self.deployment: Final = deployment
        self.tasks: Final = tasks


def _explain(
    given: Given,
    original: Given | dict[str, str] | None,
    settings: Settings,
    keyring: Keyring,
    said: _Said,
    now: float,
) -> Explained:
    from sealgate.app.build import build_policy

    deployment = said.deployment or given.deployment or settings.deployment
    policy = build_policy(settings.model_copy(update={"deployment": deployment}))
    vhost = said.vhost or given.vhost or "/"
    peer = Peer(deployment, vhost, said.user or given.user or "")
    findings = run_steps(given, Verifier(policy, keyring), peer, now)
    explained = Explained(given, findings, now, [])
    if isinstance(original, dict):
        explained.differences = compare_digests(findings.digests, original)
        explained.how = "compared with the digests of the signer" + (
            "" if explained.differences else ": all equal"
        )
    elif original is not None:
        given.vhost, given.deployment = vhost, deployment
        _hold_against(explained, original)
    elif findings.bad_signature:
        _try(explained, keyring, deployment, vhost, _hints(settings, keyring, said, given))
    return explained


def _hold_against(explained: Explained, original: Given) -> None:
    if explained.given.message is None or original.message is None:
        error = original.error or explained.given.error
        explained.how = f"nothing to compare: one of the two can not be read ({error})"
        return
    explained.differences = compare(explained.given, original)
    explained.how = f"compared with {original.where}"
    if not explained.differences and explained.findings.bad_signature:
        explained.how += ": nothing that a seal covers differs; the secret, the deployment or the vhost does"


def _try(explained: Explained, keyring: Keyring, deployment: str, vhost: str, hints: Hints) -> None:
    findings, message = explained.findings, explained.given.message
    assert message is not None and findings.token is not None and findings.key is not None
    guessed = guess(message, findings.token, findings.key, keyring, deployment, vhost, hints)
    if guessed.difference is not None:
        explained.differences = [guessed.difference]
        explained.how = f"found by trying: with this undone the signature is good (trial {guessed.trials})"
        return
    more = "more than" if guessed.stopped else "none of"
    explained.how = (
        f"{more} {guessed.trials} single changes make the signature good: a value was changed from one that "
        "can not be guessed, several were, or the secret is not the signer's; --original tells"
    )


def _hints(settings: Settings, keyring: Keyring, said: _Said, given: Given) -> Hints:
    """Names that the configuration and the keys know, and those of the command line."""
    vhosts: list[str] = ["/", ""]
    tasks: list[str] = [*said.tasks, *settings.rate]
    for key in keyring:
        vhosts += key.vhosts or ()
        tasks += key.tasks or ()
    for rule in settings.rule:
        vhosts.append(rule.match.vhost)
        tasks.append(rule.match.task)
    vhosts += [unquote(urlsplit(url).path[1:]) for url in settings.upstream.urls]
    deployments = usual_deployments(settings.deployment, *([said.deployment] if said.deployment else []))
    return Hints(_exact(vhosts), deployments, _exact(tasks))


def _exact(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([name for name in names if not set(name) & set("*?[")]))


def _original(name: str) -> Given | dict[str, str]:
    """The message as it was, or the digests that the signer printed of it."""
    data = _bytes_of(name)
    return read_digests(data) or _read(name, data, None)


def _from_file(name: str, number: int | None) -> Given:
    return _read(name, _bytes_of(name), number)


def _bytes_of(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(JSON_BYTES_MAX + 1)
        with Path(name).open("rb") as file:
            return file.read(JSON_BYTES_MAX + 1)
    except PermissionError:
        raise
    except OSError as error:
        raise click.UsageError(f"{name} can not be read: {error.strerror}") from None


def _read(name: str, data: bytes, number: int | None) -> Given:
    try:
        return read_given(data, "standard input" if name == "-" else name, number)
    except MessageError as error:
        raise click.UsageError(f"{name} {error}") from None


def _from_quarantine(wanted: str, config: Path | None, upstream: str | None) -> Given | None:
    """The message with that id, or at that place of `quarantine list`, the oldest being 1."""

    async def find(browser: Browser) -> Item | None:
        if not wanted.isdigit() or len(wanted) > 5:
            return await browser.show(wanted)
        listed = await browser.list(Filter(), int(wanted))
        return await browser.show(listed[-1].id) if 0 < int(wanted) == len(listed) else None

    item = browse(place_of(config, upstream, None), find, empty=None)
    if isinstance(item, Unreadable):
        raise click.UsageError(f"{wanted} is no message that a gateway kept: {item.problem}")
    return None if item is None else of_kept(item)


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter("want a time like 2026-01-01T00:00:00Z", param_hint="--at") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _read_keyring(source: str, settings: Settings) -> Keyring:
    """Raises `ConfigError`, which `main` tells."""
    sources = sources_of(settings, os.environ)
    try:
        return read_keyring(source if is_reference(source) else f"file:{source}", sources)
    finally:
        for warning in sources.warnings:
            click.echo(f"warning: {warning}", err=True)
