"""Who is asked before a step, and what a configuration given says of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sealgate.cli.exits import EXIT_UNAVAILABLE
from sealgate.cli.keys.gateways import Witness, ask_all
from sealgate.cli.keys.judging import QUIET_S, Limits
from sealgate.config.fields import Address
from sealgate.signing.keyring import Keyring, KeyState

if TYPE_CHECKING:
    from sealgate.config.settings import Settings

_SIGNERS: Final = ("sign_with", "countersign_with")


@dataclass(slots=True, frozen=True)
class Asked:
    """The gateways' answers, and the configuration, where one was given."""

    witnesses: list[Witness]
    settings: Settings | None
    now: float

    def limits(self, lifetime_s: float | None = None, quiet_s: float = QUIET_S) -> Limits:
        if self.settings is None:
            return Limits(lifetime_s=lifetime_s, quiet_s=quiet_s)
        return Limits(self.settings.replay.clock_skew, lifetime_s, quiet_s)

    def signer_problems(self, old: str, new: str, rings: Sequence[tuple[str, Keyring]]) -> Iterator[str]:
        """Why the configuration's signer would not switch from `old` to `new`."""
        if self.settings is None:
            return
        for field in _SIGNERS:
            name: str | None = getattr(self.settings.publish, field)
            if name is None or not matches(name, old):
                continue
            if not matches(name, new):
                yield f'publish.{field} = "{name}" does not stand for {new}: use a pattern for both'
                continue
            for place, ring in rings:
                first = _first_signer(ring, name, but=(old, new))
                if first:
                    yield f'publish.{field} = "{name}" takes {first}, which signs as well, in {place}'
        countersigners = self.settings.deliver.countersigned_by
        if old in countersigners and new not in countersigners:
            yield f"deliver.countersigned_by has {old} and not {new}: deliveries would be refused"

    def named_alone(self, kid: str) -> Iterator[str]:
        """Where the configuration's signer could not start again without `kid`."""
        if self.settings is None:
            return
        for field in _SIGNERS:
            if getattr(self.settings.publish, field) == kid:
                yield f'publish.{field} = "{kid}" names it alone: its next start would fail'


class NotNow(click.ClickException):
    """A step that must wait: every reason, and what overrides them."""

    exit_code = EXIT_UNAVAILABLE

    def __init__(self, step: str, reasons: Sequence[str]) -> None:
        told = [f"  - {reason}" for reason in dict.fromkeys(reasons)]
        super().__init__("\n".join([f"{step}, because:", *told, "--force does it all the same."]))


def ask(gateways: Sequence[Address], settings: Settings | None) -> Asked:
    """Ask the gateways named and that of the configuration."""
    witnesses = ask_all(addresses_of(gateways, settings))
    return Asked(witnesses, settings, time.time())


def addresses_of(gateways: Sequence[Address], settings: Settings | None) -> list[Address]:
    """The gateways named, and that of the configuration, each once."""
    addresses = list(dict.fromkeys(gateways))
    if settings is not None and settings.admin.enabled and settings.admin.address not in addresses:
        addresses.append(settings.admin.address)
    return addresses


def load_config(config: Path | None) -> Settings | None:
    """Raises `ConfigError` for what is wrong there."""
    if config is None:
        return None
    from sealgate.config.loading import load

    return load(config, {}, ()).settings


def matches(name: str, kid: str) -> bool:
    """Whether `publish.sign_with = name` may sign with `kid`."""
    return kid.startswith(name[:-1]) if name.endswith("*") else kid == name


def _first_signer(ring: Keyring, name: str, but: Sequence[str]) -> str:
    """The first key of `ring` that signs under `name`, if it is none of `but`."""
    for key in ring:
        if matches(name, key.kid) and (key.kid in but):
            return ""
        if matches(name, key.kid) and key.state is KeyState.ACTIVE and key.algorithm.can_sign:
            return key.kid
    return ""
