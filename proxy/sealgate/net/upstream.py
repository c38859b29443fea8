"""Dialing the broker."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

log: Final = logging.getLogger("sealgate.net")

#: Below the timeouts of clients, whose own can not help: their TCP connect has succeeded (protocol.md U1).
DIAL_S_MAX: Final = 4.0
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

    def __init__(self, endpoints: list[Endpoint]) -> None:
        self._endpoints: Final = endpoints
        self.reachable: bool | None = None

    async def dial(self, protocol: Callable[[], asyncio.Protocol]) -> bool:
        """Connect `protocol()` to the first endpoint that answers; false when none did."""
        for target in self._endpoints:
            if await self._connect(target, protocol):
                self.reachable = True
                return True
        self.reachable = False
        return False

    async def probe(self) -> bool:
        """Whether an endpoint can be reached now: a TCP (and TLS) connection, closed at once."""
        return await self.dial(_Probe)

    async def _connect(self, target: Endpoint, protocol: Callable[[], asyncio.Protocol]) -> bool:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await asyncio.wait_for(
                loop.create_connection(
                    protocol,
                    target.host,
                    target.port,
                    ssl=target.tls,
                    server_hostname=target.server_name if target.tls is not None else None,
                ),
                DIAL_S_MAX,
            )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            log.warning(
                "upstream unreachable",
                extra={
                    "event": "upstream.unreachable",
                    "upstream": f"{target.host}:{target.port}",
                    "error": str(error) or type(error).__name__,
                },
            )
            return False
        keep_alive(transport)
        return True


class _Probe(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Let the kernel notice peers that vanish on connections without heartbeats (protocol.md K7)."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
