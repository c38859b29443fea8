"""A tick that would do nothing is left out: who does so tells the same, at the same time, as who does not."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from pamqp import body, commands, header, heartbeat

from sealgate.session.events import BytesReceived, ClaimsAnswered, DrainAsked, Ticked
from sealgate.session.states import Side
from sealgate.verify.verdict import GRANTED
from support.talk import Talk, on

SEEDS = 60
TICKS = 150


class Both:
    """The same conversation twice: each tick is given to one of them, and the other is asked first."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        interval = dice.choice((0, 1, 2, 5, 60))
        answers = dice.random() < 0.7
        self.talks = [Talk(answer_claims=answers) for _ in range(2)]
        self.talks[1].looks_first = False
        for talk in self.talks:
            talk.shake_hands(tune=(2047, 131072, interval)).open_channel(1, confirms=True)
        self.silent = dice.random() < 0.2

    def tick(self) -> None:
        # These add up exactly, in whatever order.
        late_s = self.dice.choice((0.0, 0.0, 0.125, 0.25, 4.0))
        paused = (self.dice.random() < 0.05, self.dice.random() < 0.05)
        for talk in self.talks:
            talk.wait(1.0 + late_s)
        for talk in self.talks:
            talk.give(Ticked(*paused, late_s))

    def say(self) -> None:
        dice = self.dice
        roll = dice.randrange(40)
        beat = on(0, heartbeat.Heartbeat())
        if roll > 10 and not self.silent:
            for talk in self.talks:
                talk.give(BytesReceived(Side.CLIENT, beat))
                talk.give(BytesReceived(Side.UPSTREAM, beat))
        elif roll == 3:
            # Perhaps without its end, so that what comes next is no frame in its place.
            parts = dice.choice((1, 2, 3, 3, 3, 3, 3))
            for talk in self.talks:
                talk.client_bytes(on(1, *talk.sealed()[:parts]))
        elif roll == 4:
            for talk in self.talks:
                talk.client_bytes(on(1, *talk.sealed()))
        elif roll == 5:
            for talk in self.talks:
                asked, talk.asked = talk.asked, []
                for request in asked:
                    talk.give(ClaimsAnswered(request.publications, [GRANTED] * len(request.publications)))
        elif roll == 6 and dice.random() < 0.2:
            for talk in self.talks:
                talk.broker(0, commands.Connection.Blocked("low on memory"))
        elif roll == 7 and dice.random() < 0.5:
            for talk in self.talks:
                talk.broker(0, commands.Connection.Unblocked())
        elif roll == 8 and dice.random() < 0.2:
            for talk in self.talks:
                talk.client(2, commands.Channel.Open())
        elif roll == 9 and dice.random() < 0.1:
            for talk in self.talks:
                talk.give(DrainAsked())
        elif roll == 10 and dice.random() < 0.1:
            for talk in self.talks:
                talk.client(1, commands.Channel.Close(200, "", 0, 0))

    def check(self) -> None:
        one, other = self.talks
        assert one.to_client == other.to_client
        assert one.to_broker == other.to_broker
        assert one.closed == other.closed
        assert len(one.renewed) == len(other.renewed)
        assert one.tally.messages == other.tally.messages
        assert one.tally.limits_hit == other.tally.limits_hit
        assert one.session.conversation.state is other.session.conversation.state


BEAT = on(0, heartbeat.Heartbeat())


def told(talk: Talk, second: int) -> None:
    talk.give(BytesReceived(Side.UPSTREAM, BEAT))


def blocked_for_a_while(talk: Talk, second: int) -> None:
    told(talk, second)
    if second == 40:
        talk.broker(0, commands.Connection.Blocked("low on memory"))
    elif second == 50:
        talk.broker(0, commands.Connection.Unblocked())


def delivered_to(talk: Talk, second: int) -> None:
    delivery = commands.Basic.Deliver("c", second, False, "", "q")
    talk.broker(1, delivery, header.ContentHeader(body_size=1), body.ContentBody(b"x"))


@pytest.mark.parametrize("happens", [told, blocked_for_a_while, delivered_to])
@pytest.mark.parametrize("late_s", [0.0, 0.25, 0.875])
@pytest.mark.parametrize("interval", [7, 60])
def test_client_that_is_silent_is_judged_at_the_same_moment(
    happens: Callable[[Talk, int], None], late_s: float, interval: int
) -> None:
    closed = []
    for looks_first in (True, False):
        talk = Talk().shake_hands(tune=(2047, 131072, interval)).open_channel(1)
        talk.looks_first = looks_first
        second = 0
        while Side.CLIENT not in talk.closed:
            second += 1
            happens(talk, second)
            talk.wait(1.0 + late_s)
            talk.give(Ticked(late_s=late_s))
        assert (talk.rested > 0) is looks_first
        closed.append((second, talk.to_client, talk.to_broker))
    assert closed[0] == closed[1]


def test_how_late_ticks_came_before_a_peer_was_heard_is_no_excuse_for_its_silence() -> None:
    closed = []
    for looks_first in (True, False):
        talk = Talk().shake_hands(tune=(2047, 131072, 60)).open_channel(1)
        talk.looks_first = looks_first
        second = 0
        while Side.CLIENT not in talk.closed:
            second += 1
            talk.wait(1.5)
            if second < 400:
                # What each side says goes to the other one: neither is sent a heartbeat.
                talk.client_bytes(on(1, *talk.sealed()))
                delivered_to(talk, second)
            told(talk, second)
            talk.give(Ticked(late_s=0.5))
        assert (talk.rested > 0) is looks_first
        closed.append(second)
    assert closed[0] == closed[1]


@pytest.mark.parametrize("part", range(3))
def test_ticks_left_out_change_nothing(part: int) -> None:
    rested = 0
    for seed in range(part, SEEDS, 3):
        both = Both(random.Random(seed))
        for _ in range(TICKS):
            both.say()
            both.tick()
            both.check()
        rested += both.talks[0].rested
        assert both.talks[1].rested == 0
    assert rested > TICKS
