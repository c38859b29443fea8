"""What only the machine can tell about settings: files, permissions, and the keys themselves."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Final

from sealgate.config.errors import ConfigError, Problem
from sealgate.config.loading import Loaded
from sealgate.config.paths import Path
from sealgate.config.reload import KeySource, UserSource
from sealgate.config.sources import permission_warnings, read_token, sources_of

#: Files that must be there, and whether they hold a secret.
_FILES: Final[tuple[tuple[Path, bool], ...]] = (
    (("listen", "tls", "cert"), False),
    (("listen", "tls", "key"), True),
    (("listen", "tls", "client_ca"), False),
    (("upstream", "tls", "ca"), False),
    (("upstream", "tls", "cert"), False),
    (("upstream", "tls", "key"), True),
)


def check(loaded: Loaded, environ: Mapping[str, str] | None = None) -> None:
    """Add to `loaded` what is wrong, and what deserves a warning, on this machine."""
    if loaded.unread:
        return
    for path, secret in (*_FILES, *_files_of_names(loaded)):
        name = _value(loaded, path)
        if isinstance(name, str):
            _check_file(loaded, path, FilePath(name), secret)
    if loaded.settings.listen.workers > 1 and sys.platform != "linux":
        message = "share a port on this system, but one of them gets all clients; Linux spreads them"
        loaded.warnings.append(loaded.problem(("listen", "workers"), message))
    for path in (("replay", "journal"), ("control", "state")):
        name = _value(loaded, path)
        if isinstance(name, str):
            _check_folder(loaded, path, FilePath(name).parent)
    if (
        loaded.settings.publish.action != "pass"
        and loaded.is_good(("keys",))
        and loaded.is_good(("publish",))
    ):
        _check_keys(loaded, environ)
    if loaded.is_good(("admin",)):
        _check_token(loaded, environ)
    if loaded.settings.credentials.mode == "replace" and _is_whole(loaded):
        _check_users(loaded, environ)


def _value(loaded: Loaded, path: Path) -> object:
    value: object = loaded.settings
    for part in path:
        if isinstance(part, int):
            value = value[part] if isinstance(value, tuple) else None
        else:
            value = getattr(value, part, None)
    return value


def _files_of_names(loaded: Loaded) -> list[tuple[Path, bool]]:
    """As `_FILES`, for each entry of listen.tls.names."""
    names = _value(loaded, ("listen", "tls", "names"))
    count = len(names) if isinstance(names, tuple) else 0
    kinds = (("cert", False), ("key", True))
    return [
        (("listen", "tls", "names", index, key), secret) for index in range(count) for key, secret in kinds
    ]


def _check_file(loaded: Loaded, path: Path, file: FilePath, secret: bool) -> None:
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
    except PermissionError:
        loaded.problems.append(loaded.problem(path, f"{file} may not be read by this user", permission=True))
    except OSError as error:
        loaded.problems.append(loaded.problem(path, f"{file} can not be read: {error.strerror}"))
    else:
        if secret:
            loaded.warnings += [Problem(str(file), "", message) for message in permission_warnings(mode)]


def _check_folder(loaded: Loaded, path: Path, directory: FilePath) -> None:
    """Of a file that Sealgate writes itself."""
    if not directory.is_dir():
        loaded.problems.append(loaded.problem(path, f"its directory {directory} is not there"))
    elif not os.access(directory, os.W_OK | os.X_OK):
        message = f"its directory {directory} may not be written by this user"
        loaded.problems.append(loaded.problem(path, message, permission=True))


def _check_keys(loaded: Loaded, environ: Mapping[str, str] | None) -> None:
    source = KeySource(loaded.settings, environ)
    try:
        source.load()
    except ConfigError as error:
        loaded.problems += [_placed(loaded, problem) for problem in error.problems]
    else:
        loaded.warnings += source.warnings


def _check_token(loaded: Loaded, environ: Mapping[str, str] | None) -> None:
    sources = sources_of(loaded.settings, os.environ if environ is None else environ)
    try:
        read_token(loaded.settings.admin.token, sources)
    except ConfigError as error:
        loaded.problems += [_placed(loaded, problem) for problem in error.problems]
    else:
        loaded.warnings += sources.warnings


def _is_whole(loaded: Loaded) -> bool:
    credentials = loaded.settings.credentials
    parts = (credentials.users, credentials.user, credentials.password)
    return loaded.is_good(("credentials",)) and None not in parts


def _check_users(loaded: Loaded, environ: Mapping[str, str] | None) -> None:
    source = UserSource(loaded.settings, environ)
    try:
        source.load()
    except ConfigError as error:
        loaded.problems += [_placed(loaded, problem) for problem in error.problems]
    else:
        loaded.warnings += [_placed(loaded, warning) for warning in source.warnings]


def _placed(loaded: Loaded, problem: Problem) -> Problem:
    """A problem with a setting gets the place of the setting; one inside the keys has its own."""
    if problem.where:
        return problem
    placed = loaded.problem(tuple(problem.key.split(".")), problem.message, problem.permission)
    return replace(placed, away=problem.away)
