"""What the parts of a session share: the gate's settings, the state of both legs, and the outbox."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, unique

from sealgate.accounts.login import Attempt, Caller, LoginRecord
from sealgate.reason import GateError, Reason
from sealgate.session.channel import Channel, Held, Publication, held_size
from sealgate.session.commands import (
    CheckLogin,
    Close,
    Command,
    DialUpstream,
    Keep,
    RenewClaims,
    RequestClaims,
    Send,
    SetReading,
    SettleClaims,
    TellLogin,
)
from sealgate.session.events import Instant
from sealgate.session.limits import Limits
from sealgate.session.records import RefusalRecord, Tally
from sealgate.session.states import Leg, Side, State
from sealgate.verify.checks import Verifier
from sealgate.verify.message import Peer
from sealgate.verify.sealer import Sealer, SignerSession
from sealgate.verify.verdict import Claim
from sealgate.wire.constants import FRAME_METHOD
from sealgate.wire.frames import encode_frame


@unique
class Role(Enum):
    """What is done with publishes: `publish.action`."""

    VERIFY = "verify"
    SIGN = "sign"
    PASS = "pass"  # noqa: S105  # not a password


@unique
class Confirmed(Enum):
    """How a refusal is told on a channel with confirms: `refuse.confirmed`."""

    AUTO = "auto"
    NACK = "nack"
    CLOSE = "close"


@unique
class Unconfirmed(Enum):
    """How a refusal is told on a channel without confirms: `refuse.unconfirmed`."""

    QUARANTINE = "quarantine"
    CLOSE = "close"


@dataclass(slots=True)
class Terms:
    """What every session of the process shares. `verifier` and the sealers carry the current keys."""

    role: Role
    deployment: str
    verifier: Verifier
    limits: Limits
    tally: Tally
    sealer: Sealer | None = None
    countersealer: Sealer | None = None
    confirmed: Confirmed = Confirmed.AUTO
    unconfirmed: Unconfirmed = Unconfirmed.QUARANTINE
    #: Clients log in to Sealgate, and Sealgate to the broker: `credentials.mode`.
    replace_credentials: bool = False
    #: Users that may not come in from elsewhere to a broker on this host: `credentials.loopback_users`.
    loopback_users: frozenset[str] = frozenset()

    @property
    def adds_headers(self) -> bool:
        """Whether content headers grow on their way upstream."""
        return self.role is Role.SIGN or self.countersealer is not None


class Outbox:
    """Collects what one event leads to; `take` turns it into as few commands as will do."""

    __slots__ = (
        "_claims",
        "_client",
        "_closes",
        "_commits",
        "_dial",
        "_keep",
        "_login",
        "_logins",
        "_mute",
        "_reading",
        "_releases",
        "_renew",
        "_upstream",
    )

    def __init__(self) -> None:
        self._client: list[bytes] = []
        self._upstream: list[bytes] = []
        self._claims: list[Publication] = []
        self._commits: list[Claim] = []
        self._releases: list[Claim] = []
        self._renew: list[Claim] = []
        self._keep: list[RefusalRecord] = []
        self._closes: list[Close] = []
        self._logins: list[LoginRecord] = []
        self._login: Attempt | None = None
        self._reading: list[SetReading] = []
        self._dial = False
        self._mute = False

    def client(self, data: bytes) -> None:
        if not self._mute:
            self._client.append(data)

    def upstream(self, data: bytes) -> None:
        self._upstream.append(data)

    def client_method(self, channel: int, payload: bytes) -> None:
        if not self._mute:
            self._client.append(encode_frame(FRAME_METHOD, channel, payload))

    def mute_client(self) -> None:
        """The client was told `connection.close`: it is sent nothing more but by `last_client_method`."""
        self._mute = True

    def last_client_method(self, payload: bytes) -> None:
        """`connection.close` or its answer."""
        self._client.append(encode_frame(FRAME_METHOD, 0, payload))

    def upstream_method(self, channel: int, payload: bytes) -> None:
        self._upstream.append(encode_frame(FRAME_METHOD, channel, payload))

    def dial(self) -> None:
        self._dial = True

    def close(self, side: Side, linger: bool = False) -> None:
        self._closes.append(Close(side, linger))

    def reading(self, side: Side, on: bool) -> None:
        self._reading.append(SetReading(side, on))

    def claim(self, publication: Publication) -> None:
        self._claims.append(publication)

    def commit(self, claim: Claim) -> None:
        self._commits.append(claim)

    def release(self, claim: Claim) -> None:
        self._releases.append(claim)

    def renew(self, claim: Claim) -> None:
        self._renew.append(claim)

    def keep(self, record: RefusalRecord) -> None:
        self._keep.append(record)

    def check_login(self, attempt: Attempt) -> None:
        self._login = attempt

    def tell_login(self, record: LoginRecord) -> None:
        self._logins.append(record)

    def forget_bytes(self) -> None:
        """Nothing collected so far for either socket may leave: the session is in error."""
        self._client.clear()
        self._upstream.clear()

    def sent(self, side: Side) -> bool:
        """Whether anything is to be sent to `side`."""
        return bool(self._client if side is Side.CLIENT else self._upstream)

    def take(self) -> list[Command]:
        """The commands, in the order they must be carried out. What is asked comes last: its answer may
        come back at once, and must find everything before it done."""
        commands: list[Command] = []
        if self._dial:
            commands.append(DialUpstream())
            self._dial = False
        if self._upstream:
            commands.append(Send(Side.UPSTREAM, b"".join(self._upstream)))
            self._upstream.clear()
        if self._commits or self._releases:
            commands.append(SettleClaims(self._commits, self._releases))
            self._commits = []
            self._releases = []
        if self._client:
            commands.append(Send(Side.CLIENT, b"".join(self._client)))
            self._client.clear()
        if self._renew:
            commands.append(RenewClaims(self._renew))
            self._renew = []
        if self._keep:
            commands.extend([Keep(record) for record in self._keep])
            self._keep.clear()
        if self._reading:
            commands.extend(self._reading)
            self._reading.clear()
        if self._closes:
            commands.extend(self._closes)
            self._closes.clear()
        if self._logins:
            commands.extend([TellLogin(record) for record in self._logins])
            self._logins.clear()
        if self._claims:
            commands.append(RequestClaims(self._claims))
            self._claims = []
        if self._login is not None:
            commands.append(CheckLogin(self._login))
            self._login = None
        return commands


@dataclass(slots=True)
class Conversation:
    """One client connection and its upstream, as the session's parts see it."""

    terms: Terms
    peer: Peer
    caller: Caller = field(default_factory=Caller)
    #: The broker is on this host, and takes whoever Sealgate speaks for to be so, too.
    upstream_loopback: bool = False
    out: Outbox = field(default_factory=Outbox)
    now: Instant = field(default_factory=lambda: Instant(0.0, 0.0))
    state: State = State.HEADER
    client_leg: Leg = Leg.OPEN
    upstream_leg: Leg = Leg.OPEN
    channels: dict[int, Channel] = field(default_factory=dict)
    signer: SignerSession = field(default_factory=SignerSession)
    countersigner: SignerSession = field(default_factory=SignerSession)
    product: str = ""
    client_frame_max: int = 0
    upstream_frame_max: int = 0
    channel_max: int = 0
    heartbeat_s: int = 0
    #: Bytes of content that is not whole yet.
    partial_bytes: int = 0
    #: Bytes that wait on channels behind an undecided publish.
    held_bytes: int = 0
    #: Publications looked at so far.
    examined: int = 0
    #: Publications the store was asked about.
    inflight: int = 0
    #: Times of failed verifications within the window, oldest first.
    failures: deque[float] = field(default_factory=deque)
    #: Set while the gate shuts down: what the client still sends is not taken on if it would be confirmed.
    draining: bool = False
    #: Channels in confirm mode, where all is passed on and nothing else is known of them. At most 65,536.
    confirming: set[int] = field(default_factory=set)
    #: The broker has told the client that it does not read for now.
    blocked: bool = False
    #: The client's bytes are no frames any more; where all is passed on the broker has them as they come.
    unframed: bool = False
    #: The client uses the number of a refused channel again before the broker is done with it: its frames
    #: wait, on all channels, so that they are looked at in the order they came (session nonces rise).
    reopening: bool = False
    #: A fault of the client's, found while the broker's frames were carried out.
    fault: GateError | None = None
    #: What the broker did wrong in the handshake, for who chooses between brokers; they clear it.
    upstream_failure: str = ""
    #: Why the gate closes the connection, once it does; the first reason counts.
    cause: GateError | None = None

    @property
    def is_py_amqp(self) -> bool:
        """py-amqp (Celery, kombu) takes a nack for a lost connection; it is told by closing (DESIGN.md)."""
        return self.product == "py-amqp"

    def blame(self, reason: Reason, detail: str) -> None:
        """Note why the connection is closed, for the log."""
        if self.cause is None:
            self.cause = GateError(reason, detail)

    def hold(self, channel: Channel, item: Held) -> None:
        """Let `item` wait on its channel behind what is undecided."""
        channel.held.append(item)
        self._count_held(held_size(item))

    def take(self, channel: Channel) -> Held:
        """The next item of the channel, which the caller now carries out."""
        item = channel.held.popleft()
        self._count_held(-held_size(item))
        return item

    def _count_held(self, size: int) -> None:
        self.held_bytes += size
        self.terms.tally.buffered_bytes += size

    def grow(self, size: int) -> None:
        """Count `size` more (or, negative, fewer) bytes of unfinished content, here and for the process."""
        self.partial_bytes += size
        self.terms.tally.buffered_bytes += size

    def forget_memory(self) -> None:
        """Nothing of this conversation is kept any more."""
        self.grow(-self.partial_bytes)
        self._count_held(-self.held_bytes)
