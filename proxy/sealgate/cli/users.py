"""`sealgate users`: hash a password, look at a users file, check it. No command prints a password or a hash
but `hash` its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import click

from sealgate.accounts.passwords import (
    COST_DEFAULT,
    PASSWORD_BYTES_MAX,
    SALT_BYTES,
    HashError,
    hash_password,
)
from sealgate.accounts.userfile import UserfileError, load_users
from sealgate.accounts.users import BrokerLogin, User, UserBook
from sealgate.cli.options import FILE_PATH
from sealgate.config.errors import ConfigError, Problem
from sealgate.config.sources import SourceError, Sources

_COLUMNS: Final = ("NAME", "STATE", "PASSWORD", "CERTIFICATE", "BROKER USER", "VHOSTS")
#: Shorter ones are found by trying them all, whatever a hash costs.
_CHARS_ADVISED: Final = 16


@click.group()
def users() -> None:
    """Make, list and check the users of a users file.

    For credentials.mode = "replace", where clients log in to Sealgate and hold no credentials of the broker.

    \b
    Examples:
      sealgate users hash
      sealgate users check /etc/sealgate/users.toml
    """


@users.command("hash")
def hash_command() -> None:
    """Ask for a password and print its hash, for `password = "..."` in a users file.

    On a terminal the password is asked for twice and not shown; else it is the first line of standard input.
    It is never taken from the command line, where every user of the machine could read it.

    \b
    Examples:
      sealgate users hash
      openssl rand -base64 24 | tee /dev/tty | sealgate users hash

    \b
    Exit codes: 0 done, 64 no password that can be used.
    """
    password = _password()
    try:
        text = hash_password(password, os.urandom(SALT_BYTES), COST_DEFAULT)
    except HashError as error:
        raise click.UsageError(str(error)) from None
    if len(password.decode(errors="replace")) < _CHARS_ADVISED:
        click.echo(f"warning: under {_CHARS_ADVISED} characters; a random one is safer", err=True)
    click.echo(text)


@users.command("list")
@click.argument("file", type=FILE_PATH)
def list_command(file: Path) -> None:
    """Show the users of FILE: name, state, how they log in, and what each may open; never a hash.

    Passwords of the broker are not read, so the variables and files they are in need not be there.

    \b
    Exit codes: 0 shown, 77 FILE may not be read, 78 not good.
    """
    book, _ = _read(file, Sources({}), with_secrets=False)
    rows: list[tuple[str, ...]] = [_COLUMNS]
    rows += [_row(user) for user in book]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@users.command()
@click.argument("file", type=FILE_PATH)
def check(file: Path) -> None:
    """Read FILE and every secret it refers to, and tell all that is wrong with them.

    \b
    Exit codes: 0 good (warnings are printed), 77 FILE may not be read, 78 not good.
    """
    sources = Sources(os.environ)
    try:
        book, warnings = _read(file, sources, with_secrets=True)
    finally:
        for warning in sources.warnings:
            click.echo(f"warning: {warning}", err=True)
    for message in warnings:
        click.echo(f"warning: {file}: {message}", err=True)
    count = len(book)
    click.echo(f"{file}: {count} {'user' if count == 1 else 'users'}, ok")


def _password() -> bytes:
    if sys.stdin.isatty():
        asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return asked.encode()
    line = sys.stdin.buffer.readline(PASSWORD_BYTES_MAX + 2)
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _read(file: Path, sources: Sources, with_secrets: bool) -> tuple[UserBook, list[str]]:
    """The users of `file`; those without a broker login of their own have an empty one."""
    resolve = sources.resolve if with_secrets else str
    try:
        return load_users(sources.read_file(file), resolve, BrokerLogin("", ""))
    except SourceError as error:
        raise ConfigError([Problem("", "", str(error), error.permission)]) from None
    except UserfileError as error:
        raise ConfigError([Problem(str(file), "", message) for message in error.errors]) from None


def _row(user: User) -> tuple[str, ...]:
    cost = user.password.cost if user.password is not None else None
    return (
        user.name,
        "active" if user.active else "disabled",
        "-" if cost is None else f"ln={cost.ln},r={cost.r},p={cost.p}",
        user.certificate or "-",
        user.broker.user or "-",
        "any" if user.vhosts is None else ", ".join(repr(vhost) for vhost in user.vhosts) or "none",
    )
