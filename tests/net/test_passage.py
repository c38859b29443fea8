"""Bytes of a running session: sent first, counted after that; the rest is left to the relay."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from pamqp import body, commands

from sealgate.net.leg import Leg
from sealgate.net.passage import Passage
from sealgate.session import commands as do
from sealgate.session.conversation import Role
from sealgate.session.incoming import TURN_PUBLISHES
from sealgate.session.states import Side, State
from support.talk import Talk, decode, methods_of, on, sealed, unsealed


class Transport:
    """Takes what is written, and says what `written` finds at that moment."""

    def __init__(self, written: Callable[[], object]) -> None:
        self.data = b""
        self.seen: list[object] = []
        self._written = written

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def write(self, data: bytes | memoryview) -> None:
        self.data += data
        self.seen.append(self._written())

    def writelines(self, parts: list[bytes | memoryview]) -> None:
        self.write(b"".join(parts))


class Carrier:
    """The relay, as a passage and its legs see it."""

    def __init__(self) -> None:
        self.commands: list[do.Command] = []
        self.failures = 0
        self.causes = 0

    def carry_out(self, commands: list[do.Command]) -> None:
        self.commands += commands

    def failed(self) -> None:
        self.failures += 1

    def tell_cause(self) -> None:
        self.causes += 1

    def connected(self, leg: Leg) -> None:
        pass

    def received(self, leg: Leg, data: bytes) -> None:
        raise AssertionError("past the passage")

    def hung_up(self, leg: Leg) -> None:
        pass

    def lost(self, leg: Leg) -> None:
        pass

    def congested(self, leg: Leg, on: bool) -> None:
        pass


class Set:
    """A session with an open channel, its passage, and legs on transports that only note."""

    def __init__(self, role: Role, written: Callable[[Talk], object] = lambda _: None) -> None:
        self.talk = talk = Talk(role=role).shake_hands().open_channel(confirms=True)
        self.carrier = Carrier()
        self.client = Leg(self.carrier, Side.CLIENT)
        self.upstream = Leg(self.carrier, Side.UPSTREAM)
        self.to_client, self.to_broker = (Transport(lambda: written(talk)) for _ in Side)
        self.client.connection_made(cast("object", self.to_client))  # type: ignore[arg-type]
        self.upstream.connection_made(cast("object", self.to_broker))  # type: ignore[arg-type]
        seconds = talk.tally.verify_seconds
        store = cast("Any", None)  # nothing is settled here
        passage = Passage(self.carrier, talk.session, self.client, self.upstream, store, seconds)
        self.client.passage = self.upstream.passage = passage


def _signed(talk: Talk) -> int:
    return int(talk.tally.messages["publish", "signed", "ok"])


def test_a_publish_is_sent_before_it_is_counted_and_its_confirm_comes_back() -> None:
    it = Set(Role.SIGN, _signed)
    it.client.data_received(on(1, *unsealed()))
    assert methods_of([part for _, part in decode(it.to_broker.data)])[0] == "Basic.Publish"
    assert it.to_broker.seen == [0]
    assert _signed(it.talk) == 1
    assert sum(it.talk.tally.verify_seconds.counts) == 1
    ack = on(1, commands.Basic.Ack(1, False))
    it.upstream.data_received(ack)
    assert it.to_client.data == ack
    assert it.carrier.commands == []
    assert it.talk.session.idle


def test_what_is_more_than_bytes_is_for_the_relay() -> None:
    it = Set(Role.VERIFY)
    it.client.data_received(on(1, *sealed(now=time.time())))
    (asked,) = it.carrier.commands
    assert isinstance(asked, do.RequestClaims)
    assert it.to_broker.data == b""


def test_the_reason_to_close_is_told() -> None:
    it = Set(Role.VERIFY)
    it.client.data_received(b"nonsense" * 2)
    assert it.carrier.causes == 1
    assert methods_of([part for _, part in decode(it.to_client.data)]) == ["Connection.Close"]


def test_a_bug_while_sending_is_the_relays_to_end() -> None:
    def broken(_: Talk) -> object:
        raise RuntimeError("a bug")

    it = Set(Role.SIGN, broken)
    it.client.data_received(on(1, *unsealed()))
    assert it.carrier.failures == 1


@pytest.mark.parametrize("side", Side)
def test_a_session_in_error_forwards_nothing(side: Side) -> None:
    it = Set(Role.SIGN)
    it.talk.session.fail()
    leg = it.client if side is Side.CLIENT else it.upstream
    leg.data_received(on(1, *unsealed()))
    assert it.talk.session.conversation.state is State.ERROR
    assert (it.to_broker.data, it.to_client.data, it.carrier.commands) == (b"", b"", [])


def many(talk: Talk) -> list[bytes]:
    """Publishes that are taken in two turns."""
    return [on(1, *unsealed(b"%04d" % number * 5)) for number in range(3 * TURN_PUBLISHES)]


def test_what_one_turn_has_taken_is_sent_before_the_next_one() -> None:
    it = Set(Role.SIGN, lambda _: len(it.to_broker.data))
    publishes = many(it.talk)
    it.client.data_received(b"".join(publishes))
    bodies = [part.value for _, part in decode(it.to_broker.data) if isinstance(part, body.ContentBody)]
    assert bodies == [b"%04d" % number * 5 for number in range(len(publishes))]
    first, all_of_it = it.to_broker.seen
    assert all_of_it == len(it.to_broker.data)
    sent = decode(it.to_broker.data[: cast("int", first)])
    assert sum(isinstance(part, body.ContentBody) for _, part in sent) == TURN_PUBLISHES
    assert _signed(it.talk) == len(publishes)
    assert it.carrier.commands == []


def test_what_is_more_than_bytes_waits_for_all_turns() -> None:
    """What the store is asked goes there in one, with all that is to be sent."""
    it = Set(Role.VERIFY)
    now = time.time()
    publishes = [on(1, *sealed(b"x" * 2000, now=now)) for _ in range(50)]
    it.client.data_received(b"".join(publishes))
    (asked,) = it.carrier.commands
    assert isinstance(asked, do.RequestClaims)
    assert len(asked.publications) == 50


def test_a_bug_in_a_later_turn_sends_nothing_more() -> None:
    writes: list[int] = []

    def broken(_: Talk) -> object:
        writes.append(1)
        if len(writes) == 2:
            raise RuntimeError("a bug")
        return None

    it = Set(Role.SIGN, broken)
    it.client.data_received(b"".join(many(it.talk)))
    assert it.carrier.failures == 1
    assert len(writes) == 2
