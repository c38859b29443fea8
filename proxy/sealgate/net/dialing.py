"""A relay's way to a broker: dialed one after the other until one serves the handshake."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Final, Protocol

from sealgate.net.endpoints import Endpoint, Route
from sealgate.net.leg import Leg
from sealgate.net.leg import Owner as LegOwner
from sealgate.net.sockets import plain_address
from sealgate.net.upstream import Dialer
from sealgate.session.conversation import Conversation
from sealgate.session.events import Disconnected, Event, UpstreamConnected, UpstreamFailed
from sealgate.session.session import Session
from sealgate.session.states import Side, State

#: Brokers do not speak before they are spoken to; what does is cut by its nonsense.
EARLY_READS_MAX: Final = 4
_BEYOND_HANDSHAKE: Final = frozenset({State.RUNNING, State.CLOSING, State.CLOSED, State.ERROR})


class Owner(LegOwner, Protocol):
    """Who wants the broker: the relay."""

    session: Session | None

    def feed(self, event: Event) -> None:
        """Give the session an event."""

    def settle_end(self) -> None:
        """A dial is over: perhaps there is nothing left to wait for."""


class Dialing:
    """The upstream leg there is, and the search for it. Done with the handshake, only `upstream` and `broker`
    are asked for."""

    __slots__ = ("_dialer", "_early", "_owner", "_patience", "_task", "_tried", "broker", "route", "upstream")

    def __init__(self, owner: Owner, dialer: Dialer) -> None:
        self._owner: Final = owner
        self._dialer: Final = dialer
        self._task: asyncio.Task[asyncio.Protocol | None] | None = None
        #: Every upstream leg there has been, most of them one.
        self._tried: Final[list[Leg]] = []
        #: What they sent before one of them was chosen.
        self._early: Final[list[tuple[Leg, bytes]]] = []
        self._patience: asyncio.TimerHandle | None = None
        #: From the first dial until the broker's part of the handshake is over.
        self.route: Route | None = None
        #: The leg that was chosen, and its broker.
        self.upstream: Leg | None = None
        self.broker: Endpoint | None = None

    @property
    def under_way(self) -> bool:
        """Whether a broker is being dialed."""
        return self._task is not None

    def heard(self, leg: Leg, data: bytes) -> None:
        """Bytes of a leg that is not `upstream`: they wait if it may still become that."""
        if leg in self._tried and len(self._early) < EARLY_READS_MAX:
            self._early.append((leg, data))

    def dial(self) -> None:
        """Connect to the next broker of this client's route, and leave the one there is."""
        self.lose_patience()
        self._choose(None)
        if self.route is None:
            self.route = self._dialer.route()
        dial = self._dialer.dial(self.route, self._new_upstream)
        self._task = asyncio.get_running_loop().create_task(dial)
        # Not in the task itself: one that is cancelled before its first turn runs nothing.
        self._task.add_done_callback(self._dialed)

    def cancel(self) -> None:
        """Dial no further."""
        if self._task is not None:
            self._task.cancel()

    def _new_upstream(self) -> asyncio.Protocol:
        self._tried.append(Leg(self._owner, Side.UPSTREAM))
        return self._tried[-1].protocol

    def _dialed(self, dialing: asyncio.Task[asyncio.Protocol | None]) -> None:
        """The broker is there or not, or the client left meanwhile."""
        self._task = None
        connected = None if dialing.cancelled() else dialing.result()
        self._choose(connected)
        early = self._early.copy()
        self._early.clear()
        upstream = self.upstream
        if upstream is None:
            self._owner.feed(UpstreamFailed())
        else:
            self.broker = None if self.route is None else self.route.current
            broker = "" if self.broker is None else self.broker.address
            self._owner.feed(UpstreamConnected(_is_loopback(upstream), broker))
            self._await_start()
            for leg, data in early:
                self._owner.received(leg, data)
            if upstream.closed and upstream is self.upstream:
                self._owner.feed(Disconnected(Side.UPSTREAM))
        self._owner.settle_end()

    def _choose(self, connected: asyncio.Protocol | None) -> None:
        """Keep this upstream and let go of all others."""
        self.upstream = None
        for leg in self._tried:
            if leg.protocol is connected:
                self.upstream = leg
            elif leg.transport is not None:
                leg.drop()
        self._tried[:] = [] if self.upstream is None else [self.upstream]

    def judge(self, conversation: Conversation) -> None:
        """Remember how the broker does in the handshake. To be called after each event."""
        route = self.route
        if route is None:
            return
        if conversation.upstream_failure:
            self._dialer.failed(route, conversation.upstream_failure)
            conversation.upstream_failure = ""
        elif conversation.state not in (State.HEADER, State.DIALING, State.START):
            self.lose_patience()
            if conversation.state is State.RUNNING:
                self._dialer.served(route)
            if conversation.state in _BEYOND_HANDSHAKE:
                self.route = None

    def _await_start(self) -> None:
        """A broker that does not speak is left for the next one, where there is one."""
        session = self._owner.session
        if self.route is None or session is None or session.conversation.state is not State.START:
            return
        patience_s = self._dialer.patience_s(self.route)
        if patience_s is not None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(patience_s, self._owner.feed, Disconnected(Side.UPSTREAM))

    def lose_patience(self) -> None:
        """Wait for the broker without an end of our own."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def _is_loopback(leg: Leg) -> bool:
    """Whether the socket's other end is on this host, as it would be for a broker that looks at ours."""
    peer = leg.transport.get_extra_info("peername") if leg.transport is not None else None
    return peer is not None and ipaddress.ip_address(plain_address(peer[0])).is_loopback
