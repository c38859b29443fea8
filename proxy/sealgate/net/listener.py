"""Accepting clients, within the limits."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from sealgate.net.proxy_header import ProxyHeaderError, Source
from sealgate.net.reading import read_proxy_header
from sealgate.net.relay import Relay
from sealgate.net.shared import Shared
from sealgate.net.sockets import BACKLOG, Network, among, bind, plain_address, tune, turn_away
from sealgate.reason import GateError, Reason
from sealgate.session.events import Instant

log: Final = logging.getLogger("sealgate.net")

TICK_S: Final = 1.0
#: When the system has no more sockets, clients wait in the backlog; it is asked again after this long.
EXHAUSTED_PAUSE_S: Final = 0.5
#: While the door closes: for the last step of TCP handshakes that have begun. Above the round trip to
#: clients, far below the second that one waits who was turned away.
DOOR_S: Final = 0.2
#: From the start of a drain until clients are sent away: connections made for one message end by themselves.
PARTING_S: Final = 0.5
#: Connections of load balancers that have not named their client yet: a balancer names it at once, so that
#: these are as many as a backlog.
UNNAMED_MAX: Final = 1024
#: What OpenSSL calls it when something else than TLS comes.
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})


class Listener:
    """The AMQP port and every relay behind it.

    A client is counted by its address before its TLS handshake, which costs the most of all it can ask for.
    """

    def __init__(
        self,
        shared: Shared,
        host: str,
        port: int,
        tls: Callable[[], ssl.SSLContext | None],
        connections_per_address_max: int,
        reuse_port: bool = False,
        proxies: Sequence[Network] = (),
    ) -> None:
        """`tls` is asked at each handshake, None for plain TCP.

        From `proxies` each connection must begin with a PROXY header, which names the client.
        """
        self._shared: Final = shared
        self._host: Final = host
        self._asked_port: Final = port
        self._tls: Final = tls
        self._connections_per_address_max: Final = connections_per_address_max
        self._reuse_port: Final = reuse_port
        self._proxies: Final = tuple(proxies)
        self._introducing: Final[set[asyncio.Task[None]]] = set()
        self._draining = False
        self._parted = False
        self._per_address: Final[Counter[str]] = Counter()
        self._relays: Final[set[Relay]] = set()
        self._sockets: list[socket.socket] = []
        self._entering: Final[dict[Relay, asyncio.Task[None]]] = {}
        self._ticker: asyncio.TimerHandle | None = None
        self._timers: Final[list[asyncio.TimerHandle]] = []
        self._emptied: Final = asyncio.Event()

    @property
    def port(self) -> int:
        """The port that is bound, which the system chose where 0 was asked for."""
        return int(self._sockets[0].getsockname()[1]) if self._sockets else self._asked_port

    @property
    def listening(self) -> bool:
        return bool(self._sockets)

    @property
    def connections(self) -> int:
        """Clients, those in their TLS handshake included, and those that a proxy has not named yet."""
        return len(self._relays) + len(self._introducing)

    async def start(self) -> None:
        """Bind and accept. Raises OSError when the address can not be bound."""
        self._sockets = await bind(self._host, self._asked_port, self._reuse_port)
        for listening in self._sockets:
            self._watch(listening)
        self._tick_later()

    def drain(self) -> None:
        """Close the door softly; then ask every session to finish and to send its client away.

        Who knocked before is still let in, for a reset would be an error that the client did not earn. While
        the door closes everyone is served as ever: the connections of clients that open one for each message
        end by themselves then.
        """
        self._draining = True
        if all(turn_away(listening) for listening in self._sockets):
            self._later(DOOR_S, self._shut_the_door)
        else:
            # Every moment more would bring new clients, and the last of them would be reset all the same.
            self._shut_the_door()
        self._later(PARTING_S, self._send_away)

    def _later(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(delay_s, callback))

    def _shut_the_door(self) -> None:
        for listening in self._sockets:
            # What is in the backlog, which closing would reset. Where SYNs are not dropped more may follow.
            for _ in range(BACKLOG):
                if not self._accept(listening):
                    break
        self._stop_accepting()

    def _send_away(self) -> None:
        self._parted = True
        for relay in list(self._relays):
            relay.drain()
        self._later(self._shared.terms.limits.close_s, self._cut_entering)

    def _stop_accepting(self) -> None:
        for listening in self._sockets:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()
        self._sockets = []
        self._note_emptied()

    def _cut_entering(self) -> None:
        for entering in (*self._entering.values(), *self._introducing):
            entering.cancel()

    async def emptied(self, timeout_s: float) -> bool:
        """After `drain`: wait until the door is closed and all have left; false when `timeout_s` passed."""
        try:
            await asyncio.wait_for(self._emptied.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Cut what is left."""
        self._draining = True
        for timer in self._timers:
            timer.cancel()
        self._stop_accepting()
        self._cut_entering()
        for relay in list(self._relays):
            relay.abort()
        await self.emptied(1.0)
        if self._ticker is not None:
            self._ticker.cancel()

    def _watch(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> bool:
        """Take one client; those who are in have their turn before the next one. False when none is there."""
        loop = asyncio.get_running_loop()
        try:
            client, peer = listening.accept()
        except BlockingIOError:
            return False
        except ConnectionAbortedError:
            return True
        except OSError as error:
            self._shared.warn("listener.exhausted", error=str(error))
            loop.remove_reader(listening)
            loop.call_later(EXHAUSTED_PAUSE_S, self._watch, listening)
            return False
        client.setblocking(False)
        address = plain_address(peer[0])
        if among(address, self._proxies):
            self._introduce(client, address, peer[1])
        else:
            self._welcome(client, Relay(self._shared, self, address, peer[1]))
        return True

    def _introduce(self, client: socket.socket, proxy: str, port: int) -> None:
        """Hear from a proxy who its client is; until then it is in nobody's count."""
        if len(self._introducing) >= UNNAMED_MAX:
            self._shared.terms.tally.limits_hit["unnamed_max"] += 1
            detail = f"{UNNAMED_MAX} connections without their PROXY header"
            self._refuse(Relay(self._shared, self, proxy, port), Reason.CONN_LIMIT, detail)
            client.close()
            return
        introducing = asyncio.get_running_loop().create_task(self._hear_of(client, proxy, port))
        self._introducing.add(introducing)
        self._emptied.clear()

        def introduced(done: asyncio.Task[None]) -> None:
            self._introducing.discard(done)
            if done.cancelled():
                client.close()
            self._note_emptied()

        introducing.add_done_callback(introduced)

    async def _hear_of(self, client: socket.socket, proxy: str, port: int) -> None:
        itself = Relay(self._shared, self, proxy, port)
        try:
            async with asyncio.timeout(self._shared.terms.limits.handshake_s):
                source = await read_proxy_header(client)
        except TimeoutError:
            self._refuse(itself, Reason.CONN_HANDSHAKE, "the PROXY header took too long")
        except ProxyHeaderError as error:
            self._refuse(itself, Reason.CONN_PROTOCOL, str(error))
        except OSError as error:
            # It went away: a health check does nothing else.
            log.debug("gone before it was let in", extra={"client": itself.address, "error": str(error)})
        else:
            self._welcome(client, self._named(source, itself.accepted) or itself)
            return
        client.close()

    def _named(self, source: Source, accepted: Instant) -> Relay | None:
        if not source.host:
            return None
        return Relay(self._shared, self, plain_address(source.host), source.port, accepted)

    def _welcome(self, client: socket.socket, relay: Relay) -> None:
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
            elif self._parted:
                relay.drain()

        # Not in the task itself: one that is cancelled before its first turn runs nothing.
        entering.add_done_callback(entered)

    async def _connect(self, relay: Relay, client: socket.socket) -> None:
        try:
            tune(client)
            left_s = relay.accepted.mono + self._shared.terms.limits.handshake_s - time.monotonic()
            async with asyncio.timeout(left_s):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: relay.client.protocol, client, ssl=self._tls()
                )
        except TimeoutError:
            self._refuse(relay, Reason.CONN_HANDSHAKE, "the TLS handshake took too long")
        except ssl.SSLError as error:
            why = error.reason or type(error).__name__
            told = {"detail": "the client speaks no TLS"} if why in _NO_TLS else {}
            self._shared.warn("tls.refused", f"{why} {relay.host}", error=why, client=relay.address, **told)
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
        self._note_emptied()

    def _note_emptied(self) -> None:
        """Nobody is here, and while draining nobody can come any more."""
        if not self.connections and not (self._draining and self._sockets):
            self._emptied.set()

    def _tick_later(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + TICK_S
        self._ticker = loop.call_at(due, self._tick, due)

    def _tick(self, due: float) -> None:
        late_s = max(asyncio.get_running_loop().time() - due, 0.0)
        self._tick_later()
        for relay in list(self._relays):
            relay.tick(late_s)
