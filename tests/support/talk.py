"""A session without sockets: what each side sent, what each side was told, decoded by pamqp.

`Talk` plays both peers and the store. Its vocabulary is that of a conversation: `client(...)` and
`broker(...)` speak, `heard_by_client()` and `heard_by_broker()` return what came since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from pamqp import body, commands, frame, header

from sealgate.accounts.login import Attempt, Caller, LoginRecord
from sealgate.session import commands as do
from sealgate.session.conversation import Confirmed, Role, Terms, Unconfirmed
from sealgate.session.events import (
    BytesReceived,
    ClaimsAnswered,
    DeliveryClaimsAnswered,
    DeliveryKept,
    Event,
    Instant,
    Ticked,
    UpstreamConnected,
)
from sealgate.session.holding import HoldingQueue
from sealgate.session.limits import Limits
from sealgate.session.prefetch import PrefetchTerms
from sealgate.session.records import ClampRecord, RefusalRecord, Tally
from sealgate.session.session import Session
from sealgate.session.states import Side
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL
from sealgate.signing.keyring import Key, Keyring
from sealgate.verify.checks import Verifier
from sealgate.verify.delivery import DeliveryPolicy, DeliveryVerifier
from sealgate.verify.message import Message, Peer
from sealgate.verify.policy import ContentRules, Policy
from sealgate.verify.sealer import Sealer, SignerSession
from sealgate.verify.verdict import GRANTED, Claim, ClaimOutcome, PromptStore
from sealgate.wire.constants import FRAME_HEADER
from sealgate.wire.frames import encode_frame
from sealgate.wire.properties import scan_content_header, splice

SECRET = bytes(range(100, 132))
KEY = Key("k1", HmacSha256(SECRET))
KEYRING = Keyring([KEY])
START_S = 1_800_000_000.0
CHALLENGE = bytes(range(16))
DEPLOYMENT = "prod"

SERVER_PROPERTIES = {"product": "RabbitMQ", "capabilities": {"publisher_confirms": True, "basic.nack": True}}

Spoken = Any  # a pamqp method, ContentHeader, ContentBody, Heartbeat or ProtocolHeader


def on(channel: int, *parts: Spoken) -> bytes:
    """Frames of `parts` on `channel`."""
    return b"".join(_marshal(part, channel) for part in parts)


def _marshal(part: Spoken, channel: int) -> bytes:
    if isinstance(part, RawHeader):
        return encode_frame(FRAME_HEADER, channel, part.payload)
    return frame.marshal(part, channel)


def decode(data: bytes) -> list[tuple[int, Spoken]]:
    """(channel, part) of each frame, with the protocol header if it comes first."""
    parts: list[tuple[int, Spoken]] = []
    while data:
        size, channel, part = frame.unmarshal(data)
        parts.append((channel, part))
        data = data[size:]
    return parts


def methods_of(parts: Sequence[Spoken]) -> list[str]:
    """The names of the parts, to compare conversations by."""
    return [part.name for part in parts]


def generic_policy(**changes: Any) -> Policy:
    """Generic profile, any type: what the session does with verdicts, not the verdicts, is under test."""
    content = ContentRules("generic", frozenset({"*"}), frozenset())
    return Policy(deployment=DEPLOYMENT, content=content, **changes)


class Talk:
    """One session with everything around it played by the test."""

    def __init__(
        self,
        role: Role = Role.VERIFY,
        policy: Policy | None = None,
        limits: Limits | None = None,
        confirmed: Confirmed = Confirmed.AUTO,
        unconfirmed: Unconfirmed = Unconfirmed.QUARANTINE,
        countersign: bool = False,
        outcomes: Callable[[Claim], ClaimOutcome] | None = None,
        answer_claims: bool = True,
        replace: bool = False,
        loopback_users: frozenset[str] = frozenset(),
        caller: Caller | None = None,
        prefetch: PrefetchTerms | None = None,
        delivery: DeliveryPolicy | None = None,
        keeps: bool | None = True,
        prompt: Callable[[Claim], ClaimOutcome | None] | None = None,
    ) -> None:
        """`keeps`: what is told of refused deliveries, None for nothing. `prompt` answers claims at once."""
        self.mono = 0.0
        #: A tick that would do nothing is left out; how many were.
        self.looks_first = True
        self.rested = 0
        self._tally = Tally()
        self.terms = Terms(
            role=role,
            deployment=DEPLOYMENT,
            verifier=Verifier(policy or generic_policy(), KEYRING),
            limits=limits or Limits(),
            tally=self._tally,
            confirmed=confirmed,
            unconfirmed=unconfirmed,
            replace_credentials=replace,
            loopback_users=loopback_users,
            prefetch=prefetch,
            store=None if prompt is None else Prompt(self, prompt),
        )
        if delivery is not None:
            self.terms.delivery = DeliveryVerifier(delivery, self.terms.verifier)
        self.keeps = keeps
        self.keeping: list[do.KeepDelivery] = []
        self.delivery_claims: list[do.RequestDeliveryClaims] = []
        self.reading_broker = True
        rng = _Dice()
        if role is Role.SIGN:
            self.terms.sealer = Sealer(KEYRING, "k1", DEPLOYMENT, rng, "x-seal")
        if countersign:
            self.terms.countersealer = Sealer(KEYRING, "k1", DEPLOYMENT, rng, "x-countersign")
        self.session = Session(self.terms, "127.0.0.1:5", CHALLENGE, self.now, caller)
        self.to_client = b""
        self.to_broker = b""
        self.dialed = False
        self.dials = 0
        self.closed: list[Side] = []
        self.reading = True
        self.records: list[RefusalRecord] = []
        self.commits: list[Claim] = []
        self.releases: list[Claim] = []
        self.renewed: list[Claim] = []
        self.asked: list[do.RequestClaims] = []
        self.claimed: list[Claim] = []
        self.logins: list[Attempt] = []
        self.told: list[LoginRecord] = []
        self.declared: list[HoldingQueue] = []
        self.clamps: list[ClampRecord] = []
        self._outcomes = outcomes or (lambda claim: GRANTED)
        self._answer_claims = answer_claims
        self._dice = rng

    @property
    def tally(self) -> Tally:
        """What was counted, for somebody who asks."""
        self._tally.settle()
        return self._tally

    @property
    def now(self) -> Instant:
        return Instant(self.mono, START_S + self.mono)

    def wait(self, seconds: float) -> None:
        self.mono += seconds

    def give(self, event: Event, more: bool = False) -> None:
        """Give the session an event and carry out what it asks. Bytes go the shorter way of `net.passage`,
        as those of a read with `more` behind it."""
        if isinstance(event, Ticked) and self.looks_first and self._rests(event):
            self.rested += 1
            return
        if not isinstance(event, BytesReceived):
            commands = self.session.handle(event, self.now)
        elif self.session.receive(event.side, event.data, more, self.now.mono, self.now.wall):
            commands = self._received()
            while self.session.interrupted:
                self.session.proceed()
                commands += self._received()
        else:
            return
        for command in commands:
            self._carry_out(command)
        self.session.count_later()

    def _rests(self, event: Ticked) -> bool:
        """As the relay asks."""
        paused = event.client_paused or event.upstream_paused
        return not paused and self.session.rests(self.now.mono, event.late_s)

    def _received(self) -> list[do.Command]:
        out = self.session.conversation.out
        if out.has_more:
            return out.take()
        upstream, settles = b"".join(out.take_upstream()), out.settles
        commits, releases = out.take_settled()
        assert settles == bool(commits or releases)
        client = b"".join(out.take_client())
        assert out.take() == []
        commands: list[do.Command] = []
        if upstream:
            commands.append(do.Send(Side.UPSTREAM, upstream))
        if settles:
            commands.append(do.SettleClaims(commits, releases))
        if client:
            commands.append(do.Send(Side.CLIENT, client))
        return commands

    def _carry_out(self, command: do.Command) -> None:
        if isinstance(command, do.Send):
            if command.side is Side.CLIENT:
                self.to_client += command.data
            else:
                self.to_broker += command.data
        elif isinstance(command, do.DialUpstream):
            self.dialed = True
            self.dials += 1
        elif isinstance(command, do.Close):
            self.closed.append(command.side)
        elif isinstance(command, do.SetReading):
            if command.side is Side.CLIENT:
                self.reading = command.on
            else:
                self.reading_broker = command.on
        elif isinstance(command, do.RequestDeliveryClaims):
            self.delivery_claims.append(command)
            if self._answer_claims:
                self.answer_delivery_claims()
        elif isinstance(command, do.KeepDelivery):
            self.records.append(command.record)
            self.keeping.append(command)
            if self.keeps is not None:
                self.kept(self.keeps)
        elif isinstance(command, do.RequestClaims):
            self.asked.append(command)
            if self._answer_claims:
                self.answer_claims()
        elif isinstance(command, do.SettleClaims):
            self.commits += command.commits
            self.releases += command.releases
        elif isinstance(command, do.RenewClaims):
            self.renewed += command.claims
        elif isinstance(command, do.CheckLogin):
            self.logins.append(command.attempt)
        elif isinstance(command, do.TellLogin):
            self.told.append(command.record)
        elif isinstance(command, do.DeclareQueue):
            self.declared.append(command.queue)
        elif isinstance(command, do.TellClamp):
            self.clamps.append(command.record)
        else:
            self.records.append(command.record)

    def answer_claims(self) -> None:
        """Answer the oldest request to the store."""
        request = self.asked.pop(0)
        assert request.claims == [p.asked and p.asked.claim for p in request.publications]
        outcomes = [self._outcomes(claim) for claim in request.claims]
        self.give(ClaimsAnswered(request.publications, outcomes))

    def answer_delivery_claims(self) -> None:
        """Answer the oldest request for deliveries."""
        request = self.delivery_claims.pop(0)
        claims = [each.accepted.claim for each in request.deliveries if each.accepted is not None]
        outcomes = [self._outcomes(claim) for claim in claims if claim is not None]
        self.give(DeliveryClaimsAnswered(request.deliveries, outcomes))

    def kept(self, safe: bool = True) -> None:
        """Tell of the oldest delivery that is to be kept."""
        self.give(DeliveryKept(self.keeping.pop(0).delivery, safe))

    def client(self, channel: int, *parts: Spoken) -> None:
        self.client_bytes(on(channel, *parts))

    def client_bytes(self, data: bytes, more: bool = False) -> None:
        self.give(BytesReceived(Side.CLIENT, data), more)

    def broker(self, channel: int, *parts: Spoken) -> None:
        self.broker_bytes(on(channel, *parts))

    def broker_bytes(self, data: bytes) -> None:
        self.give(BytesReceived(Side.UPSTREAM, data))

    def heard_by_client(self) -> list[Spoken]:
        data, self.to_client = self.to_client, b""
        return [part for _, part in decode(data)]

    def heard_by_broker(self) -> list[Spoken]:
        data, self.to_broker = self.to_broker, b""
        return [part for _, part in decode(data)]

    def start(self) -> None:
        """The broker is dialed, and speaks first."""
        self.give(UpstreamConnected())
        self.broker(0, commands.Connection.Start(server_properties=dict(SERVER_PROPERTIES)))

    def shake_hands(self, product: str = "test", tune: tuple[int, int, int] = (2047, 131072, 60)) -> Talk:
        """The whole handshake, up to an open connection; nothing of it is left to hear."""
        self.client_bytes(b"AMQP\x00\x00\x09\x01")
        self.start()
        properties = {"product": product, "capabilities": {"publisher_confirms": True}}
        self.client(
            0,
            commands.Connection.StartOk(
                client_properties=properties, response="\x00guest\x00guest", locale="en_US"
            ),
        )
        self.broker(0, commands.Connection.Tune(*tune))
        told = [part for part in self.heard_by_client() if isinstance(part, commands.Connection.Tune)]
        self.client(
            0,
            commands.Connection.TuneOk(told[0].channel_max, told[0].frame_max, told[0].heartbeat),
            commands.Connection.Open("/"),
        )
        self.broker(0, commands.Connection.OpenOk())
        self.heard_by_client()
        self.heard_by_broker()
        return self

    def open_channel(self, number: int = 1, confirms: bool = False) -> Talk:
        self.client(number, commands.Channel.Open())
        self.broker(number, commands.Channel.OpenOk())
        if confirms:
            self.client(number, commands.Confirm.Select())
            self.broker(number, commands.Confirm.SelectOk())
        self.heard_by_client()
        self.heard_by_broker()
        return self

    def sealed(
        self, payload: bytes = b"hello", routing_key: str = "q", mandatory: bool = False
    ) -> list[Spoken]:
        """The parts of a sealed publish with a stored nonce."""
        return sealed(payload, routing_key, mandatory, self.now.wall, self._dice)


class Prompt(PromptStore):
    """A store that answers at once what it likes to; those claims are in `Talk.claimed`."""

    def __init__(self, talk: Talk, outcomes: Callable[[Claim], ClaimOutcome | None]) -> None:
        self._talk = talk
        self._outcomes = outcomes
        self._answered: set[int] = set()

    def claim_now(self, claim: Claim, wall: float, monotonic: float) -> ClaimOutcome | None:
        assert (monotonic, wall) == (self._talk.now.mono, self._talk.now.wall)
        assert id(claim) not in self._answered, "a claim was asked for again that was answered"
        outcome = self._outcomes(claim)
        if outcome is not None:
            self._talk.claimed.append(claim)
            self._answered.add(id(claim))
        return outcome


class _Dice:
    """Random bytes that never repeat and never surprise."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(size, "big")


_SHARED_DICE = _Dice()


def sealed(
    payload: bytes = b"hello",
    routing_key: str = "q",
    mandatory: bool = False,
    now: float = START_S,
    dice: Callable[[int], bytes] = _SHARED_DICE,
    exchange: str = "",
) -> list[Spoken]:
    """A publish to `routing_key`, sealed by k1: method, content header, body."""
    properties = commands.Basic.Properties(content_type="text/plain", headers={"n": 1})
    raw = header.ContentHeader(body_size=len(payload), properties=properties).marshal()
    scanned = scan_content_header(raw, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, "x-seal")
    message = Message(exchange, routing_key, mandatory, scanned, payload, hashlib.sha256(payload).digest())
    added = Sealer(KEYRING, "k1", DEPLOYMENT, dice, "x-seal").seal(
        message, Peer(DEPLOYMENT), SignerSession(), now
    )
    parts: list[Spoken] = [
        commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory),
        RawHeader(splice(scanned, frozenset(), added)),
    ]
    if payload:
        parts.append(body.ContentBody(payload))
    return parts


class RawHeader:
    """A content header frame of exactly these payload bytes."""

    name = "ContentHeader"
    frame_id = 2

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


def unsealed(payload: bytes = b"hello", mandatory: bool = False, routing_key: str = "q") -> list[Spoken]:
    """A publish without a seal."""
    properties = commands.Basic.Properties(content_type="text/plain")
    return [
        commands.Basic.Publish(routing_key=routing_key, mandatory=mandatory),
        header.ContentHeader(body_size=len(payload), properties=properties),
        body.ContentBody(payload),
    ]
