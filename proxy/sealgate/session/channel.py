"""One channel: the assembly of published content, and what is held behind an undecided publish.

The broker is sent whole messages or nothing: content cut short by a close would be a connection error
upstream (protocol.md F8). Frames that follow an undecided publish wait for it, so that no later method
overtakes it (protocol.md O1).
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.confirms import ConfirmLedger, Seal
from sealgate.session.holding import Detour, HoldingQueue
from sealgate.session.limits import Limits
from sealgate.session.states import ChannelState
from sealgate.signing.canonical import TOKEN_NAME
from sealgate.verify.message import Message
from sealgate.verify.verdict import Accepted, Refused, Verdict
from sealgate.wire.constants import BASIC_PUBLISH
from sealgate.wire.frames import Frame, Whole
from sealgate.wire.methods import Publish
from sealgate.wire.properties import ContentHeader

#: Memory beside the bytes: of the objects of one frame, and of one entry of a header table. Without it a body
#: in frames of one octet, or a table of empty values, would take 20 to 50 times what the limits count.
FRAME_OBJECTS_BYTES: Final = 256
ENTRY_OBJECTS_BYTES: Final = 256


def frame_bytes(frame: Frame) -> int:
    """Memory that a frame counts for while it is kept."""
    return len(frame.raw) + FRAME_OBJECTS_BYTES


class Publication:
    """A message with its raw frames and its channel.

    `message` is None when the publish was refused before it was whole or could be read; then `verdict` is
    set at once. `verdict` is None while the store is asked. `sealed` replaces the content header's payload
    on the way upstream, when headers are added or removed.
    """

    __slots__ = (
        "_bodies",
        "_header",
        "_method",
        "asked",
        "body_size",
        "channel",
        "detour",
        "dropped",
        "granted",
        "kept",
        "message",
        "publish",
        "sealed",
        "size",
        "verdict",
        "whole",
    )

    def __init__(
        self, channel: int, publish: Publish, method: Frame | None = None, whole: Whole | None = None
    ) -> None:
        """A publish that came in frames begins with its `method`; of one that came `whole` all is there."""
        self.channel: Final = channel
        self.publish: Final = publish
        self.whole: Final = whole
        self._method = method
        self._header: Frame | None = None
        self._bodies: list[Frame] = []
        self.body_size = 0 if whole is None else whole.body_size
        self.message: Message | None = None
        #: What the checks said, while the store is asked; whether it granted; what follows from both.
        self.asked: Accepted | None = None
        self.granted = False
        self.verdict: Verdict | None = None
        self.sealed: bytes | None = None
        #: What its header as it came is kept by (`Originals`), where something else was sent.
        self.kept: Seal | None = None
        #: Memory it counts for.
        self.size = 0
        self.dropped = False
        #: The queue it goes to instead of its target, if any.
        self.detour: Detour | None = None

    @property
    def method(self) -> Frame:
        """The frame of `basic.publish`."""
        method = self._method
        if method is None:
            assert self.whole is not None  # it is made with one of the two
            method = self._method = self.whole.method_frame()
        return method

    @property
    def header(self) -> Frame | None:
        """The frame of the content header, once it is there."""
        if self._header is None and self.whole is not None:
            self._header = self.whole.header_frame()
        return self._header

    @header.setter
    def header(self, frame: Frame) -> None:
        self._header = frame

    @property
    def bodies(self) -> list[Frame]:
        """The body frames so far. To be added to."""
        if not self._bodies and self.whole is not None:
            self._bodies = self.whole.body_frames()
        return self._bodies

    @property
    def seal(self) -> Seal:
        """What tells it from others when the broker returns it."""
        token = token_of(self.message.header) if self.message is not None else b""
        return Seal(token, self.publish.exchange, self.publish.routing_key)


class LostPublication:
    """A publish that is coming back, and how much of its body is still to come."""

    __slots__ = ("publication", "queue", "remaining")

    def __init__(self, publication: Publication, queue: HoldingQueue) -> None:
        self.publication: Final = publication
        self.queue: Final = queue
        self.remaining = 1


def token_of(header: ContentHeader) -> bytes:
    """The seal's text, empty when there is none."""
    value = header.table.values.get(TOKEN_NAME)
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else b""


class Content:
    """The content of one publish while its frames arrive."""

    __slots__ = ("body_sha256", "empty", "error", "publication", "remaining", "scanned", "since")

    def __init__(self, publication: Publication, since: float) -> None:
        self.publication: Final = publication
        self.since: Final = since
        self.remaining = -1
        self.empty = 0
        #: Why the message alone is refused although its frames are in order; then nothing is buffered.
        self.error: GateError | None = None
        self.scanned: ContentHeader | None = None
        self.body_sha256: Final = hashlib.sha256()

    def body(self, frame: Frame, limits: Limits) -> int:
        """Take a body frame; returns the bytes newly buffered. Raises GateError of the family frame."""
        size = frame.payload_size
        if size > self.remaining:
            raise GateError(Reason.FRAME_BODY_OVERFLOW, "more body than declared", BASIC_PUBLISH)
        if not size:
            self.empty += 1
            if self.empty > limits.empty_body_frames_max:
                raise GateError(Reason.FRAME_EMPTY_BODIES, "too many empty body frames")
            return 0
        self.remaining -= size
        if self.error is not None and self.error.reason is Reason.BODY_SIZE:
            return 0
        self.body_sha256.update(frame.view)
        self.publication.bodies.append(frame)
        return frame_bytes(frame)

    def finish(self) -> None:
        """The last body byte is here: join it. Publications in error keep their frames for quarantine."""
        publication = self.publication
        if self.scanned is None:
            return
        bodies = publication.bodies
        body = b"".join([frame.view for frame in bodies])
        publish = publication.publish
        publication.message = Message(
            exchange=publish.exchange,
            routing_key=publish.routing_key,
            mandatory=publish.mandatory,
            header=self.scanned,
            body=body,
            body_sha256=self.body_sha256.digest(),
        )


#: What waits on a channel: a publish, or a frame that came after one.
Held = Publication | Frame


def held_size(item: Held) -> int:
    """Memory that `item` counts for while it waits."""
    return item.size if isinstance(item, Publication) else frame_bytes(item)


#: `Channel.body_left` between a method that content follows and its header.
HEADER_AWAITED: Final = -1


class Channel:
    """State of one open channel number."""

    __slots__ = (
        "body_kept",
        "body_left",
        "client_close",
        "closing_since",
        "content",
        "getting",
        "held",
        "ledger",
        "lost",
        "number",
        "refusal",
        "returning",
        "selecting",
        "state",
    )

    def __init__(self, number: int) -> None:
        self.number: Final = number
        self.state = ChannelState.CLOSED
        self.content: Content | None = None
        self.held: Final[deque[Held]] = deque()
        #: None until `confirm.select`.
        self.ledger: ConfirmLedger | None = None
        #: A refusal told by closing, waiting for the broker's answers to what went before it.
        self.refusal: bytes | None = None
        #: The client's own channel.close, waiting likewise so that every claim is settled.
        self.client_close: Frame | None = None
        self.closing_since = 0.0
        #: The target of a `basic.return` that is being relayed: its content header is next.
        self.returning: tuple[str, str] | None = None
        #: A publish that comes back from a queue that was to hold it.
        self.lost: LostPublication | None = None
        #: Of the content that the broker is sending: body bytes still to come (HEADER_AWAITED before they are
        #: known), and those that wait for enough others to fill a frame of the client's.
        self.body_left = 0
        self.body_kept = b""
        #: The broker's `confirm.select-ok` is still to come.
        self.selecting = False
        #: Where deliveries are judged: the client's `basic.get` is not answered yet.
        self.getting = False

    @property
    def waiting_close(self) -> bool:
        """A close of this channel waits for the broker to answer what went before it."""
        return self.refusal is not None or self.client_close is not None

    @property
    def spoken_for(self) -> bool:
        """The broker has the word: no frame of the gate's own may come before what it is about to end.

        That is its `open-ok`, its `confirm.select-ok`, or content of which a part has gone to the client.
        """
        return self.state is ChannelState.OPENING or self.selecting or self.body_left != 0

    def waits_for(self, publication: Publication) -> bool:
        """Whether `publication` has to wait: undecided, or refused while the broker has the word."""
        verdict = publication.verdict
        return verdict is None or (self.spoken_for and isinstance(verdict, Refused))

    @property
    def blocked(self) -> bool:
        """Nothing further may be carried out on this channel for now."""
        if self.waiting_close or self.getting:
            return True
        if not self.held:
            return False
        head = self.held[0]
        return isinstance(head, Publication) and self.waits_for(head)
