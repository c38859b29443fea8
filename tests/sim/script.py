"""What one client does on its channels, as a list: the oracle holds both sides of the gate against it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from sealgate.verify.verdict import Claim, ClaimStatus
from sim import octets
from sim.libraries import Reader
from sim.messages import Message


class Method:
    """A method of the client's other than a publish. `arrived`: the gate has the whole of it."""

    __slots__ = ("arrived", "frame", "name")

    def __init__(self, frame: octets.Frame) -> None:
        self.frame: Final = frame
        self.name: Final = frame.method
        self.arrived = False

    def __str__(self) -> str:
        return str(self.frame)


class Publish:
    """One publish of one message: what was sent, and everything that became of it."""

    __slots__ = (
        "announced",
        "answer",
        "arrived",
        "asked",
        "claim",
        "forwarded",
        "frames",
        "held",
        "life",
        "mandatory",
        "message",
        "number",
        "outcome",
        "reason",
        "recorded",
        "released",
        "returned",
        "settled",
        "slot",
        "tag",
        "told",
        "verdict",
        "way",
    )

    def __init__(self, number: int, life: Life, message: Message, mandatory: bool, tag: int) -> None:
        self.number: Final = number
        self.life: Final = life
        self.message: Final = message
        self.mandatory: Final = mandatory
        #: The client's delivery tag, 0 without confirms.
        self.tag: Final = tag
        self.frames: list[octets.Frame] = []
        #: The gate has its content header; all of it, as the how manieth of its connection (0: not yet).
        self.announced = False
        self.arrived = 0
        #: The store was asked; what it said.
        self.asked = False
        self.claim: Claim | None = None
        self.outcome: ClaimStatus | None = None
        #: It goes through the queue where messages wait, until `slot`; `way` is None until that is there ("")
        #: or can not be had (why).
        self.held = False
        self.slot = 0.0
        self.way: str | None = None
        self.forwarded = False
        #: Its claim was settled; given back without it having been forwarded.
        self.settled = ""
        self.released = False
        #: A record was kept of it, with this reason and answer.
        self.recorded = False
        self.reason = ""
        self.answer = ""
        #: What the broker said, as far as the gate has heard: "ack" or "nack"; and whether it came back.
        self.verdict = ""
        self.returned = False
        #: What the client was told: "ack" or "nack".
        self.told = ""

    @property
    def method(self) -> bytes:
        return self.frames[0].payload

    def __str__(self) -> str:
        kind = self.message.fault or ("good" if self.message.authentic else "unsealed")
        tag = f" tag {self.tag}" if self.tag else ""
        return f"[{self.life.number}] publish #{self.number}{tag} ({kind}{', mandatory' * self.mandatory})"


@dataclass
class Life:
    """One channel from its open to its close. A number may have several, one after the other."""

    number: int
    script: list[Method | Publish] = field(default_factory=list)
    #: The client's view: "opening", "open", "closing" (it asked), "closed".
    state: str = "opening"
    confirms: bool = False
    #: Publishes with a tag, and of those the ones the client was told nothing about yet, by tag.
    tags: list[Publish] = field(default_factory=list)
    untold: dict[int, Publish] = field(default_factory=dict)
    #: Tags the gate answered itself.
    own: list[int] = field(default_factory=list)
    #: How far the broker got the script; the publish whose refusal closes the channel.
    cursor: int = 0
    opened_upstream: bool = False
    refused: Publish | None = None
    refused_at: float = 0.0
    #: Closes and their answers, as they leave and reach the gate on the broker's side.
    close_sent: bool = False
    close_ok_heard: bool = False
    broker_closed: bool = False
    close_ok_sent: bool = False
    upstream_lost: bool = False
    #: What the client was told, as it leaves the gate.
    told_open: bool = False
    told_closed: bool = False
    #: The client was told so before the event that is being looked at.
    dead: bool = False
    #: What the broker said and the client is still to hear: frames, and bodies that may be cut anew.
    expected: deque[octets.Frame] = field(default_factory=deque)
    #: Octets still to come of the body that the broker is sending.
    body_left: int = 0
    #: Tags at the broker.
    forwarded: list[Publish] = field(default_factory=list)
    #: The libraries at the client, and the same on a direct connection.
    readers: list[Reader] = field(default_factory=list)
    direct: list[Reader] = field(default_factory=list)

    @property
    def closed_upstream(self) -> bool:
        """Whether the broker has this channel no more, as far as the gate can know."""
        if not self.close_sent and not self.broker_closed:
            return False
        own_done = not self.close_sent or self.close_ok_heard
        return own_done and (not self.broker_closed or self.close_ok_sent)

    @property
    def ending(self) -> bool:
        """Whether anybody has closed it, or wants to."""
        closes = any(isinstance(item, Method) and item.name == octets.CHANNEL_CLOSE for item in self.script)
        return closes or self.broker_closed or self.told_closed or self.refused is not None

    def expect(self, frame: octets.Frame, apart: bool) -> None:
        """The client is to hear this. Where the legs are tuned `apart`, a body is a stream of octets."""
        if frame.kind == octets.HEADER:
            self.body_left = octets.body_size(frame.payload)
        elif frame.kind == octets.BODY:
            self.body_left -= len(frame.payload)
            if apart and self.expected and self.expected[-1].kind == octets.BODY:
                before = self.expected.pop()
                frame = frame._replace(payload=before.payload + frame.payload)
        self.expected.append(frame)

    def may_wait(self, size_max: int) -> bool:
        """Whether what the client is to hear may wait: less than a frame's worth of an unfinished body."""
        if not self.expected:
            return True
        (first, *others) = self.expected
        part = first.kind == octets.BODY and not others and self.body_left > 0
        return part and len(first.payload) < size_max

    def publishes(self) -> list[Publish]:
        return [item for item in self.script if isinstance(item, Publish)]
