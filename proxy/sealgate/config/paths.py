"""Names of settings: paths, their dotted and their environment spelling, and what was probably meant."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from types import UnionType
from typing import Final, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from sealgate.config.section import Section
from sealgate.config.settings import Settings

#: Keys from the outermost in; an int is an index into a list.
Path = tuple[str | int, ...]
ENV_PREFIX: Final = "SEALGATE__"
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def dotted(path: Path) -> str:
    """`("rule", 0, "match")` as `rule[0].match`; names that TOML would quote are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE.fullmatch(part) else json.dumps(part)
            text += f".{name}" if text else name
    return text


def env_name(path: Path) -> str:
    """`("listen", "address")` as `SEALGATE__LISTEN__ADDRESS`."""
    return ENV_PREFIX + "__".join([str(part).upper() for part in path])


def section_of(field: FieldInfo) -> type[Section] | None:
    """The table a field stands for, or None for a plain value. Lists of tables are plain values here."""
    optional = get_origin(field.annotation) in (Union, UnionType)
    for kind in get_args(field.annotation) if optional else (field.annotation,):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


def walk(section: type[Section] = Settings, prefix: tuple[str, ...] = ()) -> Iterator[tuple[Path, FieldInfo]]:
    """Every setting that is no table, in the contract's order."""
    for name, field in section.model_fields.items():
        inner = section_of(field)
        if inner is None:
            yield (*prefix, name), field
        else:
            yield from walk(inner, (*prefix, name))


@cache
def leaves() -> dict[Path, FieldInfo]:
    """`walk()`, to look up in."""
    return dict(walk())


def suggest(path: Path) -> str:
    """ "; did you mean ...?" for a path that is not known, or nothing."""
    known = {dotted(leaf): leaf for leaf in leaves()}
    tables = {dotted(leaf[:depth]) for leaf in known.values() for depth in range(1, len(leaf))}
    wanted = dotted(path)
    close = get_close_matches(wanted, [*known, *tables], n=1, cutoff=0.75)
    close = close or [name for name, leaf in known.items() if leaf[-1] == path[-1]]
    return f"; did you mean {close[0]}?" if close else ""


def suggest_env(name: str) -> str:
    """The same for the name of an environment variable."""
    close = get_close_matches(name.upper(), [env_name(leaf) for leaf in leaves()], n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close else ""
