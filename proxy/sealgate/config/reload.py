"""Keys and users of a running gateway, read again when their files change. The last good ones stay in use.

Change is found by asking for inode, time and size of the resolved files: a Kubernetes volume swaps a
symlinked directory, which watching the file itself would miss after the first time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Final

from sealgate.accounts.users import UserBook
from sealgate.config.errors import ConfigError, Problem
from sealgate.config.settings import Settings
from sealgate.config.sources import Sources, Stamp, read_keyring, read_users, stamp_of
from sealgate.reason import GateError
from sealgate.signing.keyring import Keyring


class _Watched:
    """Knows the files of the last reading, good or not, as they were then."""

    def __init__(self) -> None:
        self._stamps: dict[FilePath, Stamp] = {}

    def changed(self) -> bool:
        """Whether one of them is another one now."""
        return any(stamp_of(path) != stamp for path, stamp in self._stamps.items())

    def _look(self) -> dict[FilePath, Stamp]:
        """The files as they are now: what can not be read this time is still watched."""
        return {path: stamp_of(path) for path in self._stamps}


class KeySource(_Watched):
    """Reads the keys `settings.keys.source` names, and knows when to read them again.

    `keyring` is the last good one and `warnings` are its own. `environ` is the process's when None.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._settings: Final = settings
        self._environ: Final = os.environ if environ is None else environ
        self._clock: Final = clock
        self.keyring: Keyring | None = None
        self.warnings: list[Problem] = []

    def load(self) -> Keyring:
        """Read the keys. Raises `ConfigError` and keeps `keyring` when anything is wrong with them."""
        before = self._look()
        sources = Sources(self._environ)
        try:
            keyring = read_keyring(self._settings.keys.source, sources)
            problems = list(self._signer_problems(keyring))
            if problems:
                raise ConfigError(problems)
        finally:
            self._stamps = before | sources.stamps
        self.keyring = keyring
        self.warnings = sources.warnings
        return keyring

    def reload(self) -> str:
        """`load` for a running gateway: "" when `keyring` is new, else what is wrong with the new keys."""
        try:
            self.load()
        except ConfigError as error:
            return str(error)
        return ""

    def _signer_problems(self, keyring: Keyring) -> Iterator[Problem]:
        publish = self._settings.publish
        for name, kid in (("sign_with", publish.sign_with), ("countersign_with", publish.countersign_with)):
            if kid is None:
                continue
            try:
                keyring.signer(kid, self._clock())
            except GateError as error:
                known = ", ".join(keyring.kids())
                yield Problem("", f"publish.{name}", f'"{kid}" can not sign: {error.detail} (keys: {known})')


class UserSource(_Watched):
    """Reads the users `settings.credentials` names and Sealgate's own login, and knows when to do so again.

    `book` is the last good one and `warnings` are its own. `environ` is the process's when None.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._settings: Final = settings
        self._environ: Final = os.environ if environ is None else environ
        self.book: UserBook | None = None
        self.warnings: list[Problem] = []

    def load(self) -> UserBook:
        """Read the users. Raises `ConfigError` and keeps `book` when anything is wrong with them."""
        before = self._look()
        sources = Sources(self._environ)
        try:
            book = read_users(self._settings.credentials, sources)
        finally:
            self._stamps = before | sources.stamps
        tls = self._settings.listen.tls
        if any(user.certificate for user in book) and (tls is None or tls.client_ca is None):
            message = "users have certificates, but without listen.tls.client_ca nobody is asked for one"
            sources.warnings.append(Problem("", "credentials.users", message))
        self.book = book
        self.warnings = sources.warnings
        return book

    def reload(self) -> str:
        """`load` for a running gateway: "" when `book` is new, else what is wrong with the new users."""
        try:
            self.load()
        except ConfigError as error:
            return str(error)
        return ""
