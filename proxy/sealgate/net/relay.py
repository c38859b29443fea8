"""One session and its two sockets: events in from the transports, commands out to them."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from sealgate.net.upstream import Dialer
from sealgate.session.channel import Publication
from sealgate.session.commands import (
    Close,
    Command,
    DialUpstream,
    Keep,
    RenewClaims,
    RequestClaims,
    Send,
    SetReading,
    SettleClaims,
)
from sealgate.session.conversation import Terms
from sealgate.session.events import (
    BytesReceived,
    ClaimsAnswered,
    Disconnected,
    DrainAsked,
    Event,
    Instant,
    Ticked,
    UpstreamConnected,
    UpstreamFailed,
)
from sealgate.session.records import RefusalRecord
from sealgate.session.session import Session
from sealgate.session.states import Side
from sealgate.verify.verdict import Claim, ClaimOutcome, ClaimStore

log: Final = logging.getLogger("sealgate.net")

#: Above this a peer that does not read stops the other side from being read.
WRITE_BUFFER_BYTES_MAX: Final = 262_144
CHALLENGE_BYTES: Final = 16
#: A socket that was asked to close has this long to take what is still to be sent.
FLUSH_S_MAX: Final = 5.0


@dataclass(slots=True, frozen=True)
class Shared:
    """What every relay uses. `keep` takes a refusal for quarantine and audit and returns at once."""

    terms: Terms
    store: ClaimStore
    dialer: Dialer
    keep: Callable[[RefusalRecord], None]


def instant() -> Instant:
    """Now, on both clocks."""
    return Instant(time.monotonic(), time.time())


class Host(Protocol):
    """Who accepted the client: the listener."""

    def admit(self, relay: Relay, transport: asyncio.BaseTransport) -> bool:
        """Take note of a new relay, and set its address; false when it is one too many."""

    def ended(self, relay: Relay) -> None:
        """Both sockets of a relay are closed."""


class Leg(asyncio.Protocol):
    """One socket of a relay. What arrives goes to the relay; two reasons may keep it from being read."""

    __slots__ = ("_closed_by_us", "_relay", "closed", "held_by_peer", "held_by_session", "side", "transport")

    def __init__(self, relay: Relay, side: Side) -> None:
        self._relay: Final = relay
        self.side: Final = side
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.held_by_peer = False
        self.held_by_session = False
        self._closed_by_us = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)
        self._relay.connected(self)

    def data_received(self, data: bytes) -> None:
        self._relay.feed(BytesReceived(self.side, data))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._relay.lost(self)

    def pause_writing(self) -> None:
        self._relay.hold_reading(self.side, True)

    def resume_writing(self) -> None:
        self._relay.hold_reading(self.side, False)

    @property
    def paused(self) -> bool:
        return self.held_by_peer or self.held_by_session

    def send(self, data: bytes) -> None:
        if self.transport is not None and not self._closed_by_us and not self.closed:
            self.transport.write(data)

    def close(self) -> None:
        """Flush, then close; cut after `FLUSH_S_MAX`."""
        if self.transport is None or self._closed_by_us or self.closed:
            return
        self._closed_by_us = True
        self.transport.close()
        asyncio.get_running_loop().call_later(FLUSH_S_MAX, self.abort)

    def abort(self) -> None:
        if self.transport is not None and not self.closed:
            self.transport.abort()

    def regulate(self) -> None:
        """Read or stop reading, as the two reasons say."""
        if self.transport is None or self.closed or self.transport.is_closing():
            return
        if self.paused and self.transport.is_reading():
            self.transport.pause_reading()
        elif not self.paused and not self.transport.is_reading():
            self.transport.resume_reading()


class Relay:
    """Owns the session of one client connection, and carries out its commands."""

    __slots__ = ("_dialing", "_host", "_shared", "_upstream", "address", "client", "session")

    def __init__(self, shared: Shared, host: Host) -> None:
        self._shared: Final = shared
        self._host: Final = host
        self.client: Final = Leg(self, Side.CLIENT)
        self._upstream: Leg | None = None
        self._dialing: asyncio.Task[None] | None = None
        self.address = ""
        self.session: Session | None = None

    def connected(self, leg: Leg) -> None:
        """A socket is up."""
        tally = self._shared.terms.tally
        if leg.side is Side.CLIENT:
            if leg.transport is None or not self._host.admit(self, leg.transport):
                leg.abort()
                return
            tally.client_connections += 1
            self.session = Session(self._shared.terms, self.address, os.urandom(CHALLENGE_BYTES), instant())
        else:
            tally.upstream_connections += 1
            self._upstream = leg
            leg.held_by_peer = False
            self.feed(UpstreamConnected())

    def lost(self, leg: Leg) -> None:
        """A socket is gone."""
        if self.session is None:
            return
        tally = self._shared.terms.tally
        if leg.side is Side.CLIENT:
            tally.client_connections -= 1
        else:
            tally.upstream_connections -= 1
        # Whatever the other side was kept waiting for will not come.
        self.hold_reading(leg.side, False)
        self.feed(Disconnected(leg.side))
        self._end()

    def tick(self) -> None:
        """About once a second."""
        upstream_paused = self._upstream is not None and self._upstream.paused
        self.feed(Ticked(self.client.paused, upstream_paused))

    def drain(self) -> None:
        """Ask the session to finish and to send its client away."""
        self.feed(DrainAsked())

    def abort(self) -> None:
        """Cut both sockets now."""
        self.client.abort()
        if self._upstream is not None:
            self._upstream.abort()
        if self._dialing is not None:
            self._dialing.cancel()

    def feed(self, event: Event) -> None:
        """Give the session an event and do what it says."""
        session = self.session
        if session is None:
            return
        conversation = session.conversation
        examined = conversation.examined
        started = time.perf_counter()
        try:
            commands = session.handle(event, instant())
        except Exception:
            log.exception("session failed", extra={"event": "session.error", "client_addr": self.address})
            self.abort()
            return
        examined = conversation.examined - examined
        if examined:
            spent = time.perf_counter() - started
            self._shared.terms.tally.verify_seconds.observe(spent / examined, examined)
        for command in commands:
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Send):
            leg = self.client if command.side is Side.CLIENT else self._upstream
            if leg is not None:
                leg.send(command.data)
        elif isinstance(command, RequestClaims):
            self._request(command.publications)
        elif isinstance(command, SettleClaims):
            self._shared.store.settle(command.commits, command.releases)
        elif isinstance(command, Keep):
            self._shared.keep(command.record)
        elif isinstance(command, SetReading):
            self.client.held_by_session = not command.on
            self.client.regulate()
        elif isinstance(command, RenewClaims):
            self._shared.store.renew(command.claims)
        elif isinstance(command, Close):
            self._close(command.side)
        elif isinstance(command, DialUpstream):
            self._dialing = asyncio.get_running_loop().create_task(self._dial())

    def _request(self, publications: list[Publication]) -> None:
        claims: list[Claim] = []
        for publication in publications:
            accepted = publication.asked
            if accepted is not None and accepted.claim is not None:
                claims.append(accepted.claim)
        self._shared.store.claim(claims, lambda outcomes: self._answered(publications, outcomes))

    def _answered(self, publications: list[Publication], outcomes: list[ClaimOutcome]) -> None:
        self.feed(ClaimsAnswered(publications, outcomes))

    def hold_reading(self, side: Side, hold: bool) -> None:
        """The peer on `side` does not read (or reads again): stop (or go on) reading the other side."""
        other = self._upstream if side is Side.CLIENT else self.client
        if other is not None:
            other.held_by_peer = hold
            other.regulate()

    def _close(self, side: Side) -> None:
        if side is Side.CLIENT:
            self.client.close()
        elif self._upstream is not None:
            self._upstream.close()
        elif self._dialing is not None:
            self._dialing.cancel()

    async def _dial(self) -> None:
        try:
            connected = await self._shared.dialer.dial(lambda: Leg(self, Side.UPSTREAM))
        finally:
            self._dialing = None
        if not connected:
            self.feed(UpstreamFailed())
        self._end()

    def _end(self) -> None:
        upstream_closed = self._upstream is None or self._upstream.closed
        if self.client.closed and upstream_closed and self._dialing is None:
            self._host.ended(self)
