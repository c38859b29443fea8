"""A suite's source distribution, checked by its hash, unpacked, and a virtual environment to run it in.

All of it is kept under `build/interop` and used again while the hash is the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from interop.suites import Suite

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "interop"
_TRIES = 3
_SECONDS_MAX = 120


class UnavailableError(Exception):
    """No index was reached, or it does not have what is wanted."""


class MissingError(Exception):
    """This machine lacks a program or package of the system's that the suite needs."""


@dataclass(slots=True, frozen=True)
class Ready:
    """A suite that can be run: its unpacked sources, and the Python that has what they need."""

    source: Path
    python: Path


def prepare(suite: Suite, cache: Path = CACHE) -> Ready:
    """Raises `UnavailableError` when it can not be fetched, ValueError when it is not what was pinned.

    And `MissingError`, see there.
    """
    for program in suite.programs:
        if shutil.which(program) is None:
            raise MissingError(f"{program} is not here; {suite.hint}")
    with _alone(cache):
        return _prepared(suite, cache)


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Two runs may want the same suite at the same time."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prepared(suite: Suite, cache: Path) -> Ready:
    if suite.command:
        return Ready(_npm(suite, cache), Path())
    home = cache / f"{suite.name}-{suite.sha256[:12]}"
    source, python = home / "source", home / "venv" / "bin" / "python"
    done = home / "ready"
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        archive = _download(suite, home)
        check_hash(archive, suite.sha256)
        _unpack(archive, source)
        _install(suite, archive, python)
        done.touch()
    return Ready(source, python)


def check_hash(archive: Path, sha256: str) -> None:
    """Raises ValueError when `archive` has another hash."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(f"{archive.name} has sha256 {found}, not {sha256} as pinned")


def _download(suite: Suite, home: Path) -> Path:
    wanted = f"{suite.distribution}=={suite.version}"
    _pip("download", "--no-deps", "--no-binary", suite.distribution, "--dest", home, wanted)
    (archive,) = home.glob("*.tar.gz")
    return archive


def _unpack(archive: Path, source: Path) -> None:
    """The archive's one folder becomes `source`."""
    source.mkdir()
    subprocess.run(
        ["tar", "-xzf", archive, "--strip-components=1", "-C", source], check=True, timeout=_SECONDS_MAX
    )


def _install(suite: Suite, archive: Path, python: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", python.parents[1]], check=True, timeout=_SECONDS_MAX
    )
    _pip("install", "--constraint", ROOT / "constraints.txt", archive, *suite.needs, into=python)


def _npm(suite: Suite, cache: Path) -> Path:
    """A folder with the suite's packages for Node.js, empty when there are none."""
    home = cache / f"{suite.name}-{'-'.join(suite.npm).replace('/', '-') or 'system'}"
    if suite.npm and not (home / "node_modules").exists():
        home.mkdir(parents=True, exist_ok=True)
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund"]
        _tried(["npm", "install", "--prefix", home, *quiet, *suite.npm])
    home.mkdir(parents=True, exist_ok=True)
    return home


def _pip(*arguments: str | Path, into: Path | None = None) -> None:
    target = ["--python", into] if into else []
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        "--retries=1",
        *target,
        *arguments,
    ]
    _tried(command)


def _tried(command: list[str | Path]) -> None:
    """Run it, again when it fails: an index may be busy. Raises `UnavailableError` with its last words."""
    said = ""
    for number in range(_TRIES):
        if number:
            time.sleep(number)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS_MAX, check=False)
        except subprocess.TimeoutExpired:
            said = f"it took more than {_SECONDS_MAX} s"
            continue
        if done.returncode == 0:
            return
        said = "; ".join(line for line in done.stderr.splitlines() if re.match("ERROR|npm error", line))
    raise UnavailableError(f"{' '.join(map(str, command))} failed {_TRIES} times: {said}")
