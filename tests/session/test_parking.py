"""Publications of paused tasks: parked on the client's own channel, in their place, or refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pamqp import body, commands, header

from sealgate.reason import Reason
from sealgate.session.events import QueueDeclared
from sealgate.session.holding import HoldingQueue, Waits
from sealgate.verify.controls import Controls
from sealgate.verify.policy import Policy
from sealgate.wire.methods import Publish
from support.talk import Spoken, Talk, generic_policy, methods_of, sealed, unsealed


def pausing(*patterns: str, **changes: object) -> Policy:
    return generic_policy(controls=Controls((), {}, patterns), **changes)


def talk_of(policy: Policy, confirms: bool = True) -> Talk:
    return Talk(policy=policy).shake_hands().open_channel(confirms=confirms)


def declare(talk: Talk, trouble: str = "") -> HoldingQueue:
    queue = talk.declared.pop(0)
    talk.give(QueueDeclared(queue, trouble))
    return queue


def published(parts: list[Spoken]) -> list[tuple[str, str, bytes]]:
    found = []
    for method, properties, content in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        assert isinstance(method, commands.Basic.Publish) and isinstance(content, body.ContentBody)
        assert properties.properties.expiration is None
        found.append((method.exchange, method.routing_key, content.value))
    return found


def test_paused_task_goes_to_its_park_queue_and_is_confirmed_by_the_broker() -> None:
    talk = talk_of(pausing("q"))
    talk.client(1, *talk.sealed())
    assert talk.heard_by_broker() == []
    queue = declare(talk)
    assert queue.name.startswith("sealgate.park.")
    assert (queue.exchange, queue.routing_key, queue.paused_by, queue.expires_ms) == ("", "q", "q", 0)
    heard = talk.heard_by_broker()
    assert published(heard) == [("", queue.name, b"hello")]
    # Nothing else of it is another one: consumers that verify accept it.
    assert set(heard[1].properties.headers) == {"n", "x-seal"}
    assert talk.heard_by_client() == []
    talk.broker(1, commands.Basic.Ack(1))
    assert methods_of(talk.heard_by_client()) == ["Basic.Ack"]
    assert len(talk.commits) == 1
    assert talk.tally.parked == 1
    assert talk.tally.messages == {("publish", "accepted", "ok"): 1}


def test_place_on_the_channel_is_kept_and_other_tasks_go_on() -> None:
    talk = talk_of(pausing("q"))
    talk.client(1, *talk.sealed(b"1"), *talk.sealed(b"2", "other"), *talk.sealed(b"3"))
    name = declare(talk).name
    assert published(talk.heard_by_broker()) == [("", name, b"1"), ("", "other", b"2"), ("", name, b"3")]
    talk.client(1, *talk.sealed(b"4"))
    assert talk.declared == []
    assert published(talk.heard_by_broker()) == [("", name, b"4")]
    assert talk.tally.parked == 3


def test_pause_that_is_lifted_holds_nothing_back() -> None:
    talk = talk_of(pausing("q"))
    talk.client(1, *talk.sealed())
    declare(talk)
    talk.heard_by_broker()
    talk.terms.verifier.policy = replace(talk.terms.verifier.policy, controls=None)
    talk.client(1, *talk.sealed(b"next"))
    assert published(talk.heard_by_broker()) == [("", "q", b"next")]


@pytest.mark.parametrize("confirms", [True, False])
def test_without_a_queue_it_is_refused_and_its_nonce_is_free(confirms: bool) -> None:
    talk = talk_of(pausing("q"), confirms)
    talk.client(1, *talk.sealed())
    declare(talk, "it can not be kept")
    assert talk.heard_by_broker() == []
    (record,) = talk.records
    assert (record.reason, record.detail) == (Reason.RATE_SHED, "it can not be kept")
    assert (len(talk.releases), len(talk.commits), talk.tally.parked) == (1, 0, 0)


def test_message_with_an_expiration_is_refused() -> None:
    talk = talk_of(pausing("q", observe_default=True))
    parts = unsealed()
    parts[1] = header.ContentHeader(
        body_size=5, properties=commands.Basic.Properties(content_type="text/plain", expiration="60000")
    )
    talk.client(1, *parts)
    (record,) = talk.records
    assert (record.reason, record.observed) == (Reason.RATE_SHED, False)
    assert (talk.heard_by_broker(), talk.declared) == ([], [])


def test_what_only_passes_because_it_is_observed_is_parked_as_well() -> None:
    talk = talk_of(pausing("q", observe_default=True))
    talk.client(1, *unsealed())
    name = declare(talk).name
    assert published(talk.heard_by_broker()) == [("", name, b"hello")]
    assert talk.tally.messages == {("publish", "observed", "sig.missing"): 1}


def test_what_is_refused_is_not_parked() -> None:
    talk = talk_of(pausing("*"))
    talk.client(1, *unsealed())
    assert talk.records[0].reason is Reason.SIG_MISSING
    assert talk.declared == []


def test_queue_is_one_for_each_host_target_pattern_and_kind() -> None:
    ways = {
        (Waits(quorum=quorum).park(vhost, Publish(exchange, key, False, False), pattern).queue.name)
        for quorum in (False, True)
        for vhost in ("/", "a")
        for exchange in ("", "a")
        for key in ("", "a")
        for pattern in ("*", "a")
    }
    assert len(ways) == 32


def test_queue_leads_back_to_the_exchange_it_was_sent_to() -> None:
    talk = talk_of(pausing("q"))
    talk.client(1, *sealed(now=talk.now.wall, exchange="tasks"))
    queue = declare(talk)
    assert (queue.exchange, queue.routing_key) == ("tasks", "q")
