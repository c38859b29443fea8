"""Long conversations in any chunks: whole publishes are taken in one step, pieces frame by frame.

The same octets, in blocks of many messages, in small pieces that no publish lies whole in, in pieces of any
size, and in these as reads with more behind them: both peers must hear the same, and the same must be kept,
counted, asked and remembered.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pamqp import body, commands

from differential.picture import picture
from sealgate.session.conversation import Confirmed, Role, Unconfirmed
from sealgate.session.events import ClaimsAnswered, DrainAsked, Ticked
from sealgate.session.limits import Limits
from sealgate.verify.policy import Policy
from sealgate.verify.verdict import Claim, ClaimOutcome, ClaimStatus
from sealgate.wire.constants import BASIC_PUBLISH, FRAME_BODY, FRAME_HEADER, FRAME_METHOD
from sealgate.wire.frames import encode_frame
from support.likeness import Producer
from support.likeness_attacks import ATTACKS, Publish
from support.policies import POLICIES, keyrings, others, seeded
from support.talk import CHALLENGE, START_S, Talk, on
from support.wire_bytes import content_header, short

#: Under each policy.
CONVERSATIONS = 4
CONVERSATIONS_AT_FULL_SIZE = 250
BLOCKS = 12
CHANNELS = (1, 2, 3)
_LIMITS = (
    Limits(),
    Limits(body_bytes_max=330, held_bytes_max=9000),
    Limits(connection_bytes_max=12_000, failed_verifications_max=8),
    Limits(process_bytes_max=25_000, claims_inflight_max=3),
)
_CLIENT: tuple[Any, ...] = (
    commands.Basic.Ack(1),
    commands.Basic.Nack(2, True),
    commands.Basic.Reject(3),
    commands.Queue.Declare(queue="q"),
    commands.Confirm.Select(),
    commands.Channel.Close(200, "bye", 0, 0),
    commands.Channel.CloseOk(),
    commands.Channel.Open(),
)
_BROKER: tuple[Any, ...] = (
    commands.Basic.Ack(1),
    commands.Basic.Ack(3, True),
    commands.Basic.Nack(2),
    commands.Basic.Ack(0, True),
    commands.Channel.OpenOk(),
    commands.Confirm.SelectOk(),
    commands.Channel.CloseOk(),
    commands.Channel.Close(404, "NOT_FOUND", 60, 40),
)


@dataclass(frozen=True)
class Step:
    """Octets of one side, or something that is done to the session."""

    client: bytes = b""
    broker: bytes = b""
    act: Callable[[Talk], None] | None = None


class Conversation:
    """What is said and done: all of it hangs on the name of its first policy and a number."""

    def __init__(self, name: str, number: int) -> None:
        self._dice = seeded(name, number)
        self._policies = others(POLICIES, name)
        self._producer = Producer(self._dice, CHALLENGE)
        self._seconds = 0.0
        self._draining = False
        self.role = self._dice.choice((Role.VERIFY, Role.VERIFY, Role.VERIFY, Role.SIGN, Role.PASS))
        self.options: dict[str, Any] = {
            "role": self.role,
            "policy": POLICIES[name],
            "limits": self._dice.choice((_LIMITS[0], *_LIMITS)),
            "confirmed": self._dice.choice(list(Confirmed)),
            "unconfirmed": self._dice.choice(
                (Unconfirmed.QUARANTINE, Unconfirmed.QUARANTINE, Unconfirmed.CLOSE)
            ),
            "countersign": self.role is Role.VERIFY and self._dice.random() < 0.25,
        }
        self.product = self._dice.choice(("py-amqp", "test"))
        self.frame_max = self._dice.choice((4096, 131_072))
        self.confirms = (self._dice.random() < 0.7, self._dice.random() < 0.5)
        self.prompt = self._dice.random() < 0.7

    def steps(self) -> Iterator[Step]:
        dice = self._dice
        for _ in range(BLOCKS):
            yield Step(client=self._block())
            for _ in range(dice.randrange(3)):
                yield self._other()
            if dice.random() < 0.8:
                yield Step(act=_answer)
        yield Step(act=_answer)

    def _other(self) -> Step:
        dice = self._dice
        roll = dice.randrange(16)
        if roll < 8:
            # A drain that has all its answers ends there, whatever nonsense the same octets still hold.
            parts = [self._told() for _ in range(1 if self._draining else dice.randrange(1, 5))]
            return Step(broker=b"".join(parts))
        if roll < 11:
            seconds = dice.choice((0.01, 1, 3, 30))
            self._seconds += seconds
            return Step(act=lambda talk: talk.wait(seconds))
        if roll == 11:
            rings = keyrings(int(START_S))
            ring = dice.choice((rings[0], dice.choice(rings)))
            return Step(act=lambda talk: setattr(talk.terms.verifier, "keyring", ring))
        if roll == 12:
            policy = dice.choice(self._policies)
            return Step(act=lambda talk: setattr(talk.terms.verifier, "policy", policy))
        if roll == 13 and dice.random() < 0.2:
            self._draining = True
            return Step(act=lambda talk: talk.give(DrainAsked()))
        return Step(act=lambda talk: talk.give(Ticked()))

    def _told(self) -> bytes:
        """What a broker says: answers, and deliveries of all sizes, some of them wrong."""
        dice = self._dice
        channel = dice.choice(CHANNELS)
        roll = dice.random()
        if roll < 0.5 or self._draining:
            return on(channel, dice.choice(_BROKER))
        several = dice.choice((1, 1, 2, 7))
        return b"".join([self._delivery(channel) for _ in range(several)])

    def _delivery(self, channel: int) -> bytes:
        dice = self._dice
        payload = dice.randbytes(dice.choice((0, 1, 200, 5000)))
        size = len(payload) + (dice.random() < 0.02)
        method = commands.Basic.Deliver("c", 1, False, "", "q")
        header = content_header(body_size=size, weight=dice.random() < 0.01)
        frames = on(channel, method) + encode_frame(FRAME_HEADER, channel, header)
        return frames + (on(channel, body.ContentBody(payload)) if payload else b"")

    def _block(self) -> bytes:
        """Publishes and other methods; on several channels, perhaps with their frames in between."""
        dice = self._dice
        lines: dict[int, list[bytes]] = {}
        order: list[int] = []
        for _ in range(dice.randrange(1, 13)):
            channel = dice.choice((1, 1, 1, 2, 3))
            frames = self._frames(channel)
            lines.setdefault(channel, []).extend(frames)
            order += [channel] * len(frames)
        if dice.random() < 0.2:
            dice.shuffle(order)
        return b"".join([lines[channel].pop(0) for channel in order])

    def _frames(self, channel: int) -> list[bytes]:
        dice = self._dice
        if dice.random() < 0.12:
            part = dice.choice(_CLIENT[: 5 if dice.random() < 0.8 else None])
            several = dice.choice((1, 2, 9)) if part in _CLIENT[:3] else 1
            return [on(channel, part)] * several
        attack = dice.choice(ATTACKS) if dice.random() < 0.15 else ""
        publish = self._producer.next(START_S + self._seconds, attack)
        frames = [
            encode_frame(FRAME_METHOD, channel, self._method(publish)),
            encode_frame(FRAME_HEADER, channel, publish.header),
        ]
        rest = publish.body
        while rest:
            size = len(rest) if dice.random() < 0.9 else dice.randrange(len(rest) + 1)
            size = min(size, self.frame_max - 8)
            frames.append(encode_frame(FRAME_BODY, channel, rest[:size]))
            rest = rest[size:]
        if dice.random() < 0.006:
            frames.pop()
        return frames

    def _method(self, publish: Publish) -> bytes:
        dice = self._dice
        ticket = b"\x00\x00" if dice.random() < 0.97 else b"\x00\x01"
        bits = publish.mandatory | 2 * (dice.random() < 0.003)
        target = short(publish.exchange.encode()) + short(publish.routing_key.encode())
        if dice.random() < 0.005:
            target = short(b"\xff") + short(b"q")
        return struct.pack(">I", BASIC_PUBLISH) + ticket + target + bytes((bits,))


class Store:
    """Answers by the nonce, and knows those it has seen."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def at_once(self, claim: Claim) -> ClaimOutcome | None:
        """Most of them, and never those that must wait for their tokens."""
        return self(claim) if claim.digest[1] % 8 and not claim.wait_us else None

    def __call__(self, claim: Claim) -> ClaimOutcome:
        if claim.nonce_key and claim.nonce_key in self._seen:
            return ClaimOutcome(ClaimStatus.DUPLICATE)
        self._seen.add(claim.nonce_key)
        roll = claim.digest[0]
        if roll < 20:
            return ClaimOutcome(ClaimStatus.LIMITED, "app.*", 1000)
        if roll < 30:
            return ClaimOutcome(ClaimStatus.DEGRADED)
        return ClaimOutcome(ClaimStatus.UNAVAILABLE if roll == 30 else ClaimStatus.GRANTED)


def _answer(talk: Talk) -> None:
    """All that was asked for is answered in one event, however many it was asked for in."""
    while talk.asked:
        asked = [publication for request in talk.asked for publication in request.publications]
        outcomes = [talk._outcomes(claim) for request in talk.asked for claim in request.claims]
        talk.asked.clear()
        talk.give(ClaimsAnswered(asked, outcomes))


Pieces = Callable[[bytes], list[bytes]]
_SMALL = (1, 3, 20, 63)
_ANY = (1, 50, 700, 1500, 9000)


def pieces_of(dice: random.Random, sizes: tuple[int, ...]) -> Pieces:
    def cut(data: bytes) -> list[bytes]:
        found = []
        while data:
            size = dice.choice(sizes)
            found.append(data[:size])
            data = data[size:]
        return found

    return cut


def played(conversation: Conversation, cut: Pieces, more: bool = False) -> dict[str, object]:
    """All there is to see and to ask for once the conversation is over.

    With `more` each piece but the last one of a step is a read with more behind it.
    """
    store = Store()
    prompt = store.at_once if conversation.prompt else None
    talk = Talk(**conversation.options, outcomes=store, answer_claims=False, prompt=prompt)
    talk.terms.verifier.keyring = keyrings(int(START_S))[0]
    talk.shake_hands(conversation.product, (2047, conversation.frame_max, 0))
    for channel, confirms in zip(CHANNELS, (*conversation.confirms, False), strict=True):
        talk.open_channel(channel, confirms=confirms)
    seen: list[object] = []
    for step in conversation.steps():
        pieces = cut(step.client)
        for number, piece in enumerate(pieces, 1):
            talk.client_bytes(piece, more and number < len(pieces))
        for piece in cut(step.broker):
            talk.broker_bytes(piece)
        if step.act is not None:
            step.act(talk)
        state = talk.session.conversation
        claims = [talk.claimed, [claim for request in talk.asked for claim in request.claims]]
        seen.append((state.held_bytes, state.partial_bytes, talk.tally.buffered_bytes, talk.reading))
        seen.append((state.examined, state.inflight, state.peer.last_sequence, picture(claims)))
    tally = {name: dict(getattr(talk.tally, name)) for name in _COUNTED}
    tally["key_use"] = {kid: use.plain() for kid, use in talk.tally.key_use.items()}
    return {
        "client": talk.to_client,
        "broker": talk.to_broker,
        "closed": talk.closed,
        "records": talk.records,
        "settled": (picture(talk.commits), picture(talk.releases), picture(talk.renewed)),
        "tally": tally,
        "numbers": (talk.tally.unconfirmed_refusals, talk.tally.stripped_headers),
        "state": (talk.session.conversation.state, talk.session.conversation.client_leg),
        "seen": seen,
    }


_COUNTED = (
    "messages",
    "task_messages",
    "key_messages",
    "limits_hit",
)


@pytest.mark.parametrize("policy", POLICIES)
def test_conversations_are_the_same_in_any_chunks(policy: str, full: bool) -> None:
    for number in range(CONVERSATIONS_AT_FULL_SIZE if full else CONVERSATIONS):
        whole = played(Conversation(policy, number), lambda data: [data] if data else [])
        for sizes, more in ((_SMALL, False), (_ANY, False), (_ANY, True)):
            cut = played(Conversation(policy, number), pieces_of(random.Random(number), sizes), more)
            for name, value in whole.items():
                assert cut[name] == value, f"conversation {number}, pieces of {sizes}, {more=}: {name}"


def test_one_more_policy_changes_no_conversation_under_the_others() -> None:
    more = {**POLICIES, "one more": Policy("another deployment")}
    for name in POLICIES:
        assert others(more, name) == others(POLICIES, name)
