"""What is known of one delivery, and of the deliveries of one channel."""

from __future__ import annotations

from collections import deque
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.channel import ENTRY_OBJECTS_BYTES, FRAME_OBJECTS_BYTES, Channel
from sealgate.session.consumers import Consumer, Consumers
from sealgate.session.unacked import Unacked
from sealgate.signing.hashing import sha256
from sealgate.verify.delivery import DeliveryPolicy
from sealgate.verify.message import Message
from sealgate.verify.verdict import Accepted, Claim, Refused
from sealgate.wire.constants import FRAME_BODY, FRAME_HEADER, FRAME_METHOD
from sealgate.wire.frames import Frame, encode_frame
from sealgate.wire.properties import ContentHeader, value_in
from sealgate.wire.receiving import Delivered

#: Memory of a delivery beside its bytes: its own objects, those of its frames.
OBJECTS_BYTES: Final = 3 * FRAME_OBJECTS_BYTES
_ETA: Final = "eta"


class Delivery:
    """A message that the broker delivers: its method, its content header's payload, its body.

    `error` is why it is refused although it is in order as frames; a body over the limit is not kept. `void`:
    nothing is to become of it any more, for the broker has it back.
    """

    __slots__ = (
        "accepted",
        "asked_at",
        "bodies",
        "body",
        "body_size",
        "channel",
        "consumer",
        "content",
        "counted",
        "error",
        "got",
        "header",
        "info",
        "method",
        "refused",
        "remaining",
        "size",
        "taken",
        "void",
    )

    def __init__(
        self, channel: Channel, method: bytes, info: Delivered, consumer: Consumer, got: bool
    ) -> None:
        self.channel: Final = channel
        self.method: Final = method
        self.info: Final = info
        self.consumer: Final = consumer
        #: It answers a `basic.get`.
        self.got: Final = got
        self.header = b""
        self.content: ContentHeader | None = None
        self.body_size = 0
        self.remaining = -1
        self.bodies: list[bytes] = []
        self.body = b""
        self.error: GateError | None = None
        self.accepted: Accepted | None = None
        self.refused: Refused | None = None
        #: When the store was asked for its claim, monotonic seconds.
        self.asked_at = 0.0
        #: What it takes at first, and what it has taken so far; whether that is counted as waiting.
        self.size: Final = OBJECTS_BYTES + len(method)
        self.taken = 0
        self.counted = False
        self.void = False

    def take_body(self, frame: Frame) -> int:
        """Take a body frame; returns the memory it takes. Raises GateError of the family frame."""
        size = frame.payload_size
        if size > self.remaining:
            raise GateError(Reason.FRAME_BODY_OVERFLOW, "more body than declared")
        self.remaining -= size
        if self.error is not None and self.error.reason is Reason.BODY_SIZE:
            return 0
        self.bodies.append(frame.payload)
        return size + FRAME_OBJECTS_BYTES

    def message(self) -> Message:
        """As it is to be judged. Raises GateError props.utf8."""
        content = self.content
        assert content is not None  # without one it is not judged
        info = self.info
        return Message(
            _name(info.exchange),
            _name(info.routing_key),
            False,
            content,
            self.body,
            sha256(self.body),
        )

    @property
    def eta(self) -> object:
        """The ETA in its headers, if there is one."""
        return None if self.content is None else value_in(self.content.table, _ETA)

    def frames(self, header: bytes, payload_bytes_max: int) -> bytes:
        """All of it for the client, with this content header, its body in frames of that size."""
        number = self.channel.number
        parts = [
            encode_frame(FRAME_METHOD, number, self.method),
            encode_frame(FRAME_HEADER, number, header),
        ]
        body = self.body
        for start in range(0, len(body), payload_bytes_max):
            parts.append(encode_frame(FRAME_BODY, number, body[start : start + payload_bytes_max]))
        return b"".join(parts)


class Held:
    """A claim of a delivery that the client has, asked for at monotonic seconds."""

    __slots__ = ("asked_at", "claim")

    def __init__(self, claim: Claim, asked_at: float) -> None:
        self.claim: Final = claim
        self.asked_at = asked_at


class Delivering:
    """The deliveries of one channel."""

    __slots__ = (
        "arriving",
        "channel",
        "claims",
        "consumers",
        "get",
        "get_due",
        "getter",
        "recovering",
        "unacked",
        "unsaid",
        "waiting",
    )

    def __init__(self, channel: Channel, policy: DeliveryPolicy) -> None:
        self.channel: Final = channel
        self.consumers: Final = Consumers(policy)
        self.unacked: Final = Unacked()
        #: The delivery that the broker is in the middle of.
        self.arriving: Delivery | None = None
        #: Deliveries that are here and not decided, or refused and not answered.
        self.waiting: Final[dict[int, Delivery]] = {}
        #: By delivery tag, of those that the client has.
        self.claims: Final[dict[int, Held]] = {}
        #: The `basic.get` of the client's that the broker has not answered for good, and whether it is still
        #: to be asked again.
        self.get: Frame | None = None
        self.getter: Consumer | None = None
        self.get_due = False
        #: `basic.recover` that the broker has not answered: until then it delivers what it takes back. With
        #: each, whether the client wants the answer.
        self.recovering: Final[deque[bool]] = deque()
        #: For the client, once the broker has said all of the content it is in the middle of.
        self.unsaid: Final[list[bytes]] = []


def entries_bytes(content: ContentHeader) -> int:
    """Memory that the objects of a header table take."""
    return ENTRY_OBJECTS_BYTES * content.table.size


def _name(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise GateError(Reason.PROPS_UTF8, "the target is not UTF-8") from None
