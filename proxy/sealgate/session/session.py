"""The object that ties a conversation together: events in, commands out.

`Session.handle` is the only way in. An exception that is no GateError is our bug: the session is then
ERROR for good and forwards nothing more. A GateError of a connection family is told to the client by
`connection.close`; what was already forwarded is still settled.
"""

from __future__ import annotations

from typing import Final

from sealgate.accounts.login import Caller
from sealgate.reason import GateError
from sealgate.session.answers import Answers
from sealgate.session.broker import BrokerFrames
from sealgate.session.channel import Publication
from sealgate.session.client import ClientFrames
from sealgate.session.commands import Command
from sealgate.session.conversation import Conversation, Role, Terms
from sealgate.session.deliveries import Deliveries
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
from sealgate.session.handshake import PROTOCOL_HEADER, Handshake, check_protocol_header
from sealgate.session.legs import Legs
from sealgate.session.login import Login
from sealgate.session.prefetch import Prefetch
from sealgate.session.publishing import Publishing
from sealgate.session.refuse import Refuser
from sealgate.session.states import CLIENT_TURN, Leg, Side, State
from sealgate.session.straight import PUBLISH, Straight
from sealgate.session.timers import Timers
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME, canonical_properties
from sealgate.verify.celery import TASK_HEADER
from sealgate.verify.message import Peer
from sealgate.wire.frames import Frame
from sealgate.wire.reader import HeaderReader
from sealgate.wire.splitter import FrameSplitter

#: RabbitMQ ignores frame_max for its own content headers (protocol.md N4); this only bounds memory.
UPSTREAM_PAYLOAD_BYTES_MAX: Final = 16_777_216
PROTOCOL_HEADER_BYTES: Final = 8
#: A publish of so many octets at most that ends in the next read is waited for, to be taken whole: frame by
#: frame it costs several times as much.
AWAITED_BYTES_MAX: Final = 32_768
_RUNNING: Final = State.RUNNING
_LEG_OPEN: Final = Leg.OPEN


class Session:
    """One client connection and its upstream connection."""

    __slots__ = (
        "_broker_frames",
        "_client_frames",
        "_client_splitter",
        "_conversation",
        "_deliveries",
        "_handshake",
        "_header",
        "_legs",
        "_login",
        "_more_comes",
        "_publishing",
        "_reading_client",
        "_reading_upstream",
        "_straight",
        "_timers",
        "_upstream_splitter",
    )

    def __init__(
        self, terms: Terms, address: str, challenge: bytes, now: Instant, caller: Caller | None = None
    ) -> None:
        """`address` is the client's, for the record; `challenge` is 16 random bytes of this connection.

        Without a `caller` nothing is known of the client's socket: it is none of this host.
        """
        peer = Peer(deployment=terms.deployment, address=address)
        if terms.role is Role.VERIFY:
            peer.challenge = challenge
        conversation = self._conversation = Conversation(terms, peer, caller or Caller())
        conversation.now = now
        if terms.prefetch is not None:
            conversation.prefetch = Prefetch(terms.prefetch, terms.tally)
        expiry = terms.verifier.policy.expiry
        if expiry is not None and expiry.bounds_queues:
            conversation.declares = expiry
        refuser = Refuser(conversation)
        self._publishing: Final = Publishing(conversation, refuser)
        headers = HeaderReader(
            OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties, TASK_HEADER
        )
        deliveries: Deliveries | None = None
        answers: Answers | None = None
        if terms.delivery is not None:
            deliveries = Deliveries(conversation, terms.delivery)
            answers = Answers(conversation, deliveries, refuser)
        self._deliveries: Final = deliveries
        self._straight: Final = Straight(conversation, headers, self._publishing, answers)
        self._client_frames: Final = ClientFrames(
            conversation, headers, self._publishing, deliveries, answers
        )
        self._broker_frames: Final = BrokerFrames(
            conversation, self._client_frames, refuser, deliveries, answers
        )
        self._legs: Final = Legs(conversation, self._client_frames)
        self._login: Final = Login(conversation, self._legs)
        self._handshake: Final = Handshake(conversation, self._login)
        self._timers: Final = Timers(conversation, self._client_frames, self._legs, refuser, now.mono)
        self._client_splitter: Final = FrameSplitter(terms.limits.frame_bytes_max)
        self._upstream_splitter = FrameSplitter(UPSTREAM_PAYLOAD_BYTES_MAX)
        self._header = b""
        #: More of the client's was there to be read when the last of it was.
        self._more_comes = False
        self._reading_client = True
        self._reading_upstream = True

    @property
    def conversation(self) -> Conversation:
        """The state of both legs, to look at."""
        return self._conversation

    @property
    def idle(self) -> bool:
        """Nothing taken on is unfinished: no claim in flight, nothing held, no confirm owed."""
        return self._conversation.settled

    def handle(self, event: Event, now: Instant) -> list[Command]:
        """Take one event; returns what must be done, in order. An ERROR session does nothing more."""
        conversation = self._conversation
        if conversation.state is State.ERROR:
            return []
        conversation.now = now
        try:
            self._dispatch(event)
        except GateError as error:
            self._legs.refuse(error)
        except BaseException:
            self.fail()
            raise
        self._regulate()
        self._timers.note_sent()
        if isinstance(event, ClaimsAnswered):
            self.count_later()
        else:
            self.count()
        return conversation.out.take()

    def receive(self, side: Side, data: bytes, more: bool, mono: float, wall: float) -> bool:
        """As `handle` of `BytesReceived` at that instant, with as little ado as can be.

        With `more` there is more to be read at once, so that a publish of which these bytes have but the
        beginning is waited for. What must be done is left in the conversation's outbox, and nothing is
        counted: call `count_later` when it is done, for a message should not wait for that. False when it is
        ERROR: nothing is done.
        """
        conversation = self._conversation
        if conversation.state is State.ERROR:
            return False
        conversation.now = Instant(mono, wall)
        try:
            self._bytes(side, data, more)
            self._go_on()
        except GateError as error:
            self._legs.refuse(error)
        except BaseException:
            self.fail()
            raise
        self._regulate()
        self._timers.note_sent()
        return True

    def count_later(self) -> None:
        """Put what must not wait into the process's tally: the rest goes there with the next tick, or when
        somebody asks."""
        self._publishing.counts.tell_signed()
        if self._deliveries is not None:
            self._deliveries.counts.tell()

    def count(self) -> None:
        """Put what was decided since the last time into the process's tally."""
        self._publishing.counts.tell()
        if self._deliveries is not None:
            self._deliveries.counts.tell()

    def fail(self) -> None:
        """Our own bug, here or in who carries out the commands: ERROR for good, and the memory given back."""
        conversation = self._conversation
        conversation.state = State.ERROR
        self.count()
        conversation.out.forget_bytes()
        conversation.forget_memory()

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, BytesReceived):
            self._bytes(event.side, event.data, False)
        elif isinstance(event, ClaimsAnswered):
            self._claims_answered(event)
        elif isinstance(event, QueueDeclared):
            self._carry_on(self._publishing.detours.queue_declared(event))
        elif isinstance(event, Ticked):
            self._more_comes = False
            self._timers.tick(event)
            if self._deliveries is not None:
                self._deliveries.tick()
            self._raise_fault()
        elif isinstance(event, DeliveryClaimsAnswered):
            self._deliveries_answered(event)
        elif isinstance(event, DeliveryKept):
            assert self._deliveries is not None  # it had it kept
            self._deliveries.refused.kept(event.delivery, event.safe)
        elif isinstance(event, Disconnected):
            if event.side is Side.CLIENT or not self._login.broker_left():
                self._legs.disconnected(event.side)
        elif isinstance(event, UpstreamConnected):
            self._upstream_connected(event)
        elif isinstance(event, LoginChecked):
            self._login.checked(event.outcome)
        elif isinstance(event, UpstreamFailed):
            self._legs.upstream_failed()
        elif isinstance(event, DrainAsked):
            self._legs.drain()
        self._go_on()

    def _go_on(self) -> None:
        """What an event lets go on has its turn."""
        if self._conversation.resumable:
            self._resume()
        self._legs.advance()
        if self._legs.client_may_speak:
            # Whatever this event let go on: earlier bytes may have been waiting for it.
            self._client_turn()
        if self._conversation.state is State.REFUSED and self._client_splitter.buffered:
            # What came behind a login in the same segment is said after its refusal all the same.
            self._legs.turned_away_speaks()

    def _bytes(self, side: Side, data: bytes, more: bool) -> None:
        if side is Side.CLIENT:
            self._more_comes = more
            self._client_bytes(data)
        else:
            self._upstream_bytes(data)

    def _client_bytes(self, data: bytes) -> None:
        self._timers.heard(Side.CLIENT)
        if self._conversation.client_leg is Leg.CLOSED:
            return
        if self._legs.deaf:
            self._legs.overhear(data)
            return
        if self._conversation.state is State.REFUSED:
            self._legs.turned_away_speaks()
            return
        if self._conversation.unframed:
            self._conversation.out.upstream(data)
            return
        if self._conversation.state is State.HEADER:
            data = self._protocol_header(data)
        self._client_splitter.feed(data)

    def _protocol_header(self, data: bytes) -> bytes:
        """Collect the eight bytes before any frame; returns what came after them."""
        conversation = self._conversation
        wanted = PROTOCOL_HEADER_BYTES - len(self._header)
        self._header += data[:wanted]
        try:
            check_protocol_header(self._header)
        except GateError:
            conversation.out.client(PROTOCOL_HEADER)
            raise
        if len(self._header) == PROTOCOL_HEADER_BYTES:
            conversation.state = State.DIALING
            conversation.out.dial()
        return data[wanted:]

    def _upstream_connected(self, event: UpstreamConnected) -> None:
        conversation = self._conversation
        conversation.upstream_loopback = event.loopback
        conversation.broker = event.broker
        if conversation.state is not State.DIALING:
            # The client left meanwhile.
            conversation.out.close(Side.UPSTREAM)
            return
        conversation.state = State.START
        # Anew: what a broker before this one has left unfinished is not this one's.
        self._upstream_splitter = FrameSplitter(UPSTREAM_PAYLOAD_BYTES_MAX)
        self._timers.heard(Side.UPSTREAM)
        conversation.out.upstream(self._header)

    def _client_turn(self) -> None:
        """Take the client's frames while it is the client's turn."""
        conversation = self._conversation
        splitter = self._client_splitter
        while not splitter.spent() and conversation.state in CLIENT_TURN and self._legs.client_may_speak:
            if self._take_straight():
                continue
            if self._more_comes and splitter.begins(PUBLISH, AWAITED_BYTES_MAX):
                return
            try:
                frame = splitter.next()
            except GateError:
                if not self._conversation.lets_broker_judge:
                    raise
                conversation.unframed = True
                conversation.out.upstream(splitter.rest())
                return
            if frame is None:
                return
            if conversation.state not in (State.RUNNING, State.CLOSING):
                self._handshake.frame(Side.CLIENT, frame)
                if conversation.client_frame_max:
                    # frame_max counts the 8 octets around a payload; clients that forget them are forgiven,
                    # as RabbitMQ forgives them (protocol.md N3).
                    splitter.payload_bytes_max = conversation.client_frame_max
            elif frame.channel and conversation.takes_frames_on(frame.channel):
                self._client_frames.frame(frame)
            elif not frame.channel and not self._login.takes(frame):
                self._legs.client_frame(frame)
            self._legs.advance()

    def _take_straight(self) -> bool:
        """Take what comes next in one step each, as long as that can be; whether there was any."""
        conversation = self._conversation
        splitter = self._client_splitter
        taken = False
        while (
            not splitter.spent()
            and conversation.state is _RUNNING
            and conversation.client_leg is _LEG_OPEN
            and not conversation.unframed
            and self._legs.client_may_speak
            and self._straight.take(splitter)
        ):
            taken = True
        return taken

    def _upstream_bytes(self, data: bytes) -> None:
        conversation = self._conversation
        self._timers.heard(Side.UPSTREAM)
        splitter = self._upstream_splitter
        splitter.feed(data)
        while (
            not splitter.spent()
            and conversation.upstream_leg is not Leg.CLOSED
            and conversation.state is not State.DIALING
        ):
            try:
                if conversation.state is _RUNNING and self._broker_frames.straight(splitter):
                    continue
                frame = splitter.next()
                if frame is None:
                    break
                self._upstream_frame(frame)
            except GateError:
                # The broker broke the protocol: that is not the client's doing, and is told as a loss.
                self._legs.upstream_lost("speaks no AMQP 0-9-1")
        self._raise_fault()

    def _raise_fault(self) -> None:
        """Raises what the client did wrong in what was carried out just now."""
        fault, self._conversation.fault = self._conversation.fault, None
        if fault is not None:
            raise fault

    def _upstream_frame(self, frame: Frame) -> None:
        running = self._conversation.state in (State.RUNNING, State.CLOSING)
        if not running and self._login.broker_answers(frame):
            return
        if not frame.channel and (running or self._handshake.is_refusal(frame)):
            self._legs.upstream_frame(frame)
        elif running:
            self._broker_frames.frame(frame)
        else:
            self._handshake.frame(Side.UPSTREAM, frame)

    def _claims_answered(self, event: ClaimsAnswered) -> None:
        for publication, outcome in zip(event.publications, event.outcomes, strict=True):
            self._publishing.answered(publication, outcome)
        self._carry_on(event.publications)

    def _carry_on(self, publications: list[Publication]) -> None:
        """These were decided: what waited behind them on their channels has its turn."""
        conversation = self._conversation
        for publication in publications:
            channel = conversation.channels.get(publication.channel)
            if channel is not None:
                self._client_frames.carry_on(channel)
        self._raise_fault()

    def _deliveries_answered(self, event: DeliveryClaimsAnswered) -> None:
        deliveries = self._deliveries
        assert deliveries is not None  # it asked
        for delivery, outcome in zip(event.deliveries, event.outcomes, strict=True):
            deliveries.answered(delivery, outcome)
        self._raise_fault()

    def _resume(self) -> None:
        """What the client said behind a `basic.get` that is answered now has its turn."""
        resumable = self._conversation.resumable
        while resumable:
            channel = resumable.pop(0)
            if self._conversation.channels.get(channel.number) is channel:
                self._client_frames.carry_on(channel)
        self._raise_fault()

    def _regulate(self) -> None:
        """Stop reading a side while too much of it waits for someone else."""
        conversation = self._conversation
        limits = conversation.terms.limits
        on = (
            conversation.inflight < limits.claims_inflight_max
            # While it is the client's turn less than a frame is left in there.
            and self._client_splitter.buffered <= 2 * limits.frame_bytes_max
            and conversation.held_bytes <= limits.held_bytes_max
            and conversation.client_leg is not Leg.CLOSED
        )
        if on is not self._reading_client:
            self._reading_client = on
            conversation.out.reading(Side.CLIENT, on)
        if self._deliveries is None:
            return
        on = self._deliveries.book.reads or conversation.upstream_leg is Leg.CLOSED
        if on is not self._reading_upstream:
            self._reading_upstream = on
            conversation.out.reading(Side.UPSTREAM, on)
