"""Keys and users of a running gateway, read again when their sources change. The last good ones stay in use.

Change is found by asking for inode, times and size of the resolved files: a Kubernetes volume swaps a
symlinked directory, which watching the file itself would miss after the first time. Reading is apart from
taking what was read (`Watched`), so that the first can be done in another thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Final, Generic, TypeVar

from sealgate.accounts.users import UserBook
from sealgate.config.errors import ConfigError, Problem
from sealgate.config.settings import Settings
from sealgate.config.sources import Sources, Stamp, new_remotes, read_keyring, read_users, stamp_of
from sealgate.reason import GateError
from sealgate.signing.keyring import Keyring

T = TypeVar("T")


@dataclass(slots=True, frozen=True)
class Reading(Generic[T]):
    """What a source gave: a value, or the error that came instead. Both, where the value will do for a part
    of its uses only.

    `stamps` are the files that were looked at, good or not, as they were then. `fingerprint` is equal for two
    readings of the same texts.
    """

    value: T | None
    error: ConfigError | None
    warnings: list[Problem]
    stamps: dict[FilePath, Stamp]
    fingerprint: bytes
    #: whether a store on the network was asked, and in how many seconds its login wants to be renewed
    remote: bool
    renew_in_s: float


class Watched(Generic[T]):
    """`value` is the last good one and `warnings` are its own. `environ` is the process's when None."""

    def __init__(self, settings: Settings, environ: Mapping[str, str] | None = None) -> None:
        self._settings: Final = settings
        self._environ: Final = os.environ if environ is None else environ
        self._remotes: Final = new_remotes(settings.vault, settings.aws, self._environ)
        self._stamps: dict[FilePath, Stamp] = {}
        #: Files that were changed in place, as they were at the last look.
        self._unsettled: dict[FilePath, Stamp] = {}
        self._fingerprint = b""
        self.value: T | None = None
        self.last: Reading[T] | None = None
        self.warnings: list[Problem] = []

    def changed(self) -> bool:
        """Whether one of the files of the last reading, good or not, is another one now.

        One that was written in place may still be written to: it counts once it was the same at two looks.
        """
        changed = False
        for path, stamp in self._stamps.items():
            now = stamp_of(path)
            if now == stamp:
                continue
            in_place = now is not None and stamp is not None and now[0] == stamp[0]
            if not in_place or self._unsettled.get(path) == now:
                changed = True
            self._unsettled[path] = now
        return changed

    def read(self) -> Reading[T]:
        """Read everything, and change nothing here: any thread may do it, one at a time."""
        before = {path: stamp_of(path) for path in list(self._stamps)}
        sources = Sources(self._environ, self._remotes)
        value: T | None = None
        failed: ConfigError | None = None
        try:
            value = self._value(sources)
            lacking = list(self._lacking(value))
            failed = ConfigError(lacking) if lacking else None
        except ConfigError as error:
            failed = error
        return Reading(
            value,
            failed,
            sources.warnings,
            before | sources.stamps,
            sources.fingerprint,
            sources.asks_remotes,
            self._remotes.renew_in(),
        )

    def take(self, reading: Reading[T]) -> bool:
        """Remember `reading`, and its value if it has one; whether that is another than the last good one."""
        self.last = reading
        self._stamps = reading.stamps
        self._unsettled = {}
        if reading.value is None:
            return False
        new = self.value is None or reading.fingerprint != self._fingerprint
        self.value = reading.value
        self.warnings = reading.warnings
        self._fingerprint = reading.fingerprint
        return new

    def load(self) -> T:
        """Read and take. Raises `ConfigError` when anything is wrong."""
        reading = self.read()
        self.take(reading)
        if reading.error is not None:
            raise reading.error
        assert reading.value is not None  # one of the two is there
        return reading.value

    def _value(self, sources: Sources) -> T:
        """What the source holds now. Raises `ConfigError`."""
        raise NotImplementedError

    def _lacking(self, value: T) -> Iterator[Problem]:
        """What a start needs of it that it has not. A gate that runs takes it all the same."""
        return iter(())


class KeySource(Watched[Keyring]):
    """Reads the keys `settings.keys.source` names, and knows when to read them again."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(settings, environ)
        self._clock: Final = clock

    def _value(self, sources: Sources) -> Keyring:
        return read_keyring(self._settings.keys.source, sources)

    def _lacking(self, value: Keyring) -> Iterator[Problem]:
        """A key to sign with. Who verifies is not to wait for that: another key may be revoked in it."""
        publish = self._settings.publish
        for name, kid in (("sign_with", publish.sign_with), ("countersign_with", publish.countersign_with)):
            if kid is None:
                continue
            try:
                value.first_signer(kid, self._clock())
            except GateError as error:
                known = ", ".join(value.kids())
                yield Problem("", f"publish.{name}", f'"{kid}" can not sign: {error.detail} (keys: {known})')


class UserSource(Watched[UserBook]):
    """Reads the users `settings.credentials` names and Sealgate's own login, and when to do it again."""

    def _value(self, sources: Sources) -> UserBook:
        book = read_users(self._settings.credentials, sources)
        tls = self._settings.listen.tls
        if any(user.certificate for user in book) and (tls is None or tls.client_ca is None):
            message = "users have certificates, but without listen.tls.client_ca nobody is asked for one"
            sources.warnings.append(Problem("", "credentials.users", message))
        return book
