"""The keyring of a running gateway, read again when its files change. The last good one stays in use.

Change is found by asking for inode, time and size of the resolved files: a Kubernetes volume swaps a
symlinked directory, which watching the file itself would miss after the first time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Final

from sealgate.config.errors import ConfigError, Problem
from sealgate.config.settings import Settings
from sealgate.config.sources import Sources, Stamp, read_keyring, stamp_of
from sealgate.reason import GateError
from sealgate.signing.keyring import Keyring


class KeySource:
    """Reads the keys `settings.keys.source` names, and knows when to read them again.

    `keyring` is the last good one and `warnings` are its own. `environ` is the process's when None.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings: Final = settings
        self._environ: Final = os.environ if environ is None else environ
        self._clock: Final = clock
        self._stamps: dict[FilePath, Stamp] = {}
        self.keyring: Keyring | None = None
        self.warnings: list[Problem] = []

    def changed(self) -> bool:
        """Whether a file of the last reading, good or not, is another one now."""
        return any(stamp_of(path) != stamp for path, stamp in self._stamps.items())

    def load(self) -> Keyring:
        """Read the keys. Raises `ConfigError` and keeps `keyring` when anything is wrong with them."""
        before = {path: stamp_of(path) for path in self._stamps}
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
