"""Several files changed in one step: all of them or none.

Each new text is written beside its file, with the file's owner and mode, and renamed over it when all are on
the disk. A rename that fails puts the files before it back and takes new secrets away again. What can still
leave half a step is the machine stopping between two renames; every command can be given again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sealgate.config.errors import ConfigError, Problem
from sealgate.config.sources import Stamp, stamp_of

#: Of a file with a secret whose key had none before.
SECRET_MODE: Final = 0o600
#: A new secret's file is as open as the old one's, but never more than this: its service may be in the group.
_SECRET_MODE_MAX: Final = 0o640
_PERMISSION: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(slots=True, frozen=True)
class Change:
    """A file that gets another text; `stamp` is what it was when it was read."""

    path: Path
    stamp: Stamp
    old: bytes
    new: bytes


@dataclass(slots=True, frozen=True)
class NewSecret:
    """A file that is made, with the owner of `like`."""

    path: Path
    text: str
    like: Path


@contextlib.contextmanager
def held(paths: Sequence[Path]) -> Iterator[None]:
    """Nobody else's `keys rotate` changes these files meanwhile. Raises `ConfigError`."""
    with contextlib.ExitStack() as stack:
        for path in sorted({path.resolve() for path in paths}):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue  # whoever reads it tells why
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = "another `sealgate keys rotate` is changing it now"
                raise ConfigError([Problem(str(path), "", message, away=True)]) from None
        yield


def check_writable(path: Path) -> list[Problem]:
    """Why `path` can not be replaced by renaming another file over it."""
    if path.is_symlink():
        message = (
            f"is a symbolic link to {path.readlink()}: where Kubernetes or a service put it, change what it "
            "is made from (on a copy); else name the file itself"
        )
        return [Problem(str(path), "", message, permission=True)]
    effective = os.access in os.supports_effective_ids
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=effective):
        message = f"can not be replaced: this user may not write into {path.parent}"
        return [Problem(str(path), "", message, permission=True)]
    return []


def carry_out(
    changes: Sequence[Change], secrets: Sequence[NewSecret] = (), last: Callable[[], None] | None = None
) -> None:
    """Make these files, and do `last`. Raises `ConfigError`, and then nothing is changed."""
    made: list[Path] = []
    try:
        for secret in secrets:
            _make_secret(secret, made)
        ready = [(change, _beside(change.path, change.new, made)) for change in changes]
        back = [(change, _beside(change.path, change.old, made)) for change in changes]
        _rename(ready, back, last)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
    for _, path in back:
        path.unlink(missing_ok=True)


def _rename(
    ready: Sequence[tuple[Change, Path]],
    back: Sequence[tuple[Change, Path]],
    last: Callable[[], None] | None,
) -> None:
    done = 0
    try:
        for change, path in ready:
            if stamp_of(change.path) != change.stamp:
                raise _failed(
                    change.path, "was changed by somebody else meanwhile; nothing is done", away=True
                )
            try:
                path.rename(change.path)
            except OSError as error:
                raise _refused(change.path, error) from None
            done += 1
            _sync_folder(change.path.parent)
        if last is not None:
            last()
    except BaseException:
        for change, path in back[:done]:
            path.rename(change.path)
        raise


def _make_secret(secret: NewSecret, made: list[Path]) -> None:
    try:
        descriptor = os.open(secret.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, SECRET_MODE)
    except FileExistsError:
        message = "is there already; --existing uses what is in it"
        raise _failed(secret.path, message) from None
    except OSError as error:
        refused = _refused(secret.path, error)
        note = "(--print writes no file; --secret names another place)"
        raise ConfigError(
            [replace(problem, message=f"{problem.message} {note}") for problem in refused.problems]
        ) from None
    made.append(secret.path)
    with os.fdopen(descriptor, "wb") as file:
        try:
            like = secret.like.stat() if secret.like.exists() else None
            if like is not None:
                _give(descriptor, like)
                os.fchmod(descriptor, like.st_mode & _SECRET_MODE_MAX)
            file.write(secret.text.encode() + b"\n")
            file.flush()
            os.fsync(descriptor)
        except OSError as error:
            raise _refused(secret.path, error) from None
    _sync_folder(secret.path.parent)


def _beside(path: Path, data: bytes, made: list[Path]) -> Path:
    """A file beside `path` with its owner, mode and attributes, and `data` in it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{len(made)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, SECRET_MODE)
        made.append(beside)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            _give(descriptor, path.stat())
            shutil.copystat(path, beside)
            os.utime(beside)
            os.fsync(descriptor)
    except OSError as error:
        raise _refused(path, error) from None
    return beside


def _give(descriptor: int, like: os.stat_result) -> None:
    """The owner and group of `like`, without which a service could not read it any more."""
    now = os.fstat(descriptor)
    if (now.st_uid, now.st_gid) != (like.st_uid, like.st_gid):
        os.fchown(descriptor, like.st_uid, like.st_gid)


def _sync_folder(folder: Path) -> None:
    """So that a rename is still there after a power cut; some file systems can not."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _failed(path: Path, message: str, permission: bool = False, away: bool = False) -> ConfigError:
    return ConfigError([Problem(str(path), "", message, permission, away)])


def _refused(path: Path, error: OSError) -> ConfigError:
    """A busy file is a mount point, as a container has it."""
    if error.errno == errno.EBUSY:
        return _failed(
            path, "is mounted where it is: change what it is made from, on a copy", permission=True
        )
    return _failed(path, f"can not be written: {error.strerror}", error.errno in _PERMISSION)
