"""The keyring of a process that signs for itself, read again when the files behind it change.

`config.sources` does the same for the gateway, with the settings' errors and warnings around it; this one has
to do with the standard library.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from sealgate.signing.keyfile import KeyfileError, load_keys
from sealgate.signing.keyring import Keyring

#: A keyring of a few thousand keys; what is larger is the wrong file.
SOURCE_BYTES_MAX: Final = 1_048_576
#: As often as the gateway looks: a key that was revoked is in use no longer than that.
REFRESH_S: Final = 2.0
#: Where systemd puts what a unit's LoadCredential= names.
CREDENTIALS_DIRECTORY: Final = "CREDENTIALS_DIRECTORY"

_log: Final = logging.getLogger("sealgate")
#: Inode, modification time in ns, size; None for a file that is not there.
_Stamp = tuple[int, int, int] | None


class KeysError(ValueError):
    """Why there is no keyring. The text names references, never what is behind them."""


class KeySource:
    """The keyring behind `reference` (`env:NAME`, `file:/path`, `cred:NAME`).

    The first reading raises `KeysError`; later, what can not be read is logged, and the last good keyring
    stays. There is no lock to be held over a fork: threads that read at the same moment read the same.
    """

    def __init__(
        self,
        reference: str,
        environ: Mapping[str, str] = os.environ,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reference: Final = reference
        self._environ: Final = environ
        self._monotonic: Final = monotonic
        self._stamps: dict[Path, _Stamp] = {}
        #: Files that are being written in place, as they were at the last look.
        self._unsettled: dict[Path, _Stamp] = {}
        self._next = monotonic() + REFRESH_S
        self._keyring = self._read()

    def keyring(self) -> Keyring:
        """The one in force."""
        now = self._monotonic()
        if now >= self._next:
            self._next = now + REFRESH_S
            self._refresh()
        return self._keyring

    def _refresh(self) -> None:
        found = {path: _stamp_of(path) for path in self._stamps}
        if found == self._stamps:
            return
        if found != self._unsettled and any(_is_in_place(self._stamps[path], found[path]) for path in found):
            self._unsettled = found  # half of it may be there: it counts when it is the same at the next look
            return
        try:
            self._keyring = self._read()
        except KeysError as error:
            _log.warning("sealgate: the old keys stay in force: %s", error)
        else:
            _log.info("sealgate: keys loaded again")

    def _read(self) -> Keyring:
        stamps: dict[Path, _Stamp] = {}
        try:
            text = self._resolve(self._reference, stamps)
            keyring, warnings = load_keys(
                text, self._reference, lambda reference: self._resolve(reference, stamps)
            )
        except (KeyfileError, ValueError) as error:
            what = "; ".join(str(error).splitlines())
            named = what if what.startswith(self._reference) else f"{self._reference}: {what}"
            raise KeysError(named) from None
        finally:
            # What could not be read is tried again when it changes, not every two seconds.
            self._stamps = stamps
        for warning in warnings:
            _log.warning("sealgate: %s: %s", self._reference, warning)
        return keyring

    def _resolve(self, reference: str, stamps: dict[Path, _Stamp]) -> str:
        """The text behind a reference. Raises ValueError, with a message that is safe to print."""
        scheme, _, name = reference.partition(":")
        if scheme == "env":
            text = self._environ.get(name, "").strip()
            if not text:
                raise ValueError(
                    f"{reference} is not set" if name not in self._environ else f"{reference} is empty"
                )
            return text
        if scheme == "cred":
            directory = self._environ.get(CREDENTIALS_DIRECTORY)
            if directory is None:
                raise ValueError(f"{reference} is not there: ${CREDENTIALS_DIRECTORY} is not set")
            return _read_file(Path(directory) / Path(name).name, stamps)
        if scheme == "file":
            return _read_file(Path(name), stamps)
        raise ValueError(f"{scheme}: references are not read in the application; use env:, file: or cred:")


def _read_file(path: Path, stamps: dict[Path, _Stamp]) -> str:
    stamps[path] = _stamp_of(path)  # before reading: a change in between is then seen as one
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"file:{path} is no regular file")
            data = file.read(SOURCE_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"file:{path} can not be read: {error.strerror}") from None
    if len(data) > SOURCE_BYTES_MAX:
        raise ValueError(f"file:{path} is over {SOURCE_BYTES_MAX} bytes")
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        raise ValueError(f"file:{path} is no UTF-8 text") from None
    if not text:
        raise ValueError(f"file:{path} is empty")
    return text


def _is_in_place(before: _Stamp, after: _Stamp) -> bool:
    """Whether a file was changed that is still the same file."""
    return before is not None and after is not None and before != after and before[0] == after[0]


def _stamp_of(path: Path) -> _Stamp:
    """What changes when the file behind `path` and its symlinks does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
