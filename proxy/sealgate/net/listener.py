"""Accepting clients, within the limits."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from typing import Final

from sealgate.net.relay import Relay, Shared
from sealgate.net.upstream import keep_alive
from sealgate.reason import GateError, Reason

log: Final = logging.getLogger("sealgate.net")

BACKLOG: Final = 1024
TICK_S: Final = 1.0
#: When the system has no more sockets, clients wait in the backlog; it is asked again after this long.
EXHAUSTED_PAUSE_S: Final = 0.5


class Listener:
    """The AMQP port and every relay behind it.

    A client is counted by its address before its TLS handshake, which costs the most of all it can ask for.
    """

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
        self._tls: Final = tls
        self._connections_per_address_max: Final = connections_per_address_max
        self._per_address: Final[Counter[str]] = Counter()
        self._relays: Final[set[Relay]] = set()
        self._sockets: list[socket.socket] = []
        self._entering: Final[dict[Relay, asyncio.Task[None]]] = {}
        self._ticker: asyncio.TimerHandle | None = None
        self._emptied: Final = asyncio.Event()
        self._emptied.set()

    @property
    def port(self) -> int:
        """The port that is bound, which the system chose where 0 was asked for."""
        return int(self._sockets[0].getsockname()[1]) if self._sockets else self._asked_port

    @property
    def listening(self) -> bool:
        return bool(self._sockets)

    @property
    def connections(self) -> int:
        """Clients, those in their TLS handshake included."""
        return len(self._relays)

    async def start(self) -> None:
        """Bind and accept. Raises OSError when the address can not be bound."""
        self._sockets = await bind(self._host, self._asked_port)
        for listening in self._sockets:
            self._watch(listening)
        self._ticker = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def stop_accepting(self) -> None:
        """Refuse new clients; those connected stay."""
        for listening in self._sockets:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()
        self._sockets = []

    def drain(self) -> None:
        """Ask every session to finish and to send its client away. A TLS handshake is simply cut."""
        for entering in self._entering.values():
            entering.cancel()
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
        for entering in self._entering.values():
            entering.cancel()
        for relay in list(self._relays):
            relay.abort()
        await self.emptied(1.0)
        if self._ticker is not None:
            self._ticker.cancel()

    def _watch(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        """Take one client; those who are in have their turn before the next one."""
        loop = asyncio.get_running_loop()
        try:
            client, peer = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            self._shared.warn("listener.exhausted", error=str(error))
            loop.remove_reader(listening)
            loop.call_later(EXHAUSTED_PAUSE_S, self._watch, listening)
            return
        client.setblocking(False)
        relay = Relay(self._shared, self, plain_address(peer[0]), peer[1])
        if self._admit(relay):
            self._let_in(relay, client)
        else:
            client.close()

    def _admit(self, relay: Relay) -> bool:
        """Count a new client; false when its address has too many connections already."""
        if self._per_address[relay.host] >= self._connections_per_address_max:
            self._shared.terms.tally.limits_hit["connections_per_address_max"] += 1
            detail = f"{self._connections_per_address_max} connections from this address"
            self._refuse(relay, Reason.CONN_LIMIT, detail)
            return False
        self._per_address[relay.host] += 1
        self._relays.add(relay)
        self._emptied.clear()
        return True

    def _refuse(self, relay: Relay, reason: Reason, detail: str) -> None:
        self._shared.terms.tally.messages["publish", "refused", reason.value] += 1
        relay.tell(GateError(reason, detail))

    def _let_in(self, relay: Relay, client: socket.socket) -> None:
        """Give the socket to its relay, after TLS where there is any."""
        entering = asyncio.get_running_loop().create_task(self._connect(relay, client))
        self._entering[relay] = entering

        def entered(done: asyncio.Task[None]) -> None:
            del self._entering[relay]
            if relay.session is None:
                client.close()
                self.ended(relay)
            elif done.cancelled():
                relay.client.drop()

        # Not in the task itself: one that is cancelled before its first turn runs nothing.
        entering.add_done_callback(entered)

    async def _connect(self, relay: Relay, client: socket.socket) -> None:
        try:
            keep_alive(client)
            async with asyncio.timeout(self._shared.terms.limits.handshake_s):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: relay.client, client, ssl=self._tls
                )
        except TimeoutError:
            self._refuse(relay, Reason.CONN_HANDSHAKE, "the TLS handshake took too long")
        except ssl.SSLError as error:
            why = error.reason or type(error).__name__
            self._shared.warn("tls.refused", f"{why} {relay.host}", error=why, client=relay.address)
        except OSError as error:
            # It went away: a health check does nothing else.
            log.debug("gone before it was let in", extra={"client": relay.address, "error": str(error)})

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

    def _tick(self) -> None:
        self._ticker = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        for relay in list(self._relays):
            relay.tick()


async def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for every address of `host`; `::` is IPv4 as well. Raises OSError, and binds none."""
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    with contextlib.ExitStack() as unwinding:
        sockets = []
        for family, address in sorted({(info[0], info[4]) for info in infos}):
            both = host == "::" and socket.has_dualstack_ipv6()
            listening = socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both)
            unwinding.callback(listening.close)
            listening.setblocking(False)
            sockets.append(listening)
        unwinding.pop_all()
    return sockets


def plain_address(host: str) -> str:
    """An address as people write it: an IPv4 client of a socket for both kinds as IPv4, without a scope."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
