"""What a session asks of its caller. To be carried out in the order given."""

from __future__ import annotations

from dataclasses import dataclass, field

from sealgate.accounts.login import Attempt, LoginRecord
from sealgate.session.channel import Publication
from sealgate.session.delivering import Delivery
from sealgate.session.holding import HoldingQueue
from sealgate.session.records import ClampRecord, RefusalRecord
from sealgate.session.states import Side
from sealgate.verify.verdict import Claim


@dataclass(slots=True, frozen=True)
class DialUpstream:
    """Connect to a broker, then report UpstreamConnected, or UpstreamFailed when there is none.

    Asked for again, it is the next broker that is wanted, none twice; the one before is left without a word.
    """


@dataclass(slots=True, init=False)
class Send:
    side: Side
    data: bytes = field(repr=False)

    def __init__(self, side: Side, data: bytes) -> None:
        self.side = side
        self.data = data


@dataclass(slots=True, frozen=True)
class Close:
    """Flush what was sent to this side, then close its socket; `linger`: once the peer has, or soon after."""

    side: Side
    linger: bool = False


@dataclass(slots=True, frozen=True)
class SetReading:
    """Read from this side, or stop reading from it (its own back-pressure comes on top)."""

    side: Side
    on: bool


@dataclass(slots=True, init=False)
class RequestClaims:
    """Ask the store for these claims, one of each publication, then report ClaimsAnswered."""

    publications: list[Publication]
    claims: list[Claim]

    def __init__(self, publications: list[Publication], claims: list[Claim]) -> None:
        self.publications = publications
        self.claims = claims


@dataclass(slots=True, init=False)
class SettleClaims:
    """These reached the broker; these did not."""

    commits: list[Claim]
    releases: list[Claim]

    def __init__(self, commits: list[Claim], releases: list[Claim]) -> None:
        self.commits = commits
        self.releases = releases


@dataclass(slots=True, frozen=True)
class RenewClaims:
    """These still wait for the broker: extend their leases."""

    claims: list[Claim]


@dataclass(slots=True, frozen=True)
class Keep:
    """Quarantine and audit this refusal."""

    record: RefusalRecord


@dataclass(slots=True, frozen=True)
class TellClamp:
    """Log that this message was changed."""

    record: ClampRecord


@dataclass(slots=True, frozen=True)
class RequestDeliveryClaims:
    """Ask the store for the claim of each delivery, then report DeliveryClaimsAnswered."""

    deliveries: list[Delivery]


@dataclass(slots=True, frozen=True)
class KeepDelivery:
    """Quarantine and audit this refusal, then report DeliveryKept: it is answered upstream after that."""

    record: RefusalRecord
    delivery: Delivery


@dataclass(slots=True, frozen=True)
class CheckLogin:
    """Find out whether this is a user, then report LoginChecked. Nothing of it is to be shown."""

    attempt: Attempt


@dataclass(slots=True, frozen=True)
class TellLogin:
    """Log this refused login."""

    record: LoginRecord


@dataclass(slots=True, frozen=True)
class DeclareQueue:
    """Declare this queue at the session's broker, in its virtual host, then report QueueDeclared."""

    queue: HoldingQueue


Command = (
    DialUpstream
    | Send
    | Close
    | SetReading
    | RequestClaims
    | SettleClaims
    | RenewClaims
    | Keep
    | TellClamp
    | RequestDeliveryClaims
    | KeepDelivery
    | CheckLogin
    | TellLogin
    | DeclareQueue
)
