"""`sealgate keys rotate`: a new key takes over from an old one, and nothing legitimate is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from sealgate.cli.exits import EXIT_OK
from sealgate.cli.keys.asked import ask, load_config, matches
from sealgate.cli.keys.editing import Value
from sealgate.cli.keys.gateways import gateway_options
from sealgate.cli.keys.judging import against_promoting, against_retiring
from sealgate.cli.keys.keyfiles import read_files, rings_of, write_files
from sealgate.cli.keys.revoking import revoke
from sealgate.cli.keys.status import status
from sealgate.cli.keys.steps import (
    check_can_begin,
    check_can_promote,
    decide,
    end_of,
    new_name,
    replaced,
    secret_file,
    standing,
    switch,
    unique,
)
from sealgate.cli.keys.stored import begin_stored, promote_stored, retire_stored, stored
from sealgate.cli.keys.successor import Wishes, check_same_key, make_successor
from sealgate.cli.keys.telling import asking, note, paths, tell_begun, tell_pattern
from sealgate.cli.keys.writing import held
from sealgate.cli.options import FILE_PATH, duration
from sealgate.config.fields import Address
from sealgate.signing.keyring import KeyState

Command = Callable[..., Any]

_CODES: Final = """\b
Exit codes: 0 done, 64 wrong usage (no such key), 69 not now (every reason is told,
--force overrides), 77 a file may not be written, 78 a file is wrong, or the step is
not the next one. Unless it is 0, nothing was changed."""
_FILES: Final = click.argument("files", nargs=-1, required=True, type=FILE_PATH)
_FORCE: Final = click.option("--force", is_flag=True, help="Do it whatever speaks against it, which is told.")


def _kid(text: str) -> Callable[[Command], Command]:
    return click.option("--kid", required=True, metavar="KID", help=text)


@click.group(
    epilog="""\b
A rotation of web1-a, in the key file of a gateway and its signers:
  sealgate keys rotate begin keys.toml --kid web1-a
  sealgate keys rotate promote keys.toml --kid web1-b --gateway gw1:9672 --gateway gw2:9672
  sealgate keys rotate status keys.toml --gateway gw1:9672 --gateway gw2:9672
  sealgate keys rotate retire keys.toml --kid web1-a --gateway gw1:9672 --gateway gw2:9672

\b
When a key has leaked:
  sealgate keys rotate revoke web1-a keys.toml --gateway gw1:9672 --gateway gw2:9672"""
)
def rotate() -> None:
    """Replace a key while messages flow: begin, promote, retire; status says how far it is.

    `begin` adds a new key that everybody verifies and nobody signs with. `promote` makes signers switch to
    it. `retire` takes the old key out when its last message is over. Each may be given several files, of
    signers and gateways; it is done in all of them or in none. Everybody reads them again by themselves.
    In place of files a secret in AWS may be named (aws:shop/web1), whose stages are the states, or a key file
    in Vault (vault:secret/data/sealgate#keys).
    """


@rotate.command(
    epilog=f"""\b
Examples:
  sealgate keys rotate begin keys.toml --kid web1-a
  sealgate keys rotate begin signers.toml gateways.toml --kid k1 --new k1-2027
  sealgate keys rotate begin other.toml --kid web1-a --new web1-b \\
      --secret file:/etc/sealgate/web1-b --existing

{_CODES.replace("--force overrides", "try again")}"""
)
@_FILES
@_kid("The key that is to be replaced.")
@click.option("--new", metavar="KID", help="The new key's name. By default the next one: web1-b, k2, ...")
@click.option("--secret", metavar="REF", help="Where its secret is to be: file:/path, env:NAME, vault:...")
@click.option("--existing", is_flag=True, help="The secret is there already, as another machine made it.")
@click.option("--public", metavar="TEXT", help="Ed25519: its public half, where only that is in FILES.")
@click.option("--print", "printed", is_flag=True, help="Print the secret instead of writing it to a file.")
@click.option(
    "--ends-in",
    "ends_in_s",
    callback=duration,
    metavar="TIME",
    help="When it ends: 90d. By default it lives as long as the old one, where that is known.",
)
@click.option(
    "--config",
    "-c",
    type=FILE_PATH,
    envvar="SEALGATE_CONFIG",
    show_envvar=True,
    help="A signer's configuration, to see whether it will take the new key.",
)
def begin(
    files: tuple[Path, ...],
    kid: str,
    new: str | None,
    secret: str | None,
    existing: bool,
    public: str | None,
    printed: bool,
    ends_in_s: float | None,
    config: Path | None,
) -> int:
    """Add a key that takes over from KID to all FILES, with its grants, in state "verify".

    Where the old secret is in a file, the new one gets a file beside it, named after the key, as open as the
    old one and no more than 0640. Where it is in a variable (env:) or a systemd credential (cred:) the new
    reference is made alike, and the secret goes to standard output, alone, for you to put it there: a process
    gets a new variable only with a restart, and until it has it, keeps the keys it had. A secret in Vault or
    AWS needs --secret. A file with only the public half of an Ed25519 key gets only that.
    """
    settings = load_config(config)
    wishes = Wishes(secret, public, existing, printed)
    store = stored(files, settings)
    if store is not None:
        return begin_stored(store, kid, new, wishes, ends_in_s, settings)
    with held(files):
        read = read_files(unique(files), settings)
        old = standing(kid, read)
        check_can_begin(kid, read)
        check_same_key(read, kid)
        new = new_name(kid, new, read)
        now = int(time.time())
        made = make_successor(read, kid, new, wishes)
        values: dict[str, Value] = {
            "kid": new,
            "state": KeyState.VERIFY.value,
            "not_before": None,
            "created": now,
            "state_since": now,
            "replaces": kid,
            "not_after": end_of(old.key, old.created, ends_in_s, now),
        }
        for file, table in zip(read, made.tables, strict=True):
            file.text.copy(kid, {**values, **table})
        write_files(read, made.secrets, {new: made.materials})
    tell_begun(read, old, made, values["not_after"] is None)
    tell_pattern(kid, new, [file.ring for file in read])
    publish = settings.publish if settings is not None else None
    for name in ("sign_with", "countersign_with"):
        pattern = getattr(publish, name, None)
        if pattern is not None and matches(pattern, kid) and not matches(pattern, new):
            note(
                f'warning: publish.{name} = "{pattern}" in {config} does not stand for {new}: change it first'
            )
    if made.printed is not None:
        click.echo(made.printed)
    return EXIT_OK


@rotate.command(
    epilog=f"""\b
Examples:
  sealgate keys rotate promote keys.toml --kid web1-b --gateway gw1:9672 --gateway gw2:9672
  sealgate keys rotate promote signers.toml gateways.toml --kid web1-b -c gateway.toml

{_CODES}"""
)
@_FILES
@_kid("The new key, which `begin` made.")
@gateway_options
@_FORCE
def promote(
    files: tuple[Path, ...], kid: str, gateways: list[Address], config: Path | None, force: bool
) -> int:
    """Make KID sign in place of the key it replaces, which from then on only verifies.

    Not before every gateway has it: name them all. Where none is asked, the key must have been in the files
    for five minutes. Signers switch when they read their file again.
    """
    settings = load_config(config)
    store = stored(files, settings)
    if store is not None:
        return promote_stored(store, kid, ask(gateways, settings), gateways, force)
    with held(files):
        read = read_files(unique(files), settings)
        new = standing(kid, read)
        if not check_can_promote(kid, read):
            click.echo(f"nothing to do: {kid} is active already")
            return EXIT_OK
        old = replaced(kid, read)
        asked = ask(gateways, settings)
        reasons = against_promoting(new, asked.witnesses, asked.now)
        reasons += asked.signer_problems(old, kid, rings_of(read))
        decide(f"{kid} is not promoted", reasons, force)
        since: dict[str, Value] = {"state_since": int(asked.now)}
        for file in read:
            switch(file, old, kid, since)
        written = write_files(read)
    click.echo(f"{kid} signs from now on in place of {old}, which still verifies, in {paths(written)}")
    for witness in asked.witnesses:
        click.echo(f"  {witness.error or f'{witness.address} has {kid}'}")
    click.echo(
        f"Signers switch when they read the file again. Then, when messages under {old} have come to an end:"
    )
    click.echo(f"  sealgate keys rotate status {paths(files)}{asking(gateways)}")
    click.echo(f"  sealgate keys rotate retire {paths(files)} --kid {old}{asking(gateways)}")
    return EXIT_OK


@rotate.command(
    epilog=f"""\b
Examples:
  sealgate keys rotate retire keys.toml --kid web1-a --gateway gw1:9672 --gateway gw2:9672
  sealgate keys rotate retire keys.toml --kid web1-a --gateway gw1:9672 --validity 24h

{_CODES}"""
)
@_FILES
@_kid("The old key.")
@gateway_options
@click.option(
    "--validity",
    "lifetime_s",
    callback=duration,
    metavar="TIME",
    help="The longest any signer makes a seal valid, where that is less than the key's max_lifetime. "
    "Sealgate's own seals last 24h, longer only for tasks with a later eta or expires.",
)
@click.option(
    "--quiet",
    "quiet_s",
    callback=duration,
    metavar="TIME",
    default="1h",
    show_default=True,
    help="For how long no message must have come under it: the time in which each signer has read the new "
    "file, and publishes again.",
)
@_FORCE
def retire(
    files: tuple[Path, ...],
    kid: str,
    gateways: list[Address],
    config: Path | None,
    lifetime_s: float | None,
    quiet_s: float,
    force: bool,
) -> int:
    """Take the old key KID out of all FILES.

    Not while it signs, nor while messages have come under it within --quiet, nor while a seal made with it
    may still be valid, which the gateways know: name them all. What a gateway has not watched, as it was
    started later, counts as in flight for the key's max_lifetime (or --validity). A revoked key can go at
    once. The file with the secret stays; delete it when nobody names it any more.
    """
    settings = load_config(config)
    store = stored(files, settings)
    if store is not None:
        asked = ask(gateways, settings)
        return retire_stored(store, kid, asked, asked.limits(lifetime_s, quiet_s), force)
    with held(files):
        read = read_files(unique(files), settings)
        old = standing(kid, read)
        asked = ask(gateways, settings)
        reasons = against_retiring(old, asked.witnesses, asked.now, asked.limits(lifetime_s, quiet_s))
        reasons += asked.named_alone(kid)
        decide(f"{kid} is not retired", reasons, force)
        secrets = {secret_file(file, kid) for file in read}
        for file in read:
            if file.key(kid) is None:
                continue
            successor = file.successor(kid)
            file.text.remove(kid)
            if successor is not None and successor.state is KeyState.ACTIVE:
                file.text.change(successor.kid, {"replaces": None})
        written = write_files(read)
    click.echo(f"{kid} is retired: it is out of {paths(written)}")
    for path in sorted(path for path in secrets if path):
        click.echo(f"Its secret is still in {path}: delete it when no other key file names it.")
    return EXIT_OK


rotate.add_command(status)
rotate.add_command(revoke)
