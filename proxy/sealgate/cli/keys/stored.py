"""The steps of a rotation in a store on the network: AWS, by stages. A key file in Vault is a file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sealgate.cli.exits import EXIT_OK
from sealgate.cli.keys.asked import Asked, matches
from sealgate.cli.keys.judging import Limits, against_promoting, against_retiring
from sealgate.cli.keys.steps import decide, end_of
from sealgate.cli.keys.telling import asking, note, tell_pattern
from sealgate.config.errors import ConfigError, Problem
from sealgate.config.fields import Address, is_remote
from sealgate.signing.keyring import Keyring

if TYPE_CHECKING:
    from sealgate.cli.keys.aws_stages import StagedSecret
    from sealgate.cli.keys.successor import Wishes
    from sealgate.config.settings import Settings

_SIGNERS: Final = ("sign_with", "countersign_with")


def stored(files: Sequence[Path], settings: Settings | None) -> str | None:
    """The secret in AWS whose stages are a rotation, if one is given; None for key files, wherever they are.

    Raises `click.UsageError` for one among others, and for keys in Vault that have no states.
    """
    names = [str(file) for file in files]
    remote = [name for name in names if is_remote(name)]
    if not remote:
        return None
    name = remote[0]
    if name.startswith("vault:") and "#" not in name:
        raise click.UsageError(
            f"{name}: the fields of a secret are keys without states, all of them active. Keep a key file in "
            f'one field instead (vault kv patch ... keys=@keys.toml; keys.source = "{name}#keys"), and '
            f"rotate that: {name}#keys"
        )
    if len(remote) > 1 or (name.startswith("aws:") and len(names) > 1):
        raise click.UsageError("a store on the network is changed alone: give one command for each")
    if name.startswith("vault:"):
        return None
    from sealgate.cli.keys.aws_stages import is_staged

    return name if is_staged(name, settings) else None


def staged_ring(reference: str, settings: Settings | None) -> Keyring:
    """The keys of an AWS secret, with what their stages say of a rotation.

    Raises `ConfigError`, and `click.UsageError` where stages are none.
    """
    from sealgate.cli.keys.aws_stages import staged_secret

    return staged_secret(reference, settings).ring


def begin_stored(
    reference: str,
    kid: str,
    new: str | None,
    wishes: Wishes,
    ends_in_s: float | None,
    settings: Settings | None,
) -> int:
    from sealgate.cli.keys.aws_stages import staged_secret

    secret = staged_secret(reference, settings)
    old = secret.standing(kid)
    now = int(time.time())
    made = secret.begin(kid, new, wishes, end_of(old.key, old.created, ends_in_s, now), now)
    note(f"{made} is to replace {kid}: it is AWSPENDING in {reference}, and verifies everywhere in a while")
    tell_pattern(kid, made, [secret.ring])
    if settings is not None:
        for name in _SIGNERS:
            pattern: str | None = getattr(settings.publish, name)
            if pattern is not None and matches(pattern, kid) and not matches(pattern, made):
                note(f'warning: publish.{name} = "{pattern}" does not stand for {made}: change it first')
    note("When every gateway has asked again (keys.refresh, 1m unless set):")
    note(f"  sealgate keys rotate promote {reference} --kid {made} --gateway HOST:9672 ...")
    return EXIT_OK


def promote_stored(reference: str, kid: str, asked: Asked, gateways: Sequence[Address], force: bool) -> int:
    from sealgate.cli.keys.aws_stages import staged_secret
    from sealgate.config.aws import CURRENT, PENDING

    secret = staged_secret(reference, asked.settings)
    new = secret.standing(kid)
    stage = secret.stage_of(kid)
    if stage == CURRENT and PENDING not in secret.kids:
        click.echo(f"nothing to do: {kid} is {CURRENT} already")
        return EXIT_OK
    if stage != PENDING:
        raise _out_of_order(secret, f"{kid} is {stage}, and not {PENDING}")
    old = secret.kids[CURRENT]
    reasons = against_promoting(new, asked.witnesses, asked.now)
    reasons += asked.signer_problems(old, kid, [(reference, secret.ring)])
    decide(f"{kid} is not promoted", reasons, force)
    secret.promote()
    click.echo(
        f"{kid} signs from now on in place of {old}, which still verifies (AWSPREVIOUS), in {reference}"
    )
    click.echo(f"Signers switch when they ask again. Then, when messages under {old} have come to an end:")
    click.echo(f"  sealgate keys rotate retire {reference} --kid {old}{asking(gateways)}")
    return EXIT_OK


def retire_stored(reference: str, kid: str, asked: Asked, limits: Limits, force: bool) -> int:
    from sealgate.cli.keys.aws_stages import staged_secret
    from sealgate.config.aws import CURRENT

    secret = staged_secret(reference, asked.settings)
    old = secret.standing(kid)
    stage = secret.stage_of(kid)
    if stage == CURRENT:
        raise _out_of_order(secret, f"{kid} is {CURRENT}: it signs, and AWS keeps a secret current")
    reasons = against_retiring(old, asked.witnesses, asked.now, limits)
    reasons += asked.named_alone(kid)
    decide(f"{kid} is not retired", reasons, force)
    secret.drop(stage)
    click.echo(f"{kid} is retired: it is in no stage of {reference} any more")
    return EXIT_OK


def revoke_stored(reference: str, kid: str, settings: Settings | None) -> None:
    """Take the key out of its stage, so that it is known nowhere. Raises for the one that signs."""
    from sealgate.cli.keys.aws_stages import staged_secret
    from sealgate.config.aws import CURRENT

    secret = staged_secret(reference, settings)
    secret.standing(kid)
    stage = secret.stage_of(kid)
    if stage == CURRENT:
        message = (
            f"{kid} is {CURRENT}, which AWS does not leave empty: begin, promote --force, and revoke it then"
        )
        raise _out_of_order(secret, message)
    secret.drop(stage)
    click.echo(f"{kid} is in no stage of {reference} any more")


def _out_of_order(secret: StagedSecret, message: str) -> Exception:
    return ConfigError([Problem(secret.reference, "", message)])
