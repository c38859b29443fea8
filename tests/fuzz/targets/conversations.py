"""The target for the room `session`: whole conversations, with peers that send anything at any time.

Nothing but a surprise of the fuzzer's own may come out of `Session.handle`; what reaches the broker are whole
frames (but where all is passed on, which has what the client says instead); and no publish reaches it that
nobody signed, or twice.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from pamqp import body, commands, header, heartbeat

from fuzz.oracles.reference import Header, read_header, signing_input, snapshot
from fuzz.targets.answers import answer, require
from fuzz.targets.changes import Operands, Signed, changed
from sealgate.session.conversation import Confirmed, Role, Unconfirmed
from sealgate.session.events import Disconnected, DrainAsked, Event, Ticked, UpstreamConnected, UpstreamFailed
from sealgate.session.limits import Limits
from sealgate.session.states import Side
from sealgate.signing.token import parse_token
from sealgate.verify.verdict import Claim, ClaimOutcome, ClaimStatus
from support.talk import DEPLOYMENT, KEY, START_S, Talk, on, sealed, unsealed

_ENVELOPE = struct.Struct(">BHI")
_ROLES = (Role.VERIFY, Role.SIGN, Role.PASS)
_LIMITS = Limits(body_bytes_max=4096, connection_bytes_max=16_384, held_bytes_max=8192, channel_max=4)
#: A conversation is as long as its input; each step may feed as much as this octet by octet.
_STEPS_MAX = 40
_PUBLISH = struct.pack(">HH", 60, 40)
_DELIVERED = commands.Basic.Deliver("c", 1, False, "", "q")

_CLIENT: tuple[Callable[[int], Any], ...] = (
    lambda _: commands.Channel.Open(),
    lambda _: commands.Channel.Close(200, "bye", 0, 0),
    lambda _: commands.Channel.CloseOk(),
    lambda number: commands.Confirm.Select(nowait=number & 1 == 1),
    lambda _: commands.Connection.Close(200, "bye", 0, 0),
    lambda _: commands.Connection.CloseOk(),
    lambda _: commands.Tx.Select(),
    lambda number: commands.Basic.Ack(number, number & 1 == 1),
    lambda _: commands.Queue.Declare(queue="q"),
    lambda number: commands.Basic.Publish(
        routing_key="q", mandatory=number & 1 == 1, immediate=number & 2 == 2
    ),
    lambda number: header.ContentHeader(body_size=number),
    lambda number: body.ContentBody(b"x" * (number % 9 + 1)),
    lambda _: heartbeat.Heartbeat(),
    lambda _: commands.Connection.Open("/"),
    lambda number: commands.Connection.TuneOk(number, 131072, 60),
    lambda _: commands.Connection.StartOk({"product": "x"}, "PLAIN", "\x00u\x00p", "en_US"),
    lambda number: commands.Channel.Flow(active=number & 1 == 1),
    lambda _: commands.Connection.UpdateSecret("s", "r"),
)
_BROKER: tuple[Callable[[int], Any], ...] = (
    lambda _: commands.Channel.OpenOk(),
    lambda _: commands.Channel.Close(404, "NOT_FOUND", 60, 40),
    lambda _: commands.Channel.CloseOk(),
    lambda _: commands.Confirm.SelectOk(),
    lambda _: commands.Connection.Close(320, "CONNECTION_FORCED", 0, 0),
    lambda _: commands.Connection.CloseOk(),
    lambda number: commands.Basic.Ack(number & 7, number & 8 == 8),
    lambda number: commands.Basic.Nack(number & 7, number & 8 == 8),
    lambda _: commands.Basic.Return(312, "NO_ROUTE", "", "q"),
    lambda number: header.ContentHeader(body_size=number & 3),
    lambda number: body.ContentBody(b"x" * (number % 3 + 1)),
    lambda _: heartbeat.Heartbeat(),
    lambda _: commands.Connection.OpenOk(),
    lambda _: commands.Connection.Tune(2047, 131072, 60),
    lambda _: commands.Connection.Start(0, 9, {"product": "RabbitMQ"}, "PLAIN", "en_US"),
    lambda _: _DELIVERED,
    lambda _: commands.Connection.Blocked("memory"),
    lambda _: commands.Connection.UpdateSecretOk(),
)


class _Store:
    """Grants each nonce once."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def __call__(self, claim: Claim) -> ClaimOutcome:
        if claim.nonce_key and claim.nonce_key in self._seen:
            return ClaimOutcome(ClaimStatus.DUPLICATE)
        self._seen.add(claim.nonce_key)
        return ClaimOutcome(ClaimStatus.GRANTED)


class _Dice:
    """Nonces that are new in this conversation and the same in the next."""

    def __init__(self) -> None:
        self._count = 1 << 32

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(size, "big")


class _Step:
    """One event, or octets of one side."""

    def __init__(self, side: Side | None, data: bytes, event: Event | None, seconds: float = 0.0) -> None:
        self.side = side
        self.data = data
        self.event = event
        self.seconds = seconds


def session(data: bytes) -> None:
    """The first octet chooses role, manner and how far the handshake is; steps follow."""
    if not data:
        return
    choice = data[0]
    signed: set[bytes] = set()
    steps = list(steps_of(Operands(data[1:]), signed))
    whole = played(choice, steps)
    apart = played(choice, steps, octets=True)
    for (what, one), other in zip(_told(whole).items(), _told(apart).values(), strict=True):
        require(one == other, f"octet by octet, another thing is told: {what}")
    for talk in (whole, apart):
        _check_client(talk)
        _check_broker(talk, _ROLES[choice % 3], signed)


def _told(talk: Talk) -> dict[str, object]:
    conversation, tally = talk.session.conversation, talk.tally
    claims = [*talk.commits, None, *talk.releases, None, *talk.renewed]
    return {
        "client": talk.to_client,
        "broker": talk.to_broker,
        "sides": talk.closed,
        "records": talk.records,
        "claims": [claim and (claim.nonce_key, claim.digest) for claim in claims],
        "counts": (dict(tally.messages), dict(tally.key_messages), dict(tally.limits_hit)),
        "memory": (conversation.held_bytes, conversation.partial_bytes, tally.buffered_bytes),
        "state": (conversation.state, conversation.examined, conversation.peer.last_sequence),
    }


def played(
    choice: int, steps: list[_Step], talk_of: Callable[..., Talk] = Talk, octets: bool = False
) -> Talk:
    """The conversation after all `steps`, between peers and a session that `choice` says more of."""
    talk = talk_of(
        role=_ROLES[choice % 3],
        limits=_LIMITS,
        confirmed=tuple(Confirmed)[choice // 3 % len(Confirmed)],
        unconfirmed=tuple(Unconfirmed)[choice // 9 % len(Unconfirmed)],
        outcomes=_Store(),
        answer_claims=choice & 64 == 0,
    )
    stage = choice // 18 % 3
    if stage:
        talk.shake_hands(product="py-amqp" if choice & 128 else "test")
    if stage == 2:
        talk.open_channel(1, confirms=True)
        talk.open_channel(2)
    for step in steps:
        talk.wait(step.seconds)
        if step.event is not None:
            talk.give(step.event)
        elif step.side is not None:
            feed = talk.client_bytes if step.side is Side.CLIENT else talk.broker_bytes
            for piece in _pieces(step.data) if octets else [step.data]:
                feed(piece)
        if step.seconds:
            while talk.asked:
                talk.answer_claims()
    return talk


def _pieces(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def steps_of(operands: Operands, signed: set[bytes]) -> Iterator[_Step]:
    """The steps that an input stands for; what they hold of signed messages goes to `signed`."""
    dice = _Dice()
    captured: list[bytes] = []
    for _ in range(_STEPS_MAX):
        if not operands.more:
            return
        kind = operands.octet() % 12
        if kind < 7:
            data = _client_octets(kind, operands, dice, captured, signed)
            yield _Step(Side.CLIENT, data, None)
        elif kind < 9:
            yield _Step(Side.UPSTREAM, _broker_octets(kind, operands), None)
        elif kind == 9:
            yield _Step(None, b"", Ticked(), float(operands.octet() % 40))
        elif kind == 10:
            side = Side.CLIENT if operands.octet() & 1 else Side.UPSTREAM
            yield _Step(None, b"", Disconnected(side))
        else:
            events = (UpstreamConnected(), UpstreamFailed(), DrainAsked(), UpstreamConnected())
            yield _Step(None, b"", events[operands.octet() % 4])


def _client_octets(
    kind: int, operands: Operands, dice: _Dice, captured: list[bytes], signed: set[bytes]
) -> bytes:
    if kind == 0:
        # The protocol header is what a fuzzer would not guess.
        return operands.some() or b"AMQP\x00\x00\x09\x01"
    channel = operands.octet() % 4
    number = operands.octet()
    if kind == 1:
        return _frame(number, channel, operands.some())
    if kind == 2:
        return on(channel, _CLIENT[number % len(_CLIENT)](operands.octet()))
    if kind == 3:
        return on(channel, *unsealed(b"u" * (number & 3), number & 4 == 4))
    if kind == 4 and captured:
        return _on_channel(captured[number % len(captured)], channel)
    parts = sealed(b"s" * (number & 3), "q" if number & 4 else "r", number & 8 == 8, START_S, dice)
    publish, content = parts[0], parts[1].payload
    message = Signed("", publish.routing_key, content, b"s" * (number & 3))
    signed.add(_meaning(message) or b"")
    if kind == 6:
        message = changed(message, operands)
    data = _publish(message, channel, number & 8 == 8)
    captured.append(data)
    return data


def _frame(number: int, channel: int, payload: bytes) -> bytes:
    kind = (1, 2, 3, 8, number)[number % 5]
    end = 0xCE if number & 0x60 else number
    return _ENVELOPE.pack(kind, channel, len(payload)) + payload + bytes((end,))


def _on_channel(data: bytes, channel: int) -> bytes:
    """Frames, sent on another channel."""
    parts = []
    while data:
        _, _, size = _ENVELOPE.unpack_from(data)
        parts.append(data[:1] + struct.pack(">H", channel) + data[3 : size + 8])
        data = data[size + 8 :]
    return b"".join(parts)


def _publish(message: Signed, channel: int, mandatory: bool) -> bytes:
    exchange, routing_key = message.exchange.encode(), message.routing_key.encode()
    method = _PUBLISH + b"\x00\x00" + bytes((len(exchange),)) + exchange
    method += bytes((len(routing_key),)) + routing_key + bytes((mandatory,))
    frames = [(1, method), (2, message.header)]
    if message.body:
        frames.append((3, message.body))
    return b"".join([_ENVELOPE.pack(kind, channel, len(part)) + part + b"\xce" for kind, part in frames])


def _broker_octets(kind: int, operands: Operands) -> bytes:
    channel, number = operands.octet() % 4, operands.octet()
    if kind == 7:
        return on(channel, _BROKER[number % len(_BROKER)](operands.octet()))
    return _frame(number, channel, operands.some())


def _meaning(message: Signed) -> bytes | None:
    """What the seal in a message signs by the reference's reading; None when it has no good token."""
    found = read_header(message.header)
    token = _token(found)
    if token is None or token.snapshot != snapshot(found, message.exchange, message.routing_key):
        return None
    return signing_input("hmac-sha256", DEPLOYMENT, "/", token.prefix, found, message.body)


def _token(found: Header) -> Any:
    tokens = [node.value for name, node in found.entries if name == b"x-seal"]
    if len(tokens) != 1 or not isinstance(tokens[0], bytes):
        return None
    return answer(parse_token, tokens[0])[0]


def _frames(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """What was told to a peer: whole frames, a protocol header in front for each broker that was tried."""
    while data:
        if data.startswith(b"AMQP"):
            data = data[8:]
            continue
        require(len(data) >= 8, "the end of a frame is missing")
        kind, channel, size = _ENVELOPE.unpack_from(data)
        require(kind in (1, 2, 3, 8) and len(data) >= size + 8 and data[size + 7] == 0xCE, "no frame")
        yield kind, channel, data[7 : size + 7]
        data = data[size + 8 :]


def _check_client(talk: Talk) -> None:
    for _ in _frames(talk.to_client):
        pass


def _check_broker(talk: Talk, role: Role, signed: set[bytes]) -> None:
    if role is Role.PASS:
        # Passed on frame by frame, and as it comes from the first octets on that are no frame.
        if not talk.session.conversation.unframed:
            for _ in _frames(talk.to_broker):
                pass
        return
    forwarded = list(_publishes(talk.to_broker))
    found = [_meaning(message) for message in forwarded]
    if role is Role.VERIFY:
        require(all(meaning in signed for meaning in found), "a publish went through that nobody signed")
    else:
        for message, meaning in zip(forwarded, found, strict=True):
            token = _token(read_header(message.header))
            good = meaning is not None and KEY.algorithm.verify(meaning, token.signature)
            require(good, "a publish went out without a good seal")
    require(len(set(found)) == len(found), "a publish went through twice")


def _publishes(data: bytes) -> Iterator[Signed]:
    """Every publish the broker was sent, which must be whole."""
    opened: dict[int, list[bytes]] = {}
    for kind, channel, payload in _frames(data):
        parts = opened.get(channel)
        if parts is None:
            if kind == 1 and payload.startswith(_PUBLISH):
                opened[channel] = [payload]
            continue
        require(kind in (2, 3), "something between the frames of a publish")
        parts.append(payload)
        size = int.from_bytes(parts[1][4:12], "big")
        if size == sum(map(len, parts[2:])):
            yield _as_signed(opened.pop(channel))
    require(not opened, "half a publish went to the broker")


def _as_signed(parts: list[bytes]) -> Signed:
    method = parts[0][6:]
    stop = 1 + method[0]
    routing_key = method[stop + 1 : stop + 1 + method[stop]]
    return Signed(method[1:stop].decode(), routing_key.decode(), parts[1], b"".join(parts[2:]))


@cache
def examples() -> tuple[bytes, ...]:
    """Conversations to begin with: each role at each stage, with each kind of step."""
    found = []
    for stage in range(3):
        for role in range(3):
            choice = role + 18 * stage
            found.append(bytes((choice, 0, 0, 11, 0, 7, 0, 14, 0, 2, 0, 15, 0, 7, 0, 13, 0, 2, 0, 14, 4)))
            for kind in range(12):
                found.append(bytes((choice, 5, 1, 3, kind, 1, 7, 6, 1, 2, 7, 1, 6, 1, 9, 5, 5, 2, 1)))
                found.append(bytes((choice + 64, 5, 1, 3, 4, 2, 0, kind, 1, 1, 2, 3, 9, 9, 7, 1, 7, 1)))
    return tuple(found)
