"""What can happen to a session."""

from __future__ import annotations

from dataclasses import dataclass, field

from sealgate.accounts.login import Outcome
from sealgate.session.channel import Publication
from sealgate.session.delivering import Delivery
from sealgate.session.holding import HoldingQueue
from sealgate.session.states import Side
from sealgate.verify.verdict import ClaimOutcome


@dataclass(slots=True, init=False)
class Instant:
    """The time as the core sees it: `mono` for deadlines, `wall` (Unix seconds) for seals."""

    mono: float
    wall: float

    def __init__(self, mono: float, wall: float) -> None:
        self.mono = mono
        self.wall = wall


@dataclass(slots=True, init=False)
class BytesReceived:
    side: Side
    data: bytes = field(repr=False)

    def __init__(self, side: Side, data: bytes) -> None:
        self.side = side
        self.data = data


@dataclass(slots=True, frozen=True)
class UpstreamConnected:
    """The dial that was asked for succeeded, at `broker`; with `loopback` that is on this host."""

    loopback: bool = False
    broker: str = ""


@dataclass(slots=True, frozen=True)
class UpstreamFailed:
    """No upstream could be reached, or none is left to try."""


@dataclass(slots=True, frozen=True)
class Disconnected:
    """A leg's socket is gone, or its peer will send no more."""

    side: Side


@dataclass(slots=True, init=False)
class ClaimsAnswered:
    """The store answered a `RequestClaims`, one outcome per publication, in order."""

    publications: list[Publication]
    outcomes: list[ClaimOutcome]

    def __init__(self, publications: list[Publication], outcomes: list[ClaimOutcome]) -> None:
        self.publications = publications
        self.outcomes = outcomes


@dataclass(slots=True, frozen=True)
class DeliveryClaimsAnswered:
    """The store answered a `RequestDeliveryClaims`, one outcome per delivery, in order."""

    deliveries: list[Delivery]
    outcomes: list[ClaimOutcome]


@dataclass(slots=True, frozen=True)
class DeliveryKept:
    """The delivery of a `KeepDelivery` is `safe`: in quarantine, or there is none. Else there was no room."""

    delivery: Delivery
    safe: bool


@dataclass(slots=True, frozen=True)
class LoginChecked:
    """The answer to a `CheckLogin`."""

    outcome: Outcome


@dataclass(slots=True, frozen=True)
class QueueDeclared:
    """The answer to a `DeclareQueue`; `trouble` says why it is not there, and is empty when it is."""

    queue: HoldingQueue
    trouble: str = ""


@dataclass(slots=True, frozen=True)
class Ticked:
    """Time passed: about once a second. A leg that is not being read is not judged by its silence.

    `late_s` is how much later than due this comes, in seconds: what the peers said meanwhile may lie unread.
    """

    client_paused: bool = False
    upstream_paused: bool = False
    late_s: float = 0.0


@dataclass(slots=True, frozen=True)
class DrainAsked:
    """Finish what was taken on, then ask the client to reconnect elsewhere."""


Event = (
    BytesReceived
    | UpstreamConnected
    | UpstreamFailed
    | Disconnected
    | LoginChecked
    | ClaimsAnswered
    | QueueDeclared
    | DeliveryClaimsAnswered
    | DeliveryKept
    | Ticked
    | DrainAsked
)
