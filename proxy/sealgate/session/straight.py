"""Publishes that came whole, on channels where nothing waits: most do.

They are taken in one step, and what is accepted leaves as a part of the bytes it came in. Whatever else there
is, `ClientFrames` takes frame by frame; both do the same to a publish that either could take.
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError
from sealgate.session.answers import Answers
from sealgate.session.channel import ENTRY_OBJECTS_BYTES, FRAME_OBJECTS_BYTES, Channel
from sealgate.session.conversation import Conversation, Role
from sealgate.session.publishing import Publishing
from sealgate.session.states import ChannelState
from sealgate.signing.hashing import sha256
from sealgate.verify.message import Message
from sealgate.wire.constants import BASIC_ACK, BASIC_NACK, BASIC_PUBLISH, BASIC_REJECT
from sealgate.wire.frames import Whole
from sealgate.wire.methods import Publish, has_ticket, read_publish_frame
from sealgate.wire.reader import HeaderReader
from sealgate.wire.splitter import FrameSplitter

#: The id of `basic.publish`, as it is on the wire.
PUBLISH: Final = BASIC_PUBLISH.to_bytes(4, "big")
#: What a consumer says to what it was delivered.
_ANSWERS: Final = frozenset({BASIC_ACK, BASIC_REJECT, BASIC_NACK})
#: Different `basic.publish` frames that are remembered, and octets of each: one for each target.
_PUBLISHES_MAX: Final = 64
_PUBLISH_BYTES_MAX: Final = 128
_FRAMES: Final = 3
_FRAMES_WITHOUT_BODY: Final = 2
_OPENING: Final = ChannelState.OPENING
_OPEN: Final = ChannelState.OPEN


class Straight:
    """Takes the client's whole publishes; where all is passed on, all that is about messages."""

    __slots__ = (
        "_answers",
        "_apart",
        "_conversation",
        "_headers",
        "_last_frame",
        "_last_publish",
        "_passes",
        "_publishes",
        "_publishing",
    )

    def __init__(
        self,
        conversation: Conversation,
        headers: HeaderReader,
        publishing: Publishing,
        answers: Answers | None,
    ) -> None:
        """With `answers` what the client says of its deliveries is looked at."""
        self._conversation: Final = conversation
        self._passes: Final = conversation.terms.role is Role.PASS
        #: Methods that are not passed on unread.
        self._apart: Final = conversation.apart
        self._answers: Final = answers
        self._headers: Final = headers
        self._publishing: Final = publishing
        self._publishes: Final[dict[bytes, Publish]] = {}
        #: The one of them that was seen last.
        self._last_frame = b""
        self._last_publish: Publish | None = None

    def take(self, splitter: FrameSplitter) -> bool:
        """Take the publish that lies next in `splitter`; False when its frames must be taken one by one.

        Raises `GateError` as `ClientFrames.frame` does.
        """
        if self._passes:
            return self._pass_all(splitter)
        whole = splitter.whole(PUBLISH)
        if whole is None:
            return self._pass_on(splitter)
        channel = self._conversation.channels.get(whole.channel)
        if channel is None or not _idle(channel):
            return False
        publish = self._publish(whole.method)
        if publish is None:
            return False
        try:
            header = self._headers.read_in(whole.data, whole.header_start, whole.body_at - 1)
        except GateError:
            return False
        size = (
            whole.stop
            - whole.start
            + (_FRAMES if whole.body_size else _FRAMES_WITHOUT_BODY) * FRAME_OBJECTS_BYTES
            + header.table.size * ENTRY_OBJECTS_BYTES
        )
        if not self._may_hold(whole, size):
            return False
        splitter.skip(whole)
        body = whole.body
        message = Message(
            publish.exchange,
            publish.routing_key,
            publish.mandatory,
            header,
            body,
            sha256(body),
        )
        self._publishing.whole(channel, whole, publish, message, size)
        return True

    def _pass_all(self, splitter: FrameSplitter) -> bool:
        """Pass on what says nothing about the channels themselves."""
        data, start, stop = splitter.stretch(methods=False, apart=self._apart)
        if start == stop:
            return False
        self._conversation.out.upstream_stretch(data, start, stop)
        return True

    def _pass_on(self, splitter: FrameSplitter) -> bool:
        """Pass on the answers to deliveries that lie next, where nothing comes before them."""
        method = splitter.method_ahead()
        if method not in _ANSWERS:
            return False
        channel = self._conversation.channels.get(splitter.channel_ahead())
        if channel is None or not _idle(channel) or channel.held:
            return False
        answers = self._answers
        if answers is not None and not answers.may_pass(channel, method):
            return False
        data, start, stop = splitter.alike_ahead()
        if answers is not None:
            stop = answers.acknowledged(channel, data, start, stop)
            if stop == start:
                return False
        splitter.skip_to(stop)
        self._conversation.out.upstream_stretch(data, start, stop)
        return True

    def _publish(self, frame: bytes) -> Publish | None:
        """The arguments of a `basic.publish` frame; None for one that is not forwarded as it is."""
        if frame == self._last_frame:
            return self._last_publish
        known = self._publishes.get(frame)
        if known is not None:
            self._last_frame = frame
            self._last_publish = known
            return known
        try:
            publish = read_publish_frame(frame)
        except GateError:
            return None
        if publish.immediate or has_ticket(frame):
            return None
        if len(frame) <= _PUBLISH_BYTES_MAX:
            if len(self._publishes) >= _PUBLISHES_MAX:
                self._publishes.clear()
            self._publishes[frame] = publish
        return publish

    def _may_hold(self, whole: Whole, size: int) -> bool:
        """Whether it would be let in, were it to come in frames that wait for one another."""
        conversation = self._conversation
        limits = conversation.terms.limits
        return (
            whole.body_size <= limits.body_bytes_max
            and conversation.partial_bytes + size <= limits.connection_bytes_max
            and conversation.terms.tally.buffered_bytes + size <= limits.process_bytes_max
        )


def _idle(channel: Channel) -> bool:
    """Whether a publish may begin on the channel. What is held there comes before it all the same."""
    return (
        (channel.state is _OPEN or channel.state is _OPENING)
        and channel.content is None
        and not channel.waiting_close
    )
