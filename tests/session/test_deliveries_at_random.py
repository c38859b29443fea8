"""Random conversations about deliveries, against a model of RabbitMQ's queue and of its rules for tags.

Whatever the client answers and quarantine takes: no forged message is seen, no tag that is not outstanding
reaches the broker, nothing leaves the queue that was not acknowledged by the client or kept before, and
prefetch never runs dry.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
from pamqp import body, commands, header

from sealgate.session.conversation import Role
from sealgate.session.events import Ticked
from sealgate.verify.delivery import DeliveryPolicy, QueueTerms
from sealgate.verify.verdict import GRANTED, Claim, ClaimOutcome, ClaimStatus
from support.talk import Talk, decode, on, sealed

Basic = commands.Basic
SEEDS = range(60)
MESSAGES = 40
PREFETCH = 5


class Broker:
    """One queue and its one consumer on channel 1, with a prefetch."""

    def __init__(self, messages: list[bytes]) -> None:
        self.queue: deque[bytes] = deque(messages)
        self.unacked: dict[int, bytes] = {}
        self.gone: list[bytes] = []
        self._tag = 0
        self._sealed = {name: sealed(name, "q")[1:] for name in messages if not name.startswith(b"evil")}

    def content(self, name: bytes) -> list[Any]:
        if name in self._sealed:
            return self._sealed[name]
        properties = Basic.Properties(content_type="text/plain")
        return [header.ContentHeader(body_size=len(name), properties=properties), body.ContentBody(name)]

    def deliveries(self) -> list[Any]:
        """As many as the prefetch allows."""
        parts: list[Any] = []
        while self.queue and len(self.unacked) < PREFETCH:
            name = self._take()
            parts += [Basic.Deliver("tag", self._tag, False, "", "q"), *self.content(name)]
        return parts

    def _take(self) -> bytes:
        self._tag += 1
        name = self.unacked[self._tag] = self.queue.popleft()
        return name

    def hear(self, method: Any) -> list[Any]:
        """What the client's side says; the answer. A tag that is not outstanding would close the channel."""
        if isinstance(method, Basic.Get):
            if not self.queue:
                return [Basic.GetEmpty()]
            name = self._take()
            return [Basic.GetOk(self._tag, False, "", "q", 0), *self.content(name)]
        if isinstance(method, Basic.Recover):
            self._settle(list(self.unacked), requeue=True)
            return [Basic.RecoverOk()]
        multiple = getattr(method, "multiple", False)
        tag = method.delivery_tag
        if not (multiple and not tag):
            assert tag in self.unacked, f"406 unknown delivery tag {tag}"
        tags = [each for each in self.unacked if not tag or each <= tag] if multiple else [tag]
        requeue = not isinstance(method, Basic.Ack) and method.requeue
        self._settle(tags, requeue)
        return []

    def _settle(self, tags: list[int], requeue: bool) -> None:
        names = [self.unacked.pop(tag) for tag in tags]
        if requeue:
            self.queue.extendleft(reversed(names))
        else:
            self.gone += names


class Play:
    """One conversation, from a seed."""

    def __init__(self, seed: int, once: bool) -> None:
        self.dice = random.Random(seed)
        names = [b"%s %d" % (self.dice.choice([b"good", b"evil"]), n) for n in range(MESSAGES)]
        self.broker = Broker(names)
        policy = DeliveryPolicy(queues=(QueueTerms("q", once=once),))
        self.talk = Talk(Role.SIGN, delivery=policy, keeps=None, answer_claims=False, outcomes=self.outcome)
        self.talk.shake_hands(tune=(2047, 131072, 0)).open_channel(1)
        self.talk.client(1, Basic.Consume(queue="q", consumer_tag="tag"))
        self.talk.broker(1, Basic.ConsumeOk("tag"))
        self.talk.to_client = self.talk.to_broker = b""
        self.has: list[int] = []
        self.names: dict[int, bytes] = {}
        self.acknowledged: set[bytes] = set()
        self.getting = False

    def outcome(self, claim: Claim) -> ClaimOutcome:
        waits = self.dice.random() < 0.2
        return ClaimOutcome(ClaimStatus.INFLIGHT) if waits else GRANTED

    def run(self) -> None:
        for _ in range(600):
            self.dice.choice([self.deliver, self.answer, self.keep, self.claim, self.tick, self.odd])()
            self.exchange()
        self.finish()

    def exchange(self) -> None:
        """What each side has said reaches the other."""
        while self.talk.to_broker:
            data, self.talk.to_broker = self.talk.to_broker, b""
            for _, method in decode(data):
                self.talk.broker(1, *self.broker.hear(method))
        data, self.talk.to_client = self.talk.to_client, b""
        tag = 0
        for _, part in decode(data):
            if isinstance(part, Basic.Deliver | Basic.GetOk):
                tag = part.delivery_tag
                self.getting = self.getting and not isinstance(part, Basic.GetOk)
                assert tag in self.broker.unacked or isinstance(part, Basic.Deliver)
            elif isinstance(part, body.ContentBody):
                assert part.value.startswith(b"good"), part.value
                assert self.broker.unacked[tag] == part.value
                self.has.append(tag)
                self.names[tag] = part.value
            elif isinstance(part, Basic.GetEmpty):
                self.getting = False
            else:
                assert isinstance(part, header.ContentHeader | Basic.RecoverOk), part

    def deliver(self) -> None:
        data = on(1, *self.broker.deliveries())
        whole = self.dice.random() < 0.5
        while data:
            size = len(data) if whole else self.dice.randint(1, 400)
            self.talk.broker_bytes(data[:size])
            data = data[size:]

    def answer(self) -> None:
        if not self.has or self.getting:
            return
        tag = self.dice.choice(self.has)
        multiple = self.dice.random() < 0.4
        settled = [each for each in self.has if each <= tag] if multiple else [tag]
        if multiple and self.dice.random() < 0.3:
            tag, settled = 0, list(self.has)
        self.has = [each for each in self.has if each not in settled]
        roll = self.dice.random()
        if roll < 0.4:
            self.acknowledged |= {self.names[each] for each in settled}
            self.talk.client(1, Basic.Ack(tag, multiple))
        elif roll < 0.7:
            # In one write, each by itself.
            self.acknowledged |= {self.names[each] for each in settled}
            self.talk.client(1, *[Basic.Ack(each) for each in settled])
        else:
            self.talk.client(1, Basic.Nack(tag, multiple, True))

    def keep(self) -> None:
        if self.talk.keeping:
            self.talk.kept(self.dice.random() < 0.8)

    def claim(self) -> None:
        if self.talk.delivery_claims:
            self.talk.answer_delivery_claims()

    def tick(self) -> None:
        self.talk.wait(self.dice.choice([0.5, 3.0]))
        self.talk.give(Ticked())

    def odd(self) -> None:
        if self.getting:
            return
        if self.dice.random() < 0.1:
            self.has.clear()
            self.talk.client(1, Basic.Recover(True))
        elif self.dice.random() < 0.3:
            self.getting = True
            self.talk.client(1, Basic.Get(queue="q"))

    def finish(self) -> None:
        """Everything is answered until nothing is left: all that is good was acknowledged, the rest kept."""
        for _ in range(3000):
            if not self.broker.queue and not self.broker.unacked:
                break
            self.tick()
            self.exchange()
            for step in (self.claim, self.keep, self.deliver):
                step()
                self.exchange()
            if self.has and not self.getting:
                self.acknowledged |= {self.names[each] for each in self.has}
                self.has.clear()
                self.talk.client(1, Basic.Ack(0, True))
                self.exchange()
        assert not self.broker.queue and not self.broker.unacked
        kept = {record.body for record in self.talk.records}
        for name in self.broker.gone:
            assert name in (kept if name.startswith(b"evil") else self.acknowledged), name
        assert self.talk.closed == []
        assert self.talk.tally.buffered_bytes == 0


@pytest.mark.parametrize("once", [False, True], ids=["any", "once"])
@pytest.mark.parametrize("seed", SEEDS)
def test_conversation(seed: int, once: bool) -> None:
    Play(seed, once).run()
