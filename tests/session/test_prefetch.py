"""What clients may hold unacknowledged: each `basic.qos` on its way upstream, and who hears its answer."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from sealgate.reason import GateError
from sealgate.session.conversation import Role
from sealgate.session.prefetch import CONSUMERS_MAX, UNANSWERED_MAX, Prefetch, PrefetchTerms
from sealgate.session.records import Tally
from sealgate.wire.constants import BASIC_CANCEL, BASIC_CONSUME, BASIC_CONSUME_OK, BASIC_QOS
from support.talk import Talk, on

Basic = commands.Basic
ROLES = [Role.VERIFY, Role.SIGN, Role.PASS]


def a_talk(role: Role = Role.VERIFY, **terms: int) -> Talk:
    return Talk(role=role, prefetch=PrefetchTerms(**terms)).shake_hands().open_channel(1)


def asked(talk: Talk) -> list[tuple[Any, ...]]:
    """What the broker was asked since: counts with their kind, and consumers."""
    found: list[tuple[Any, ...]] = []
    for part in talk.heard_by_broker():
        if part.name == "Basic.Qos":
            found.append((part.prefetch_count, part.global_))
        else:
            found.append((part.name,))
    return found


def qos(count: int, shared: bool = False, size: int = 0) -> Any:
    return Basic.Qos(size, count, shared)


def consume(tag: str = "", no_ack: bool = False, nowait: bool = False) -> Any:
    return Basic.Consume(queue="q", consumer_tag=tag, no_ack=no_ack, nowait=nowait)


CONSUMER = ("Basic.Consume",)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("count", "granted"), [(1, 1), (64, 64), (65, 64), (65_535, 64), (0, 64)])
def test_count_over_the_maximum_is_lowered(role: Role, shared: bool, count: int, granted: int) -> None:
    talk = a_talk(role, count_max=64)
    talk.client(1, qos(count, shared))
    assert asked(talk) == [(granted, shared)]
    talk.broker(1, Basic.QosOk())
    assert [part.name for part in talk.heard_by_client()][-1] == "Basic.QosOk"
    assert talk.tally.prefetch_limited["max"] == (count != granted)


@pytest.mark.parametrize("role", ROLES)
def test_count_within_the_maximum_goes_as_it_came(role: Role) -> None:
    talk = a_talk(role, count_max=64)
    talk.to_broker = b""
    data = on(1, qos(3))
    talk.client_bytes(data)
    assert talk.to_broker == data


@pytest.mark.parametrize("role", ROLES)
def test_consumer_without_a_count_gets_the_default_and_never_hears_of_it(role: Role) -> None:
    talk = a_talk(role, count_default=16)
    talk.heard_by_broker()
    talk.heard_by_client()
    talk.client(1, consume("a"), consume("b"))
    assert asked(talk) == [(16, False), CONSUMER, CONSUMER]
    talk.broker(1, Basic.QosOk(), Basic.ConsumeOk("a"), Basic.ConsumeOk("b"))
    assert [part.name for part in talk.heard_by_client()] == ["Basic.ConsumeOk", "Basic.ConsumeOk"]
    assert talk.tally.prefetch_limited == {"default": 1}
    assert talk.tally.prefetch_granted == 32


def test_default_is_the_maximum_where_none_is_given() -> None:
    talk = a_talk(count_max=64)
    talk.heard_by_broker()
    talk.client(1, consume())
    assert asked(talk) == [(64, False), CONSUMER]


@pytest.mark.parametrize("role", ROLES)
def test_answers_to_the_client_and_to_the_gate_are_told_apart_in_order(role: Role) -> None:
    talk = a_talk(role, count_max=64, count_default=16)
    talk.heard_by_broker()
    talk.heard_by_client()
    talk.client(1, consume("a"), qos(5), qos(70), consume("b"))
    assert asked(talk) == [(16, False), CONSUMER, (5, False), (64, False), CONSUMER]
    for answer, heard in (
        (Basic.QosOk(), []),
        (Basic.ConsumeOk("a"), ["Basic.ConsumeOk"]),
        (Basic.QosOk(), ["Basic.QosOk"]),
        (Basic.QosOk(), ["Basic.QosOk"]),
        (Basic.ConsumeOk("b"), ["Basic.ConsumeOk"]),
    ):
        talk.broker(1, answer)
        assert [part.name for part in talk.heard_by_client()] == heard
    assert talk.tally.prefetch_granted == 16 + 64


@pytest.mark.parametrize("role", ROLES)
def test_answers_are_told_apart_in_any_chunks(role: Role) -> None:
    told = []
    for size in (1, 5, 1000):
        talk = a_talk(role, count_default=16)
        talk.heard_by_client()
        said = on(1, consume("a"), qos(5), consume("b"))
        for at in range(0, len(said), size):
            talk.client_bytes(said[at : at + size])
        answers = on(1, Basic.QosOk(), Basic.ConsumeOk("a"), Basic.QosOk(), Basic.ConsumeOk("b"))
        answers += on(1, Basic.Cancel("a"))
        for at in range(0, len(answers), size):
            talk.broker_bytes(answers[at : at + size])
        told.append((talk.to_broker, talk.to_client, talk.tally.prefetch_granted))
    assert told[0] == told[1] == told[2]


def test_consumer_without_acknowledgements_is_left_alone() -> None:
    talk = a_talk(count_max=64)
    talk.heard_by_broker()
    talk.client(1, consume(no_ack=True))
    assert asked(talk) == [CONSUMER]
    assert talk.tally.prefetch_granted == 0


def test_shared_count_is_enough_for_the_consumers_of_its_channel() -> None:
    """Another one for each would be refused by quorum queues no less than the shared one."""
    talk = a_talk(count_max=64, count_default=16)
    talk.heard_by_broker()
    talk.client(1, qos(50, shared=True), consume("a"), consume("b"))
    assert asked(talk) == [(50, True), CONSUMER, CONSUMER]
    assert talk.tally.prefetch_granted == 50


def test_limit_of_octets_is_for_the_broker_to_refuse() -> None:
    talk = a_talk(count_max=64)
    data = on(1, qos(100, size=1))
    talk.to_broker = b""
    talk.client_bytes(data)
    assert talk.to_broker == data


def test_what_is_no_proper_method_is_for_the_broker_to_refuse() -> None:
    prefetch = Prefetch(PrefetchTerms(count_max=1), Tally())
    for method in (BASIC_QOS, BASIC_CONSUME, BASIC_CANCEL):
        payload = method.to_bytes(4, "big") + b"\1"
        assert prefetch.said(1, method, payload) == [payload]


# A connection together


def test_consumers_of_a_connection_share_its_maximum() -> None:
    talk = a_talk(count_max=64, connection_max=100)
    talk.open_channel(2)
    talk.heard_by_broker()
    talk.client(1, consume("a"))
    talk.client(2, consume("b"), consume("c"))
    assert asked(talk) == [(64, False), CONSUMER, (36, False), CONSUMER, (1, False), CONSUMER]
    assert talk.tally.prefetch_granted == 101
    assert talk.tally.prefetch_limited == {"default": 3, "connection": 2}


def test_shared_counts_are_of_the_connections_maximum_too() -> None:
    talk = a_talk(connection_max=100)
    talk.open_channel(2)
    talk.heard_by_broker()
    talk.client(1, qos(60, True))
    talk.client(2, qos(60, True))
    talk.client(1, qos(0, True))
    assert asked(talk) == [(60, True), (40, True), (60, True)]
    assert talk.tally.prefetch_granted == 100


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("how", ["cancel", "silent cancel", "broker", "close", "broker closes"])
def test_what_a_consumer_had_is_given_back_with_it(role: Role, how: str) -> None:
    talk = a_talk(role, count_max=64, connection_max=64)
    talk.client(1, consume("a"))
    talk.broker(1, Basic.QosOk(), Basic.ConsumeOk("a"))
    assert talk.tally.prefetch_granted == 64
    if how == "cancel":
        talk.client(1, Basic.Cancel("a"))
        talk.broker(1, Basic.CancelOk("a"))
    elif how == "silent cancel":
        talk.client(1, Basic.Cancel("a", True))
    elif how == "broker":
        talk.broker(1, Basic.Cancel("a", True))
    elif how == "close":
        talk.client(1, commands.Channel.Close(200, "", 0, 0))
        talk.broker(1, commands.Channel.CloseOk())
    else:
        talk.broker(1, commands.Channel.Close(404, "", 0, 0))
        talk.client(1, commands.Channel.CloseOk())
    assert talk.tally.prefetch_granted == 0


def test_channel_that_begins_anew_has_no_count() -> None:
    talk = a_talk(Role.PASS, count_default=16)
    talk.client(1, qos(5), commands.Channel.Close(200, "", 0, 0))
    talk.broker(1, Basic.QosOk(), commands.Channel.CloseOk())
    talk.open_channel(1)
    talk.heard_by_broker()
    talk.client(1, consume())
    assert asked(talk) == [(16, False), CONSUMER]


def test_nothing_is_counted_once_the_connection_is_over() -> None:
    talk = a_talk(count_max=64)
    talk.client(1, consume("a", nowait=True), qos(9, True))
    assert talk.tally.prefetch_granted == 9
    talk.client(0, commands.Connection.Close(200, "", 0, 0))
    talk.broker(0, commands.Connection.CloseOk())
    assert talk.tally.prefetch_granted == 0


# Limits


def test_client_that_waits_for_no_answer_is_cut_off() -> None:
    prefetch = Prefetch(PrefetchTerms(count_max=1), Tally())
    payload = on(1, qos(1))[7:-1]
    for _ in range(UNANSWERED_MAX):
        prefetch.said(1, BASIC_QOS, payload)
    with pytest.raises(GateError, match=r"conn\.memory"):
        prefetch.said(1, BASIC_QOS, payload)


def test_consumers_beyond_the_limit_are_counted_and_not_remembered() -> None:
    tally = Tally()
    prefetch = Prefetch(PrefetchTerms(count_max=1), tally)
    for number in range(CONSUMERS_MAX + 5):
        payload = on(1, consume(f"tag-{number}", nowait=True))[7:-1]
        prefetch.said(1, BASIC_CONSUME, payload)
    assert len(prefetch._channels[1].granted) == CONSUMERS_MAX
    assert tally.prefetch_granted == CONSUMERS_MAX + 5
    prefetch.heard(2, BASIC_CONSUME_OK, b"")
    prefetch.closed(1)
    assert tally.prefetch_granted == 0


def test_without_terms_nothing_is_looked_at() -> None:
    talk = Talk().shake_hands().open_channel(1)
    talk.heard_by_broker()
    talk.client(1, qos(0), consume())
    assert asked(talk) == [(0, False), CONSUMER]


def test_observed_counts_go_as_they_came_and_are_counted() -> None:
    talk = Talk(prefetch=PrefetchTerms(count_max=8, count_default=3, observed=True)).shake_hands()
    talk.open_channel(1)
    data = on(1, consume("a"), qos(1000), consume("b"))
    talk.to_broker = b""
    talk.client_bytes(data)
    assert talk.to_broker == data
    talk.heard_by_client()
    talk.broker(1, Basic.ConsumeOk("a"), Basic.QosOk(), Basic.ConsumeOk("b"))
    assert [part.name for part in talk.heard_by_client()] == [
        "Basic.ConsumeOk",
        "Basic.QosOk",
        "Basic.ConsumeOk",
    ]
    assert talk.tally.prefetch_limited == {"observed": 2}


def test_grant_is_not_given_back_with_a_consumer_that_had_none() -> None:
    """A consumer without acknowledgements is answered in its turn, and its end frees nothing."""
    talk = a_talk(connection_max=10)
    talk.client(1, qos(10), consume("a", no_ack=True), consume("b"))
    talk.broker(1, Basic.QosOk(), Basic.ConsumeOk("a"), Basic.ConsumeOk("b"))
    talk.client(1, Basic.Cancel("a"))
    talk.broker(1, Basic.CancelOk("a"))
    assert talk.tally.prefetch_granted == 10
    talk.heard_by_broker()
    talk.client(1, qos(10), consume("c"))
    assert asked(talk) == [(10, False), (1, False), CONSUMER]
    talk.client(1, Basic.Cancel("b"))
    talk.broker(1, Basic.QosOk(), Basic.QosOk(), Basic.ConsumeOk("c"), Basic.CancelOk("b"))
    assert talk.tally.prefetch_granted == 1
