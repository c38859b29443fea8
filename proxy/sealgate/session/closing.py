"""How each leg of a connection closes: what is said, whose answer is waited for, and for how long.

A leg is closed by the peer or by us, and the two may cross. What was forwarded is settled before the upstream
goes (`session.legs` decides when).
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError
from sealgate.session.client import ClientFrames
from sealgate.session.conversation import Conversation
from sealgate.session.refuse import connection_code, reply_text
from sealgate.session.states import Leg, Side, State
from sealgate.wire import methods
from sealgate.wire.frames import Frame

#: The handshake is done.
ESTABLISHED: Final = frozenset({State.RUNNING, State.CLOSING})


class Closing:
    """Owns `client_leg` and `upstream_leg` of a conversation, together with `Legs`, which is made of it."""

    __slots__ = ("_client_close", "_client_frames", "_conversation", "_deaf", "_since")

    def __init__(self, conversation: Conversation, client_frames: ClientFrames) -> None:
        self._conversation: Final = conversation
        self._client_frames: Final = client_frames
        #: The client's connection.close, until what it sent before is carried out.
        self._client_close: Frame | None = None
        #: The client broke the protocol: nothing it says counts any more.
        self._deaf = False
        #: When the close that is under way began, monotonic seconds.
        self._since = 0.0

    @property
    def deaf(self) -> bool:
        """Nothing the client says counts any more, but its answer to our close."""
        # After bytes that were no frames nothing can be told apart.
        return self._deaf or (self._conversation.unframed and self._conversation.client_leg is not Leg.OPEN)

    def close_client(self, payload: bytes) -> None:
        """Say `payload`, a `connection.close`, and wait for its answer."""
        conversation = self._conversation
        if conversation.client_leg not in (Leg.OPEN, Leg.CLOSE_RECEIVED):
            return
        conversation.out.last_client_method(payload)
        conversation.out.mute_client()
        conversation.client_leg = Leg.CLOSE_SENT
        conversation.state = State.CLOSING
        self._since = conversation.now.mono

    def _close_client(self, why: GateError) -> None:
        code = connection_code(why.reason)
        text = reply_text(code, why.reason, why.detail)
        self.close_client(methods.encode_connection_close(code, text, *divmod(why.method, 0x10000)))

    def _answer_client_close(self) -> None:
        conversation = self._conversation
        if conversation.client_leg is Leg.CLOSE_RECEIVED:
            conversation.out.last_client_method(methods.encode_connection_close_ok())
            # The client hangs up itself, as it would on the broker.
            self._client_gone(linger=True)

    def _client_gone(self, linger: bool = False) -> None:
        conversation = self._conversation
        if conversation.client_leg is not Leg.CLOSED:
            conversation.client_leg = Leg.CLOSED
            conversation.out.mute_client()
            conversation.out.close(Side.CLIENT, linger)
            for channel in conversation.channels.values():
                self._client_frames.abandon(channel)
        if conversation.upstream_leg is Leg.CLOSE_RECEIVED:
            self._answer_upstream_close()
        self._finish()

    def _close_upstream(self) -> None:
        """The upstream may go once the client can send nothing more that counts."""
        conversation = self._conversation
        if self._client_close is not None:
            conversation.out.upstream(self._client_close.raw)
        elif conversation.client_leg is Leg.CLOSED or self.deaf:
            conversation.out.upstream_method(
                0, methods.encode_connection_close(200, "sealgate: client gone", 0, 0)
            )
        else:
            return
        conversation.upstream_leg = Leg.CLOSE_SENT
        self._since = conversation.now.mono

    def _answer_upstream_close(self) -> None:
        self._conversation.out.upstream_method(0, methods.encode_connection_close_ok())
        self._upstream_gone()

    def _upstream_gone(self) -> None:
        conversation = self._conversation
        if conversation.upstream_leg is not Leg.CLOSED:
            conversation.upstream_leg = Leg.CLOSED
            conversation.out.close(Side.UPSTREAM)
        self._finish()

    def expire(self) -> None:
        """A close, or a handshake during a drain, has taken too long: cut what is left."""
        conversation = self._conversation
        if conversation.state is State.REFUSED:
            if conversation.now.mono - self._since >= conversation.terms.limits.login_refused_s:
                self._client_gone()
            return
        if conversation.now.mono - self._since < conversation.terms.limits.close_s:
            return
        if conversation.state not in ESTABLISHED:
            self._client_gone()
            self._upstream_gone()
            return
        if conversation.state is not State.CLOSING:
            return
        if conversation.upstream_leg is Leg.OPEN and conversation.client_leg is not Leg.CLOSE_SENT:
            # The broker still owes confirms; their leases run out on their own.
            self._drop_all()
            self._close_upstream()
            return
        self._answer_client_close()
        self._client_gone()
        self._upstream_gone()
        self._finish()

    def _drop_all(self) -> None:
        """Nothing more can go upstream: what waits is let go, and claims already granted given back."""
        for channel in self._conversation.channels.values():
            self._client_frames.discard(channel)
        if self._conversation.originals is not None:
            self._conversation.originals.forget_all()
        if self._conversation.prefetch is not None:
            self._conversation.prefetch.forget_all()

    def _finish(self) -> None:
        conversation = self._conversation
        if conversation.client_leg is Leg.CLOSED and conversation.upstream_leg is Leg.CLOSED:
            if conversation.state is not State.CLOSED:
                self._drop_all()
            conversation.state = State.CLOSED
