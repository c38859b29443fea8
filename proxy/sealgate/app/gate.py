"""One running instance: the listener, its store, its keys, its quarantine and its admin address."""

from __future__ import annotations

import asyncio
import logging
import platform
import time
from collections.abc import Coroutine
from typing import Any, Final

from sealgate import __version__
from sealgate.app import build
from sealgate.app.build import EXIT_CONFIG, EXIT_UNAVAILABLE, StartError
from sealgate.config.errors import ConfigError
from sealgate.config.reload import KeySource
from sealgate.config.settings import Settings
from sealgate.net.listener import Listener
from sealgate.net.relay import Shared
from sealgate.ops.admin import Admin
from sealgate.ops.audit import Audit
from sealgate.ops.health import Health, LoopLag
from sealgate.ops.metrics import build_registry
from sealgate.quarantine.publish import Quarantine
from sealgate.reason import GateError
from sealgate.session.records import RefusalRecord, Tally
from sealgate.signing.keyring import Keyring

log: Final = logging.getLogger("sealgate.app")

#: How often key files are looked at: polling is what survives Kubernetes' swaps of symlinks.
KEYS_POLL_S: Final = 2.0
#: How often the broker is looked for while no client connects, for /readyz.
UPSTREAM_PROBE_S: Final = 10.0
AUDIT_FLUSH_S: Final = 10.0


class Gate:
    """Start it, let it run, drain it, close it. `tally` counts what passes."""

    def __init__(self, settings: Settings) -> None:
        """Raises `StartError` when keys or files do not serve; nothing is opened yet."""
        self._settings: Final = settings
        self.tally: Final = Tally()
        self._keys: Final = KeySource(settings)
        self._terms: Final = build.build_terms(settings, self._keys_at_start(), self.tally)
        self._store: Final = build.build_store(settings)
        upstream_tls = build.build_upstream_tls(settings, settings.upstream.urls)
        self._dialer: Final = build.build_dialer(settings, upstream_tls)
        self._audit: Final = Audit()
        self._quarantine: Final = self._build_quarantine()
        self._lag: Final = LoopLag()
        self.health: Final = Health(self._lag)
        self._listener: Final = Listener(
            Shared(self._terms, self._store, self._dialer, self._keep),
            settings.listen.address.host,
            settings.listen.address.port,
            build.build_listen_tls(settings),
            settings.limits.connections_per_address_max,
        )
        self._admin: Final = self._build_admin()
        self._tasks: Final[list[asyncio.Task[None]]] = []
        self._keys_trouble = ""

    @property
    def port(self) -> int:
        """The AMQP port in use."""
        return self._listener.port

    @property
    def admin_port(self) -> int:
        """The admin port in use, 0 when there is none."""
        return self._admin.port if self._admin is not None else 0

    async def start(self) -> None:
        """Open the store and the ports. Raises `StartError` (69 when the store can not be reached)."""
        self._lag.start()
        try:
            await self._store.start()
        except GateError as error:
            raise StartError(f"replay.store: {error.detail or error}", EXIT_UNAVAILABLE) from error
        if self._quarantine is not None:
            await self._quarantine.start()
        try:
            await self._listener.start()
        except OSError as error:
            raise StartError(f"listen.address: {error}", EXIT_CONFIG) from error
        try:
            if self._admin is not None:
                await self._admin.start()
        except OSError as error:
            raise StartError(f"admin.address: {error}", EXIT_CONFIG) from error
        self._watch_health()
        self._background(self._poll_keys())
        self._background(self._probe_upstream())
        self._background(self._flush_audit())
        log.info(
            "listening",
            extra={
                "event": "gate.listening",
                "port": self.port,
                "admin_port": self.admin_port,
                "action": self._settings.publish.action,
                "version": __version__,
            },
        )

    async def drain(self) -> bool:
        """Finish what was taken on and send clients away; true when all were done within drain.timeout."""
        drain = self._settings.drain
        deadline = time.monotonic() + drain.timeout
        self.health.draining = True
        log.info("draining", extra={"event": "gate.draining", "clients": self._listener.connections})
        if drain.delay:
            await asyncio.sleep(drain.delay)
        self._listener.stop_accepting()
        self._listener.drain()
        return await self._listener.emptied(max(deadline - time.monotonic(), 0.1))

    async def close(self) -> None:
        """Cut what is left, write out what is pending, and let go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listener.close()
        if self._quarantine is not None:
            await self._quarantine.close()
        await self._store.close()
        if self._admin is not None:
            await self._admin.close()
        self._audit.flush()
        self._lag.stop()

    def reload_keys(self) -> None:
        """Read the keys again; what does not load leaves the last good keyring in force, and says why."""
        self._keys_trouble = self._keys.reload()
        keyring = self._keys.keyring
        if self._keys_trouble or keyring is None:
            self.tally.config_reloads["failed"] += 1
            log.error("keys not reloaded", extra={"event": "keys.failed", "error": self._keys_trouble})
            return
        build.apply_keyring(self._terms, self._settings, keyring)
        self.tally.config_reloads["ok"] += 1
        log.info("keys reloaded", extra={"event": "keys.reloaded", "kids": list(keyring.kids())})

    def _keys_at_start(self) -> Keyring:
        """A gate that neither signs nor verifies needs no keys."""
        if self._settings.publish.action == "pass":
            return Keyring()
        try:
            keyring = self._keys.load()
        except ConfigError as error:
            raise StartError(str(error), EXIT_CONFIG) from error
        for warning in self._keys.warnings:
            log.warning(str(warning), extra={"event": "keys.warning"})
        return keyring

    def _build_quarantine(self) -> Quarantine | None:
        quarantine = self._settings.quarantine
        kept_at = build.quarantine_urls(self._settings)
        if not kept_at:
            return None
        return Quarantine(
            kept_at,
            quarantine.exchange,
            tally=self.tally,
            log=logging.getLogger("sealgate.quarantine"),
            length_max=quarantine.length_max,
            bytes_max=quarantine.bytes_max,
            age_max_s=quarantine.age_max,
            ssl_context=build.build_upstream_tls(self._settings, kept_at),
        )

    def _build_admin(self) -> Admin | None:
        if not self._settings.admin.enabled:
            return None
        registry = build_registry(self.tally, self._store, {})
        address = self._settings.admin.address
        about = {
            "version": __version__,
            "python": platform.python_version(),
            "action": self._settings.publish.action,
            "deployment": self._settings.deployment,
            "mode": self._settings.mode.default,
        }
        return Admin(str(address), registry, self.health, self.tally, about)

    def _watch_health(self) -> None:
        self.health.watch("listener", lambda: "" if self._listener.listening else "not listening")
        self.health.watch("keyring", lambda: self._keys_trouble)
        self.health.watch("upstream", lambda: "unreachable" if self._dialer.reachable is False else "")
        self.health.watch("store", lambda: "" if self._store.healthy else "unavailable")

    def _keep(self, record: RefusalRecord) -> None:
        self._audit.write(record)
        if self._quarantine is not None:
            self._quarantine.keep(record)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def _poll_keys(self) -> None:
        while True:
            await asyncio.sleep(KEYS_POLL_S)
            if self._keys.changed():
                self.reload_keys()

    async def _probe_upstream(self) -> None:
        """Look for the broker while no client does: a probe opens TCP only, and leaves no AMQP trace."""
        while True:
            if not self.tally.upstream_connections:
                await self._dialer.probe()
            await asyncio.sleep(UPSTREAM_PROBE_S)

    async def _flush_audit(self) -> None:
        while True:
            await asyncio.sleep(AUDIT_FLUSH_S)
            self._audit.flush()
