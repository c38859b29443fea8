"""The layers of a configuration, lowest first: preset, file, environment, command line; and where
each value is from.

A layer is values as TOML has them, nested by section, and for every value the name of where it was set.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Final, get_args, get_origin

from pydantic import WithJsonSchema
from pydantic.fields import FieldInfo

from sealgate.config.errors import Problem
from sealgate.config.paths import ENV_PREFIX, Path, dotted, leaves, suggest, suggest_env

#: A configuration is a few pages; what is larger is the wrong file.
FILE_BYTES_MAX: Final = 1_048_576


@dataclass(slots=True)
class Layer:
    """Values by section, `origins` by path, and what was wrong with reading them."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def put(self, path: Path, value: object, origin: str) -> None:
        """Set one value; tables on the way are made, and replaced where something else stands there."""
        table = self.values
        for part in path[:-1]:
            inner = table.get(str(part))
            if not isinstance(inner, dict):
                inner = table[str(part)] = {}
            table = inner
        table[str(path[-1])] = value
        self.origins[path] = origin

    def cover(self, upper: Layer) -> None:
        """Lay `upper` over this one. Lists are replaced, never joined."""
        for path, value in _values(upper.values):
            self.put(path, value, upper.origin(path) or "")
        self.problems += upper.problems

    def locate(self, path: Path) -> tuple[str, Path] | None:
        """Where `path` was set, or the table or list around it, and what is left of `path`.

        For a table it is where the first value in it was set. None for a default.
        """
        for depth in range(len(path), 0, -1):
            if (found := self.origins.get(path[:depth])) is not None:
                return found, path[depth:]
        inside = [origin for inner, origin in self.origins.items() if inner[: len(path)] == path]
        return (inside[0], ()) if inside else None

    def origin(self, path: Path) -> str | None:
        """Where `path` was set; None for a default."""
        found = self.locate(path)
        return None if found is None else found[0]


def read_file(path: FilePath) -> Layer:
    """The layer of a TOML file."""
    layer = Layer()
    where = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ValueError(f"is over {FILE_BYTES_MAX} bytes")
        layer.values = tomllib.loads(data.decode())
    except PermissionError:
        layer.problems.append(Problem(where, "", "may not be read by this user", permission=True))
    except OSError as error:
        layer.problems.append(Problem(where, "", f"can not be read: {error.strerror}"))
    except UnicodeDecodeError:
        layer.problems.append(Problem(where, "", "is no UTF-8 text"))
    except tomllib.TOMLDecodeError as error:
        layer.problems.append(Problem(where, "", f"is no TOML: {error}"))
    except ValueError as error:
        layer.problems.append(Problem(where, "", str(error)))
    layer.origins = {path: where for path, _ in _values(layer.values)}
    return layer


def read_environment(environ: Mapping[str, str]) -> Layer:
    """The layer of every `SEALGATE__SECTION__KEY`."""
    layer = Layer()
    for name in sorted(environ):
        if not name.upper().startswith(ENV_PREFIX):
            continue
        path = tuple(name[len(ENV_PREFIX) :].lower().split("__"))
        setting = leaves().get(path)
        if setting is None:
            layer.problems.append(Problem(name, "", f"is not known{suggest_env(name)}"))
        else:
            layer.put(path, from_text(environ[name], setting), name)
    return layer


def read_options(options: Mapping[str, tuple[str, object]], assignments: Sequence[str]) -> Layer:
    """The layer of the command line.

    `options` is dotted key to (option name, value), None for an option that was not given; `assignments` are
    the KEY=VALUE of `--set`, values in TOML, text without quotes.
    """
    layer = Layer()
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        path = tuple(key.strip().split("."))
        setting = leaves().get(path)
        if not equals:
            layer.problems.append(Problem("--set", key, "needs a value: --set section.key=value"))
        elif setting is None:
            layer.problems.append(Problem("--set", key, f"is not known{suggest(path)}"))
        else:
            layer.put(path, from_text(text.strip(), setting), f"--set {dotted(path)}")
    for key, (option, value) in options.items():
        if value is not None:
            layer.put(tuple(key.split(".")), value, option)
    return layer


def from_text(text: str, setting: FieldInfo) -> object:
    """A value of `setting` from an environment variable or `--set`.

    Numbers, booleans, lists and tables are TOML; a list may also be given as a,b,c. What can not be read is
    given back as it is, for the check of its kind to refuse.
    """
    if _takes_text(setting):
        return text
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        table = {}
    if table.keys() == {"value"}:
        return table["value"]
    if get_origin(setting.annotation) is tuple:
        return [part.strip() for part in text.split(",")] if text.strip() else []
    return text


def _takes_text(setting: FieldInfo) -> bool:
    """Whether the file has this setting as a text: durations and addresses are texts, too."""
    if any(isinstance(item, WithJsonSchema) for item in setting.metadata):
        return True
    kinds = get_args(setting.annotation) or (setting.annotation,)
    return get_origin(setting.annotation) not in (tuple, dict) and not {int, float, bool} & set(kinds)


def _values(table: Mapping[str, Any], prefix: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value with its path; an empty table counts as a value, so that it is not lost."""
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _values(value, (*prefix, name))
        else:
            yield (*prefix, name), value
