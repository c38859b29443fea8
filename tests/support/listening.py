"""A listener with everything behind it in the test's own event loop: what it counts, warns of and keeps."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sealgate.net.endpoints import Endpoint, Route
from sealgate.net.listener import Listener
from sealgate.net.logins import Logins
from sealgate.net.relay import Relay
from sealgate.net.shared import Shared
from sealgate.net.sockets import Network
from sealgate.net.upstream import Dialer
from sealgate.session.conversation import Role, Terms
from sealgate.session.limits import Limits
from sealgate.session.records import RefusalRecord, Tally
from sealgate.verify.checks import Verifier
from sealgate.verify.verdict import GRANTED, Claim, ClaimOutcome
from support.talk import DEPLOYMENT, KEYRING, generic_policy


class NotingStore:
    """A claim store that grants everything, at once or when told to, and notes what it was asked in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.waiting: list[Callable[[], None]] = []
        self.answers_at_once = True
        self.healthy = True
        self.entries = 0
        self.errors = 0

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    def claim(self, claims: list[Claim], answer: Callable[[list[ClaimOutcome]], None]) -> None:
        self.calls += ["claim"] * len(claims)
        outcomes = [GRANTED] * len(claims)
        if self.answers_at_once:
            answer(outcomes)
        else:
            self.waiting.append(lambda: answer(outcomes))

    def settle(self, commits: list[Claim], releases: list[Claim]) -> None:
        self.calls += ["commit"] * len(commits) + ["release"] * len(releases)

    def renew(self, claims: list[Claim]) -> None:
        self.calls += ["renew"] * len(claims)


class NotingDialer(Dialer):
    """Knows how many dials are under way."""

    dialing = 0

    async def dial(self, route: Route, protocol: Callable[[], asyncio.Protocol]) -> asyncio.Protocol | None:
        self.dialing += 1
        try:
            return await super().dial(route, protocol)
        finally:
            self.dialing -= 1


class Listening:
    """What a test looks at."""

    def __init__(
        self,
        upstream_port: int,
        *,
        role: Role = Role.VERIFY,
        limits: Limits | None = None,
        endpoints: list[Endpoint] | None = None,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        connections_per_address_max: int = 100,
        logins: Logins | None = None,
        port: int = 0,
        reuse_port: bool = False,
        proxies: Sequence[Network] = (),
    ) -> None:
        #: For the next handshakes.
        self.tls = tls
        self._tally = Tally()
        self.store = NotingStore()
        self.kept: list[RefusalRecord] = []
        self.warned: list[dict[str, Any]] = []
        terms = Terms(
            role=role,
            deployment=DEPLOYMENT,
            verifier=Verifier(generic_policy(), KEYRING),
            limits=limits or Limits(),
            tally=self._tally,
            replace_credentials=logins is not None,
        )
        self.dialer = NotingDialer(endpoints or [Endpoint("127.0.0.1", upstream_port)], self.warn)
        shared = Shared(terms, self.store, self.dialer, self._keep, self.warn, logins)
        self.listener = Listener(
            shared, host, port, lambda: self.tls, connections_per_address_max, reuse_port, proxies
        )

    def _keep(self, record: RefusalRecord, kept: Callable[[bool], None] | None) -> None:
        self.kept.append(record)

    def warn(self, event: str, key: str = "", **fields: Any) -> None:
        self.warned.append({"event": event, **fields})

    @property
    def tally(self) -> Tally:
        """What was counted, for somebody who asks."""
        self._tally.settle()
        return self._tally

    @property
    def reasons(self) -> list[str]:
        """Why connections were closed, in order."""
        return [line["reason"] for line in self.warned if line["event"] == "connection.closed"]

    @property
    def relays(self) -> list[Relay]:
        """One for each client, in no order."""
        return list(self.listener._relays)

    @property
    def port(self) -> int:
        return self.listener.port

    @property
    def idle(self) -> bool:
        """Nobody is connected and nothing is held."""
        tally = self.tally
        counts = (tally.client_connections, tally.upstream_connections, tally.buffered_bytes)
        return self.listener.connections == 0 and counts == (0, 0, 0)


@asynccontextmanager
async def listening(upstream_port: int, **options: Any) -> AsyncIterator[Listening]:
    """Started, and closed at the end; nothing may be left then."""
    place = Listening(upstream_port, **options)
    await place.listener.start()
    try:
        yield place
    finally:
        await place.listener.close()
    assert place.idle, "something is left of a connection"
