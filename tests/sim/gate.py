"""One session with its two sockets played by wires: what `net.relay` does, on the virtual clock."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sealgate.session import commands as do
from sealgate.session.conversation import Terms
from sealgate.session.events import (
    BytesReceived,
    ClaimsAnswered,
    Disconnected,
    DrainAsked,
    Event,
    Instant,
    QueueDeclared,
    Ticked,
    UpstreamConnected,
    UpstreamFailed,
)
from sealgate.session.holding import HoldingQueue
from sealgate.session.session import Session
from sealgate.session.states import CHANNEL_LIVE, Side, State
from sealgate.verify.verdict import Claim, ClaimOutcome, PromptStore
from sim.oracle import Oracle
from sim.shared import Run
from sim.world import EPOCH_S, Wire, World

#: Above this a peer that does not read stops the other side from being read.
CONGESTED_BYTES: Final = 30_000
#: What the process gives its conversations before it cuts them.
DRAIN_S: Final = 25.0
#: A socket that is closed has this long to take what is still to be sent.
FLUSH_S: Final = 5.0


class Peer:
    """What the gate's wires end in. `hear` gets bytes, `ended` is told when no more will come."""

    def hear(self, data: bytes) -> None:
        raise NotImplementedError

    def ended(self) -> None:
        raise NotImplementedError


class Socket:
    """One leg: its two wires, and why the gate does not read it for now."""

    def __init__(self, gate: Gate, side: Side, peer: Peer) -> None:
        world, settings = gate.world, gate.run.settings
        client = side is Side.CLIENT
        come, go = ("client to gate", "gate to client") if client else ("broker to gate", "gate to broker")
        self._gate: Final = gate
        self.side: Final = side
        self.closing = False
        self.closed = False
        self.congested = False
        self._holds: Final[set[str]] = set()
        self.incoming: Final = Wire(world, settings.style[come], settings.latency_s, self._read, self._eof)
        self.outgoing: Final = Wire(
            world, settings.style[go], settings.latency_s, self._written, self._flushed
        )
        self._peer: Final = peer

    @property
    def paused(self) -> bool:
        return bool(self._holds)

    def hold(self, why: str, on: bool) -> None:
        if on:
            self._holds.add(why)
        else:
            self._holds.discard(why)
        self.incoming.hold(bool(self._holds))

    def _read(self, data: bytes) -> None:
        if not self.closing and not self.closed:
            self._gate.received(self.side, data)

    def _eof(self) -> None:
        if not self.closing and not self.closed:
            self._gate.hung_up(self.side)

    def send(self, data: bytes) -> None:
        if not self.closing and not self.closed:
            self.outgoing.send(data)

    def close(self) -> None:
        """Flush, then close; cut after a while."""
        if not self.closing and not self.closed:
            self.closing = True
            self.incoming.cut()
            self.outgoing.finish()
            self._gate.world.after(FLUSH_S, self.cut, background=True)

    def _written(self, data: bytes) -> None:
        self._peer.hear(data)
        self._gate.congestion()

    def _flushed(self) -> None:
        self._peer.ended()
        self._lost()

    def cut(self) -> None:
        """Both ways at once; what is under way is lost."""
        if not self.closed:
            self.incoming.cut()
            self.outgoing.cut()
            self._peer.ended()
            self._lost()

    def _lost(self) -> None:
        if not self.closed:
            self.closed = True
            self._gate.lost(self.side)


class Prompt(PromptStore):
    """The store as a session asks it itself; the oracle sees what it does."""

    def __init__(self, gate: Gate) -> None:
        self._gate: Final = gate

    def claim_now(self, claim: Claim, wall: float, monotonic: float) -> ClaimOutcome | None:
        gate = self._gate
        assert Instant(monotonic, wall) == gate.now
        outcome = gate.run.store.claim_now(claim)
        gate.oracle.asks_itself(claim, outcome, gate.listens)
        return outcome


class Gate:
    """Feeds the session and carries out its commands; the oracle sees both."""

    def __init__(self, run: Run, terms: Terms, challenge: bytes, oracle: Oracle) -> None:
        self.run: Final = run
        self.world: Final[World] = run.world
        self.oracle: Final = oracle
        terms = replace(terms, store=Prompt(self))
        self.session: Final = Session(terms, f"client {oracle.name}", challenge, self.now)
        self.sockets: Final[dict[Side, Socket]] = {}
        self.dial_s = 0.0
        self.reachable = True
        self._broker: Peer | None = None

    @property
    def now(self) -> Instant:
        return Instant(self.world.now, EPOCH_S + self.world.now)

    @property
    def over(self) -> bool:
        """Whether both sockets are closed."""
        return all(socket.closed for socket in self.sockets.values()) and Side.CLIENT in self.sockets

    @property
    def broker_socket(self) -> Socket | None:
        return self.sockets.get(Side.UPSTREAM)

    @property
    def running(self) -> bool:
        return self.session.conversation.state is State.RUNNING

    def listens(self, number: int) -> bool:
        """Whether what the client publishes on this channel counts."""
        conversation = self.session.conversation
        channel = conversation.channels.get(number)
        return channel is not None and channel.state in CHANNEL_LIVE and conversation.takes_frames_on(number)

    def accept(self, client: Peer, broker: Peer) -> Socket:
        """A client connects; the broker it is for is dialed when the session asks for it."""
        socket = self.sockets[Side.CLIENT] = Socket(self, Side.CLIENT, client)
        self._broker = broker
        self.world.every(1.0, self._tick)
        return socket

    def _tick(self) -> bool:
        paused = [side in self.sockets and self.sockets[side].paused for side in Side]
        if any(paused) or not self.session.rests(self.world.now, 0.0):
            self._feed(Ticked(*paused))
        self.oracle.look_at_leases()
        return not self.over

    def received(self, side: Side, data: bytes) -> None:
        if side is Side.CLIENT:
            self.oracle.fed_by_client(data)
        else:
            self.oracle.fed_by_broker(data)
        self._feed(BytesReceived(side, data))

    def hung_up(self, side: Side) -> None:
        self._over(side)
        self.world.say(f"{self.oracle.name}: {side.value} > gate", "sends no more")
        self._feed(Disconnected(side))

    def lost(self, side: Side) -> None:
        self._over(side)
        self.world.say(f"{self.oracle.name}: {side.value} > gate", "socket closed")
        self.congestion()
        self._feed(Disconnected(side))

    def _over(self, side: Side) -> None:
        if side is Side.CLIENT:
            self.oracle.client_left |= not self.sockets[side].closing
            self.oracle.client_over = True
        else:
            self.oracle.lost_broker()

    def drain(self) -> None:
        self.world.say(f"{self.oracle.name}: operator > gate", "drain")
        self._feed(DrainAsked())
        self.world.after(DRAIN_S, self._abort, background=True)

    def _abort(self) -> None:
        for socket in list(self.sockets.values()):
            socket.cut()

    def _feed(self, event: Event) -> None:
        commands = self.session.handle(event, self.now)
        for command in commands:
            self._carry_out(command)
        self.oracle.look(self.session, not commands)

    def _carry_out(self, command: do.Command) -> None:
        if self.run.watch is not None:
            self.run.watch(self.oracle.name, command)
        if isinstance(command, do.Send):
            self._send(command.side, command.data)
        elif isinstance(command, do.RequestClaims):
            self._request(command)
        elif isinstance(command, do.SettleClaims):
            self.oracle.settles(command.commits, command.releases)
            self.run.store.settle(command.commits, command.releases)
        elif isinstance(command, do.Keep):
            self.oracle.keeps(command.record)
        elif isinstance(command, do.SetReading):
            self.sockets[Side.CLIENT].hold("session", not command.on)
        elif isinstance(command, do.RenewClaims):
            self.run.store.renew(command.claims)
        elif isinstance(command, do.DeclareQueue):
            self._declare(command.queue)
        elif isinstance(command, do.Close):
            self._close(command.side)
        else:
            self.world.after(self.dial_s, self._dialed)

    def _send(self, side: Side, data: bytes) -> None:
        if side is Side.CLIENT:
            self.oracle.client.told(data)
        else:
            self.oracle.broker.sent(data)
        socket = self.sockets.get(side)
        if socket is not None:
            socket.send(data)
            self.congestion()

    def congestion(self) -> None:
        """A peer that does not read stops the other side from being read. Call when anything moved."""
        for side, socket in self.sockets.items():
            other = self.sockets.get(Side.UPSTREAM if side is Side.CLIENT else Side.CLIENT)
            full = socket.outgoing.waiting > CONGESTED_BYTES and not socket.closed
            if full is not socket.congested:
                socket.congested = full
                if other is not None:
                    other.hold("peer", full)

    def _request(self, request: do.RequestClaims) -> None:
        self.oracle.asks(request)
        claims: list[Claim] = []
        for publication in request.publications:
            assert publication.asked is not None and publication.asked.claim is not None
            claims.append(publication.asked.claim)

        def answer(outcomes: list[ClaimOutcome]) -> None:
            self.oracle.answered(claims, outcomes)
            self._feed(ClaimsAnswered(request.publications, outcomes))

        self.run.store.claim(claims, answer)

    def _declare(self, queue: HoldingQueue) -> None:
        """The broker takes its time, or will not have it."""
        dice = self.world.dice
        self.oracle.declares(queue)
        trouble = "" if dice.random() < 0.8 else "ACCESS_REFUSED"

        def answer() -> None:
            self.oracle.declared(queue, trouble)
            self._feed(QueueDeclared(queue, trouble))

        self.world.after(dice.choice((0.0, 0.02, 3.0)), answer)

    def _close(self, side: Side) -> None:
        socket = self.sockets.get(side)
        if socket is not None:
            socket.close()
        elif side is Side.UPSTREAM:
            self.reachable = False
        self._over(side)

    def _dialed(self) -> None:
        assert self._broker is not None
        if not self.reachable:
            self.world.say(f"{self.oracle.name}: broker > gate", "can not be reached")
            self._feed(UpstreamFailed())
            return
        self.sockets[Side.UPSTREAM] = Socket(self, Side.UPSTREAM, self._broker)
        self._feed(UpstreamConnected())
