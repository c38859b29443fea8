"""A rotation by the stages of one secret in AWS Secrets Manager, as docs/keys.md has them.

Its versions are the keys: AWSPENDING verifies (begin), AWSCURRENT signs (promote), AWSPREVIOUS verifies until
the stage is taken off (retire). Each step is one or two calls that AWS refuses when somebody was faster.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import click

from sealgate.cli.keys.judging import Standing
from sealgate.cli.keys.keyfiles import MATERIALS, standing_in
from sealgate.cli.keys.naming import next_kid
from sealgate.cli.keys.successor import Wishes
from sealgate.cli.keys.words import iso
from sealgate.config.aws import CURRENT, PENDING, PREVIOUS, AwsStore, AwsVersion
from sealgate.config.errors import ConfigError, Problem, SourceError
from sealgate.config.fields import check_reference
from sealgate.config.store_settings import Aws
from sealgate.signing.algorithms import HMAC_SHA256
from sealgate.signing.keyfile import KeyfileError, load_secrets
from sealgate.signing.keyring import Key, Keyring
from sealgate.signing.material import (
    MaterialError,
    MaterialKind,
    generate_ed25519,
    generate_hmac,
    parse_secret,
)

if TYPE_CHECKING:
    from sealgate.config.settings import Settings

_STAGES: Final = (CURRENT, PENDING, PREVIOUS)


@dataclass(slots=True)
class StagedSecret:
    """One secret whose versions are keys: `kids` says which key is in which stage."""

    reference: str
    store: AwsStore
    ring: Keyring
    versions: dict[str, AwsVersion]
    kids: dict[str, str]

    def standing(self, kid: str) -> Standing:
        """What the stages say of `kid`. Raises `click.BadParameter` where none has it."""
        standing = standing_in(kid, [(self.reference, self.ring)])
        if standing is None:
            known = ", ".join(self.ring.kids())
            message = f"there is no key {kid} in {self.reference} (keys: {known})"
            raise click.BadParameter(message, param_hint="--kid")
        return standing

    def begin(self, kid: str, new: str | None, wishes: Wishes, ends_at: int | None, now: int) -> str:
        """Make a version AWSPENDING; the new key's kid. Raises `ConfigError`, `click.UsageError`."""
        key = self.standing(kid).key
        if kid != self.kids[CURRENT]:
            raise self._refused(f"{kid} does not sign: the key in {CURRENT} is {self.kids[CURRENT]}")
        if PENDING in self.kids:
            raise self._refused(
                f"a rotation is under way: {self.kids[PENDING]} is {PENDING}; promote it next"
            )
        if PREVIOUS in self.kids:
            message = f"{self.kids[PREVIOUS]} is still {PREVIOUS}, and would go unseen: retire it first"
            raise self._refused(message)
        if wishes.secret is not None or wishes.existing or wishes.printed:
            raise click.UsageError("the new secret goes to AWS: no --secret, --existing or --print")
        text = self._successor_text(kid, key, new, wishes, ends_at, now)
        try:
            self.store.add_pending(self.reference.partition(":")[2], text)
        except SourceError as error:
            raise ConfigError([error.problem("")]) from None
        return read_staged(self.reference, self.store).kids[PENDING]

    def promote(self) -> None:
        """AWSCURRENT to the version that is AWSPENDING; AWS makes the one before AWSPREVIOUS."""
        pending, current = self.versions[PENDING].version_id, self.versions[CURRENT].version_id
        self._move(CURRENT, current, pending)
        self._move(PENDING, pending)

    def drop(self, stage: str) -> None:
        """Take the stage off its version, which nobody reads any more then."""
        self._move(stage, self.versions[stage].version_id)

    def stage_of(self, kid: str) -> str:
        return next(stage for stage, known in self.kids.items() if known == kid)

    def _move(self, stage: str, source: str, target: str | None = None) -> None:
        try:
            self.store.move(self.reference.partition(":")[2], stage, source, target)
        except SourceError as error:
            raise ConfigError([error.problem("")]) from None

    def _successor_text(
        self, kid: str, key: Key, new: str | None, wishes: Wishes, ends_at: int | None, now: int
    ) -> str:
        """The text of the new version, written as the current one is."""
        old = self.versions[CURRENT].text.strip()
        fields = _fields(old)
        if fields is None or "kid" not in fields:
            if new is not None:
                message = "its keys have no kid of their own, and are named after their versions: no --new"
                raise click.UsageError(message)
        else:
            new = new or next_kid(kid, set(self.ring.kids()))
            if new is None or new in self.ring.kids():
                raise click.UsageError("want another name for the new key: --new")
        if fields is None:
            if wishes.public is not None:
                raise click.UsageError("--public is for a secret that holds nothing but the public half")
            return _fresh(key)
        made = {name: value for name, value in fields.items() if name not in ("not_before", "not_after")}
        material = next(name for name in MATERIALS if name in fields)
        made[material] = _material(material, key, wishes)
        made |= {"created": iso(now), "replaces": kid}
        if ends_at is not None:
            made["not_after"] = iso(ends_at)
        if new is not None:
            made["kid"] = new
        return json.dumps(made)

    def _refused(self, message: str) -> ConfigError:
        return ConfigError([Problem(self.reference, "", message)])


def staged_secret(reference: str, settings: Settings | None) -> StagedSecret:
    """What is behind the reference now. Raises `ConfigError` for anything but a key in stages."""
    return read_staged(reference, _store(reference, settings))


def is_staged(reference: str, settings: Settings | None) -> bool:
    """Whether the secret is one key, so that its versions are a rotation; else it is a text of keys.

    Raises `ConfigError`.
    """
    store = _store(reference, settings)
    try:
        return not isinstance(store.secrets(reference.partition(":")[2]), str)
    except SourceError as error:
        raise ConfigError([error.problem("")]) from None


def _store(reference: str, settings: Settings | None) -> AwsStore:
    try:
        check_reference(reference)
    except ValueError as error:
        raise click.UsageError(f"{reference}: {error}") from None
    return AwsStore(settings.aws if settings is not None and settings.aws is not None else Aws())


def read_staged(reference: str, store: AwsStore) -> StagedSecret:
    locator = reference.partition(":")[2]
    store.begin()
    try:
        found = store.secrets(locator)
        versions = store.versions(locator)
    except SourceError as error:
        raise ConfigError([error.problem("")]) from None
    if isinstance(found, str):
        raise ConfigError([Problem(reference, "", "is no key with stages any more", away=True)])
    try:
        ring, _ = load_secrets(found)
    except KeyfileError as error:
        raise ConfigError([Problem(reference, "", message) for message in error.errors]) from None
    # As the store gives them: each version once, AWSCURRENT first.
    stages: dict[str, str] = {}
    for stage in _STAGES:
        version = versions.get(stage)
        if version is not None and version.version_id not in stages.values():
            stages[stage] = version.version_id
    kids = dict(zip(stages, [secret.kid for secret in found], strict=True))
    keys = [_dated(key, stage, versions, kids) for key, stage in zip(ring, stages, strict=True)]
    return StagedSecret(reference, store, Keyring(keys), versions, kids)


def _dated(key: Key, stage: str, versions: Mapping[str, AwsVersion], kids: Mapping[str, str]) -> Key:
    """`key` with what AWS knows of its version. Nobody writes down when a stage moves: a version that is to
    come has been so since it was made."""
    created = key.created if key.created is not None else versions[stage].created
    before = {PENDING: CURRENT, CURRENT: PREVIOUS}.get(stage, "")
    since = created if stage == PENDING else None
    return replace(key, created=created, state_since=since, replaces=kids.get(before))


def _fields(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _fresh(key: Key) -> str:
    if key.algorithm.name == HMAC_SHA256:
        return generate_hmac(os.urandom(32))
    return generate_ed25519(os.urandom(32))[0]


def _material(name: str, key: Key, wishes: Wishes) -> str:
    if name != "public":
        if wishes.public is not None:
            raise click.UsageError("--public is for a secret that holds nothing but the public half")
        return _fresh(key)
    if wishes.public is None:
        raise click.UsageError("it holds the public half alone: give that of the new key with --public")
    try:
        parse_secret(wishes.public, MaterialKind.ED25519_PUBLIC)
    except MaterialError as error:
        raise click.BadParameter(str(error), param_hint="--public") from None
    return wishes.public
