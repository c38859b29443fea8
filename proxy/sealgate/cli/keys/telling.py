"""What the commands of a rotation say when they are done, and what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from sealgate.cli.keys.asked import matches
from sealgate.cli.keys.judging import SETTLING_S, Standing
from sealgate.cli.keys.keyfiles import KeyFile
from sealgate.cli.keys.naming import pattern_for
from sealgate.cli.keys.successor import Successor
from sealgate.cli.keys.words import span
from sealgate.config.fields import Address
from sealgate.signing.keyring import Keyring, KeyState


def tell_begun(files: Sequence[KeyFile], old: Standing, made: Successor, endless: bool) -> None:
    """What was done and what comes next, on standard error: standard output is the secret's."""
    where = paths([file.path for file in files])
    kid = old.key.kid
    note(f'{made.kid} is to replace {kid}: it has its grants and state "verify", in {where}')
    if old.key.not_after is not None and endless:
        note(
            f"warning: {kid} has an end and {made.kid} has none, as it is not known how long {kid} was to "
            "live: see --ends-in"
        )
    for secret in made.secrets:
        note(f"Written: {secret.path}")
    if made.literal and any(file.put is None for file in files):
        note("warning: the secret is written into the key file, as the old one is; env: or file: is safer")
    if not made.materials:
        note("The secret could not be looked at here: it is taken for granted.")
    if made.to_fill:
        note(
            f"The secret is on standard output. Put it where {', '.join(made.to_fill)} is read, for every "
            "process that reads these files: until it is there they keep the keys they have."
        )
    elif made.printed is not None:
        note("The private half is on standard output, for the signer's key file; these have the public one.")
    public = made.materials.get("public")
    if public is not None and "private" in made.materials:
        note(f"For other files that only verify: --public {public}")
    note(
        f"Whoever has key files of their own needs it as well: begin --kid {kid} --new {made.kid} there, too."
    )
    note(f"When every gateway has it ({span(SETTLING_S)} where none is asked):")
    note(f"  sealgate keys rotate promote {where} --kid {made.kid} --gateway HOST:9672 ...")


def tell_pattern(old: str, new: str, rings: Sequence[Keyring]) -> None:
    pattern = pattern_for(old, new)
    if pattern is None:
        note(f"warning: no pattern of publish.sign_with stands for {old} and {new}: change it with promote")
        return
    note(f'Signers must take it by a pattern: publish.sign_with = "{pattern}", the first key that can sign.')
    others = {
        key.kid
        for ring in rings
        for key in ring
        if key.kid != old and key.state is KeyState.ACTIVE and matches(pattern, key.kid)
    }
    if others:
        note(f'warning: "{pattern}" stands for {", ".join(sorted(others))} as well; choose another --new')


def note(text: str) -> None:
    click.echo(text, err=True)


def paths(paths: Sequence[Path]) -> str:
    return " ".join(str(path) for path in paths)


def asking(gateways: Sequence[Address]) -> str:
    return "".join([f" --gateway {address}" for address in gateways])
