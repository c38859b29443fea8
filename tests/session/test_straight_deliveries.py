"""Judged deliveries in any chunks: whole ones are taken in one step, pieces frame by frame.

The same octets, whole and in small pieces that no delivery lies whole in: both peers must hear the same, and
the same must be kept, counted, asked and remembered.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pamqp import body, commands

from differential.picture import picture
from sealgate.session.conversation import Role
from sealgate.session.events import Ticked
from sealgate.session.limits import Limits
from sealgate.session.states import State
from sealgate.verify.delivery import DeliveryPolicy, QueueTerms
from sealgate.verify.verdict import GRANTED, Claim, ClaimOutcome, ClaimStatus
from sealgate.wire.constants import FRAME_HEADER, FRAME_METHOD
from sealgate.wire.frames import encode_frame
from sealgate.wire.properties import read_body_size
from sealgate.wire.splitter import FrameSplitter
from support.likeness import Producer
from support.likeness_attacks import ATTACKS
from support.policies import POLICIES, keyrings
from support.talk import CHALLENGE, START_S, Talk, on, sealed, unsealed

Basic = commands.Basic
SEEDS = 24
SEEDS_AT_FULL_SIZE = 3000
PARTS = 4
STEPS = 24
#: By channel: the consumer's tag, its queue, and whether it has no acknowledgements.
CONSUMERS = {1: ("c1", "celery", False), 2: ("c2", "celery", True), 3: ("c3", "once", False)}
ONCE = DeliveryPolicy(queues=(QueueTerms("*", once=True),))
POLICY = DeliveryPolicy(queues=(QueueTerms("once", once=True),), tasks=("app.*",))
_LIMITS = (Limits(), Limits(), Limits(body_bytes_max=330))
_COUNTED = ("messages", "task_messages", "key_messages", "limits_hit")


class Conversation:
    """What is said and done, all of it from a seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.producer = Producer(self.dice, CHALLENGE)
        self.policy = list(POLICIES.values())[seed % len(POLICIES)] if seed % 2 else POLICIES["plain"]
        self.limits = self.dice.choice(_LIMITS)
        self.frame_max = self.dice.choice((4096, 131_072))
        self.tags = dict.fromkeys(CONSUMERS, 0)
        #: Tags that the client may have, by channel.
        self.good: dict[int, list[int]] = {channel: [] for channel in CONSUMERS}

    def steps(self) -> Iterator[tuple[str, Any]]:
        dice = self.dice
        for _ in range(STEPS):
            yield "broker", b"".join([self.told() for _ in range(dice.randrange(1, 4))])
            if dice.random() < 0.8:
                yield "client", b"".join([self.said() for _ in range(dice.randrange(1, 3))])
            roll = dice.random()
            if roll < 0.2:
                yield "wait", dice.choice((0.01, 1.0, 3.0, 30.0))
            elif roll < 0.25:
                yield "keyring", dice.choice(keyrings(int(START_S))[:3])
            elif roll < 0.3:
                yield "policy", dice.choice([*POLICIES.values()])
            yield "claims", None

    def told(self) -> bytes:
        """A run of deliveries on one channel, now and then with something else in between."""
        dice = self.dice
        channel = dice.choice((1, 1, 1, 2, 3))
        frames = [self.delivery(channel) for _ in range(dice.choice((1, 2, 9)))]
        if dice.random() < 0.1:
            frames.insert(
                0, on(channel, dice.choice((Basic.Ack(1), Basic.QosOk(), commands.Queue.PurgeOk(1))))
            )
        return b"".join(frames)

    def delivery(self, channel: int) -> bytes:
        dice = self.dice
        attack = dice.choice(ATTACKS) if dice.random() < 0.1 else ""
        publish = self.producer.next(START_S, attack)
        while read_body_size(publish.header) != len(publish.body):
            # No broker delivers half a message.
            publish = self.producer.next(START_S, "")
        self.tags[channel] += 1
        tag = self.tags[channel]
        if not attack and channel != 2:
            self.good[channel].append(tag)
        name = CONSUMERS[channel][0] if dice.random() < 0.98 else "nobody"
        method = Basic.Deliver(name, tag, dice.random() < 0.1, publish.exchange, publish.routing_key)
        frames = [on(channel, method), encode_frame(FRAME_HEADER, channel, publish.header)]
        rest = publish.body
        while rest:
            size = len(rest) if dice.random() < 0.9 else dice.randrange(1, len(rest) + 1)
            frames.append(on(channel, body.ContentBody(rest[:size])))
            rest = rest[size:]
        return b"".join(frames)

    def said(self) -> bytes:
        """Answers, most of them to what the client has."""
        dice = self.dice
        channel = dice.choice((1, 1, 3))
        good = self.good[channel]
        roll = dice.random()
        if roll < 0.7:
            count = min(dice.choice((1, 3, 20)), len(good))
            answered, self.good[channel] = good[:count], good[count:]
            kind = dice.choice((Basic.Ack, Basic.Ack, Basic.Ack, Basic.Reject))
            return on(channel, *[kind(tag) for tag in answered])
        if roll < 0.8 and good:
            self.good[channel] = good[1:]
            return on(channel, Basic.Ack(good[0], True))
        if roll < 0.82:
            return on(channel, Basic.Ack(99_999))
        if roll < 0.84:
            return on(channel, Basic.Recover(True))
        if roll < 0.88:
            ack = Basic.Ack(good[0]) if good else Basic.Ack(0, True)
            return on(channel, ack, ack)
        if roll < 0.9:
            return encode_frame(FRAME_METHOD, channel, b"\x00\x3c\x00\x50" + bytes(7))
        return on(channel, Basic.Qos(prefetch_count=9))


def outcome(claim: Claim) -> ClaimOutcome:
    return ClaimOutcome(ClaimStatus.DUPLICATE) if claim.digest[0] < 30 else GRANTED


def played(seed: int, sizes: tuple[int, ...]) -> dict[str, Any]:
    """All there is to see and to ask for; the octets in pieces of these sizes, () for whole."""
    conversation, dice = Conversation(seed), random.Random(seed)
    talk = Talk(
        Role.SIGN,
        conversation.policy,
        conversation.limits,
        delivery=POLICY,
        outcomes=outcome,
        answer_claims=False,
    )
    talk.terms.verifier.keyring = keyrings(int(START_S))[0]
    talk.shake_hands(tune=(2047, conversation.frame_max, 0))
    for channel, (tag, queue, no_ack) in CONSUMERS.items():
        talk.open_channel(channel)
        talk.client(channel, Basic.Consume(queue=queue, consumer_tag=tag, no_ack=no_ack))
        talk.broker(channel, Basic.ConsumeOk(tag))
    seen: list[object] = []
    for what, value in conversation.steps():
        if what in ("broker", "client"):
            give = talk.broker_bytes if what == "broker" else talk.client_bytes
            while value:
                size = dice.choice(sizes) if sizes else len(value)
                give(value[:size])
                value = value[size:]
        elif what == "wait":
            talk.wait(value)
            talk.give(Ticked())
        elif what == "claims":
            while talk.delivery_claims:
                talk.answer_delivery_claims()
        else:
            setattr(talk.terms.verifier, what, value)
        state = talk.session.conversation
        seen.append((state.partial_bytes, talk.tally.buffered_bytes, state.examined, talk.reading_broker))
        seen.append((len(talk.records), len(talk.to_client), len(talk.to_broker)))
    tally = talk.tally
    return {
        "client": talk.to_client,
        "broker": talk.to_broker,
        "closed": talk.closed,
        # Those that are rejected are told after those that are not, of one event.
        "records": sorted([(r.channel, r.body, r.header, repr(r)) for r in talk.records]),
        "settled": (picture(talk.commits), picture(talk.releases), picture(talk.renewed)),
        "tally": {name: dict(getattr(tally, name)) for name in _COUNTED},
        "keys": {kid: (use.last_used, use.expires_latest) for kid, use in tally.key_use.items()},
        "waits": {task: picture(histogram) for task, histogram in tally.queue_wait.items()},
        "accepted": tally.messages["deliver", "accepted", "ok"],
        "state": (state.state, state.client_leg),
        "seen": seen,
    }


@pytest.mark.parametrize("part", range(PARTS))
def test_deliveries_are_the_same_in_any_chunks(part: int, full: bool) -> None:
    accepted = 0
    for seed in range(part, SEEDS_AT_FULL_SIZE if full else SEEDS, PARTS):
        whole = played(seed, ())
        cut = played(seed, (1, 3, 20, 63))
        for name, value in whole.items():
            assert cut[name] == value, f"seed {seed}: {name}"
        accepted += whole["accepted"]
    # It shows little unless many are handed over.
    assert accepted > 100


@pytest.mark.parametrize("payload", [b"", b"x", b"x" * 900])
def test_memory_limit_is_the_same_in_any_chunks(payload: bytes) -> None:
    """At the limit a delivery is let in, an octet over it the connection ends."""
    deliver = on(1, Basic.Deliver("c1", 1, False, "", "q"), *sealed(payload)[1:])
    probe = consuming(Talk(Role.SIGN, delivery=ONCE, answer_claims=False))
    probe.broker_bytes(deliver)
    size = probe.session.conversation.partial_bytes
    for room in (0, -1):
        told = []
        for pieces in ([deliver], [deliver[at : at + 1] for at in range(len(deliver))]):
            limits = Limits(connection_bytes_max=size + room)
            talk = consuming(Talk(Role.SIGN, limits=limits, delivery=DeliveryPolicy()))
            for piece in pieces:
                talk.broker_bytes(piece)
            told.append((talk.to_client, talk.closed))
        assert told[0] == told[1]
        assert (b"conn.memory" in told[0][0]) == (room < 0)


def consuming(talk: Talk) -> Talk:
    talk.shake_hands().open_channel(1)
    talk.client(1, Basic.Consume(queue="q", consumer_tag="c1"))
    talk.broker(1, Basic.ConsumeOk("c1"))
    talk.to_client = talk.to_broker = b""
    return talk


def test_delivery_without_acknowledgements_has_none_outstanding() -> None:
    talk = Talk(Role.SIGN, delivery=DeliveryPolicy()).shake_hands().open_channel(1)
    talk.client(1, Basic.Consume(queue="q", consumer_tag="c1", no_ack=True))
    talk.broker(1, Basic.ConsumeOk("c1"), Basic.Deliver("c1", 1, False, "", "q"), *sealed()[1:])
    assert talk.tally.messages["deliver", "accepted", "ok"] == 1
    talk.to_client = talk.to_broker = b""
    talk.client(1, Basic.Ack(1))
    assert b"unknown delivery tag 1" in talk.to_client


@pytest.mark.replaces_core
@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize(
    "answer",
    [lambda tag: Basic.Ack(tag), lambda tag: Basic.Ack(tag, tag % 2 == 0), lambda tag: Basic.Reject(tag)],
)
def test_answers_are_looked_at_a_few_times_each(
    answer: Callable[[int], Any], once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or one client, with a segment of them, would hold up all others for seconds."""
    many = 500
    looked = 0
    alike_ahead = FrameSplitter.alike_ahead

    def counted(self: FrameSplitter) -> tuple[bytes, int, int]:
        nonlocal looked
        found = alike_ahead(self)
        looked += (found[2] - found[1]) // len(on(1, Basic.Ack(1)))
        return found

    monkeypatch.setattr(FrameSplitter, "alike_ahead", counted)
    talk = consuming(Talk(Role.SIGN, delivery=ONCE if once else DeliveryPolicy()))
    for tag in range(1, many + 1):
        talk.broker(1, Basic.Deliver("c1", tag, False, "", "q"), *talk.sealed()[1:])
    talk.client_bytes(b"".join([on(1, answer(tag)) for tag in range(1, many + 1)]))
    assert talk.session.conversation.state is State.RUNNING and looked < 100 * many


def test_acknowledgement_waits_for_the_get_before_it() -> None:
    talk = consuming(Talk(Role.SIGN, delivery=DeliveryPolicy()))
    talk.broker(1, Basic.Deliver("c1", 1, False, "", "q"), *sealed()[1:])
    talk.to_broker = b""
    get = on(1, Basic.Get(queue="q"))
    talk.client_bytes(get + on(1, Basic.Ack(1)))
    assert talk.to_broker == get
    talk.broker(1, Basic.GetEmpty())
    assert talk.to_broker == get + on(1, Basic.Ack(1))


def test_octets_of_deliveries_that_were_taken_are_let_go() -> None:
    """Of what is handed over, and of what is refused, nobody would count them."""
    good = on(1, Basic.Deliver("c1", 1, False, "", "q"), *sealed()[1:])
    forged = on(1, Basic.Deliver("c1", 1, False, "", "q"), *unsealed()[1:])
    for delivery in (good, forged):
        talk = consuming(Talk(Role.SIGN, delivery=DeliveryPolicy()))
        data = delivery * 2
        others = sys.getrefcount(data)
        talk.broker_bytes(data)
        straight = talk.session._deliveries._straight  # type: ignore[union-attr]
        assert (straight.content, straight.verdict) == (None, None)
        talk.records.clear()
        talk.heard_by_client()
        assert sys.getrefcount(data) == others


def test_method_of_a_broker_that_is_far_too_long_is_not_remembered() -> None:
    """It passes, as ever: nobody would count what is kept of it."""
    talk = consuming(Talk(Role.SIGN, delivery=DeliveryPolicy()))
    deliver = on(1, Basic.Deliver("c1", 1, False, "", "q"))[7:-1] + bytes(5000)
    data = encode_frame(FRAME_METHOD, 1, deliver) + on(1, *sealed()[1:])
    talk.broker_bytes(data)
    assert talk.tally.messages["deliver", "accepted", "ok"] == 1
    assert talk.session._deliveries._straight._source is None  # type: ignore[union-attr]
