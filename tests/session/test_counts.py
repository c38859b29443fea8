"""What is counted for a while and told then: who asks finds all of it, as if it had been told at once."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from sealgate.session import counts
from sealgate.session.conversation import Conversation, Role
from sealgate.session.counts import Counts
from sealgate.session.events import Disconnected, Instant, Ticked
from sealgate.session.keyuse import KeyUse
from sealgate.session.states import Side
from sealgate.verify.message import Peer
from sealgate.verify.verdict import Accepted
from support.talk import START_S, Talk, on, unsealed

NOW = 1_000_000.0


@pytest.mark.parametrize("tasks", [1, 3, counts.KEPT_MAX, 3 * counts.KEPT_MAX, counts.PLACES_MAX + 1])
@pytest.mark.parametrize("per_event", [1, 7, 100, 10_000])
def test_every_publish_is_counted_once_under_its_key(tasks: int, per_event: int) -> None:
    talk = Talk()
    counted = Counts(talk.session.conversation)
    expected: Counter[str] = Counter()
    messages = max(400, 2 * tasks)
    for number in range(messages):
        kid = f"k{number % tasks}"
        expected[kid] += 1
        counted.accept(Accepted(kid=kid, task=f"t{number % tasks}", expires=number + 1))
        assert counted._places <= counts.PLACES_MAX
        if number % per_event == 0:
            counted.tell()
            counted.tell()
            assert counted._places <= counts.KEPT_MAX
    assert {kid: count for (kid, _), count in talk.tally.key_messages.items()} == expected
    assert sum(talk.tally.messages.values()) == messages
    last = {f"k{number % tasks}": number + 1 for number in range(messages)}
    assert {kid: use.expires_latest for kid, use in talk.tally.key_use.items()} == last
    assert not talk.tally.untold


@pytest.mark.parametrize("seed", range(20))
def test_what_connections_tell_late_is_what_they_would_have_told_at_once(seed: int) -> None:
    """Messages of several connections over some minutes, each told at a time of its own within a second."""
    dice = random.Random(seed)
    terms = Talk().terms
    conversations = [Conversation(terms, Peer("prod", user=f"u{number}")) for number in range(3)]
    counted = [Counts(conversation) for conversation in conversations]
    told = [NOW] * len(counted)
    wanted: dict[str, KeyUse] = {}
    messages: Counter[tuple[str, str]] = Counter()
    now = NOW
    for number in range(600):
        now += dice.choice((0.001, 0.1, 0.1, 0.5, 3.0))
        for place, each in enumerate(counted):
            if now - told[place] >= 1.0:
                told[place] = now
                # The last event of those was then.
                each.tell()
        place = dice.randrange(len(counted))
        conversations[place].now = Instant(0.0, now)
        kid = dice.choice(("k1", "k2", "k3"))
        accepted = Accepted(kid, "", clock_skew_s=number / 8.0, expires=dice.randrange(10**6))
        counted[place].accept(accepted)
        messages[kid, "accepted"] += 1
        use = wanted.setdefault(kid, KeyUse())
        use.note(1, now, accepted.expires, f"u{place}")
        use.clock_skew_s = accepted.clock_skew_s
    terms.tally.settle()
    assert terms.tally.key_messages == messages
    assert {kid: use.plain() for kid, use in terms.tally.key_use.items()} == {
        kid: use.plain() for kid, use in wanted.items()
    }


def published() -> Talk:
    """A session that has taken a publish, and that nobody has asked yet."""
    talk = Talk().shake_hands().open_channel(1)
    talk.client_bytes(on(1, *talk.sealed()))
    assert talk.terms.tally.untold
    assert not talk.terms.tally.messages
    return talk


def test_tick_tells() -> None:
    talk = published()
    talk.session.handle(Ticked(False, False, 0.0), talk.now)
    assert talk.terms.tally.messages == {("publish", "accepted", "ok"): 1}
    assert not talk.terms.tally.untold


def test_end_of_a_connection_tells_and_leaves_nothing_behind() -> None:
    talk = published()
    talk.session.handle(Disconnected(Side.CLIENT), talk.now)
    assert talk.terms.tally.messages == {("publish", "accepted", "ok"): 1}
    assert not talk.terms.tally.untold


def test_session_that_fails_tells() -> None:
    talk = published()
    talk.session.fail()
    assert talk.terms.tally.messages == {("publish", "accepted", "ok"): 1}
    assert not talk.terms.tally.untold


def test_end_that_was_told_is_not_told_again() -> None:
    """The evidence of a key that left and came back is none of before."""
    talk = Talk()
    counted = Counts(talk.session.conversation)
    for expires in (100, 50):
        counted.accept(Accepted(kid="k1", task="", expires=expires))
        assert talk.tally.key_use.pop("k1").expires_latest == expires


def test_new_minute_is_told_apart() -> None:
    talk = published()
    talk.mono = 61.0
    talk.client_bytes(on(1, *talk.sealed()))
    use = talk.tally.key_use["k1"]
    assert use.messages_last_hour(START_S + 60.0 * 61) == 1


def test_what_is_signed_is_told_with_its_event() -> None:
    talk = Talk(Role.SIGN).shake_hands().open_channel(1)
    talk.client_bytes(on(1, *unsealed()))
    assert talk.terms.tally.messages == {("publish", "signed", "ok"): 1}
