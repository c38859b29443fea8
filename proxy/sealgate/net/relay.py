"""One session and its two sockets: events in from the transports, commands out to them."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from sealgate.accounts.login import Attempt, Caller, LoginRecord, Outcome
from sealgate.net.endpoints import Endpoint, Route
from sealgate.net.leg import Hold, Leg
from sealgate.net.logins import Logins, Ticket
from sealgate.net.sockets import plain_address
from sealgate.net.tls import certificate_names
from sealgate.net.upstream import Dialer
from sealgate.net.warn import Warn
from sealgate.reason import GateError
from sealgate.session.channel import Publication
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
from sealgate.session.conversation import Terms
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
    UpstreamConnected,
    UpstreamFailed,
)
from sealgate.session.holding import HoldingQueue
from sealgate.session.records import ClampRecord, RefusalRecord
from sealgate.session.session import Session
from sealgate.session.states import Side, State
from sealgate.verify.verdict import Claim, ClaimOutcome, ClaimStore

log: Final = logging.getLogger("sealgate.net")

CHALLENGE_BYTES: Final = 16
#: Brokers do not speak before they are spoken to; what does is cut by its nonsense.
EARLY_READS_MAX: Final = 4
_BEYOND_HANDSHAKE: Final = frozenset({State.RUNNING, State.CLOSING, State.CLOSED, State.ERROR})


class QueueKeeper(Protocol):
    """Who declares queues that hold publications (`session.holding`)."""

    def declare(
        self, broker: str, secure: bool, vhost: str, queue: HoldingQueue, answer: Callable[[str], None]
    ) -> None:
        """Declare `queue` at `broker`; `answer` is called once with "" or the trouble."""


@dataclass(slots=True, frozen=True)
class Shared:
    """What every relay uses. `keep` takes a refusal for quarantine and audit and returns at once; who wants
    to know is told whether it is safe there.

    `warn` tells why a connection was closed.
    """

    terms: Terms
    store: ClaimStore
    dialer: Dialer
    keep: Callable[[RefusalRecord, Callable[[bool], None] | None], None]
    warn: Warn
    #: Where Sealgate itself judges logins.
    logins: Logins | None = None
    #: Where publications may be held.
    queues: QueueKeeper | None = None


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
        "_broker",
        "_dialing",
        "_early",
        "_host",
        "_login",
        "_patience",
        "_route",
        "_shared",
        "_told",
        "_tried",
        "_upstream",
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
        self._upstream: Leg | None = None
        self._login: Ticket | None = None
        self._dialing: asyncio.Task[asyncio.Protocol | None] | None = None
        #: Every upstream leg there has been, most of them one.
        self._tried: Final[list[Leg]] = []
        #: What they sent before one of them was chosen.
        self._early: Final[list[tuple[Leg, bytes]]] = []
        #: From the first dial until the broker's part of the handshake is over.
        self._route: Route | None = None
        #: The broker that was chosen.
        self._broker: Endpoint | None = None
        self._patience: asyncio.TimerHandle | None = None
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
        elif leg in self._tried and len(self._early) < EARLY_READS_MAX:
            self._early.append((leg, data))

    def hung_up(self, leg: Leg) -> None:
        if self._is_current(leg):
            self.feed(Disconnected(leg.side))

    def _is_current(self, leg: Leg) -> bool:
        """Not a broker's that was left for another one, or not chosen yet."""
        return leg is self.client or leg is self._upstream

    def congested(self, leg: Leg, on: bool) -> None:
        """A peer that does not read stops the other side from being read (protocol.md B1, B2)."""
        other = self._upstream if leg.side is Side.CLIENT else self.client
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
        self._end()

    # What the listener asks for

    def tick(self, late_s: float) -> None:
        """About once a second; `late_s` later than that."""
        upstream_paused = self._upstream is not None and self._upstream.paused
        self.feed(Ticked(self.client.paused, upstream_paused, late_s))

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
        self._lose_patience()

    # The session

    def feed(self, event: Event) -> None:
        """Give the session an event and do what it says."""
        session = self.session
        if session is None:
            return
        try:
            commands = self._handle(session, event)
            if self._route is not None:
                self._judge(session, self._route)
            for command in commands:
                self._carry_out(command)
        except Exception:
            log.exception("session failed", extra={"event": "session.error", "client": self.address})
            session.fail()
            self.abort()
            return
        if session.conversation.cause is not None and not self._told:
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

    def _judge(self, session: Session, route: Route) -> None:
        """Remember how the broker does in the handshake."""
        conversation = session.conversation
        dialer = self._shared.dialer
        if conversation.upstream_failure:
            dialer.failed(route, conversation.upstream_failure)
            conversation.upstream_failure = ""
        elif conversation.state not in (State.HEADER, State.DIALING, State.START):
            self._lose_patience()
            if conversation.state is State.RUNNING:
                dialer.served(route)
            if conversation.state in _BEYOND_HANDSHAKE:
                self._route = None

    def tell(self, cause: GateError) -> None:
        """Log why the gate closes this connection. The detail never holds what was sent."""
        reason = cause.reason.value
        key = f"{reason} {self.host}"
        fields = {"reason": reason, "detail": cause.detail, "client": self.address}
        self._shared.warn("connection.closed", key, **fields)

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
            self._shared.keep(command.record, None)
        elif isinstance(command, SetReading):
            leg = self.client if command.side is Side.CLIENT else self._upstream
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
            self._dial()
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

    def _request(self, publications: list[Publication]) -> None:
        claims: list[Claim] = []
        for publication in publications:
            accepted = publication.asked
            if accepted is not None and accepted.claim is not None:
                claims.append(accepted.claim)
        self._shared.store.claim(claims, lambda outcomes: self._answered(publications, outcomes))

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

    def _answered(self, publications: list[Publication], outcomes: list[ClaimOutcome]) -> None:
        self.feed(ClaimsAnswered(publications, outcomes))

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
        queues, broker, session = self._shared.queues, self._broker, self.session
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
        elif self._upstream is not None:
            self._upstream.close()
        elif self._dialing is not None:
            self._dialing.cancel()

    def _dial(self) -> None:
        """Connect to the next broker of this client's route, and leave the one there is."""
        self._lose_patience()
        self._choose(None)
        if self._route is None:
            self._route = self._shared.dialer.route()
        dial = self._shared.dialer.dial(self._route, self._new_upstream)
        self._dialing = asyncio.get_running_loop().create_task(dial)
        # Not in the task itself: one that is cancelled before its first turn runs nothing.
        self._dialing.add_done_callback(self._dialed)

    def _new_upstream(self) -> Leg:
        self._tried.append(Leg(self, Side.UPSTREAM))
        return self._tried[-1]

    def _dialed(self, dialing: asyncio.Task[asyncio.Protocol | None]) -> None:
        """The broker is there or not, or the client left meanwhile."""
        self._dialing = None
        connected = None if dialing.cancelled() else dialing.result()
        self._choose(connected)
        early = self._early.copy()
        self._early.clear()
        upstream = self._upstream
        if upstream is None:
            self.feed(UpstreamFailed())
        else:
            self._broker = None if self._route is None else self._route.current
            broker = "" if self._broker is None else self._broker.address
            self.feed(UpstreamConnected(_is_loopback(upstream), broker))
            self._await_start()
            for leg, data in early:
                self.received(leg, data)
            if upstream.closed and self._is_current(upstream):
                self.feed(Disconnected(Side.UPSTREAM))
        self._end()

    def _choose(self, connected: asyncio.Protocol | None) -> None:
        """Keep this upstream and let go of all others."""
        self._upstream = None
        for leg in self._tried:
            if leg is connected:
                self._upstream = leg
            elif leg.transport is not None:
                leg.drop()
        self._tried[:] = [] if self._upstream is None else [self._upstream]

    def _await_start(self) -> None:
        """A broker that does not speak is left for the next one, where there is one."""
        if self._route is not None and self.session is not None:
            if self.session.conversation.state is not State.START:
                return
            patience_s = self._shared.dialer.patience_s(self._route)
            if patience_s is not None:
                loop = asyncio.get_running_loop()
                self._patience = loop.call_later(patience_s, self.feed, Disconnected(Side.UPSTREAM))

    def _lose_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _end(self) -> None:
        upstream_closed = self._upstream is None or self._upstream.closed
        if self.client.closed and upstream_closed and self._dialing is None:
            self._lose_patience()
            self._host.ended(self)


def _is_loopback(leg: Leg) -> bool:
    """Whether the socket's other end is on this host, as it would be for a broker that looks at ours."""
    peer = leg.transport.get_extra_info("peername") if leg.transport is not None else None
    return peer is not None and ipaddress.ip_address(plain_address(peer[0])).is_loopback
