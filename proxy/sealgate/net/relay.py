"""One session and its two sockets: events in from the transports, commands out to them."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from sealgate.net.leg import Hold, Leg
from sealgate.net.upstream import Dialer
from sealgate.net.warn import Warn
from sealgate.reason import GateError
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

CHALLENGE_BYTES: Final = 16


@dataclass(slots=True, frozen=True)
class Shared:
    """What every relay uses. `keep` takes a refusal for quarantine and audit and returns at once.

    `warn` tells why a connection was closed.
    """

    terms: Terms
    store: ClaimStore
    dialer: Dialer
    keep: Callable[[RefusalRecord], None]
    warn: Warn


def instant() -> Instant:
    """Now, on both clocks."""
    return Instant(time.monotonic(), time.time())


class Host(Protocol):
    """Who accepted the client: the listener."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What clients' TLS is made with; None for plain AMQP."""

    def admit(self, relay: Relay, transport: asyncio.BaseTransport) -> bool:
        """Take note of a new relay, and set its address; false when it is one too many."""

    def ended(self, relay: Relay) -> None:
        """Both sockets of a relay are closed."""


class Relay:
    """Owns the session of one client connection, and carries out its commands."""

    __slots__ = (
        "_dialing",
        "_host",
        "_securing",
        "_shared",
        "_told",
        "_upstream",
        "address",
        "client",
        "host",
        "session",
    )

    def __init__(self, shared: Shared, host: Host) -> None:
        self._shared: Final = shared
        self._host: Final = host
        self.client: Final = Leg(self, Side.CLIENT)
        self._upstream: Leg | None = None
        self._dialing: asyncio.Task[None] | None = None
        self._securing: asyncio.Task[None] | None = None
        self._told = False
        #: The client's: the address alone, which limits are counted by, and with its port, for the record.
        self.host = ""
        self.address = ""
        self.session: Session | None = None

    # What the sockets tell

    def connected(self, leg: Leg) -> None:
        """A socket is up."""
        if leg.side is Side.CLIENT:
            self._accepted(leg)
        else:
            self._shared.terms.tally.upstream_connections += 1
            self._upstream = leg
            self.feed(UpstreamConnected())

    def _accepted(self, leg: Leg) -> None:
        if leg.transport is None or not self._host.admit(self, leg.transport):
            leg.abort()
            return
        self._shared.terms.tally.client_connections += 1
        self.session = Session(self._shared.terms, self.address, os.urandom(CHALLENGE_BYTES), instant())
        tls = self._host.tls
        if tls is not None:
            self._securing = asyncio.get_running_loop().create_task(self._secure(tls))

    def received(self, leg: Leg, data: bytes) -> None:
        self.feed(BytesReceived(leg.side, data))

    def hung_up(self, leg: Leg) -> None:
        self.feed(Disconnected(leg.side))

    def congested(self, leg: Leg, on: bool) -> None:
        """A peer that does not read stops the other side from being read (protocol.md B1, B2)."""
        other = self._upstream if leg.side is Side.CLIENT else self.client
        if other is not None:
            other.hold(Hold.PEER, on)

    def lost(self, leg: Leg) -> None:
        if self.session is None:
            return
        tally = self._shared.terms.tally
        if leg.side is Side.CLIENT:
            tally.client_connections -= 1
        else:
            tally.upstream_connections -= 1
        # Whatever the other side was kept waiting for will not come.
        self.congested(leg, False)
        self.feed(Disconnected(leg.side))
        self._end()

    # What the listener asks for

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

    # The session

    def feed(self, event: Event) -> None:
        """Give the session an event and do what it says."""
        session = self.session
        if session is None:
            return
        try:
            for command in self._handle(session, event):
                self._carry_out(command)
        except Exception:
            log.exception("session failed", extra={"event": "session.error", "client": self.address})
            session.fail()
            self.abort()
            return
        if session.conversation.cause is not None and not self._told:
            self._told = True
            self._tell(session.conversation.cause)

    def _handle(self, session: Session, event: Event) -> list[Command]:
        """The session's answer, with the time its checks took."""
        conversation = session.conversation
        examined = conversation.examined
        started = time.perf_counter()
        commands = session.handle(event, instant())
        examined = conversation.examined - examined
        if examined:
            spent = time.perf_counter() - started
            self._shared.terms.tally.verify_seconds.observe(spent / examined, examined)
        return commands

    def _tell(self, cause: GateError) -> None:
        """Why the gate closes this connection. The detail never holds what was sent."""
        reason = cause.reason.value
        self._shared.warn(
            "connection.closed",
            f"{reason} {self.host}",
            reason=reason,
            detail=cause.detail,
            client=self.address,
        )

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
            self.client.hold(Hold.SESSION, not command.on)
        elif isinstance(command, RenewClaims):
            self._shared.store.renew(command.claims)
        elif isinstance(command, Close):
            self._close(command.side)
        elif isinstance(command, DialUpstream):
            self._dialing = asyncio.get_running_loop().create_task(self._dial())
        else:
            assert_never(command)

    def _request(self, publications: list[Publication]) -> None:
        claims: list[Claim] = []
        for publication in publications:
            accepted = publication.asked
            if accepted is not None and accepted.claim is not None:
                claims.append(accepted.claim)
        self._shared.store.claim(claims, lambda outcomes: self._answered(publications, outcomes))

    def _answered(self, publications: list[Publication], outcomes: list[ClaimOutcome]) -> None:
        self.feed(ClaimsAnswered(publications, outcomes))

    def _close(self, side: Side) -> None:
        if side is Side.CLIENT:
            self.client.close()
        elif self._upstream is not None:
            self._upstream.close()
        elif self._dialing is not None:
            self._dialing.cancel()

    async def _secure(self, tls: ssl.SSLContext) -> None:
        try:
            await self.client.secure(tls)
        except ssl.SSLError as error:
            why = error.reason or type(error).__name__
            self._shared.warn("tls.refused", f"{why} {self.host}", error=why, client=self.address)
        except OSError:
            # It went away: a health check, or the handshake's deadline, which has been told.
            return

    async def _dial(self) -> None:
        connected = False
        try:
            connected = await self._shared.dialer.dial(lambda: Leg(self, Side.UPSTREAM))
        finally:
            # Cancelled when the client left: then nobody waits for the outcome, but the relay must end.
            self._dialing = None
            if not connected:
                self.feed(UpstreamFailed())
            self._end()

    def _end(self) -> None:
        upstream_closed = self._upstream is None or self._upstream.closed
        if self.client.closed and upstream_closed and self._dialing is None:
            self._host.ended(self)
