"""One session and its two sockets: events in from the transports, commands out to them.

Bytes beyond the handshake take a shorter way (`passage`).
"""

from __future__ import annotations

import ipaddress
import logging
import os
import time
from typing import Final, Protocol, assert_never

from sealgate.accounts.login import Attempt, Caller, LoginRecord, Outcome
from sealgate.net.dialing import Dialing
from sealgate.net.leg import Hold, Leg
from sealgate.net.logins import Ticket
from sealgate.net.passage import Passage
from sealgate.net.shared import Shared
from sealgate.net.tls import certificate_names
from sealgate.reason import GateError
from sealgate.session.commands import (
    CheckLogin,
    Close,
    Command,
    DeclareQueue,
    DialUpstream,
    Keep,
    KeepDelivery,
    RenewClaims,
    RequestClaims,
    RequestDeliveryClaims,
    Send,
    SetReading,
    SettleClaims,
    TellClamp,
    TellLogin,
)
from sealgate.session.delivering import Delivery
from sealgate.session.events import (
    BytesReceived,
    ClaimsAnswered,
    DeliveryClaimsAnswered,
    DeliveryKept,
    Disconnected,
    DrainAsked,
    Event,
    Instant,
    LoginChecked,
    QueueDeclared,
    Ticked,
)
from sealgate.session.holding import HoldingQueue
from sealgate.session.records import ClampRecord
from sealgate.session.session import Session
from sealgate.session.states import Side, State
from sealgate.verify.verdict import Claim

log: Final = logging.getLogger("sealgate.net")

CHALLENGE_BYTES: Final = 16


def instant() -> Instant:
    """Now, on both clocks."""
    return Instant(time.monotonic(), time.time())


class Host(Protocol):
    """Who accepted the client: the listener."""

    def ended(self, relay: Relay) -> None:
        """Both sockets of a relay are closed."""


class Relay:
    """Owns the session of one client connection, and carries out its commands."""

    __slots__ = (
        "_dialing",
        "_host",
        "_login",
        "_shared",
        "_told",
        "accepted",
        "address",
        "client",
        "host",
        "session",
    )

    def __init__(
        self, shared: Shared, listener: Host, host: str, port: int, accepted: Instant | None = None
    ) -> None:
        """`host` and `port` are the client's. Its handshake deadline begins now, or at `accepted`."""
        self._shared: Final = shared
        self._host: Final = listener
        self.accepted: Final = accepted or instant()
        self._login: Ticket | None = None
        self._dialing: Final = Dialing(self, shared.dialer)
        self._told = False
        self.client: Final = Leg(self, Side.CLIENT)
        #: The client's address, which limits are counted by, and the same with its port, for the record.
        self.host: Final = host
        self.address: Final = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.session: Session | None = None

    # What the sockets tell

    def connected(self, leg: Leg) -> None:
        """A socket is up, with its TLS."""
        terms = self._shared.terms
        if leg.side is Side.CLIENT:
            terms.tally.client_connections += 1
            challenge = os.urandom(CHALLENGE_BYTES)
            self.session = Session(terms, self.address, challenge, self.accepted, self._caller(leg))
        else:
            terms.tally.upstream_connections += 1

    def _caller(self, leg: Leg) -> Caller:
        """What there is to know of the client before it speaks."""
        logins = self._shared.logins
        loopback = ipaddress.ip_address(self.host).is_loopback
        if logins is None or leg.transport is None:
            return Caller(loopback)
        names = certificate_names(leg.transport.get_extra_info("peercert"))
        return Caller(loopback, names, logins.offers_external(names))

    def received(self, leg: Leg, data: bytes) -> None:
        if self._is_current(leg):
            self.feed(BytesReceived(leg.side, data))
        else:
            self._dialing.heard(leg, data)

    def hung_up(self, leg: Leg) -> None:
        if self._is_current(leg):
            self.feed(Disconnected(leg.side))

    def _is_current(self, leg: Leg) -> bool:
        """Not a broker's that was left for another one, or not chosen yet."""
        return leg is self.client or leg is self._dialing.upstream

    def congested(self, leg: Leg, on: bool) -> None:
        """A peer that does not read stops the other side from being read (protocol.md B1, B2)."""
        other = self._dialing.upstream if leg.side is Side.CLIENT else self.client
        if other is not None:
            other.hold(Hold.PEER, on)

    def lost(self, leg: Leg) -> None:
        tally = self._shared.terms.tally
        if leg.side is Side.CLIENT:
            tally.client_connections -= 1
            self._forget_login()
        else:
            tally.upstream_connections -= 1
        # Whatever the other side was kept waiting for will not come.
        if self._is_current(leg):
            self.congested(leg, False)
            self.feed(Disconnected(leg.side))
        self.settle_end()

    # What the listener asks for

    def tick(self, late_s: float) -> None:
        """About once a second; `late_s` later than that."""
        upstream = self._dialing.upstream
        paused = self.client.paused, upstream is not None and upstream.paused
        # In the handshake the relay itself has to see each event.
        session = None if self.client.passage is None or any(paused) else self.session
        try:
            rests = session is not None and session.rests(time.monotonic(), late_s)
        except Exception:
            # Nobody else's tick is to be lost for it.
            self.failed()
            return
        if not rests:
            self.feed(Ticked(*paused, late_s))

    def drain(self) -> None:
        """Ask the session to finish and to send its client away."""
        self.feed(DrainAsked())

    def abort(self) -> None:
        """Cut both sockets now."""
        self.client.abort()
        dialing = self._dialing
        if dialing.upstream is not None:
            dialing.upstream.abort()
        dialing.cancel()
        dialing.lose_patience()

    # The session

    def feed(self, event: Event) -> None:
        """Give the session an event and do what it says."""
        session = self.session
        if session is None:
            return
        try:
            commands = self._handle(session, event)
            self._dialing.judge(session.conversation)
            self.carry_out(commands)
        except Exception:
            self.failed()
            return
        if session.conversation.cause is not None:
            self.tell_cause()
        if self.client.passage is None and self._dialing.route is None:
            self._shorten(session)

    def _shorten(self, session: Session) -> None:
        """What comes from now on is no handshake."""
        upstream = self._dialing.upstream
        if upstream is None or session.conversation.state is not State.RUNNING:
            return
        seconds = self._shared.terms.tally.verify_seconds
        store = self._shared.store
        self.client.passage = Passage(self, session, self.client, upstream, store, seconds)
        upstream.passage = self.client.passage

    def carry_out(self, commands: list[Command]) -> None:
        """Do what the session says, in order."""
        for command in commands:
            self._carry_out(command)

    def failed(self) -> None:
        """A bug, whose exception is being handled: end the session, and with it the connection."""
        log.exception("session failed", extra={"event": "session.error", "client": self.address})
        if self.session is not None:
            self.session.fail()
        self.abort()

    def tell_cause(self) -> None:
        """Log why the session closes its connection, once."""
        session = self.session
        if session is not None and session.conversation.cause is not None and not self._told:
            self._told = True
            self.tell(session.conversation.cause)

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

    def tell(self, cause: GateError) -> None:
        """Log why the gate closes this connection. The detail never holds what was sent."""
        reason = cause.reason.value
        key = f"{reason} {self.host}"
        fields = {"reason": reason, "detail": cause.detail, "client": self.address}
        self._shared.warn("connection.closed", key, **fields)

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Send):
            leg = self._leg(command.side)
            if leg is not None:
                leg.send(command.data)
        elif isinstance(command, RequestClaims):
            self._request(command)
        elif isinstance(command, SettleClaims):
            self._shared.store.settle(command.commits, command.releases)
        elif isinstance(command, Keep):
            self._shared.keep(command.record, None)
        elif isinstance(command, SetReading):
            leg = self._leg(command.side)
            if leg is not None:
                leg.hold(Hold.SESSION, not command.on)
        elif isinstance(command, RequestDeliveryClaims):
            self._request_for(command.deliveries)
        elif isinstance(command, KeepDelivery):
            self._keep_delivery(command)
        elif isinstance(command, RenewClaims):
            self._shared.store.renew(command.claims)
        elif isinstance(command, Close):
            self._close(command)
        elif isinstance(command, DialUpstream):
            self._dialing.dial()
        elif isinstance(command, CheckLogin):
            self._check(command.attempt)
        elif isinstance(command, TellClamp):
            self._tell_clamp(command.record)
        elif isinstance(command, TellLogin):
            self._tell_login(command.record)
        elif isinstance(command, DeclareQueue):
            self._declare(command.queue)
        else:
            assert_never(command)

    def _leg(self, side: Side) -> Leg | None:
        return self.client if side is Side.CLIENT else self._dialing.upstream

    def _tell_clamp(self, record: ClampRecord) -> None:
        """Log that a message was changed, or would have been. Repeats of one bound and key are counted."""
        bounds = ",".join(record.bounds)
        event = "message.would_clamp" if record.observed else "message.clamped"
        self._shared.warn(
            event,
            f"{bounds} {record.kid}",
            bounds=bounds,
            kid=record.kid,
            task=record.task,
            vhost=record.vhost,
            user=record.user,
            client=record.client,
        )

    def _request(self, command: RequestClaims) -> None:
        publications = command.publications
        self._shared.store.claim(
            command.claims, lambda outcomes: self.feed(ClaimsAnswered(publications, outcomes))
        )

    def _request_for(self, deliveries: list[Delivery]) -> None:
        claims: list[Claim] = []
        for delivery in deliveries:
            accepted = delivery.accepted
            assert accepted is not None and accepted.claim is not None  # asked for nothing else
            claims.append(accepted.claim)
        self._shared.store.claim(
            claims, lambda outcomes: self.feed(DeliveryClaimsAnswered(deliveries, outcomes))
        )

    def _keep_delivery(self, command: KeepDelivery) -> None:
        delivery = command.delivery
        self._shared.keep(command.record, lambda safe: self.feed(DeliveryKept(delivery, safe)))

    def _check(self, attempt: Attempt) -> None:
        logins = self._shared.logins
        assert logins is not None  # the terms say who judges logins
        self._login = logins.check(attempt, self.host, self._checked)

    def _checked(self, outcome: Outcome) -> None:
        self._login = None
        self.feed(LoginChecked(outcome))

    def _forget_login(self) -> None:
        if self._login is not None and self._shared.logins is not None:
            self._shared.logins.cancel(self._login)
            self._login = None

    def _tell_login(self, record: LoginRecord) -> None:
        """Who was refused and why; never what it said to prove itself."""
        result = record.result.value
        fields = {"result": result, "user": record.user, "mechanism": record.mechanism}
        if record.detail:
            fields["detail"] = record.detail
        self._shared.warn("login.refused", f"{result} {self.host}", **fields, client=record.client)

    def _declare(self, queue: HoldingQueue) -> None:
        queues, broker, session = self._shared.queues, self._dialing.broker, self.session
        assert queues is not None and broker is not None and session is not None  # as the terms say
        vhost = session.conversation.peer.vhost
        queues.declare(
            broker.address,
            broker.tls is not None,
            vhost,
            queue,
            lambda trouble: self.feed(QueueDeclared(queue, trouble)),
        )

    def _close(self, command: Close) -> None:
        if command.side is Side.CLIENT:
            self.client.close(command.linger)
        elif self._dialing.upstream is not None:
            self._dialing.upstream.close()
        else:
            self._dialing.cancel()

    def settle_end(self) -> None:
        """Tell the host once nothing is left of either side."""
        dialing = self._dialing
        upstream_closed = dialing.upstream is None or dialing.upstream.closed
        if self.client.closed and upstream_closed and not dialing.under_way:
            dialing.lose_patience()
            self._host.ended(self)
