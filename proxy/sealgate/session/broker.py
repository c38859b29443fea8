"""The broker's frames on a running connection: passed on, but for confirms, returns and closes."""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.answers import Answers
from sealgate.session.channel import HEADER_AWAITED, Channel, token_of
from sealgate.session.client import ClientFrames
from sealgate.session.confirms import Outstanding, Seal
from sealgate.session.conversation import Conversation, Role
from sealgate.session.deliveries import Deliveries
from sealgate.session.lost import Lost
from sealgate.session.prefetch import BROKER_METHODS
from sealgate.session.refuse import Refuser
from sealgate.session.sealing import COUNTERSIGNATURE, SIGNER_STRIPS
from sealgate.session.states import CHANNEL, CHANNEL_LIVE, CHANNEL_REFUSED, ChannelState, Leg, Side
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME
from sealgate.wire import methods
from sealgate.wire.constants import (
    BASIC_ACK,
    BASIC_DELIVER,
    BASIC_GET_OK,
    BASIC_NACK,
    BASIC_RETURN,
    CHANNEL_CLOSE,
    CHANNEL_CLOSE_OK,
    CHANNEL_OPEN_OK,
    CONFIRM_SELECT_OK,
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_METHOD,
    FRAME_OVERHEAD_BYTES,
)
from sealgate.wire.frames import Frame, encode_frame
from sealgate.wire.properties import read_body_size, restore, scan_content_header
from sealgate.wire.splitter import FrameSplitter

_DELIVER: Final = BASIC_DELIVER.to_bytes(4, "big")
_OPEN: Final = ChannelState.OPEN
_CONTENT_FOLLOWS: Final = frozenset({BASIC_DELIVER, BASIC_GET_OK, BASIC_RETURN})


class BrokerFrames:
    """Takes the broker's frames on channels above 0."""

    __slots__ = (
        "_answers",
        "_apart",
        "_client",
        "_conversation",
        "_deliveries",
        "_lost",
        "_passes",
        "_prefetch",
        "_refuser",
    )

    def __init__(
        self,
        conversation: Conversation,
        client: ClientFrames,
        refuser: Refuser,
        deliveries: Deliveries | None,
        answers: Answers | None,
    ) -> None:
        """With `deliveries` (and then `answers`) they are judged before the client sees them."""
        self._deliveries: Final = deliveries
        self._answers: Final = answers
        self._conversation: Final = conversation
        self._client: Final = client
        self._refuser: Final = refuser
        self._passes: Final = conversation.terms.role is Role.PASS
        self._lost: Final = Lost(conversation, refuser)
        self._prefetch: Final = conversation.prefetch
        #: Methods that are not passed on unread.
        self._apart: Final = BROKER_METHODS if conversation.prefetch is not None else None

    def frame(self, frame: Frame) -> None:
        if self._passes:
            if not self._answers_gate(frame):
                self._conversation.out.client(frame.raw)
            return
        channel = self._conversation.channels.get(frame.channel)
        if channel is not None and frame.type == FRAME_METHOD:
            self._method(channel, frame)
        elif channel is not None and channel.lost is not None:
            self._lost.content(channel, frame)
        elif channel is not None and frame.type == FRAME_HEADER:
            if self._deliveries is None or not self._deliveries.header(channel, frame):
                self._header(channel, frame)
        elif channel is not None and frame.type == FRAME_BODY:
            if self._deliveries is not None and self._deliveries.body(channel, frame):
                return
            if channel.state not in CHANNEL_REFUSED:
                self._body(channel, frame)
        elif channel is not None and channel.state in CHANNEL_REFUSED:
            return
        else:
            self._conversation.out.client(frame.raw)

    def _answers_gate(self, frame: Frame) -> bool:
        """Whether `frame` is an answer to what the gate has asked about the client's consumers."""
        if self._prefetch is None or frame.type != FRAME_METHOD:
            return False
        method = methods.method_id(frame.payload)
        return method in BROKER_METHODS and self._prefetch.heard(frame.channel, method, frame.payload)

    def straight(self, splitter: FrameSplitter) -> bool:
        """Pass on what comes next as a part of the bytes it came in; False when it is to be looked at.

        Where publishes are read these are deliveries and acks, on channels where the gate has nothing to say.
        """
        conversation = self._conversation
        if self._passes:
            data, start, stop = splitter.stretch(methods=True, apart=self._apart)
            if start == stop:
                return False
            conversation.out.client_stretch(data, start, stop)
            return True
        whole = splitter.whole(_DELIVER)
        if whole is None:
            return self._confirms(splitter)
        channel = conversation.channels.get(whole.channel)
        body_bytes_max = conversation.client_frame_max - FRAME_OVERHEAD_BYTES
        if (
            channel is None
            or channel.state is not _OPEN
            or channel.held
            or channel.waiting_close
            or channel.body_left
            or whole.body_size > body_bytes_max
        ):
            return False
        channel.returning = None
        if self._deliveries is not None:
            if not self._deliveries.may_begin(channel):
                return False
            splitter.skip(whole)
            self._deliveries.whole(channel, whole)
            return True
        # Nothing of a delivery that is passed on changes whether the next one is.
        stop = splitter.skip_alike(whole, body_bytes_max)
        conversation.out.client_stretch(whole.data, whole.start, stop)
        return True

    def _confirms(self, splitter: FrameSplitter) -> bool:
        """Pass on the broker's ack that lies next, where it is the client's, and settles claims at most."""
        if splitter.method_ahead() != BASIC_ACK:
            return False
        channel = self._conversation.channels.get(splitter.channel_ahead())
        if (
            channel is None
            or channel.ledger is None
            or channel.state is not _OPEN
            or channel.waiting_close
            or (self._deliveries is not None and not self._deliveries.may_begin(channel))
        ):
            return False
        tag, multiple = splitter.ack_ahead()
        claims = channel.ledger.confirmed(tag, multiple)
        if claims is None:
            return False
        if claims:
            self._conversation.out.commit_all(claims)
        data, start, stop = splitter.take_method()
        self._conversation.out.client_stretch(data, start, stop)
        return True

    def _header(self, channel: Channel, frame: Frame) -> None:
        raw = frame.raw
        if channel.returning is not None:
            raw = self._returned(channel, channel.returning, frame)
            channel.returning = None
        if channel.state in CHANNEL_REFUSED:
            return
        channel.body_left = read_body_size(frame.payload)
        channel.body_kept = b""
        self._conversation.out.client(raw)
        self._yield(channel)

    def _yield(self, channel: Channel) -> None:
        """The broker may have come to an end: what the gate has to say on the channel has its turn."""
        if self._deliveries is not None and not channel.body_left:
            self._deliveries.book.speak(channel)
        if channel.spoken_for or not (channel.held or channel.refusal is not None):
            return
        if self._refuser.close_when_answered(channel):
            self._client.drop_held(channel)
        self._client.carry_on(channel)

    def _method(self, channel: Channel, frame: Frame) -> None:
        method = methods.method_id(frame.payload)
        if self._answers is not None and self._judged(channel, frame, method):
            return
        if method in (BASIC_ACK, BASIC_NACK) and channel.ledger is not None:
            self._answer(channel, frame, method)
        elif method in (CHANNEL_CLOSE, CHANNEL_CLOSE_OK, CHANNEL_OPEN_OK):
            self._turn(channel, frame, method)
        else:
            # Also of a channel that is closed for a refusal: a publish that came back did not arrive.
            if method == BASIC_RETURN and self._lost.returned(channel, frame.payload):
                return
            channel.returning = methods.read_return(frame.payload)[2:] if method == BASIC_RETURN else None
            if self._answers_gate(frame):
                return
            if channel.state not in CHANNEL_REFUSED:
                self._conversation.out.client(frame.raw)
                if method in _CONTENT_FOLLOWS:
                    channel.body_left = HEADER_AWAITED
                elif method == CONFIRM_SELECT_OK:
                    channel.selecting = False
                    self._yield(channel)

    def _judged(self, channel: Channel, frame: Frame, method: int) -> bool:
        """Take a method that concerns deliveries, where these are judged; False for any other.

        Raises GateError frame.order for one in the middle of a delivery.
        """
        assert self._deliveries is not None and self._answers is not None  # the caller looked
        if not self._deliveries.may_begin(channel):
            raise GateError(Reason.FRAME_ORDER, "a method in the middle of content")
        if method in (BASIC_DELIVER, BASIC_GET_OK):
            self._deliveries.begin(channel, frame, method)
            return True
        return channel.state not in CHANNEL_REFUSED and not self._answers.heard(channel, frame, method)

    def _answer(self, channel: Channel, frame: Frame, method: int) -> None:
        """An ack or nack from the broker: the ledger says what it is to the client, and what it settles."""
        assert channel.ledger is not None  # the caller looked
        if method == BASIC_ACK:
            tag, multiple = methods.read_ack(frame.payload)
        else:
            tag, multiple, _ = methods.read_nack(frame.payload)
        answered = channel.ledger.answered(tag, multiple)
        for entry in answered.settled:
            self._settle(channel, entry, method == BASIC_ACK)
        if channel.state not in CHANNEL_REFUSED:
            out = self._conversation.out
            if answered.unchanged:
                out.client(frame.raw)
            else:
                for client_tag, several in answered.answers:
                    if method == BASIC_ACK and client_tag not in answered.lost:
                        out.client_method(channel.number, methods.encode_ack(client_tag, several))
                    else:
                        out.client_method(channel.number, methods.encode_nack(client_tag, several, False))
        if self._refuser.close_when_answered(channel):
            self._client.drop_held(channel)

    def _settle(self, channel: Channel, entry: Outstanding, arrived: bool) -> None:
        originals = self._conversation.originals
        if originals is not None and entry.seal is not None:
            originals.forget(channel.number, entry.seal)
        if entry.claim is None:
            return
        if arrived and not entry.returned:
            self._conversation.out.commit(entry.claim)
        else:
            self._conversation.out.release(entry.claim)

    def _turn(self, channel: Channel, frame: Frame, method: int) -> None:
        conversation = self._conversation
        refused = channel.state in CHANNEL_REFUSED
        if refused and method == CHANNEL_CLOSE:
            # The broker's close crossed ours: it is owed a close-ok, and still owes us one.
            if conversation.upstream_leg is Leg.OPEN:
                conversation.out.upstream_method(channel.number, methods.encode_channel_close_ok())
            return
        following = CHANNEL.get((channel.state, Side.UPSTREAM, method))
        if following is not None:
            channel.state = following
            if following is ChannelState.CLOSED:
                conversation.forget_channel(channel.number)
        if refused:
            # Closed: what the broker has not answered it never will, and nobody waits for it any more.
            channel.ledger = None
            if self._deliveries is not None:
                # And it has back what was delivered there.
                self._deliveries.forget(channel)
            if following is ChannelState.CLOSED:
                self._client.reopen(channel)
            return
        conversation.out.client(frame.raw)
        if following is ChannelState.OPEN:
            self._client.carry_on(channel)
        if method == CHANNEL_CLOSE:
            # The broker answers nothing more here: what is unanswered is in doubt, its lease runs out.
            channel.ledger = None
        if channel.state not in CHANNEL_LIVE:
            self._client.drop_held(channel)

    def _returned(self, channel: Channel, target: tuple[str, str], frame: Frame) -> bytes:
        """A returned publish: note that it did not arrive, and take our own header out of it."""
        try:
            header = scan_content_header(frame.payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
        except GateError:
            # Passed where rules only observe: no claim and no seal of ours is in there.
            return frame.raw
        terms = self._conversation.terms
        seal = Seal(token_of(header), *target)
        if channel.ledger is not None:
            channel.ledger.returned(seal)
        originals = self._conversation.originals
        original = originals.of(channel.number, seal) if originals is not None else None
        if originals is not None and original is not None:
            if channel.ledger is None:
                # No answer follows.
                originals.forget(channel.number, seal)
            return encode_frame(FRAME_HEADER, frame.channel, original)
        if terms.role is Role.SIGN:
            return encode_frame(FRAME_HEADER, frame.channel, restore(header, SIGNER_STRIPS))
        if terms.countersealer is not None:
            return encode_frame(FRAME_HEADER, frame.channel, restore(header, COUNTERSIGNATURE))
        return frame.raw

    def _body(self, channel: Channel, frame: Frame) -> None:
        channel.body_left = max(channel.body_left - frame.payload_size, 0)
        conversation = self._conversation
        if conversation.client_frame_max < conversation.upstream_frame_max:
            self._cut_anew(channel, frame)
        else:
            conversation.out.client(frame.raw)
        self._yield(channel)

    def _cut_anew(self, channel: Channel, frame: Frame) -> None:
        """Pass on a body where the legs were tuned apart (protocol.md N2).

        As the broker would: all frames but the last are full. There are clients that count on it.
        """
        conversation = self._conversation
        size_max = conversation.client_frame_max - FRAME_OVERHEAD_BYTES
        data = channel.body_kept + frame.payload
        size = len(data)
        if channel.body_left > 0:
            size -= size % size_max
        channel.body_kept = data[size:]
        for start in range(0, size, size_max):
            part = data[start : min(start + size_max, size)]
            conversation.out.client(encode_frame(FRAME_BODY, frame.channel, part))
