"""`sealgate keys generate`, `list` and `check`: no command prints material but `generate`."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Final

import click

from sealgate.cli.keys.keyfiles import ring_without_secrets
from sealgate.cli.keys.words import iso
from sealgate.cli.options import FILE_PATH
from sealgate.config.errors import Problem
from sealgate.config.fields import is_reference
from sealgate.config.sources import Sources, read_keyring
from sealgate.signing.algorithms import ED25519, HMAC_SHA256
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.signing.material import generate_ed25519, generate_hmac
from sealgate.signing.token import is_kid

_PERMISSIONS: Final = ("vhosts", "users", "tasks", "exchanges", "routing_keys", "reply_to", "classes")
_COLUMNS: Final = ("KID", "ALG", "STATE", "SINCE", "SIGNS", "CREATED", "FROM", "UNTIL", "LIFETIME", "MAY")


@click.command()
@click.option(
    "--alg",
    type=click.Choice([HMAC_SHA256, ED25519]),
    default=HMAC_SHA256,
    show_default=True,
    help="Algorithm.",
)
@click.option("--kid", default="k1", show_default=True, help="The key's name.")
def generate(alg: str, kid: str) -> None:
    """Make a new key.

    The secret alone goes to standard output, for an environment variable or a file; the lines for the key
    file go to standard error.

    \b
    Example:
      (umask 077; sealgate keys generate > /etc/sealgate/k1)
    """
    if not is_kid(kid):
        raise click.BadParameter("want 1 to 64 of A-Z a-z 0-9 _ -", param_hint="--kid")
    variable = "SEALGATE_" + re.sub(r"[^A-Z0-9]", "_", kid.upper())
    if alg == HMAC_SHA256:
        secret = generate_hmac(os.urandom(32))
        hint = _block(kid, alg, f'secret = "env:{variable}"')
    else:
        secret, public = generate_ed25519(os.urandom(32))
        hint = _block(kid, alg, f'private = "env:{variable}"')
        hint += "\n# For whoever only verifies, in place of the private key:\n"
        hint += _block(kid, alg, f'public = "{public}"')
    click.echo("# For the key file; `env:` names a variable that holds the secret, `file:` a file.", err=True)
    click.echo(hint, err=True)
    click.echo(secret)


@click.command("list")
@click.argument("file", type=FILE_PATH)
def list_command(file: Path) -> None:
    """Show the keys of FILE: name, state, times and what each may do; never their secrets.

    Secrets are not read, so the variables and files they are in need not be there.
    """
    keyring = ring_without_secrets(file)
    now = time.time()
    rows: list[tuple[str, ...]] = [_COLUMNS]
    rows += [_row(key, now) for key in keyring]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@click.command()
@click.argument("file")
def check(file: str) -> None:
    """Read FILE and every secret it refers to, and tell all that is wrong with them.

    FILE may be a reference as keys.source has it, such as env:NAME or vault:secret/data/sealgate; Vault and
    AWS are asked as the environment says (VAULT_ADDR, VAULT_TOKEN, AWS_REGION and so on).

    \b
    Exit codes: 0 good (warnings are printed), 69 a secret store can not be reached, 77 FILE may not be read,
    78 not good.
    """
    sources = Sources(os.environ)
    try:
        keyring = read_keyring(file if is_reference(file) else f"file:{file}", sources)
    finally:
        _warn(sources.warnings)
    _warn(_doubts(file, keyring, time.time()))
    count = len(keyring.kids())
    click.echo(f"{file}: {count} {'key' if count == 1 else 'keys'}, ok")


def _block(kid: str, alg: str, material: str) -> str:
    return f'[[key]]\nkid = "{kid}"\nalg = "{alg}"\n{material}'


def _row(key: Key, now: float) -> tuple[str, ...]:
    signs = key.state is KeyState.ACTIVE and key.algorithm.can_sign and _time_problem(key, now) == ""
    return (
        key.kid,
        key.algorithm.name,
        key.state.value + _time_problem(key, now),
        iso(key.state_since),
        "yes" if signs else "no",
        iso(key.created),
        iso(key.not_before),
        iso(key.not_after),
        _duration(key.max_lifetime_s),
        _permissions(key),
    )


def _time_problem(key: Key, now: float) -> str:
    if key.not_before is not None and now < key.not_before:
        return " (not yet)"
    if key.not_after is not None and now > key.not_after:
        return " (over)"
    return ""


def _duration(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _permissions(key: Key) -> str:
    parts = []
    for name in _PERMISSIONS:
        patterns: tuple[str, ...] | None = getattr(key, name)
        if patterns is not None:
            parts.append(f"{name}=[{', '.join(repr(pattern) for pattern in patterns)}]")
    return " ".join(parts) or "anything"


def _doubts(file: str, keyring: Keyring, now: float) -> list[Problem]:
    """What is allowed in a key file but seldom meant."""
    doubts = []
    for index, key in enumerate(keyring):
        if _time_problem(key, now) == " (over)" and key.state is not KeyState.REVOKED:
            message = f"{key.kid} has not been usable since {iso(key.not_after)}"
            doubts.append(Problem(file, f"key[{index}].not_after", message))
        if key.tasks is not None and key.classes is None:
            message = f"{key.kid} may send some tasks only, but any command to workers: say classes as well"
            doubts.append(Problem(file, f"key[{index}].tasks", message))
    return doubts


def _warn(warnings: list[Problem]) -> None:
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
