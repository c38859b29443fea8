"""Files that are there whole or not at all, whenever the process or the machine stops."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final


class DamagedError(Exception):
    """A file that is not what was written there. The text is safe to print."""


def read_whole(path: Path, bytes_max: int) -> bytes | None:
    """What is in the file at `path`, None where there is none.

    Raises `OSError`, and `DamagedError` for one of over `bytes_max`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except FileNotFoundError:
        return None
    if len(data) > bytes_max:
        raise DamagedError(f"is over {bytes_max} bytes")
    return data


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` in the place of what is at `path`, on disk when this returns.

    Raises `OSError`; then what was there before is still there.
    """
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Lock:
    """Held by one process at a time, until `close` or its end; a file beside `path`."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError`, also when another process holds it."""
        file = path.with_name(path.name + ".lock")
        self._descriptor: Final = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            if isinstance(error, BlockingIOError):
                raise OSError(f"another process uses it (it holds {file})") from error
            raise

    def close(self) -> None:
        os.close(self._descriptor)
