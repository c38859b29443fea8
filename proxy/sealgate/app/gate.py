"""One running instance: the listener, its store, its keys, its quarantine and its admin address."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from sealgate import __version__
from sealgate.app import build
from sealgate.app.controlling import PAGE as CONTROLS_PAGE
from sealgate.app.controlling import Controlling, control_plan
from sealgate.app.credentials import Credentials
from sealgate.app.errors import EXIT_UNAVAILABLE, StartError, start_error
from sealgate.app.facts import about
from sealgate.app.keywatch import KeyWatch
from sealgate.app.observing import PAGE as OBSERVED_PAGE
from sealgate.app.observing import Observing, rule_names
from sealgate.app.parking import DeskClerk, FarClerk, Parking
from sealgate.app.users import Users
from sealgate.app.vitals import Vitals
from sealgate.config.settings import Settings
from sealgate.control.orders import Orders
from sealgate.net.listener import Listener
from sealgate.net.shared import Shared
from sealgate.ops.admin import Admin
from sealgate.ops.audit import Audit
from sealgate.ops.health import Health, LoopLag
from sealgate.ops.key_metrics import KeyCollector
from sealgate.ops.keys import PAGE as KEYS_PAGE
from sealgate.ops.keys import KeysPage, plain
from sealgate.ops.logging import Sampled
from sealgate.ops.pages import Pages
from sealgate.quarantine.emptying import Emptier
from sealgate.quarantine.publish import Quarantine
from sealgate.quarantine.queues import Queues
from sealgate.reason import GateError
from sealgate.session.records import RefusalRecord, Tally
from sealgate.signing.keyring import Keyring
from sealgate.variant import core_variant

log: Final = logging.getLogger("sealgate.app")

#: How often files of keys and certificates are looked at: polling is what survives Kubernetes' swaps of
#: symlinks.
POLL_S: Final = 2.0
#: How often the broker is looked for while no client connects, and while it is away, for /readyz.
UPSTREAM_PROBE_S: Final = 10.0
UPSTREAM_RETRY_S: Final = 1.0
#: How often what was counted instead of printed is told.
FLUSH_S: Final = 10.0


class Gate:
    """Start it, let it run, drain it, close it. `tally` counts what passes."""

    def __init__(self, settings: Settings, supervised: bool = False, empties: bool = True) -> None:
        """A gate that is `supervised` gets its orders by `obey`; any other one has a desk for them.

        One of those that share a supervisor `empties` queues of pauses that are over.

        Raises `StartError` when keys or files do not serve; nothing is opened yet.
        """
        self._settings: Final = settings
        self.tally: Final = Tally()
        self._credentials: Final = Credentials(settings, self.tally)
        self._users: Final = Users(settings, self.tally) if settings.credentials.mode == "replace" else None
        self._terms: Final = build.build_terms(settings, self._credentials.keyring, self.tally)
        self._keys: Final = KeyWatch(settings.keys.source if self._credentials.keys else "", self.tally)
        self._keys.look(self._terms)
        #: Of those that share a supervisor one tells what is the same with all.
        self._tells_of_keys: Final = empties
        self._store: Final = build.build_store(settings, self.tally)
        self._terms.store = self._store.prompt
        self._sampled: Final = Sampled(logging.getLogger("sealgate.net"))
        warn = self._sampled.warning
        self._dialer: Final = build.build_dialer(settings, self._credentials.upstream_tls, warn)
        self._audit: Final = Audit()
        self._observing: Final = Observing(settings.control.state, rule_names(settings.rule))
        self._quarantine: Final = self._build_quarantine()
        self._queues: Final = Queues(
            build.queue_login(settings),
            log=logging.getLogger("sealgate.quarantine"),
            ssl_context=self._credentials.upstream_tls,
        )
        self._controlling: Final = None if supervised else Controlling(control_plan(settings), self.obey)
        #: What a supervisor is to be told of park queues.
        self.clerk: Final = FarClerk()
        desk = self._controlling.desk if self._controlling is not None else None
        self._parking: Final = Parking(self._queues, self.clerk if desk is None else DeskClerk(desk))
        if empties:
            self._parking.emptier = self._build_emptier()
        self._lag: Final = LoopLag()
        self.health: Final = Health(self._lag)
        self._listener: Final = Listener(
            Shared(
                self._terms,
                self._store,
                self._dialer,
                self._keep,
                warn,
                self._users.logins if self._users else None,
                self._parking,
            ),
            settings.listen.address.host,
            settings.listen.address.port,
            lambda: self._credentials.listen_tls,
            settings.limits.connections_per_address_max,
            settings.listen.reuse_port,
            [ipaddress.ip_network(network) for network in settings.listen.proxy_protocol],
        )
        self.health.watch("listener", lambda: "" if self._listener.listening else "not listening")
        self.vitals: Final = Vitals(self.tally, self._store, self._dialer, self.health, self._news)
        self._admin: Final = self._build_admin()
        self._tasks: Final[list[asyncio.Task[None]]] = []
        self._upstream_found: Final = asyncio.Event()
        self._store_warnings: list[str] = []
        self._watch_health()

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
        self._tell_store_warnings()
        if self._controlling is not None:
            await self._controlling.start()
        if self._quarantine is not None:
            await self._quarantine.start()
        try:
            await self._listener.start()
        except OSError as error:
            raise start_error("listen.address", error) from error
        try:
            if self._admin is not None:
                await self._admin.start()
        except OSError as error:
            raise start_error("admin.address", error) from error
        self._background(self._poll())
        self._background(self._poll_keys())
        if self._users is not None:
            self._background(self._poll_users(self._users))
        self._background(self._probe_upstream())
        self._background(self._flush())
        self._background(self._observing.keep())
        if self._controlling is not None:
            self._background(self._controlling.desk.watch())
        log.info(
            "listening",
            extra={
                "event": "gate.listening",
                "port": self.port,
                "admin_port": self.admin_port,
                "action": self._settings.publish.action,
                "version": __version__,
                "core": core_variant(),
            },
        )

    async def expect_upstream(self) -> None:
        """Wait until a broker could be reached, if only once. Raises `StartError` (69) when that takes longer
        than `upstream.start_timeout`."""
        timeout = self._settings.upstream.start_timeout
        try:
            await asyncio.wait_for(self._upstream_found.wait(), timeout or None)
        except TimeoutError:
            detail = (
                f"upstream.urls: no broker could be reached within {timeout:g} s (upstream.start_timeout)"
            )
            raise StartError(detail, EXIT_UNAVAILABLE) from None

    async def drain(self) -> bool:
        """Finish what was taken on and send clients away; true when all were done within drain.timeout."""
        drain = self._settings.drain
        deadline = time.monotonic() + drain.timeout
        self.health.draining = True
        log.info("draining", extra={"event": "gate.draining", "clients": self._listener.connections})
        if drain.delay:
            await asyncio.sleep(drain.delay)
        self._listener.drain()
        return await self._listener.emptied(max(deadline - time.monotonic(), 0.1))

    async def close(self) -> None:
        """Cut what is left, write out what is pending, and let go."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._listener.close()
        if self._users is not None:
            self._users.close()
        await self._queues.close()
        if self._quarantine is not None:
            await self._quarantine.close()
        await self._store.close()
        if self._admin is not None:
            await self._admin.close()
        if self._parking.emptier is not None:
            await self._parking.emptier.close()
        if self._controlling is not None:
            await self._controlling.close()
        self._audit.flush()
        self._observing.close()
        self._sampled.flush()
        self._lag.stop()

    def reload(self) -> None:
        """Read keys, certificates and users again; what does not load leaves the last good ones in force."""
        self._credentials.reload_certificates()
        self._apply_tls()
        self._background(self._credentials.reload_keys(self._apply_keyring))
        if self._users is not None:
            self._background(self._users.reload())

    def obey(self, orders: Orders) -> None:
        """Put `orders` in force for every session at once, in the place of those before."""
        verifier = self._terms.verifier
        verifier.policy = replace(verifier.policy, controls=orders.controls())
        self._parking.obey(orders)

    def _news(self) -> dict[str, Any]:
        """What a supervisor is told beside the tally: what was observed and parked once, keys each time."""
        return {
            "observed": self._observing.take(),
            "parking": self.clerk.take(),
            "keys": plain(self._keys.ring),
        }

    def _build_emptier(self) -> Emptier:
        return Emptier(
            build.queue_login(self._settings),
            lambda queue: self._parking.emptied(queue),
            log=logging.getLogger("sealgate.quarantine"),
            ssl_context=self._credentials.upstream_tls,
        )

    def _apply_keyring(self, keyring: Keyring) -> None:
        build.apply_keyring(self._terms, self._settings, keyring)
        self._keys.look(self._terms)

    def _apply_tls(self) -> None:
        context = self._credentials.upstream_tls
        if context is not None:
            self._dialer.use_tls(context)
            self._queues.use_tls(context)
            if self._quarantine is not None:
                self._quarantine.use_tls(context)
            if self._parking.emptier is not None:
                self._parking.emptier.use_tls(context)

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
            ssl_context=self._credentials.upstream_tls,
        )

    def _build_admin(self) -> Admin | None:
        if not self._settings.admin.enabled:
            return None
        address = str(self._settings.admin.address)
        keys = KeysPage(self._settings.deployment, lambda: [self._keys.ring], self.tally)
        tables = {OBSERVED_PAGE: self._observing.table, KEYS_PAGE: keys.table}
        changes = {}
        registry = self.vitals.registry()
        registry.register(KeyCollector(keys.ring))
        if self._controlling is not None:
            tables[CONTROLS_PAGE] = self._controlling.table
            changes[CONTROLS_PAGE] = self._controlling.changes
            registry.register(self._controlling.collector())
        pages = Pages(
            registry, self.health, self.tally, about(self._settings), tables=tables, changes=changes
        )
        return Admin(address, pages)

    def _watch_health(self) -> None:
        credentials = self._credentials
        self.health.watch("keyring", lambda: credentials.keys_trouble, advisory=True)
        self.health.watch("rotation", lambda: self._keys.trouble, advisory=True)
        self.health.watch("certificates", lambda: credentials.certificates_trouble, advisory=True)
        if self._controlling is not None:
            self.health.watch("controls", self._controlling.trouble, advisory=True)
        users = self._users
        if users is not None:
            self.health.watch("users", lambda: users.trouble, advisory=True)

    def _tell_store_warnings(self) -> None:
        """What an operator should know of the store; another server behind its address may bring more."""
        warnings: list[str] = getattr(self._store, "warnings", [])
        if warnings != self._store_warnings:
            self._store_warnings = warnings
            for warning in warnings:
                log.warning(warning, extra={"event": "store.warning"})

    def _keep(self, record: RefusalRecord, done: Callable[[bool], None] | None) -> None:
        """Audit a refusal and keep it. Where there is no quarantine nothing is to be waited for."""
        self._audit.write(record)
        if record.observed:
            self._observing.note(record, self._terms.verifier.policy)
        if self._quarantine is not None:
            self._quarantine.keep(record, done)
        elif done is not None:
            done(True)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(_tell_failure)
        task.add_done_callback(self._tasks.remove)
        self._tasks.append(task)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            self._credentials.poll_certificates()
            self._apply_tls()

    async def _poll_keys(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            await self._credentials.poll_keys(self._apply_keyring)
            build.follow_signer(self._terms, self._settings)
            self._keys.look(self._terms)
            if self._tells_of_keys:
                self._keys.tell()

    async def _poll_users(self, users: Users) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            await users.poll()

    async def _probe_upstream(self) -> None:
        """Look for brokers that no client uses: a probe opens TCP only, and leaves no AMQP trace."""
        several = len(self._dialer.states()) > 1
        while True:
            if several or not self._dialer.reachable or not self.tally.upstream_connections:
                await self._dialer.probe()
            if self._dialer.reachable:
                self._upstream_found.set()
            await asyncio.sleep(UPSTREAM_PROBE_S if self._dialer.reachable else UPSTREAM_RETRY_S)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self._audit.flush()
            self._sampled.flush()
            self._tell_store_warnings()


def _tell_failure(task: asyncio.Task[None]) -> None:
    """What runs in the background only ends by being cancelled, unless it has a bug."""
    if not task.cancelled() and task.exception() is not None:
        log.error("background work failed", extra={"event": "gate.error"}, exc_info=task.exception())
