"""The client's frames on a running connection: what is assembled, held, dropped, or passed on."""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.answers import Answers
from sealgate.session.channel import ENTRY_OBJECTS_BYTES, Channel, Content, Held, Publication, frame_bytes
from sealgate.session.confirms import ConfirmLedger
from sealgate.session.conversation import Conversation, Role
from sealgate.session.declaring import bounded_declare
from sealgate.session.deliveries import Deliveries
from sealgate.session.prefetch import CLIENT_METHODS
from sealgate.session.publishing import Publishing
from sealgate.session.refuse import closes_connection
from sealgate.session.states import CHANNEL, CHANNEL_LIVE, CHANNEL_REFUSED, ChannelState, Side
from sealgate.wire import methods
from sealgate.wire.constants import (
    BASIC_PUBLISH,
    CHANNEL_CLOSE,
    CHANNEL_CLOSE_OK,
    CHANNEL_OPEN,
    CONFIRM_SELECT,
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_METHOD,
    QUEUE_DECLARE,
    TX_SELECT,
)
from sealgate.wire.frames import Frame
from sealgate.wire.properties import read_body_size
from sealgate.wire.reader import HeaderReader

_CONFIRM_SELECT: Final = CONFIRM_SELECT.to_bytes(methods.METHOD_ID_BYTES, "big")
#: With each of these a channel number begins anew.
_CHANNEL_TURNS: Final = frozenset(
    method.to_bytes(methods.METHOD_ID_BYTES, "big")
    for method in (CHANNEL_OPEN, CHANNEL_CLOSE, CHANNEL_CLOSE_OK)
)

_CHANNEL_OPEN: Final = CHANNEL_OPEN.to_bytes(methods.METHOD_ID_BYTES, "big")
_NOT_CLOSED: Final = "the channel is not closed yet"


def _opens(item: Held) -> bool:
    return isinstance(item, Frame) and item.payload.startswith(_CHANNEL_OPEN)


class ClientFrames:
    """Takes the client's frames on channels above 0."""

    __slots__ = ("_answers", "_apart", "_conversation", "_deliveries", "_headers", "_publishing", "_role")

    def __init__(
        self,
        conversation: Conversation,
        headers: HeaderReader,
        publishing: Publishing,
        deliveries: Deliveries | None,
        answers: Answers | None,
    ) -> None:
        """With `deliveries` (and then `answers`) what the client says of them is looked at."""
        self._deliveries: Final = deliveries
        self._answers: Final = answers
        self._conversation: Final = conversation
        self._publishing: Final = publishing
        self._role: Final = conversation.terms.role
        self._headers: Final = headers
        self._apart: Final = conversation.apart

    def frame(self, frame: Frame) -> None:
        """Raises GateError of the families frame, conn and method: the connection is to be closed."""
        if self._role is Role.PASS:
            self._pass(frame)
            return
        channel = self._conversation.channels.get(frame.channel)
        if channel is None:
            self._unopened(frame)
            return
        self._on_channel(channel, frame)
        if channel.state not in CHANNEL_LIVE:
            self.drop_held(channel)

    def _on_channel(self, channel: Channel, frame: Frame) -> None:
        if channel.state is ChannelState.REFUSED_BROKER:
            # The client is done with the refused channel and may reuse its number, the broker is not.
            self._conversation.hold(channel, frame)
            self._conversation.reopening = True
        elif channel.state not in CHANNEL_LIVE:
            self._closing(channel, frame)
        elif frame.type == FRAME_METHOD:
            self._method(channel, frame)
        elif frame.type == FRAME_HEADER:
            self._header(channel, frame)
        elif frame.type == FRAME_BODY:
            self._body(channel, frame)
        else:
            raise GateError(Reason.FRAME_ORDER, "a heartbeat belongs to channel 0")

    def resume(self, channel: Channel) -> None:
        """Carry out what was held on a channel that is no longer blocked."""
        while channel.held and not channel.blocked and channel.state in CHANNEL_LIVE:
            item = self._conversation.take(channel)
            if isinstance(item, Publication):
                self._publishing.conclude(channel, item)
            else:
                self._carry_out(channel, item)
        if channel.state not in CHANNEL_LIVE:
            self.drop_held(channel)

    def carry_on(self, channel: Channel) -> None:
        """As `resume`. A fault ends the channel at once and is left in `fault`: others have their turn."""
        try:
            self.resume(channel)
        except GateError as error:
            self._conversation.fault = error
            self.discard(channel)

    def reopen(self, channel: Channel) -> None:
        """A refused channel is closed on both sides: carry on with what the client sent on its number.

        A fault in there is the client's: it is left in `fault`, for who called may be carrying the broker's
        frames.
        """
        conversation = self._conversation
        conversation.reopening = False
        while channel.held:
            item = conversation.take(channel)
            if isinstance(item, Publication) or conversation.fault is not None:
                continue
            try:
                self.frame(item)
            except GateError as error:
                conversation.fault = error

    def drop_held(self, channel: Channel) -> None:
        """The channel is closed: what waited on it is not carried out, but for a close (protocol.md X4)."""
        if channel.state is ChannelState.REFUSED_BROKER:
            return
        if channel.state is ChannelState.CLIENT_CLOSING and any(map(_opens, channel.held)):
            self._conversation.fault = GateError(Reason.FRAME_CHANNEL, _NOT_CLOSED, CHANNEL_OPEN)
        close = channel.client_close
        for item in channel.held:
            if isinstance(item, Frame) and _closes(item):
                close = item
        self.discard(channel)
        if close is not None:
            # It crosses the close that came first, and is answered all the same.
            self._closing(channel, close)

    def discard(self, channel: Channel) -> None:
        """Let go of everything that waits on the channel."""
        channel.refusal = channel.client_close = None
        self.abandon(channel)
        if self._deliveries is not None:
            self._deliveries.forget(channel)
        while channel.held:
            item = self._conversation.take(channel)
            if isinstance(item, Publication):
                self._publishing.detours.let_go(item)

    def _pass(self, frame: Frame) -> None:
        """Pass on unread. All that is noted is which channels have confirms, for the day of a drain."""
        conversation = self._conversation
        if frame.type == FRAME_METHOD:
            method = frame.payload[: methods.METHOD_ID_BYTES]
            if method == _CONFIRM_SELECT:
                conversation.confirming.add(frame.channel)
            elif method in _CHANNEL_TURNS:
                conversation.confirming.discard(frame.channel)
                if conversation.prefetch is not None:
                    conversation.prefetch.closed(frame.channel)
            elif self._apart is not None and self._bounded(frame):
                return
        conversation.out.upstream(frame.raw)

    def _bounded(self, frame: Frame) -> bool:
        """Send a method about consumers and queues upstream, bounded; False for what is left to do."""
        conversation = self._conversation
        payload = frame.payload
        if len(payload) < methods.METHOD_ID_BYTES:
            # No method at all: the broker says so.
            return False
        method = methods.method_id(payload)
        prefetch = conversation.prefetch
        if prefetch is not None and method in CLIENT_METHODS:
            for said in prefetch.said(frame.channel, method, payload):
                conversation.out.upstream_method(frame.channel, said)
            return True
        expiry = conversation.declares
        if expiry is not None and method == QUEUE_DECLARE:
            said = bounded_declare(expiry, payload, conversation.terms.tally)
            conversation.out.upstream_method(frame.channel, said)
            return True
        return False

    def _unopened(self, frame: Frame) -> None:
        conversation = self._conversation
        if frame.type != FRAME_METHOD:
            raise GateError(Reason.FRAME_CHANNEL, "content on a channel that is not open")
        method = methods.method_id(frame.payload)
        if method == BASIC_PUBLISH:
            raise GateError(Reason.FRAME_CHANNEL, "a publish on a channel that is not open")
        if method != CHANNEL_OPEN:
            # The broker has an answer of its own to that.
            conversation.out.upstream(frame.raw)
            return
        if frame.channel > conversation.channel_max:
            conversation.terms.tally.limits_hit["channel_max"] += 1
            raise GateError(Reason.CONN_CHANNELS, f"channel_max is {conversation.channel_max}")
        channel = conversation.channels[frame.channel] = Channel(frame.channel)
        channel.state = CHANNEL[channel.state, Side.CLIENT, method]
        conversation.out.upstream(frame.raw)

    def _closing(self, channel: Channel, frame: Frame) -> None:
        """Only closes count on a channel that is closing (protocol.md X4)."""
        if frame.type != FRAME_METHOD:
            return
        method = methods.method_id(frame.payload)
        if channel.state in CHANNEL_REFUSED:
            if method == CHANNEL_CLOSE:
                self._conversation.out.client_method(channel.number, methods.encode_channel_close_ok())
            elif method == CHANNEL_CLOSE_OK:
                self._turn(channel, method)
            return
        if method == CHANNEL_OPEN and channel.state is ChannelState.CLIENT_CLOSING:
            raise GateError(Reason.FRAME_CHANNEL, _NOT_CLOSED, method)
        if method in (CHANNEL_CLOSE, CHANNEL_CLOSE_OK):
            self._turn(channel, method)
            self._conversation.out.upstream(frame.raw)

    def _turn(self, channel: Channel, method: int) -> None:
        following = CHANNEL.get((channel.state, Side.CLIENT, method))
        if following is None:
            return
        channel.state = following
        if following is ChannelState.CLOSED:
            self._conversation.forget_channel(channel.number)

    def _method(self, channel: Channel, frame: Frame) -> None:
        if channel.content is not None:
            raise GateError(Reason.FRAME_ORDER, "a method in the middle of content", BASIC_PUBLISH)
        method = methods.method_id(frame.payload)
        if method == BASIC_PUBLISH:
            self._publish(channel, frame)
        elif method == TX_SELECT:
            raise GateError(Reason.METHOD_DENIED, "transactions and nonces do not mix", method)
        elif channel.blocked or channel.held:
            self._conversation.hold(channel, frame)
        else:
            self._carry_out(channel, frame)

    def _carry_out(self, channel: Channel, frame: Frame) -> None:
        if frame.type == FRAME_METHOD:
            method = methods.method_id(frame.payload)
            if method == CONFIRM_SELECT:
                if channel.ledger is None:
                    channel.ledger = ConfirmLedger()
                channel.selecting = channel.selecting or not methods.read_nowait(frame.payload)
            elif method == CHANNEL_CLOSE:
                channel.client_close = frame
                channel.closing_since = self._conversation.now.mono
                self._publishing.refuser.close_when_answered(channel)
                return
            if self._answers is not None:
                answered = self._answers.carry_out(channel, frame, method)
                if answered is None:
                    return
                frame = answered
            if self._apart is not None and self._bounded(frame):
                return
        self._conversation.out.upstream(frame.raw)

    def _publish(self, channel: Channel, frame: Frame) -> None:
        error: GateError | None = None
        try:
            publish = methods.read_publish(frame.payload)
        except GateError as refused:
            if refused.reason is not Reason.PROPS_UTF8:
                raise
            # The frame is in order, its names are not: the message alone is refused.
            error, publish = refused, methods.Publish("", "", False, False)
        if publish.immediate:
            raise GateError(Reason.METHOD_IMMEDIATE, "immediate is not implemented", BASIC_PUBLISH)
        publication = Publication(frame.channel, publish, frame)
        channel.content = Content(publication, self._conversation.now.mono)
        channel.content.error = error
        self._grow(publication, frame_bytes(frame))

    def _header(self, channel: Channel, frame: Frame) -> None:
        content = channel.content
        if content is None or content.publication.header is not None:
            raise GateError(Reason.FRAME_ORDER, "a content header that no method announced")
        size = read_body_size(frame.payload)
        publication = content.publication
        publication.header = frame
        publication.body_size = content.remaining = size
        self._grow(publication, frame_bytes(frame))
        limits = self._conversation.terms.limits
        if size > limits.body_bytes_max:
            self._conversation.terms.tally.limits_hit["body_bytes_max"] += 1
            content.error = GateError(Reason.BODY_SIZE, f"{size} bytes, at most {limits.body_bytes_max}")
            # Refused on its header: nothing of the body is kept, and the client need not send it.
            self._publishing.refused(channel, publication, content.error)
        elif content.error is None:
            try:
                content.scanned = self._headers.read(frame.payload)
                self._grow(publication, ENTRY_OBJECTS_BYTES * content.scanned.table.size)
            except GateError as refused:
                if closes_connection(refused.reason):
                    raise
                content.error = refused
        if not content.remaining:
            self._complete(channel, content)

    def _body(self, channel: Channel, frame: Frame) -> None:
        content = channel.content
        if content is None or content.publication.header is None:
            raise GateError(Reason.FRAME_ORDER, "a body frame that no content header announced")
        grown = content.body(frame, self._conversation.terms.limits)
        if grown:
            self._grow(content.publication, grown)
        if not content.remaining:
            self._complete(channel, content)

    def _grow(self, publication: Publication, size: int) -> None:
        """Content takes `size` more. Raises GateError conn.memory."""
        conversation = self._conversation
        publication.size += size
        conversation.grow(size)
        limits = conversation.terms.limits
        if conversation.partial_bytes > limits.connection_bytes_max:
            conversation.terms.tally.limits_hit["connection_bytes_max"] += 1
            raise GateError(Reason.CONN_MEMORY, "too much unfinished content on this connection")
        if conversation.terms.tally.buffered_bytes > limits.process_bytes_max:
            conversation.terms.tally.limits_hit["process_bytes_max"] += 1
            raise GateError(Reason.CONN_MEMORY, "too much unfinished content in this gate")

    def _complete(self, channel: Channel, content: Content) -> None:
        channel.content = None
        publication = content.publication
        self._conversation.grow(-publication.size)
        if content.error is None:
            content.finish()
            self._publishing.complete(channel, publication)
        elif content.error.reason is not Reason.BODY_SIZE:
            self._publishing.refused(channel, publication, content.error)

    def abandon(self, channel: Channel) -> None:
        """Forget content that will not become whole."""
        if channel.content is not None:
            self._conversation.grow(-channel.content.publication.size)
            channel.content = None


def _closes(frame: Frame) -> bool:
    """Whether this is a channel.close."""
    return frame.type == FRAME_METHOD and methods.method_id(frame.payload) == CHANNEL_CLOSE
