"""What the parts of a session share: the gate's settings and the state of both legs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, unique

from sealgate.accounts.login import Caller
from sealgate.reason import GateError, Reason
from sealgate.session.channel import Channel, Held, Publication, held_size
from sealgate.session.events import Instant
from sealgate.session.holding import ReadyQueues, Waits
from sealgate.session.limits import Limits
from sealgate.session.originals import Originals
from sealgate.session.outbox import Outbox
from sealgate.session.prefetch import CLIENT_METHODS, Prefetch, PrefetchTerms
from sealgate.session.records import Tally
from sealgate.session.states import Leg, State
from sealgate.verify.checks import Verifier
from sealgate.verify.delivery import DeliveryVerifier
from sealgate.verify.expiry import Expiry
from sealgate.verify.message import Peer
from sealgate.verify.sealer import Sealer, SignerSession
from sealgate.verify.verdict import PromptStore
from sealgate.wire.constants import QUEUE_DECLARE


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
    #: Where deliveries are judged: `deliver.action = "verify"`.
    delivery: DeliveryVerifier | None = None
    countersealer: Sealer | None = None
    confirmed: Confirmed = Confirmed.AUTO
    unconfirmed: Unconfirmed = Unconfirmed.QUARANTINE
    #: Clients log in to Sealgate, and Sealgate to the broker: `credentials.mode`.
    replace_credentials: bool = False
    #: What the queues are like where messages over their rate wait.
    waits: Waits = field(default_factory=Waits)
    #: Queues that hold publications, as far as this process has declared them.
    queues: ReadyQueues = field(default_factory=ReadyQueues)
    #: Users that may not come in from elsewhere to a broker on this host: `credentials.loopback_users`.
    loopback_users: frozenset[str] = frozenset()
    #: How much clients may hold unacknowledged, None for as much as they like.
    prefetch: PrefetchTerms | None = None
    #: Who may answer claims at once; None where each is asked for with a command.
    store: PromptStore | None = None

    @property
    def adds_headers(self) -> bool:
        """Whether content headers grow on their way upstream."""
        return self.role is Role.SIGN or self.countersealer is not None


@dataclass(slots=True)
class Conversation:
    """One client connection and its upstream, as the session's parts see it."""

    terms: Terms
    peer: Peer
    caller: Caller = field(default_factory=Caller)
    #: The broker is on this host, and takes whoever Sealgate speaks for to be so, too.
    upstream_loopback: bool = False
    #: Which broker it is.
    broker: str = ""
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
    #: Publications that wait until the queue of this name is declared.
    undeclared: dict[str, list[Publication]] = field(default_factory=dict)
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
    #: Channels on which what was held may go on.
    resumable: list[Channel] = field(default_factory=list)
    #: A fault of the client's, found while the broker's frames were carried out.
    fault: GateError | None = None
    #: What the broker did wrong in the handshake, for who chooses between brokers; they clear it.
    upstream_failure: str = ""
    #: In the handshake the client has said what brokers hang up for: that tells nothing about the broker.
    strayed: bool = False
    #: Why the gate closes the connection, once it does; the first reason counts.
    cause: GateError | None = None
    #: How long reply queues that the client declares may live, where that is bounded.
    declares: Expiry | None = None
    #: The client's consumers, where they are bounded.
    prefetch: Prefetch | None = None
    #: What clients sent of publishes that were changed and may come back; made with the first of them.
    originals: Originals | None = None

    @property
    def is_py_amqp(self) -> bool:
        """py-amqp (Celery, kombu) takes a nack for a lost connection; it is told by closing (DESIGN.md)."""
        return self.product == "py-amqp"

    @property
    def settled(self) -> bool:
        """Nothing taken on is unfinished: no claim in flight, nothing held, no confirm owed."""
        if self.inflight:
            return False
        for channel in self.channels.values():
            if (
                channel.held
                or channel.refusal is not None
                or (channel.ledger is not None and len(channel.ledger))
            ):
                return False
        return True

    @property
    def lets_broker_judge(self) -> bool:
        """Whether bytes that are no frames go to the broker as they come, for it to refuse.

        Only where all is passed on, and with the client's own login: what Sealgate logs in, it reads.
        """
        terms = self.terms
        return (
            terms.role is Role.PASS
            and not terms.replace_credentials
            and self.state is State.RUNNING
            and self.client_leg is Leg.OPEN
        )

    def takes_frames_on(self, number: int) -> bool:
        """Whether the client's frames on a channel count: after a drain's close those without confirms."""
        if self.client_leg is Leg.OPEN:
            return True
        draining = self.draining and self.upstream_leg is Leg.OPEN
        if not draining and self.upstream_leg is not Leg.CLOSE_RECEIVED:
            return False
        if self.terms.role is Role.PASS:
            return number not in self.confirming
        channel = self.channels.get(number)
        return channel is not None and channel.ledger is None

    @property
    def apart(self) -> frozenset[int] | None:
        """The client's methods that are bounded and never passed on unread, None without any."""
        consuming = CLIENT_METHODS if self.prefetch is not None else frozenset()
        declaring = {QUEUE_DECLARE} if self.declares is not None else set()
        return frozenset(consuming | declaring) or None

    def forget_channel(self, number: int) -> None:
        """Both sides are done with a channel."""
        del self.channels[number]
        if self.prefetch is not None:
            self.prefetch.closed(number)

    def blame(self, reason: Reason, detail: str) -> None:
        """Note why the connection is closed, for the log."""
        if self.cause is None:
            self.cause = GateError(reason, detail)

    def raise_fault(self) -> None:
        """Raises what the client did wrong in what was carried out just now."""
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault

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
        if self.originals is not None:
            self.originals.forget_all()
        if self.prefetch is not None:
            self.prefetch.forget_all()
