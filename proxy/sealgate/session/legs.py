"""The two legs of a running connection: channel 0, refusing, draining, and loss.

Each leg ends on its own: a peer's close is answered at once or as soon as what it sent before is done, and
the other leg is then closed in its own words. What was forwarded is settled before the upstream goes.
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.client import ClientFrames
from sealgate.session.closing import ESTABLISHED, Closing
from sealgate.session.conversation import Conversation, Role
from sealgate.session.states import Leg, Side, State
from sealgate.wire import methods
from sealgate.wire.constants import (
    CONNECTION_BLOCKED,
    CONNECTION_CLOSE,
    CONNECTION_CLOSE_OK,
    CONNECTION_FORCED,
    CONNECTION_UNBLOCKED,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    INTERNAL_ERROR,
)
from sealgate.wire.frames import Frame, encode_frame

#: What a broker says that starts or stops: not the client's doing.
BROKERS_OWN: Final = frozenset({CONNECTION_FORCED, INTERNAL_ERROR})
_CLOSE_OK: Final = encode_frame(FRAME_METHOD, 0, methods.encode_connection_close_ok())


class Legs(Closing):
    """Owns `client_leg` and `upstream_leg` of a conversation."""

    __slots__ = ("_last_words", "_patient")

    def __init__(self, conversation: Conversation, client_frames: ClientFrames) -> None:
        super().__init__(conversation, client_frames)
        #: The end of what the client has said since it is not heard any more.
        self._last_words = b""
        #: A client whose login is refused may speak and is not heard; else it is cut when it does.
        self._patient = False

    @property
    def client_may_speak(self) -> bool:
        """Whether the client's next frame may be looked at now."""
        if self._deaf or self._client_close is not None or self._conversation.reopening:
            return False
        conversation = self._conversation
        if not conversation.draining:
            return True
        return conversation.state not in ESTABLISHED or conversation.client_leg is not Leg.OPEN

    def overhear(self, data: bytes) -> None:
        """Bytes of a client that is refused: its `connection.close-ok` alone still counts, and ends it.

        It is looked for anywhere, for the client's frames may be past telling apart.
        """
        heard = self._last_words + data
        self._last_words = heard[1 - len(_CLOSE_OK) :]
        if _CLOSE_OK in heard and self._conversation.client_leg is Leg.CLOSE_SENT:
            self._client_gone()

    def client_frame(self, frame: Frame) -> None:
        """A frame of the client on channel 0."""
        conversation = self._conversation
        if frame.type == FRAME_HEARTBEAT:
            if frame.payload_size:
                raise GateError(Reason.FRAME_SIZE, "a heartbeat has no payload")
            return
        method = self._method_of(frame)
        if method == CONNECTION_CLOSE:
            self._client_closes(frame)
        elif method == CONNECTION_CLOSE_OK and conversation.client_leg is Leg.CLOSE_SENT:
            self._client_gone()
        elif conversation.client_leg is Leg.OPEN:
            conversation.out.upstream(frame.raw)

    def _method_of(self, frame: Frame) -> int:
        """As `connection_method`; 0 for what is passed on all the same, for the broker to judge."""
        try:
            return methods.connection_method(frame)
        except GateError:
            if self._conversation.terms.role is Role.PASS:
                return 0
            raise

    def _client_closes(self, frame: Frame) -> None:
        conversation = self._conversation
        if conversation.client_leg is Leg.CLOSE_SENT:
            # Crossing closes: both are answered (protocol.md X5).
            conversation.out.last_client_method(methods.encode_connection_close_ok())
            return
        conversation.client_leg = Leg.CLOSE_RECEIVED
        conversation.state = State.CLOSING
        self._client_close = frame
        self._since = conversation.now.mono

    def upstream_frame(self, frame: Frame) -> None:
        """A frame of the broker on channel 0; `connection.close` may come before the handshake is done."""
        conversation = self._conversation
        if frame.type != FRAME_METHOD:
            return
        method = methods.method_id(frame.payload)
        if method == CONNECTION_CLOSE:
            if not self._refused_by_broker(frame):
                self._upstream_closes(frame)
        elif method == CONNECTION_CLOSE_OK:
            if conversation.upstream_leg is Leg.CLOSE_SENT:
                self._upstream_gone()
                self._answer_client_close()
        else:
            if method in (CONNECTION_BLOCKED, CONNECTION_UNBLOCKED):
                conversation.blocked = method == CONNECTION_BLOCKED
            conversation.out.client(frame.raw)

    def _refused_by_broker(self, frame: Frame) -> bool:
        """Note a close for the broker's own reasons in the handshake; whether another broker is tried."""
        conversation = self._conversation
        if conversation.state in ESTABLISHED:
            return False
        code = methods.read_close(frame.payload)[0]
        if conversation.state is State.START:
            self.upstream_lost(f"{code} instead of connection.start")
            return True
        if code in BROKERS_OWN and not conversation.strayed:
            conversation.upstream_failure = f"{code} in the handshake"
        return False

    def _upstream_closes(self, frame: Frame) -> None:
        """The broker closes: its code and text reach the client unchanged (protocol.md X1).

        A gateway that drains (known by its challenge) still takes what has no confirms: our close-ok waits
        for the client's, so that nothing is lost that was sent before the client heard of the close.
        """
        conversation = self._conversation
        still_open = conversation.client_leg is Leg.OPEN
        if still_open and conversation.state is State.RUNNING and conversation.signer.challenge:
            conversation.upstream_leg = Leg.CLOSE_RECEIVED
        else:
            self._answer_upstream_close()
        if still_open:
            self.close_client(frame.payload)
        else:
            if conversation.client_leg is Leg.CLOSE_RECEIVED:
                # Crossing closes: the client hears both.
                conversation.out.last_client_method(frame.payload)
            self._answer_client_close()
        for channel in conversation.channels.values():
            if conversation.upstream_leg is Leg.CLOSED or channel.ledger is not None:
                self._client_frames.discard(channel)

    def disconnected(self, side: Side) -> None:
        """A socket is gone."""
        if side is Side.UPSTREAM:
            self.upstream_lost("lost in the handshake")
            return
        conversation = self._conversation
        if conversation.client_leg is Leg.CLOSED:
            return
        self._client_close = None
        self._client_gone()
        if conversation.state not in ESTABLISHED:
            self._upstream_gone()
        else:
            conversation.state = State.CLOSING
            self._since = conversation.now.mono

    def upstream_lost(self, how: str) -> None:
        """The broker's connection is gone or useless: try the next broker if the client has heard nothing.

        It counts against the broker where no client can bring it about: not by silence, which RabbitMQ ends
        after 10 s, not by a wrong password, and not by what it should not say (`strayed`).
        """
        conversation = self._conversation
        if conversation.upstream_leg is Leg.CLOSED:
            return
        if conversation.state in (State.START, State.OPEN_OK) and not conversation.strayed:
            conversation.upstream_failure = how
        if conversation.state is State.START and conversation.client_leg is Leg.OPEN:
            conversation.state = State.DIALING
            conversation.out.dial()
            return
        self.upstream_failed()

    def upstream_failed(self) -> None:
        """The broker can not be reached, or was lost without a close."""
        conversation = self._conversation
        if conversation.upstream_leg is Leg.CLOSED:
            return
        if conversation.client_leg is Leg.OPEN:
            conversation.blame(Reason.CONN_UPSTREAM, "the broker is gone")
        self._upstream_gone()
        if conversation.state not in ESTABLISHED:
            # Before `start` a closed socket is what a broker that is away looks like (protocol.md U5).
            self._client_gone()
            return
        self._answer_client_close()
        self._close_client(GateError(Reason.CONN_UPSTREAM, "the broker is gone"))
        self._drop_all()

    def refuse(self, error: GateError) -> None:
        """End the connection for what the client did. What it did right before is still carried out."""
        conversation = self._conversation
        conversation.blame(error.reason, error.detail)
        conversation.terms.tally.messages["publish", "refused", error.reason.value] += 1
        self._deaf = True
        self._client_close = None
        started = conversation.state not in (State.HEADER, State.DIALING, State.START)
        established = conversation.state in ESTABLISHED
        if started and (established or not self._hangs_up(error)):
            self._close_client(error)
        else:
            self._client_gone()
        if not established:
            self._upstream_gone()
        self.advance()

    def _hangs_up(self, error: GateError) -> bool:
        """Whether a broken handshake ends without a word: RabbitMQ has none for that."""
        own = error.reason.family == "conn" and error.reason is not Reason.CONN_HANDSHAKE
        return self._conversation.terms.role is Role.PASS and not own

    def turn_away(self, close: bytes, patient: bool = False) -> None:
        """A login is refused: say `close`, if anything, and then nothing until `login_refused_s` are over.

        RabbitMQ ends it at once when the client says anything more, but for a response that was none
        (`patient`): measured with 3.10.8.
        """
        conversation = self._conversation
        if close:
            conversation.out.last_client_method(close)
        conversation.out.mute_client()
        conversation.state = State.REFUSED
        self._patient = patient
        self._since = conversation.now.mono
        self._upstream_gone()

    def turned_away_speaks(self) -> None:
        """The client whose login was refused says something."""
        if not self._patient:
            self._client_gone()

    def forsake(self, detail: str) -> None:
        """The broker will not have us: the client is sent away as by a broker that leaves."""
        self._conversation.blame(Reason.CONN_UPSTREAM, detail)
        self._close_client(GateError(Reason.CONN_UPSTREAM, detail))
        self._upstream_gone()

    def dismiss(self, close: bytes) -> None:
        """End a handshake with the words of `close`, a `connection.close`."""
        self.close_client(close)
        self._upstream_gone()

    def drain(self) -> None:
        """Finish what was taken on, then send the client away.

        A handshake may go on up to its end: a client that is cut in it takes its password for wrong, and one
        that is told 320 connects again.
        """
        conversation = self._conversation
        conversation.draining = True
        if conversation.state not in ESTABLISHED and conversation.state is not State.REFUSED:
            self._since = conversation.now.mono

    def advance(self) -> None:
        """Take the next step of closing that is due."""
        conversation = self._conversation
        staying = conversation.state is State.RUNNING and not conversation.draining
        if staying or conversation.state not in ESTABLISHED:
            return
        told = conversation.client_leg is Leg.CLOSE_SENT and self._client_close is None and not self.deaf
        both = conversation.client_leg is not Leg.OPEN and conversation.upstream_leg is not Leg.OPEN
        if told or both or not conversation.settled:
            # An answer is due first; who floods until then must not have us look at every channel each time.
            return
        if conversation.draining and conversation.client_leg is Leg.OPEN:
            self._close_client(GateError(Reason.CONN_SHUTDOWN, "please reconnect"))
        elif conversation.upstream_leg is Leg.OPEN:
            self._close_upstream()
        self._finish()
