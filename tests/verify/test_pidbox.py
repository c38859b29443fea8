from __future__ import annotations

from typing import Any

import pytest

from sealgate.reason import GateError, Reason
from sealgate.verify.pidbox import (
    CLOCK_MAX,
    EVENTS_MAX,
    Command,
    Events,
    check_clock,
    check_reply,
    read_command,
    read_events,
)

PING: dict[str, Any] = {
    "method": "ping",
    "arguments": {},
    "destination": ["w@h"],
    "pattern": None,
    "matcher": None,
    "ticket": "t",
    "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "oid"},
}


def of_mailbox(value: object) -> Command:
    return read_command(value, "celery.pidbox")


def of_events(value: object, routing_key: str = "task.multi") -> Events:
    return read_events(value, routing_key)


def refusal(check: Any, value: object) -> Reason | None:
    try:
        check(value)
    except GateError as error:
        return error.reason
    return None


def test_command_is_named_by_its_method() -> None:
    assert of_mailbox(PING).name == "ping"
    assert of_mailbox({"method": "revoke", "arguments": None}).name == "revoke"


def test_answer_may_go_to_the_mailbox_of_an_own_control_exchange() -> None:
    """`control_exchange = "shop.celery"` makes kombu's names so."""
    command = {**PING, "reply_to": {"exchange": "reply.shop.celery.pidbox", "routing_key": "oid"}}
    assert read_command(command, "shop.celery.pidbox").name == "ping"
    # Where it goes to one worker's queue, no exchange tells what it is called.
    assert read_command(command, "").name == "ping"
    assert refusal(of_mailbox, command) is Reason.ACL_REPLY_TO


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"method": None}, Reason.CELERY_ENVELOPE),
        ({"method": ["ping"]}, Reason.CELERY_ENVELOPE),
        ({"arguments": [1]}, Reason.CELERY_ENVELOPE),
        ({"destination": "w@h"}, Reason.CELERY_ENVELOPE),
        ({"state": {}}, Reason.CELERY_ENVELOPE),
        ({"ticket": 2**70}, Reason.CELERY_ENVELOPE),
        ({"pattern": ["*"]}, Reason.CELERY_ENVELOPE),
        ({"pattern": "*" * 256}, Reason.CELERY_ENVELOPE),
        ({"matcher": {}}, Reason.CELERY_ENVELOPE),
        ({"reply_to": {"exchange": "reply.celery.pidbox", "routing_key": 5}}, Reason.CELERY_ENVELOPE),
        ({"reply_to": "x"}, Reason.CELERY_ENVELOPE),
        ({"reply_to": {"exchange": "", "routing_key": "celery"}}, Reason.ACL_REPLY_TO),
        ({"reply_to": {}}, Reason.ACL_REPLY_TO),
        ({"reply_to": {"exchange": ["reply.celery.pidbox"]}}, Reason.ACL_REPLY_TO),
        ({"reply_to": {"exchange": "my.celery.pidbox"}}, Reason.ACL_REPLY_TO),
        ({"reply_to": {"exchange": "reply.orders"}}, Reason.ACL_REPLY_TO),
    ],
)
def test_command_in_another_shape_is_refused(changes: dict[str, Any], reason: Reason) -> None:
    assert refusal(of_mailbox, {**PING, **changes}) is reason


@pytest.mark.parametrize("value", [None, [], "ping", [PING]])
def test_command_is_an_object(value: object) -> None:
    assert refusal(of_mailbox, value) is Reason.CELERY_ENVELOPE
    if not isinstance(value, dict):
        assert refusal(check_reply, value) is Reason.CELERY_ENVELOPE


def test_reply_is_a_table_by_worker() -> None:
    assert refusal(check_reply, {"w@h": {"ok": "pong"}}) is None


@pytest.mark.parametrize("value", [None, {}, {"type": 5}, [{"type": "a"}, 5], "x"])
def test_event_has_a_type(value: object) -> None:
    assert refusal(of_events, value) is Reason.CELERY_ENVELOPE


def test_events_come_alone_or_many_at_once() -> None:
    assert of_events({"type": "task-sent", "action": None}).actions == []
    assert of_events([{"type": "task-sent"}] * EVENTS_MAX).actions == []
    assert refusal(of_events, [{"type": "task-sent"}] * (EVENTS_MAX + 1)) is Reason.CELERY_ENVELOPE


def test_what_an_election_shall_publish_is_found_in_events_and_commands() -> None:
    events = [{"type": "x", "action": 1}, {"type": "x"}, {"type": "x", "action": 2}]
    assert of_events(events).actions == [1, 2]
    assert of_mailbox({**PING, "method": "election", "arguments": {"action": {"task": "t"}}}).action == {
        "task": "t"
    }


@pytest.mark.parametrize(
    ("matcher", "expression"), [(None, False), ("glob", False), ("pcre", True), ("Glob", True), ("", True)]
)
def test_a_pattern_that_is_no_glob_is_told(matcher: str | None, expression: bool) -> None:
    assert of_mailbox({**PING, "pattern": "w*", "matcher": matcher}).matches_expression is expression


@pytest.mark.parametrize("clock", [-1, CLOCK_MAX + 1, 2**63 - 1, 1.0, True, "5", [1]])
def test_a_clock_that_no_process_counts_to_is_refused(clock: object) -> None:
    assert refusal(check_clock, clock) is Reason.CELERY_ENVELOPE
    assert refusal(of_events, {"type": "task-sent", "clock": clock}) is Reason.CELERY_ENVELOPE


@pytest.mark.parametrize("clock", [None, 0, CLOCK_MAX])
def test_a_clock_is_a_number_or_nothing(clock: object) -> None:
    assert refusal(check_clock, clock) is None
    assert refusal(of_events, {"type": "task-sent", "clock": clock}) is None


HEARTBEAT = {"type": "worker-heartbeat", "hostname": "w@h", "timestamp": 1.5, "clock": 3, "pid": 4}


@pytest.mark.parametrize(
    "wrong",
    [
        [HEARTBEAT],
        {**HEARTBEAT, "hostname": None},
        {**HEARTBEAT, "hostname": ["w@h"]},
        {**HEARTBEAT, "hostname": "w" * 256},
        {**HEARTBEAT, "timestamp": "now"},
        {**HEARTBEAT, "alive": True},
        {**HEARTBEAT, "id": "w@h.4"},
        {**HEARTBEAT, "type": "worker-elect", "id": "w@h.4"},
    ],
)
def test_what_workers_read_of_each_other_is_as_they_write_it(wrong: object) -> None:
    assert refusal(lambda value: of_events(value, "worker.heartbeat"), HEARTBEAT) is None
    assert refusal(lambda value: of_events(value, "worker.heartbeat"), wrong) is Reason.CELERY_ENVELOPE


@pytest.mark.parametrize(
    ("routing_key", "elects"),
    [("worker.elect", True), ("worker.elect.ack", True), ("worker.online", False), ("task.multi", False)],
)
def test_an_election_is_told_by_its_routing_key(routing_key: str, elects: bool) -> None:
    assert of_events({**HEARTBEAT, "type": "worker-elect"}, routing_key).elects is elects
