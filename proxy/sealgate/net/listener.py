"""Accepting clients, within the limits."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections import Counter
from typing import Final

from sealgate.net.relay import Relay, Shared
from sealgate.net.upstream import keep_alive
from sealgate.reason import Reason

BACKLOG: Final = 1024
TICK_S: Final = 1.0


class Listener:
    """The AMQP port and every relay behind it. `tls` may be replaced: it is for handshakes from now on."""

    def __init__(
        self,
        shared: Shared,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        connections_per_address_max: int,
    ) -> None:
        self._shared: Final = shared
        self._host: Final = host
        self._asked_port: Final = port
        self.tls = tls
        self._connections_per_address_max: Final = connections_per_address_max
        self._per_address: Final[Counter[str]] = Counter()
        self._relays: Final[set[Relay]] = set()
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._emptied: Final = asyncio.Event()
        self._emptied.set()

    @property
    def port(self) -> int:
        """The port that is bound, which the system chose where 0 was asked for."""
        if self._server is None or not self._server.sockets:
            return self._asked_port
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def listening(self) -> bool:
        return self._server is not None and self._server.is_serving()

    @property
    def connections(self) -> int:
        return len(self._relays)

    async def start(self) -> None:
        """Bind and accept. Raises OSError when the address can not be bound."""
        loop = asyncio.get_running_loop()
        if self._host == "::":
            # Every address of the machine: asyncio by itself would leave IPv4 out.
            both = socket.create_server(
                ("::", self._asked_port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True
            )
            self._server = await loop.create_server(self._accept, sock=both, backlog=BACKLOG)
        else:
            self._server = await loop.create_server(
                self._accept, self._host, self._asked_port, backlog=BACKLOG
            )
        self._ticker = loop.create_task(self._tick())

    def stop_accepting(self) -> None:
        """Refuse new clients; those connected stay."""
        if self._server is not None:
            self._server.close()

    def drain(self) -> None:
        """Ask every session to finish and to send its client away."""
        for relay in list(self._relays):
            relay.drain()

    async def emptied(self, timeout_s: float) -> bool:
        """Wait until no relay is left; false when `timeout_s` passed first."""
        try:
            await asyncio.wait_for(self._emptied.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Cut what is left."""
        self.stop_accepting()
        for relay in list(self._relays):
            relay.abort()
        await self.emptied(1.0)
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)

    def _accept(self) -> asyncio.Protocol:
        return Relay(self._shared, self).client

    def admit(self, relay: Relay, transport: asyncio.BaseTransport) -> bool:
        """Count a new client; false when its address has too many connections already."""
        peer = transport.get_extra_info("peername")
        if not peer:
            return False  # gone before it was looked at
        relay.host = plain_address(peer[0])
        relay.address = f"[{relay.host}]:{peer[1]}" if ":" in relay.host else f"{relay.host}:{peer[1]}"
        if self._per_address[relay.host] >= self._connections_per_address_max:
            self._refuse(relay)
            return False
        keep_alive(transport)
        self._per_address[relay.host] += 1
        self._relays.add(relay)
        self._emptied.clear()
        return True

    def _refuse(self, relay: Relay) -> None:
        reason = Reason.CONN_LIMIT.value
        tally = self._shared.terms.tally
        tally.limits_hit["connections_per_address_max"] += 1
        tally.messages["publish", "refused", reason] += 1
        detail = f"{self._connections_per_address_max} connections from this address"
        self._shared.warn(
            "connection.closed", f"{reason} {relay.host}", reason=reason, detail=detail, client=relay.address
        )

    def ended(self, relay: Relay) -> None:
        """Both sockets of a relay are closed."""
        if relay not in self._relays:
            return
        self._relays.discard(relay)
        self._per_address[relay.host] -= 1
        if self._per_address[relay.host] <= 0:
            del self._per_address[relay.host]
        if not self._relays:
            self._emptied.set()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for relay in list(self._relays):
                relay.tick()


def plain_address(host: str) -> str:
    """An address as people write it: an IPv4 client of a socket for both kinds as IPv4, without a scope."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
