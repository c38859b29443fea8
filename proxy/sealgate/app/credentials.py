"""Keys and certificates of a running gate, read again when their sources change.

Whatever does not load leaves the last good one in use, and is told by the log, by /readyz?verbose and by the
metric `config_reloads_total`. It does not make the gate unready: one broken file would take down every
gateway that reads it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from ssl import SSLContext
from typing import Final

from sealgate.app import build
from sealgate.app.errors import StartError
from sealgate.app.refreshing import Refresher
from sealgate.config.errors import ConfigError
from sealgate.config.reload import KeySource
from sealgate.config.settings import Settings
from sealgate.config.sources import Stamp, stamp_of
from sealgate.session.records import Tally
from sealgate.signing.keyring import Keyring

log: Final = logging.getLogger("sealgate.app")


class Credentials:
    """Warnings about keys at start are told with those about the configuration (`config.checking`).

    `apply` is given each new keyring; the TLS contexts are those for the next handshakes."""

    def __init__(self, settings: Settings, tally: Tally) -> None:
        """Raises `StartError` when keys or files do not serve."""
        self._settings: Final = settings
        self._tally: Final = tally
        source = KeySource(settings)
        self.keyring: Final = self._keys_at_start(source)
        #: None where no keys are used.
        refresh_s = settings.keys.refresh
        self.keys: Final = Refresher("keys", source, tally, refresh_s) if self._uses_keys else None
        self._stamps: dict[str, Stamp] = self._look()
        self._note()
        self.listen_tls = build.build_listen_tls(settings)
        self.upstream_tls = self._upstream_tls()
        self.certificates_trouble = ""

    @property
    def _uses_keys(self) -> bool:
        """A gate that neither signs nor verifies needs none."""
        return self._settings.publish.action != "pass"

    @property
    def keys_trouble(self) -> str:
        """What is wrong with the source of the keys now, and since when."""
        return self.keys.told if self.keys is not None else ""

    def _keys_at_start(self, source: KeySource) -> Keyring:
        if not self._uses_keys:
            return Keyring()
        try:
            return source.load()
        except ConfigError as error:
            raise StartError(str(error), error.exit_code) from error

    def _upstream_tls(self) -> SSLContext | None:
        """One context for the broker and for quarantine's."""
        urls = [*self._settings.upstream.urls, *build.quarantine_urls(self._settings)]
        return build.build_upstream_tls(self._settings, urls)

    async def reload_keys(self, apply: Callable[[Keyring], None]) -> None:
        """Read the keys again."""
        if self.keys is not None:
            await self.keys.reload(_told(apply))
            self._note()

    async def poll_keys(self, apply: Callable[[Keyring], None]) -> None:
        """Read the keys again if they have changed."""
        if self.keys is not None:
            await self.keys.poll(_told(apply))
            self._note()

    def _note(self) -> None:
        """For the metrics."""
        if self.keys is not None:
            self._tally.keys_good_at = self.keys.good_at
            self._tally.keys_failing_since = self.keys.failing_since

    def poll_certificates(self) -> None:
        """Read the certificates again if they have changed."""
        if self._look() != self._stamps:
            self.reload_certificates()

    def reload_certificates(self) -> None:
        """Read the certificates again."""
        if self.listen_tls is None and self.upstream_tls is None:
            return
        self._stamps = self._look()
        try:
            listen, upstream = build.build_listen_tls(self._settings), self._upstream_tls()
        except StartError as error:
            self.certificates_trouble = str(error)
        else:
            self.listen_tls, self.upstream_tls = listen, upstream
            self.certificates_trouble = ""
            log.info("certificates in use", extra={"event": "certificates.reloaded"})
        self._tell("certificates", self.certificates_trouble)

    def _look(self) -> dict[str, Stamp]:
        """The TLS files as they are now."""
        listen, upstream = self._settings.listen.tls, self._settings.upstream.tls
        names: list[str | None] = []
        if listen is not None:
            names += [listen.cert, listen.key, listen.client_ca]
            for other in listen.names:
                names += [other.cert, other.key]
        if upstream is not None:
            names += [upstream.cert, upstream.key, upstream.ca]
        return {name: stamp_of(Path(name)) for name in names if name is not None}

    def _tell(self, what: str, trouble: str) -> None:
        self._tally.config_reloads["failed" if trouble else "ok"] += 1
        if trouble:
            log.error(f"{what} not reloaded", extra={"event": f"{what}.failed", "error": trouble})


def _told(apply: Callable[[Keyring], None]) -> Callable[[Keyring], None]:
    """`apply`, and a line of the log that names the keys."""

    def use(keyring: Keyring) -> None:
        apply(keyring)
        log.info("keys in use", extra={"event": "keys.reloaded", "kids": list(keyring.kids())})

    return use
