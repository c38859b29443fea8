"""A store that is asked while a message is decided, or with a command: the same conversation.

The store is the memory store. What each channel says to the broker and the client hears on it, what is kept
and counted, and what the store remembers in the end must not hang on who asks it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from pamqp import commands

from sealgate.session import commands as do
from sealgate.session.conversation import Confirmed
from sealgate.session.events import Ticked
from sealgate.stores.memory import MemoryStore
from sealgate.verify.policy import Rule
from sealgate.verify.rates import RateTable
from sealgate.verify.verdict import Claim, ClaimOutcome
from support.talk import START_S, Spoken, Talk, generic_policy, methods_of, on, sealed, unsealed

CHANNELS = (1, 2)
BLOCKS = 15
Cut = Callable[[bytes], list[bytes]]


class Stored(Talk):
    """A conversation with a memory store, which is asked `at_once` or by commands."""

    def __init__(self, at_once: bool, **options: Any) -> None:
        self.store = MemoryStore(
            max_age_s=300,
            clock_skew_s=30,
            entries_max=40,
            # Started so long ago that it misses nothing.
            wall=lambda: self.now.wall if self.started else START_S - 1000,
            monotonic=lambda: self.mono,
        )
        self.started = False
        asyncio.run(self.store.start())
        super().__init__(
            prompt=self._claim_now if at_once else None,
            outcomes=self._asked,
            confirmed=Confirmed.NACK,
            **options,
        )
        self.started = True

    def _claim_now(self, claim: Claim) -> ClaimOutcome | None:
        return self.store.claim_now(claim, self.now.wall, self.now.mono)

    def _asked(self, claim: Claim) -> ClaimOutcome:
        outcomes: list[ClaimOutcome] = []
        self.store.claim([claim], outcomes.extend)
        return outcomes[0]

    def _carry_out(self, command: do.Command) -> None:
        super()._carry_out(command)
        if isinstance(command, do.SettleClaims):
            self.store.settle(command.commits, command.releases)
        elif isinstance(command, do.RenewClaims):
            self.store.renew(command.claims)


class Play:
    """One conversation, drawn from a seed as it goes on."""

    def __init__(self, seed: int, at_once: bool, cut: Cut) -> None:
        self._dice = dice = random.Random(seed)
        self._cut = cut
        policy = generic_policy(
            rates=RateTable({"*": "30/s"} if dice.random() < 0.5 else {}),
            rules=(Rule(exchange="", observe=True),) if dice.random() < 0.2 else (),
        )
        countersign = dice.random() < 0.15
        self.talk = Stored(at_once, policy=policy, countersign=countersign)
        #: Countersignatures have nonces, drawn in the order in which messages leave on all channels.
        self._channels = CHANNELS[:1] if countersign else CHANNELS
        self.confirms = dict(zip(CHANNELS, (True, dice.random() < 0.5), strict=True))
        self.talk.shake_hands("test", (2047, 131_072, 0))
        self._sent: list[tuple[int, list[Spoken]]] = []
        self._tags = dict.fromkeys(CHANNELS, 0)
        self._to_broker: dict[int, bytes] = dict.fromkeys(CHANNELS, b"")
        self._to_client: dict[int, bytes] = dict.fromkeys(CHANNELS, b"")
        for number in CHANNELS:
            self._open(number)

    def _open(self, number: int) -> None:
        self.talk.open_channel(number, confirms=self.confirms[number])
        self._tags[number] = 0

    def _client(self, data: bytes) -> None:
        for piece in self._cut(data):
            self.talk.client_bytes(piece)
        self._note()

    def _broker(self, *octets: bytes) -> None:
        for piece in self._cut(b"".join(octets)):
            self.talk.broker_bytes(piece)
        self._note()

    def _note(self) -> None:
        """Take what was said apart by channels."""
        for heard, by_channel in (
            (self.talk.to_broker, self._to_broker),
            (self.talk.to_client, self._to_client),
        ):
            at = 0
            while at < len(heard):
                number = int.from_bytes(heard[at + 1 : at + 3], "big")
                stop = at + 8 + int.from_bytes(heard[at + 3 : at + 7], "big")
                if number:
                    by_channel[number] += heard[at:stop]
                at = stop
        told = methods_of(self.talk.heard_by_broker())
        assert self.talk.heard_by_client() is not None
        self._published = told.count("Basic.Publish")

    def _message(self) -> list[Spoken]:
        dice = self._dice
        roll = dice.random()
        if roll < 0.15 and self._sent:
            return dice.choice(self._sent)[1]
        if roll < 0.2:
            return unsealed()
        nonce = dice.randrange(1000)
        return sealed(
            dice.randbytes(dice.choice((0, 1, 300))),
            routing_key=dice.choice("qr"),
            mandatory=dice.random() < 0.2,
            now=self.talk.now.wall,
            # Now and then the nonce of another message.
            dice=lambda size: (nonce if nonce < 900 else 7).to_bytes(size, "big"),
        )

    def run(self) -> dict[str, object]:
        dice, talk = self._dice, self.talk
        for _ in range(BLOCKS):
            block = b""
            for _ in range(dice.randrange(1, 9)):
                number, parts = dice.choice(self._channels), self._message()
                self._sent.append((number, parts))
                block += on(number, *parts)
                if dice.random() < 0.1:
                    block += on(number, commands.Queue.Declare(queue="q"))
            self._client(block)
            for _ in range(dice.randrange(4)):
                self._answer(dice.choice(CHANNELS))
            talk.wait(dice.choice((0.01, 0.01, 0.5, 4.0, 12.0)))
            talk.give(Ticked())
            if dice.random() < 0.1:
                self._close(2)
        store = talk.store._nonces
        return {
            "broker": self._to_broker,
            "client": self._to_client,
            "records": sorted(talk.records, key=lambda record: record.channel),
            "counts": (talk.tally.messages, talk.tally.key_messages, talk.tally.unconfirmed_refusals),
            "memory": (talk.session.conversation.held_bytes, talk.tally.buffered_bytes, talk.session.idle),
            "store": sorted(store.records(leased=True), key=lambda record: record.nonce_key),
            "limiter": talk.store._limiter._tats,
        }

    def _answer(self, number: int) -> None:
        """The broker answers one, some or all of what it was sent, or sends it back."""
        dice = self._dice
        if not self.confirms[number]:
            return
        published = self._to_broker[number].count(b"\x00\x3c\x00\x28\x00\x00")
        tag = dice.randrange(published + 1)
        multiple = dice.random() < 0.5
        returned = b""
        if self._sent and dice.random() < 0.3:
            other, (method, *content) = dice.choice(self._sent)
            if other == number and method.mandatory:
                back = commands.Basic.Return(312, "NO_ROUTE", method.exchange, method.routing_key)
                returned = on(number, back, *content)
        if tag or multiple:
            answer = commands.Basic.Ack(tag, multiple)
            if dice.random() < 0.2:
                answer = commands.Basic.Nack(tag, multiple)
            self._broker(returned, on(number, answer))

    def _close(self, number: int) -> None:
        self._client(on(number, commands.Channel.Close(200, "bye", 0, 0)))
        if self.confirms[number]:
            self._broker(on(number, commands.Basic.Ack(0, True)))
        self._broker(on(number, commands.Channel.CloseOk()))
        self._open(number)


def in_octets(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def whole(data: bytes) -> list[bytes]:
    return [data] if data else []


@pytest.mark.parametrize("start", range(0, 18, 6))
def test_who_asks_the_store_shows_in_nothing(start: int, full: bool) -> None:
    for seed in range(start, start + (400 if full else 6)):
        in_one = _same(seed, [Play(seed, at_once, whole) for at_once in (True, False)])
        if seed % 3 and not full:
            continue  # octet by octet it takes ten times as long
        in_pieces = _same(seed, [Play(seed, at_once, in_octets) for at_once in (True, False)])
        if all(Play(seed, True, whole).confirms.values()):
            # Without confirms a nonce is committed at the end of an event.
            assert in_one == in_pieces, f"seed {seed}"


def _same(seed: int, plays: list[Play]) -> dict[str, object]:
    told, other = [play.run() for play in plays]
    for name, value in told.items():
        assert value == other[name], f"seed {seed}: {name}"
    return told
