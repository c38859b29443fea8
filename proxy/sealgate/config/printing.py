"""Settings as the TOML they could have come from: with origins, and by default without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sealgate.config.fields import is_reference
from sealgate.config.loading import Loaded
from sealgate.config.paths import Path, dotted, leaves

_USER_INFO: Final = re.compile(r"(?<=://)([^/?#:]*)(:[^/?#]*)?@")
#: References, or secrets themselves: these are never printed.
_SECRETS: Final = (
    ("credentials", "password"),
    ("admin", "token"),
    ("vault", "token"),
    ("vault", "role_id"),
    ("vault", "secret_id"),
)
_QUERY: Final = re.compile(r"\?.*")


def redacted(url: str) -> str:
    """`url` with its password and its query, which may hold another, as `***`."""
    return _QUERY.sub("?***", _USER_INFO.sub(lambda found: f"{found[1]}{':***' if found[2] else ''}@", url))


def print_settings(loaded: Loaded, redact: bool = True, origin: bool = False) -> Iterator[str]:
    """The lines of a TOML file that gives the same settings. What is not set is a comment.

    With `redact`, secret references stand instead of what is behind them, and passwords are `***`. With
    `origin`, each line says where its value was set.
    """
    tree = loaded.settings.model_dump(mode="json")
    if redact:
        _redact(loaded, tree)
    section: Path = ()
    for path in leaves():
        if path == ("rate",):
            yield from _rate_lines(loaded, tree["rate"], origin)
        elif path in (("rule",), ("bound",)):
            yield from _listed_lines(loaded, str(path[0]), tree[str(path[0])], origin)
        elif (table := _table(tree, path[:-1])) is not None:
            if path[:-1] != section:
                section = path[:-1]
                yield from ("", f"[{dotted(section)}]")
            yield _line(str(path[-1]), table[str(path[-1])], _origin(loaded, path, origin))


def _table(tree: dict[str, Any], path: Path) -> dict[str, Any] | None:
    """The table at `path`; None when it is not set."""
    table: Any = tree
    for part in path:
        table = table[str(part)]
        if table is None:
            return None
    return table  # type: ignore[no-any-return]


def _rate_lines(loaded: Loaded, rates: Mapping[str, object], origin: bool) -> Iterator[str]:
    yield from ("", "[rate]")
    for name, rate in rates.items():
        yield _line(dotted((name,)), rate, _origin(loaded, ("rate", name), origin))


def _listed_lines(loaded: Loaded, key: str, tables: list[dict[str, Any]], origin: bool) -> Iterator[str]:
    for index, table in enumerate(tables):
        yield from ("", f"[[{key}]]{_origin(loaded, (key, index), origin)}")
        for name, value in table.items():
            yield _line(name, value, "")


def _line(name: str, value: object, comment: str) -> str:
    if value is None:
        return f"# {name} is not set"
    return f"{name} = {_toml(value)}{comment}"


def _origin(loaded: Loaded, path: Path, wanted: bool) -> str:
    return f"  # {loaded.layer.origin(path) or 'default'}" if wanted else ""


def _toml(value: object) -> str:
    """A value in TOML. JSON's texts, numbers and booleans are TOML's, but for one control character."""
    if isinstance(value, dict):
        items = [f"{name} = {_toml(item)}" for name, item in value.items() if item is not None]
        return "{ " + ", ".join(items) + " }"
    if isinstance(value, list):
        return "[" + ", ".join([_toml(item) for item in value]) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _redact(loaded: Loaded, tree: dict[str, Any]) -> None:
    upstream, quarantine, replay = tree["upstream"], tree["quarantine"], tree["replay"]
    upstream["urls"] = [
        loaded.references.get(("upstream", "urls", index)) or redacted(url)
        for index, url in enumerate(upstream["urls"])
    ]
    for section, key in _SECRETS:
        secret = tree[section][key]
        if secret is not None and not is_reference(secret):
            tree[section][key] = "***"
    for path, table in ((("quarantine", "url"), quarantine), (("replay", "store"), replay)):
        value = table[path[1]]
        if value is not None:
            table[path[1]] = loaded.references.get(path) or redacted(value)
