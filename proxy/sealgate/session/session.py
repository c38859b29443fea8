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
from sealgate.session.incoming import Incoming
from sealgate.session.legs import Legs
from sealgate.session.login import Login
from sealgate.session.prefetch import Prefetch
from sealgate.session.publishing import Publishing
from sealgate.session.refuse import Refuser
from sealgate.session.states import Leg, Side, State
from sealgate.session.straight import Straight
from sealgate.session.timers import Timers
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME, canonical_properties
from sealgate.verify.celery import TASK_HEADER
from sealgate.verify.message import Peer
from sealgate.wire.reader import HeaderReader


class Session:
    """One client connection and its upstream connection."""

    __slots__ = (
        "_client_frames",
        "_conversation",
        "_deliveries",
        "_incoming",
        "_legs",
        "_login",
        "_publishing",
        "_reading_client",
        "_reading_upstream",
        "_timers",
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
        self._client_frames: Final = ClientFrames(
            conversation, headers, self._publishing, deliveries, answers
        )
        self._legs: Final = Legs(conversation, self._client_frames)
        self._login: Final = Login(conversation, self._legs)
        self._timers: Final = Timers(conversation, self._client_frames, self._legs, refuser, now.mono)
        self._incoming: Final = Incoming(
            conversation,
            Straight(conversation, headers, self._publishing, answers),
            self._client_frames,
            BrokerFrames(conversation, self._client_frames, refuser, deliveries, answers),
            self._legs,
            self._login,
        )
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
        self._incoming.by_turns(False)
        try:
            self._dispatch(event)
            self._incoming.go_on()
        except GateError as error:
            self._legs.refuse(error)
        except BaseException:
            self.fail()
            raise
        self._end()
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
        incoming = self._incoming
        incoming.by_turns(True)
        try:
            self._timers.heard(side)
            incoming.take(side, data, more)
            incoming.go_on()
        except GateError as error:
            self._legs.refuse(error)
        except BaseException:
            self.fail()
            raise
        self._end()
        return True

    @property
    def interrupted(self) -> bool:
        """More came than one turn takes: send what is in the outbox, bytes alone, and call `proceed`."""
        return self._incoming.interrupted

    def proceed(self) -> None:
        """Go on where `receive` or this was interrupted."""
        try:
            self._incoming.proceed()
        except GateError as error:
            self._legs.refuse(error)
        except BaseException:
            self.fail()
            raise
        self._end()

    def rests(self, mono: float, late_s: float) -> bool:
        """Whether a tick at that monotonic time, `late_s` late, would do nothing but count: then it is done.

        Most connections of many are idle, or nothing is due: asking costs a tenth of a tick. To be asked only
        while both sides are read.
        """
        if self._deliveries is not None or self._incoming.waiting_bytes:
            return False
        if not self._timers.rests(mono, late_s):
            return False
        self._publishing.counts.tell()
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

    def _end(self) -> None:
        """What follows on an event, once all of it was taken."""
        if not self._incoming.interrupted:
            self._regulate()
            self._timers.note_sent()

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, BytesReceived):
            self._timers.heard(event.side)
            self._incoming.take(event.side, event.data, False)
        elif isinstance(event, ClaimsAnswered):
            self._claims_answered(event)
        elif isinstance(event, QueueDeclared):
            self._carry_on(self._publishing.detours.queue_declared(event))
        elif isinstance(event, Ticked):
            self._incoming.wait_no_longer()
            self._timers.tick(event)
            if self._deliveries is not None:
                self._deliveries.tick()
            self._conversation.raise_fault()
        elif isinstance(event, DeliveryClaimsAnswered):
            self._deliveries_answered(event)
        elif isinstance(event, DeliveryKept):
            assert self._deliveries is not None  # it had it kept
            self._deliveries.refused.kept(event.delivery, event.safe)
        elif isinstance(event, Disconnected):
            if event.side is Side.CLIENT or not self._login.broker_left():
                self._legs.disconnected(event.side)
        elif isinstance(event, UpstreamConnected):
            self._timers.heard(Side.UPSTREAM)
            self._incoming.upstream_connected(event)
        elif isinstance(event, LoginChecked):
            self._login.checked(event.outcome)
        elif isinstance(event, UpstreamFailed):
            self._legs.upstream_failed()
        elif isinstance(event, DrainAsked):
            self._legs.drain()

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
        self._conversation.raise_fault()

    def _deliveries_answered(self, event: DeliveryClaimsAnswered) -> None:
        deliveries = self._deliveries
        assert deliveries is not None  # it asked
        for delivery, outcome in zip(event.deliveries, event.outcomes, strict=True):
            deliveries.answered(delivery, outcome)
        self._conversation.raise_fault()

    def _regulate(self) -> None:
        """Stop reading a side while too much of it waits for someone else."""
        conversation = self._conversation
        limits = conversation.terms.limits
        on = (
            conversation.inflight < limits.claims_inflight_max
            # While it is the client's turn less than a frame is left in there.
            and self._incoming.waiting_bytes <= 2 * limits.frame_bytes_max
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
