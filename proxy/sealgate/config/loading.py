"""Layers in, checked settings out; or everything that is wrong at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sealgate.config.errors import ConfigError, Problem
from sealgate.config.fields import is_reference
from sealgate.config.layers import Layer, read_environment, read_file, read_options
from sealgate.config.paths import Path, dotted, suggest
from sealgate.config.presets import is_preset, preset_layer
from sealgate.config.remote import Remotes
from sealgate.config.rules import RULES, warnings_of
from sealgate.config.section import Section
from sealgate.config.settings import Settings
from sealgate.config.sources import SourceError, Sources, new_remotes
from sealgate.config.store_settings import Aws, Vault

#: Settings that may be secret references, because a URL may hold a password.
SECRETS: Final[tuple[Path, ...]] = (("upstream", "urls"), ("quarantine", "url"), ("replay", "store"))

_WORDS: Final = {
    "missing": "is missing",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "string_type": "must be a text",
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "string_pattern_mismatch": "must be 1 to 64 of A-Z a-z 0-9 _ -",
}

S = TypeVar("S", bound=Section)


@dataclass(slots=True)
class Loaded:
    """Settings and how they came about. With `problems`, what is wrong in `settings` has its default."""

    settings: Settings
    layer: Layer
    file: FilePath | None
    #: the file could not be read, so nothing more can be said
    unread: bool = False
    #: path -> the reference its value was read from
    references: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    #: paths whose values were wrong
    failed: set[Path] = field(default_factory=set)
    #: what `settings` was made from, secrets in place of their references
    values: dict[str, Any] = field(default_factory=dict, repr=False)
    warnings: list[Problem] = field(default_factory=list)

    def problem(self, path: Path, message: str, permission: bool = False) -> Problem:
        """A problem with the setting at `path`, named after where it was set."""
        found = self.layer.locate(path)
        if found is None or found[0] == str(self.file):
            return Problem(str(self.file or ""), dotted(path), message, permission)
        origin, rest = found
        if is_preset(origin):
            return Problem(origin, dotted(path), message, permission)
        inner = dotted(rest)
        dot = "." if inner and not inner.startswith("[") else ""
        return Problem(f"{origin}{dot}{inner}", "", message, permission)

    def is_good(self, path: Path) -> bool:
        """Whether nothing at, in or around `path` was wrong."""
        return not any(bad[: len(path)] == path[: len(bad)] for bad in self.failed)

    def require(self) -> Settings:
        """The settings; raises `ConfigError` when anything is wrong."""
        if self.problems:
            raise ConfigError(self.problems)
        return self.settings


def load(
    file: FilePath | None = None,
    options: Mapping[str, tuple[str, object]] | None = None,
    assignments: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Read every layer and check it. Never raises for what is wrong: see `Loaded.problems`.

    `options` and `assignments` as in `layers.read_options`; `environ` is the process's when None.
    """
    environ = os.environ if environ is None else environ
    given = Layer() if file is None else read_file(file)
    unread = bool(given.problems)
    given.cover(read_environment(environ))
    given.cover(read_options(options or {}, assignments))
    layer = preset_layer(given)
    layer.cover(given)
    loaded = Loaded(Settings(), layer, file, unread, problems=layer.problems)
    loaded.values = _resolve(loaded, Sources(environ, _remotes(layer.values, environ)))
    _validate(loaded, loaded.values)
    if not unread:
        _cross_check(loaded)
    return loaded


def _remotes(values: Mapping[str, Any], environ: Mapping[str, str]) -> Remotes:
    """The stores on the network, from their own tables, before the others are looked at."""
    return new_remotes(_table(Vault, values.get("vault")), _table(Aws, values.get("aws")), environ)


def _table(kind: type[S], values: object) -> S | None:
    """The table, None when it is wrong; that is told with all others."""
    try:
        return kind.model_validate({} if values is None else values)
    except ValidationError:
        return None


def _resolve(loaded: Loaded, sources: Sources) -> dict[str, Any]:
    """The values, with what is behind secret references in their place. What fails is left out."""
    values = _copied(loaded.layer.values)
    for path in SECRETS:
        section = values.get(str(path[0]))
        if not isinstance(section, dict) or path[1] not in section:
            continue
        value = section[path[1]]
        try:
            if isinstance(value, list):
                section[path[1]] = [_text(loaded, sources, (*path, i), item) for i, item in enumerate(value)]
            else:
                section[path[1]] = _text(loaded, sources, path, value)
        except SourceError:
            loaded.failed.add(path)
            del section[path[1]]
    loaded.warnings += sources.warnings
    return values


def _text(loaded: Loaded, sources: Sources, path: Path, value: object) -> object:
    """`value`, or what it refers to. A reference that gives nothing is noted, and `SourceError` raised."""
    if not isinstance(value, str):
        return value
    if not is_reference(value):
        if _has_password(value):
            loaded.warnings.append(loaded.problem(path, "has its password in it; use env:NAME or file:/path"))
        return value
    try:
        text = sources.resolve(value)
    except SourceError as error:
        loaded.problems.append(replace(loaded.problem(path, str(error), error.permission), away=error.away))
        raise
    loaded.references[path] = value
    return text


def _has_password(url: str) -> bool:
    return ":" in url.partition("://")[2].rpartition("@")[0]


def _copied(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _copied(value) if isinstance(value, dict) else value for name, value in table.items()}


def _validate(loaded: Loaded, values: dict[str, Any]) -> None:
    """Set `loaded.settings`; what is wrong is noted and, in a second pass, left at its default."""
    try:
        loaded.settings = Settings.model_validate(values)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False, include_input=False):
            path = tuple(part for part in error["loc"] if part != "[key]")
            loaded.problems.append(loaded.problem(path, _message(loaded, path, error)))
            loaded.failed.add(path)
            _remove(values, path)
        loaded.settings = Settings.model_validate(values)


def _remove(values: dict[str, Any], path: Path) -> None:
    """Take out `section.key`, or all of a list or of a top-level value."""
    head = values.get(str(path[0]))
    if len(path) == 1 or not isinstance(head, dict):
        values.pop(str(path[0]), None)
    else:
        head.pop(str(path[1]), None)


def _message(loaded: Loaded, path: Path, error: ErrorDetails) -> str:
    """Pydantic's finding in our words. The value itself is never repeated."""
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"is not known{suggest(path)}"
    if kind == "value_error":
        message = str(error["ctx"]["error"])
    else:
        message = _WORDS.get(kind) or error["msg"].replace("Input should", "must").replace(
            "String should", "must"
        )
    reference = loaded.references.get(path)
    return f"{message} (read from {reference})" if reference else message


def _cross_check(loaded: Loaded) -> None:
    """Apply the rules between keys, and collect warnings when nothing is wrong."""
    for rule in RULES:
        if all(loaded.is_good(path) for path in rule.keys):
            loaded.problems += [loaded.problem(*finding) for finding in rule.check(loaded.settings)]
    if not loaded.problems:
        loaded.warnings += [loaded.problem(*finding) for finding in warnings_of(loaded.settings)]
