"""What both peers send: whole publishes and runs are taken straight, all else frame by frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sealgate.reason import GateError
from sealgate.session.broker import BrokerFrames
from sealgate.session.client import ClientFrames
from sealgate.session.conversation import Conversation
from sealgate.session.events import UpstreamConnected
from sealgate.session.handshake import PROTOCOL_HEADER, Handshake, check_protocol_header
from sealgate.session.legs import Legs
from sealgate.session.login import Login
from sealgate.session.states import CLIENT_TURN, Leg, Side, State
from sealgate.session.straight import PUBLISH, Straight
from sealgate.wire.frames import Frame
from sealgate.wire.splitter import FrameSplitter

if TYPE_CHECKING:
    from mypy_extensions import i64

#: RabbitMQ ignores frame_max for its own content headers (protocol.md N4); this only bounds memory.
UPSTREAM_PAYLOAD_BYTES_MAX: Final = 16_777_216
PROTOCOL_HEADER_BYTES: Final = 8
#: A publish of so many octets at most that ends in the next read is waited for, to be taken whole: frame by
#: frame it costs several times as much.
AWAITED_BYTES_MAX: Final = 32_768
#: Of one read so many publishes are taken, then what was accepted is sent, so that the broker works while
#: the rest is looked at. It confirms a read at once, and the client sends no more before that: else each
#: waits for the other (measured). Then as many times more: a broker is slower than the gate, and each sending
#: costs. It is publishes that count, not octets: a read has few large ones, and is soon through.
TURN_PUBLISHES: Final = 32
TURN_GROWTH: Final = 4
_RUNNING: Final = State.RUNNING
_LEG_OPEN: Final = Leg.OPEN


class Incoming:
    """Bytes to frames to who takes them, in the order in which they came."""

    __slots__ = (
        "_broker_frames",
        "_client_frames",
        "_client_splitter",
        "_conversation",
        "_handshake",
        "_header",
        "_legs",
        "_login",
        "_more_comes",
        "_straight",
        "_turn_publishes",
        "_upstream_splitter",
        "interrupted",
    )

    def __init__(
        self,
        conversation: Conversation,
        straight: Straight,
        client_frames: ClientFrames,
        broker_frames: BrokerFrames,
        legs: Legs,
        login: Login,
    ) -> None:
        self._conversation: Final = conversation
        self._straight: Final = straight
        self._client_frames: Final = client_frames
        self._broker_frames: Final = broker_frames
        self._legs: Final = legs
        self._login: Final = login
        self._handshake: Final = Handshake(conversation, login)
        self._client_splitter: Final = FrameSplitter(conversation.terms.limits.frame_bytes_max)
        self._upstream_splitter = FrameSplitter(UPSTREAM_PAYLOAD_BYTES_MAX)
        self._header = b""
        #: More of the client's was there to be read when the last of it was.
        self._more_comes = False
        #: How many of the client's publishes are taken before what they led to is sent; 0 for all of them.
        self._turn_publishes = 0
        #: A turn is over and there is more to take: `proceed` goes on.
        self.interrupted = False

    @property
    def waiting_bytes(self) -> int:
        """What came from the client and was not taken yet."""
        return self._client_splitter.buffered

    def take(self, side: Side, data: bytes, more: bool) -> None:
        """Bytes came, those of the client perhaps with `more` behind them that can be read at once."""
        if side is Side.CLIENT:
            self._more_comes = more
            self._client_bytes(data)
        else:
            self._upstream_bytes(data)

    def wait_no_longer(self) -> None:
        """What was to be read at once has not come: what there is of it is taken."""
        self._more_comes = False

    def by_turns(self, on: bool) -> None:
        """Whether `go_on` stops at the end of a turn, or takes all there is."""
        self._turn_publishes = TURN_PUBLISHES if on else 0

    def proceed(self) -> None:
        """Go on behind the end of a turn, for a longer one."""
        self.interrupted = False
        self._turn_publishes *= TURN_GROWTH
        if self._conversation.state is not State.ERROR:
            self.go_on()

    def go_on(self) -> None:
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

    def upstream_connected(self, event: UpstreamConnected) -> None:
        """There is a broker: it is told what the client wanted to speak."""
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
        conversation.out.upstream(self._header)

    def _client_bytes(self, data: bytes) -> None:
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

    def _client_turn(self) -> None:
        """Take the client's frames while it is the client's turn."""
        conversation = self._conversation
        splitter = self._client_splitter
        while not splitter.spent() and conversation.state in CLIENT_TURN and self._legs.client_may_speak:
            if self._take_straight():
                if self.interrupted:
                    return
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
        taken: i64 = 0
        turn_ends: i64 = self._turn_publishes
        while (
            not splitter.spent()
            and conversation.state is _RUNNING
            and conversation.client_leg is _LEG_OPEN
            and not conversation.unframed
            and self._legs.client_may_speak
            and self._straight.take(splitter)
        ):
            taken += 1
            if taken == turn_ends and not splitter.spent() and not conversation.out.has_more:
                self.interrupted = True
                break
        return taken > 0

    def _upstream_bytes(self, data: bytes) -> None:
        conversation = self._conversation
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
        conversation.raise_fault()

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

    def _resume(self) -> None:
        """What the client said behind a `basic.get` that is answered now has its turn."""
        resumable = self._conversation.resumable
        while resumable:
            channel = resumable.pop(0)
            if self._conversation.channels.get(channel.number) is channel:
                self._client_frames.carry_on(channel)
        self._conversation.raise_fault()
