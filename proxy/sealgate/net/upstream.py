"""Dialing the broker."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sealgate.net.sockets import keep_alive
from sealgate.net.warn import Warn

#: Below the timeouts of clients, whose own can not help: their TCP connect has succeeded (protocol.md U1).
DIAL_S_MAX: Final = 4.0
#: Connections being made at the same time: RabbitMQ's default backlog. After a restart of the broker all
#: clients come at once; the rest wait within their handshake deadline (protocol.md U4).
DIALS_MAX: Final = 128
#: For so long an endpoint that failed is tried after the others, so that not every client waits for it.
AVOID_S: Final = 10.0
AMQP_PORT: Final = 5672
AMQPS_PORT: Final = 5671


@dataclass(slots=True, frozen=True)
class Endpoint:
    """A broker's address. `tls` is None for plain TCP."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str | None = None


def endpoint(url: str, tls: ssl.SSLContext | None, server_name: str | None) -> Endpoint:
    """The address an `amqp://` or `amqps://` URL names. Not its credentials: clients bring their own."""
    parts = urlsplit(url)
    secure = parts.scheme == "amqps"
    host = parts.hostname or "localhost"
    if not secure:
        return Endpoint(host, parts.port or AMQP_PORT)
    return Endpoint(host, parts.port or AMQPS_PORT, tls, server_name or host)


class Dialer:
    """Tries the configured endpoints in order. `reachable` tells how the last dial went, None before any."""

    def __init__(
        self, endpoints: list[Endpoint], warn: Warn, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._endpoints: Final = endpoints
        self._warn: Final = warn
        self._clock: Final = clock
        self._failed_at: Final[dict[Endpoint, float]] = {}
        self._slots: Final = asyncio.Semaphore(DIALS_MAX)
        self.reachable: bool | None = None

    async def dial(self, protocol: Callable[[], asyncio.Protocol]) -> bool:
        """Connect `protocol()` to the first endpoint that answers; false when none did."""
        async with self._slots:
            for target in sorted(self._endpoints, key=self._avoided):
                if await self._connect(target, protocol):
                    self.reachable = True
                    return True
        self.reachable = False
        return False

    async def probe(self) -> bool:
        """Whether an endpoint can be reached now: a TCP (and TLS) connection, closed at once."""
        return await self.dial(_Probe)

    def _avoided(self, target: Endpoint) -> bool:
        failed_at = self._failed_at.get(target)
        return failed_at is not None and self._clock() - failed_at < AVOID_S

    async def _connect(self, target: Endpoint, protocol: Callable[[], asyncio.Protocol]) -> bool:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await asyncio.wait_for(
                loop.create_connection(
                    protocol, target.host, target.port, ssl=target.tls, server_hostname=target.server_name
                ),
                DIAL_S_MAX,
            )
        except (OSError, ValueError) as error:
            # A ValueError is a name that DNS or TLS can not even be asked for.
            self._failed_at[target] = self._clock()
            address = f"{target.host}:{target.port}"
            why = str(error) or type(error).__name__
            self._warn("upstream.unreachable", address, upstream=address, error=why)
            return False
        self._failed_at.pop(target, None)
        if not transport.is_closing():  # as a probe's is
            keep_alive(transport.get_extra_info("socket"))
        return True


class _Probe(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
