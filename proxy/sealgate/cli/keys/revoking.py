"""`sealgate keys rotate revoke`: a key that has leaked is taken no longer, and each gateway says so."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sealgate.cli.exits import EXIT_OK, EXIT_UNAVAILABLE
from sealgate.cli.keys.asked import addresses_of, load_config
from sealgate.cli.keys.gateways import Witness, ask_all, gateway_options
from sealgate.cli.keys.keyfiles import KeyFile, read_files, write_files
from sealgate.cli.keys.steps import standing, unique
from sealgate.cli.keys.stored import revoke_stored, stored
from sealgate.cli.keys.telling import note, paths
from sealgate.cli.keys.words import ago, span
from sealgate.cli.keys.writing import held
from sealgate.cli.options import FILE_PATH, duration
from sealgate.config.fields import Address, is_remote
from sealgate.signing.keyring import KeyState

if TYPE_CHECKING:
    from sealgate.config.settings import Settings

#: Files are looked at every two seconds, and read by each worker for itself.
WAIT_S: Final = 30.0
#: Stores are asked every minute (`keys.refresh`), and a tenth later by some.
STORE_WAIT_S: Final = 90.0
_PAUSE_S: Final = 0.3


@click.command(
    epilog="""\b
Examples:
  sealgate keys rotate revoke web1-a keys.toml --gateway gw1:9672 --gateway gw2:9672

\b
Exit codes: 0 revoked (at every gateway asked, too), 64 wrong usage, 69 revoked in the
files, but a gateway asked does not say so in time (or another command is just changing
them, which is told), 77 a file may not be written,
78 a file is wrong. With 64, 77 and 78 nothing was changed."""
)
@click.argument("kid")
@click.argument("files", nargs=-1, required=True, type=FILE_PATH)
@gateway_options
@click.option(
    "--wait",
    "wait_s",
    callback=duration,
    metavar="TIME",
    help="How long the gateways asked may take: 30s if not given, 90s where the keys are in Vault or AWS.",
)
def revoke(
    kid: str, files: tuple[Path, ...], gateways: list[Address], config: Path | None, wait_s: float | None
) -> int:
    """Revoke KID in all FILES at once: nobody signs with it, and nobody takes a message under it any more.

    For a key that has leaked. Messages that are under way or in queues are refused where they are verified
    from then on. Gateways that are asked (--gateway) read their files by themselves, within seconds; it waits
    until each says the key is revoked there, and tells which do not. One that reads its keys from elsewhere
    wants them there, one that hangs SIGHUP.
    """
    settings = load_config(config)
    store = stored(files, settings)
    if store is not None:
        revoke_stored(store, kid, settings)
    else:
        _revoke(kid, files, settings)
    addresses = addresses_of(gateways, settings)
    if not addresses:
        note("No gateway was asked whether it has it in force: --gateway HOST:9672")
        return EXIT_OK
    if wait_s is None:
        wait_s = STORE_WAIT_S if any(is_remote(str(file)) for file in files) else WAIT_S
    return _wait(kid, addresses, wait_s)


def _revoke(kid: str, files: Sequence[Path], settings: Settings | None) -> None:
    """State revoked in all files, and what to do next."""
    with held(files):
        read = read_files(unique(files), settings)
        standing(kid, read)
        now = int(time.time())
        for file in read:
            key = file.key(kid)
            if key is not None and key.state is not KeyState.REVOKED:
                file.text.change(kid, {"state": KeyState.REVOKED.value, "state_since": now})
        written = write_files(read)
    told = f"revoked in {paths(written)}" if written else "revoked already in these files"
    click.echo(f"{kid} is {told}")
    _tell_signers(kid, read)


def _wait(kid: str, addresses: Sequence[Address], wait_s: float) -> int:
    """Ask until every gateway says it is revoked there, or the time is over."""
    end = time.monotonic() + wait_s
    left = list(addresses)
    while True:
        witnesses = ask_all(left)
        for address, witness in zip(list(left), witnesses, strict=True):
            if not _speaks_against(kid, witness):
                click.echo(f"  {address}: {kid} is revoked there")
                left.remove(address)
        if not left:
            return EXIT_OK
        if time.monotonic() >= end:
            break
        time.sleep(min(_PAUSE_S, max(end - time.monotonic(), 0)))
    for witness in ask_all(left):
        reason = _speaks_against(kid, witness)
        click.echo(f"  {witness.address}: {reason or f'{kid} is revoked there'}", err=bool(reason))
    note(f"not in force everywhere after {span(wait_s)}: bring the files there, send SIGHUP, or stop those")
    return EXIT_UNAVAILABLE


def _speaks_against(kid: str, witness: Witness) -> str:
    """Why the key may still be taken there; empty when it is not."""
    if witness.error:
        return f"NOT KNOWN: {witness.error}"
    use = witness.keys.get(kid)
    if use is None or use.state == KeyState.REVOKED.value:
        return ""
    failing = ""
    if witness.failing_since:
        since = ago(witness.failing_since, time.time())
        failing = f"; its keys have not been readable for {since}: see its /readyz"
    return f"{kid} IS STILL IN FORCE there, in state {use.state} (it reads {witness.source}){failing}"


def _tell_signers(kid: str, files: Sequence[KeyFile]) -> None:
    """Whether anything signs in its place, and what to do where nothing does."""
    waiting: dict[str, list[Path]] = {}
    alone: list[Path] = []
    for file in files:
        successor = file.successor(kid)
        if successor is None:
            alone.append(file.path)
        elif successor.state is KeyState.VERIFY:
            waiting.setdefault(successor.kid, []).append(file.path)
    for new, where in waiting.items():
        note(f"{new}, which replaces it, does not sign yet:")
        note(f"  sealgate keys rotate promote {paths(where)} --kid {new} --force")
    if alone:
        note("If signers still need a key in its place, begin, and then promote --force:")
        note(f"  sealgate keys rotate begin {paths(alone)} --kid {kid}")
