"""The key that `begin` makes: its material, where that goes, and what its table says.

Every file says in its own way where the old key's material is (a file, a variable, the text itself), and
gets the new one the same way. Whoever only verifies an Ed25519 key gets the public half alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from sealgate.cli.keys.editing import Value
from sealgate.cli.keys.keyfiles import MATERIALS, KeyFile
from sealgate.cli.keys.writing import NewSecret
from sealgate.config.errors import ConfigError, Problem
from sealgate.config.fields import check_reference, is_reference, is_remote
from sealgate.config.sources import SourceError, Sources
from sealgate.signing.algorithms import Ed25519
from sealgate.signing.material import (
    MaterialError,
    MaterialKind,
    algorithm_of,
    format_material,
    generate_ed25519,
    generate_hmac,
    parse_secret,
)

_KINDS: Final = {
    "secret": MaterialKind.HMAC_SECRET,
    "private": MaterialKind.ED25519_PRIVATE,
    "public": MaterialKind.ED25519_PUBLIC,
}


@dataclass(slots=True, frozen=True)
class Wishes:
    """What the command line says of the new key's material."""

    #: the reference to it, in place of one made after the old key's
    secret: str | None = None
    #: the public half alone, of a key that another machine has
    public: str | None = None
    #: it is there already, made by `begin` on another machine
    existing: bool = False
    #: write no files of secrets: print it
    printed: bool = False


@dataclass(slots=True)
class Successor:
    """The new key: `tables` are the fields of each file's table, `materials` the texts behind its references
    (field -> text), `secrets` the files to write, `printed` what goes to standard output."""

    kid: str
    materials: dict[str, str] = field(default_factory=dict)
    tables: list[dict[str, Value]] = field(default_factory=list)
    secrets: list[NewSecret] = field(default_factory=list)
    printed: str | None = None
    #: references whose text the operator has to put there
    to_fill: list[str] = field(default_factory=list)
    literal: bool = False


def make_successor(files: Sequence[KeyFile], old: str, new: str, wishes: Wishes) -> Successor:
    """The key `new` that takes over from `old`, which all `files` have.

    Raises `click.UsageError`, and `ConfigError` where material that is named can not be used.
    """
    tables = [file.text.fields(old) or {} for file in files]
    fields = [next(name for name in MATERIALS if name in table) for table in tables]
    _check_wishes(wishes, fields)
    made = Successor(new, _material(wishes, fields))
    for file, table, name in zip(files, tables, fields, strict=True):
        _place(made, file, str(table[name]), name, old, wishes)
    if wishes.existing or wishes.public is not None:
        return made
    secret = made.materials.get("secret") or made.materials.get("private")
    if made.to_fill or fields == ["public"] * len(fields):
        made.printed = secret
    return made


def check_same_key(files: Sequence[KeyFile], kid: str) -> None:
    """The files must hold one and the same `kid`, as far as its material can be read here.

    Raises `ConfigError`.
    """
    known: dict[bytes, Path] = {}
    algorithms = set()
    for file in files:
        key = file.key(kid)
        assert key is not None  # looked for before
        algorithms.add(key.algorithm.name)
        mark = _mark(file.text.fields(kid) or {})
        if mark is not None:
            known.setdefault(mark, file.path)
    if len(known) > 1 or len(algorithms) > 1:
        paths = ", ".join(str(file.path) for file in files)
        raise ConfigError([Problem(paths, "", f"{kid} is not the same key in all of them")])


def _mark(table: dict[str, Any]) -> bytes | None:
    """What is equal for the two halves of one key; None where the material can not be read here."""
    name = next(name for name in MATERIALS if name in table)
    reference = str(table[name])
    if is_remote(reference):
        return None
    try:
        data = parse_secret(Sources(os.environ).resolve(reference), _KINDS[name])
        algorithm = algorithm_of(_KINDS[name], data)
    except ValueError:
        return None
    return algorithm.public_bytes if isinstance(algorithm, Ed25519) else data


def _check_wishes(wishes: Wishes, fields: Sequence[str]) -> None:
    public_only = all(name == "public" for name in fields)
    if wishes.public is not None:
        if not public_only:
            raise click.UsageError("--public is for files that hold nothing but the public half of the key")
        if wishes.secret is not None or wishes.existing:
            raise click.UsageError("--public goes with neither --secret nor --existing")
    if wishes.existing and wishes.secret is None:
        raise click.UsageError("--existing needs --secret REF, which says where the secret is")
    if wishes.secret is not None:
        if not is_reference(wishes.secret):
            raise click.BadParameter(
                "want a reference: file:/path, env:NAME and so on", param_hint="--secret"
            )
        try:
            check_reference(wishes.secret)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--secret") from None


def _material(wishes: Wishes, fields: Sequence[str]) -> dict[str, str]:
    """field -> text. Of an existing secret that can not be read here, nothing."""
    edwards = "secret" not in fields
    if wishes.public is not None:
        _parsed(wishes.public, MaterialKind.ED25519_PUBLIC, "--public")
        return {"public": wishes.public}
    if wishes.existing:
        kind = MaterialKind.ED25519_PRIVATE if edwards else MaterialKind.HMAC_SECRET
        return _existing(wishes.secret or "", kind, needed="public" in fields)
    if edwards:
        private, public = generate_ed25519(os.urandom(32))
        return {"private": private, "public": public}
    return {"secret": generate_hmac(os.urandom(32))}


def _existing(reference: str, kind: MaterialKind, needed: bool) -> dict[str, str]:
    try:
        text = Sources(os.environ).resolve(reference)
    except SourceError as error:
        if not needed and not reference.startswith("file:"):
            return {}
        raise ConfigError([error.problem("--secret")]) from None
    data = _parsed(text, kind, reference)
    if kind is MaterialKind.HMAC_SECRET:
        return {"secret": text}
    public = Ed25519.of_private(data).public_bytes
    return {"private": text, "public": format_material(MaterialKind.ED25519_PUBLIC, public)}


def _parsed(text: str, kind: MaterialKind, named: str) -> bytes:
    try:
        return parse_secret(text, kind)
    except MaterialError as error:
        raise ConfigError([Problem("", named, str(error))]) from None


def _place(made: Successor, file: KeyFile, old_text: str, name: str, old: str, wishes: Wishes) -> None:
    """Say in `file` where the material is, and have it put there."""
    text = made.materials.get(name, "")
    if name == "public":
        reference = _beside(old_text, old, made.kid) if old_text.startswith("file:") else text
    elif wishes.secret is not None:
        reference = wishes.secret
    elif not is_reference(old_text):
        reference = text
        made.literal = True
    else:
        reference = _like(old_text, old, made.kid)
    made.tables.append({name: reference})
    if not is_reference(reference) or (wishes.existing and name != "public"):
        return
    path = Path(reference.removeprefix("file:"))
    if not reference.startswith("file:") or (wishes.printed and name != "public"):
        if reference not in made.to_fill:
            made.to_fill.append(reference)
    elif all(secret.path != path for secret in made.secrets):
        like = Path(old_text.removeprefix("file:")) if old_text.startswith("file:") else file.path
        made.secrets.append(NewSecret(path, text, like))


def _like(reference: str, old: str, new: str) -> str:
    """A reference of the same kind, with the new key's name in place of the old one's."""
    scheme, _, name = reference.partition(":")
    if scheme == "file":
        return _beside(reference, old, new)
    if scheme == "cred":
        return f"cred:{_renamed(name, old, new) or new}"
    if scheme == "env":
        old_variable, new_variable = variable_of(old), variable_of(new)
        if name.upper().endswith(old_variable):
            return f"env:{name[: len(name) - len(old_variable)]}{new_variable}"
        return f"env:SEALGATE_{new_variable}"
    raise click.UsageError(
        f"{old} is in a store on the network ({scheme}:), which this command does not write: name the place "
        f"of the new one with --secret {scheme}:..., put what is printed there, and run `sealgate keys check`"
    )


def _beside(reference: str, old: str, new: str) -> str:
    path = Path(reference.removeprefix("file:"))
    return f"file:{path.with_name(_renamed(path.name, old, new) or new + path.suffix)}"


def _renamed(name: str, old: str, new: str) -> str:
    """`name` with one kid in place of the other; empty when the old one is not a word of it."""
    word = re.compile(rf"(?<![A-Za-z0-9_-]){re.escape(old)}(?![A-Za-z0-9_-])", re.ASCII)
    return word.sub(new, name) if word.search(name) else ""


def variable_of(kid: str) -> str:
    """`kid` in the letters of an environment variable."""
    return re.sub(r"[^A-Z0-9]", "_", kid.upper())
