"""Key files as a rotation sees them: read without their secrets, changed together, checked before written."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sealgate.cli.keys.editing import EditError, KeyText
from sealgate.cli.keys.judging import Standing
from sealgate.cli.keys.writing import Change, NewSecret, carry_out, check_writable
from sealgate.config.errors import ConfigError, Problem
from sealgate.config.fields import check_reference, is_remote
from sealgate.config.sources import SourceError, Sources, Stamp, stamp_of
from sealgate.config.store_settings import Aws, Vault
from sealgate.signing.keyfile import KeyfileError, load_keyring
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.signing.material import generate_ed25519, generate_hmac

if TYPE_CHECKING:
    from sealgate.config.aws import AwsStore
    from sealgate.config.settings import Settings
    from sealgate.config.vault import VaultStore

MATERIALS: Final = ("secret", "private", "public")


@dataclass(slots=True)
class KeyFile:
    """One file: `ring` is what it held when it was read, `text` what it is to become.

    `put` writes one that is no file; then `path` is a reference to it.
    """

    path: Path
    stamp: Stamp
    data: bytes
    ring: Keyring
    text: KeyText
    put: Callable[[str], None] | None = None

    def key(self, kid: str) -> Key | None:
        return self.ring.get(kid)

    def successor(self, kid: str) -> Key | None:
        return successor_of(kid, self.ring)


def ring_without_secrets(file: Path) -> Keyring:
    """The keyring of `file` with fresh keys in place of its own, which the listing does not need.

    Raises `ConfigError`.
    """
    try:
        return _ring(tomllib.loads(Sources({}).read_file(file)), {})
    except SourceError as error:
        raise ConfigError([Problem("", "", str(error), error.permission)]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(str(file), "", f"not TOML: {error}")]) from None
    except KeyfileError as error:
        raise ConfigError([Problem(str(file), "", message) for message in error.errors]) from None


def read_files(paths: Sequence[Path], settings: Settings | None = None) -> list[KeyFile]:
    """All of them, to be changed. Raises `ConfigError` with everything that is wrong with any."""
    files: list[KeyFile] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            if is_remote(str(path)):
                files.append(_read_remote(str(path), settings))
                continue
            files.append(_read(path))
        except ConfigError as error:
            problems += error.problems
        else:
            problems += check_writable(path)
    if problems:
        raise ConfigError(problems)
    return files


def write_files(
    files: Sequence[KeyFile],
    secrets: Sequence[NewSecret] = (),
    materials: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Path]:
    """Write the files whose text is another one now, and `secrets`; which files that were.

    Each new text is loaded as a gateway would load it first, with `materials` (kid -> field -> text) for new
    keys. Raises `ConfigError`, and then nothing is changed.
    """
    changes: list[Change] = []
    put: list[tuple[KeyFile, str]] = []
    problems: list[Problem] = []
    for file in files:
        try:
            text = file.text.text()
            _ring(tomllib.loads(text), materials or {})
        except EditError as error:
            problems.append(Problem(str(file.path), "", str(error)))
        except KeyfileError as error:
            problems += [Problem(str(file.path), "", f"would be wrong: {line}") for line in error.errors]
        else:
            if text.encode() != file.data and file.put is not None:
                put.append((file, text))
            elif text.encode() != file.data:
                changes.append(Change(file.path, file.stamp, file.data, text.encode()))
    if problems:
        raise ConfigError(problems)

    def put_all() -> None:
        for file, text in put:
            assert file.put is not None  # that is why it is here
            file.put(text)

    carry_out(changes, secrets, put_all)
    return [*[change.path for change in changes], *[file.path for file, _ in put]]


def standing_of(kid: str, files: Sequence[KeyFile]) -> Standing | None:
    """What all files together say of `kid`; None where none has it."""
    return standing_in(kid, rings_of(files))


def rings_of(files: Sequence[KeyFile]) -> list[tuple[str, Keyring]]:
    """What each held when it was read, with its path."""
    return [(str(file.path), file.ring) for file in files]


def standing_in(kid: str, rings: Sequence[tuple[str, Keyring]]) -> Standing | None:
    """As `standing_of`, of keyrings and where each is from."""
    found = [(place, key) for place, ring in rings if (key := ring.get(kid)) is not None]
    if not found:
        return None
    keys = [key for _, key in found]
    states = [key.state for key in keys]
    key = replace(
        keys[0],
        state=next(state for state in KeyState if state in states),  # in the order of what they permit
        max_lifetime_s=max(key.max_lifetime_s for key in keys),
    )
    signs_in = [place for place, key in found if _signs(key)]
    successors = [successor_of(kid, ring) for _, ring in rings]
    following = [key for key in successors if key is not None]
    since = [key.state_since for key in keys if key.state_since is not None]
    created = [key.created for key in keys if key.created is not None]
    predecessors = [ring.get(key.replaces or "") for _, ring in rings for key in keys]
    return Standing(
        key,
        tuple(signs_in),
        max(since, default=None),
        min(created, default=None),
        following[0].kid if following else None,
        next((old.kid for old in predecessors if old and old.state is not KeyState.REVOKED), None),
        any(key.state is KeyState.VERIFY for key in following),
    )


def successor_of(kid: str, ring: Keyring) -> Key | None:
    """The key that says it replaces `kid`."""
    return next((key for key in ring if key.replaces == kid), None)


def _signs(key: Key) -> bool:
    return key.state is KeyState.ACTIVE and key.algorithm.can_sign


def _read(path: Path) -> KeyFile:
    stamp = stamp_of(path)
    ring = ring_without_secrets(path)
    try:
        data = path.read_bytes()
        text = KeyText(data.decode())
    except OSError as error:
        raise ConfigError([Problem(str(path), "", f"can not be read: {error.strerror}")]) from None
    except EditError as error:
        raise ConfigError([Problem(str(path), "", str(error))]) from None
    if stamp_of(path) != stamp:
        raise ConfigError([Problem(str(path), "", "is being changed by somebody else", away=True)])
    return KeyFile(path, stamp, data, ring, text)


def _read_remote(reference: str, settings: Settings | None) -> KeyFile:
    """A key file in a field of a secret in Vault, or in a secret in AWS."""
    locator = reference.partition(":")[2]
    if reference.startswith("aws:") and ("?" in locator or "#" in locator):
        message = "a stage or field of a secret in AWS is not changed: give the key file a secret of its own"
        raise click.UsageError(f"{reference}: {message}")
    try:
        check_reference(reference)
        store = _store(reference, settings)
        text = store.text(locator)
    except SourceError as error:
        raise ConfigError([error.problem("")]) from None
    except ValueError as error:
        raise ConfigError([Problem(reference, "", str(error))]) from None

    def put(new: str) -> None:
        try:
            store.replace(locator, text, new)
        except SourceError as error:
            raise ConfigError([error.problem("")]) from None

    try:
        ring = _ring(tomllib.loads(text), {})
        return KeyFile(Path(reference), None, text.encode(), ring, KeyText(text), put)
    except (tomllib.TOMLDecodeError, EditError) as error:
        raise ConfigError([Problem(reference, "", f"holds no key file: {error}")]) from None
    except KeyfileError as error:
        raise ConfigError([Problem(reference, "", message) for message in error.errors]) from None


def _store(reference: str, settings: Settings | None) -> AwsStore | VaultStore:
    if reference.startswith("aws:"):
        from sealgate.config.aws import AwsStore

        return AwsStore(settings.aws if settings is not None and settings.aws is not None else Aws())
    from sealgate.config.vault import VaultStore

    vault = settings.vault if settings is not None and settings.vault is not None else Vault()
    return VaultStore(vault, os.environ, Sources(os.environ).resolve)


def _ring(tables: Mapping[str, object], materials: Mapping[str, Mapping[str, str]]) -> Keyring:
    """The keyring of these tables, with stand-ins for all material but that in `materials`.

    Raises `KeyfileError`.
    """
    fresh = dict(tables)
    entries = tables.get("key")
    if isinstance(entries, list):
        fresh["key"] = [
            _with_material(entry, materials) if isinstance(entry, dict) else entry for entry in entries
        ]
    ring, _ = load_keyring(fresh, str)
    return ring


def _with_material(
    entry: Mapping[str, object], materials: Mapping[str, Mapping[str, str]]
) -> dict[str, object]:
    private, public = generate_ed25519(os.urandom(32))
    stand_ins = {"secret": generate_hmac(os.urandom(32)), "private": private, "public": public}
    stand_ins.update(materials.get(str(entry.get("kid")), {}))
    return {name: stand_ins.get(name, value) for name, value in entry.items()}
