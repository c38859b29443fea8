from __future__ import annotations

from typing import Any

import pytest

from sealgate.reason import GateError, Reason
from sealgate.verify.pidbox import EVENTS_MAX, check_event, check_reply, read_command

PING: dict[str, Any] = {
    "method": "ping",
    "arguments": {},
    "destination": ["w@h"],
    "pattern": None,
    "matcher": None,
    "ticket": "t",
    "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "oid"},
}


def refusal(check: Any, value: object) -> Reason | None:
    try:
        check(value)
    except GateError as error:
        return error.reason
    return None


def test_command_is_named_by_its_method() -> None:
    assert read_command(PING) == "ping"
    assert read_command({"method": "revoke", "arguments": None}) == "revoke"


def test_answer_may_go_to_the_mailbox_of_an_own_control_exchange() -> None:
    """`control_exchange = "shop.celery"` makes kombu's names so."""
    reply_to = {"exchange": "reply.shop.celery.pidbox", "routing_key": "oid"}
    assert read_command({**PING, "reply_to": reply_to}) == "ping"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"method": None}, Reason.CELERY_ENVELOPE),
        ({"method": ["ping"]}, Reason.CELERY_ENVELOPE),
        ({"arguments": [1]}, Reason.CELERY_ENVELOPE),
        ({"destination": "w@h"}, Reason.CELERY_ENVELOPE),
        ({"state": {}}, Reason.CELERY_ENVELOPE),
        ({"reply_to": "x"}, Reason.CELERY_ENVELOPE),
        ({"reply_to": {"exchange": "", "routing_key": "celery"}}, Reason.ACL_REPLY_TO),
        ({"reply_to": {}}, Reason.ACL_REPLY_TO),
        ({"reply_to": {"exchange": ["reply.celery.pidbox"]}}, Reason.ACL_REPLY_TO),
        ({"reply_to": {"exchange": "my.celery.pidbox"}}, Reason.ACL_REPLY_TO),
        ({"reply_to": {"exchange": "reply.orders"}}, Reason.ACL_REPLY_TO),
    ],
)
def test_command_in_another_shape_is_refused(changes: dict[str, Any], reason: Reason) -> None:
    assert refusal(read_command, {**PING, **changes}) is reason


@pytest.mark.parametrize("value", [None, [], "ping", [PING]])
def test_command_is_an_object(value: object) -> None:
    assert refusal(read_command, value) is Reason.CELERY_ENVELOPE
    if not isinstance(value, dict):
        assert refusal(check_reply, value) is Reason.CELERY_ENVELOPE


def test_reply_is_a_table_by_worker() -> None:
    assert refusal(check_reply, {"w@h": {"ok": "pong"}}) is None


@pytest.mark.parametrize("value", [None, {}, {"type": 5}, [{"type": "a"}, 5], "x"])
def test_event_has_a_type(value: object) -> None:
    assert refusal(check_event, value) is Reason.CELERY_ENVELOPE


def test_events_come_alone_or_many_at_once() -> None:
    assert refusal(check_event, {"type": "task-sent"}) is None
    assert refusal(check_event, [{"type": "task-sent"}] * EVENTS_MAX) is None
    assert refusal(check_event, [{"type": "task-sent"}] * (EVENTS_MAX + 1)) is Reason.CELERY_ENVELOPE
