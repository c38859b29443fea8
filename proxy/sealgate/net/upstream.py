"""Dialing the broker."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Final

from sealgate.net.connecting import connect
from sealgate.net.endpoints import Endpoint, Endpoints, Memory, Route
from sealgate.net.sockets import tune
from sealgate.net.warn import Warn

#: One client's patience with all endpoints: below the timeouts of clients, of which Celery's 4 s are the
#: shortest (protocol.md U1: where they only bound the TCP connect they never help, for that has succeeded).
#: Each endpoint gets its share of what is left, but not less than the second figure.
DIAL_S_MAX: Final = 3.5
DIAL_S_MIN: Final = 1.0
#: Connections being made at the same time: RabbitMQ's default backlog. After a restart of the broker all
#: clients come at once; the rest wait within their handshake deadline (protocol.md U4).
DIALS_MAX: Final = 128


class Dialer:
    """Tries the endpoints, those first that have not failed of late.

    Failures are told by `warn`. `clock` and `dice` are for `Endpoints`.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        warn: Warn,
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._warn: Final = warn
        self._clock: Final = clock
        self._slots: Final = asyncio.Semaphore(DIALS_MAX)
        self.endpoints: Final = Endpoints(endpoints, clock, dice)

    @property
    def reachable(self) -> bool | None:
        """Whether any endpoint is, as far as is known; None before the first dial."""
        return self.endpoints.reachable

    def states(self) -> dict[str, Memory]:
        """What is known of each endpoint, by its address."""
        return self.endpoints.states()

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Use this context from now on where TLS is used."""
        self.endpoints.use_tls(context)

    def route(self) -> Route:
        """For one client."""
        return self.endpoints.route()

    async def dial(self, route: Route, protocol: Callable[[], asyncio.Protocol]) -> asyncio.Protocol | None:
        """Connect to the next endpoint of `route` that answers; None when none is left.

        Returns the one of all `protocol()` made on the way that counts; who made them drops the others.
        """
        async with self._slots:
            while route.left:
                route.current = route.left.pop(0)
                connected = await self._connect(route.current, self._share_s(route), protocol)
                if connected is not None:
                    return connected
        route.current = None
        return None

    def _share_s(self, route: Route) -> float:
        """How long the endpoint that was just taken may keep the client waiting, `start` included."""
        now = self._clock()
        if route.ends is None:
            route.ends = now + DIAL_S_MAX
        share_s = max((route.ends - now) / (len(route.left) + 1), DIAL_S_MIN)
        route.current_ends = now + share_s
        return share_s

    def patience_s(self, route: Route) -> float | None:
        """How long from now the broker may take to speak; None when there is no other to turn to."""
        return max(route.current_ends - self._clock(), 0.0) if route.left else None

    def served(self, route: Route) -> None:
        """The broker that `route` leads to now is a good one."""
        if route.current is not None:
            self.endpoints.served(route.current)

    def failed(self, route: Route, why: str) -> None:
        """It could be connected to, but does not serve."""
        if route.current is not None:
            self._note(route.current, why, connects=True)

    async def probe(self) -> bool:
        """Look whether each endpoint can be reached now: a TCP (and TLS) connection, closed at once."""
        found = await asyncio.gather(
            *[self._connect(target, DIAL_S_MAX, _Probe) for target in self.endpoints]
        )
        return any(found)

    async def _connect(
        self, target: Endpoint, timeout_s: float, protocol: Callable[[], asyncio.Protocol]
    ) -> asyncio.Protocol | None:
        try:
            transport, connected = await asyncio.wait_for(connect(target, protocol), timeout_s)
        except (OSError, ValueError) as error:
            # A ValueError is a name that DNS or TLS can not even be asked for.
            told = "no answer" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            self._note(target, told, connects=False)
            return None
        self.endpoints.connected(target)
        if not transport.is_closing():  # as a probe's is
            tune(transport.get_extra_info("socket"))
        return connected

    def _note(self, target: Endpoint, why: str, connects: bool) -> None:
        self.endpoints.failed(target, why, connects)
        event = "upstream.failed" if connects else "upstream.unreachable"
        self._warn(event, target.address, upstream=target.address, error=why)


class _Probe(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
