"""Results and replies: which messages expire, and which queues, and when."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealgate.session.clamping import edited
from sealgate.verify.expiry import Expiry
from sealgate.verify.message import Message
from sealgate.verify.verdict import Accepted
from sealgate.wire.properties import EXPIRATION
from support.sealed import JSON_HEADER, TASK_ID, a_message, a_policy, judge_sealed

HOUR_MS = 3_600_000
RESULT = json.dumps({"task_id": TASK_ID, "status": "SUCCESS", "result": 5}).encode()
EXPIRY = Expiry(expiration_ms_max=HOUR_MS, expires_ms_max=HOUR_MS, message_ttl_ms_max=60_000)


def a_result(expiration: bytes | None = None, routing_key: str = TASK_ID, **options: Any) -> Message:
    properties = JSON_HEADER if expiration is None else {**JSON_HEADER, EXPIRATION: expiration}
    return a_message(RESULT, {}, properties, routing_key=routing_key, **options)


def expiration_of(message: Message, is_result: bool = False) -> bytes | None:
    edits = EXPIRY.edits(message, is_result, None)
    return (message if edits is None else edited(message, edits)).header.fields[EXPIRATION]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (None, b"3600000"),
        (b"3600001", b"3600000"),
        (b"4294967295", b"3600000"),
        (b"3600000", b"3600000"),
        (b"0", b"0"),
        (b"soon", b"soon"),
    ],
)
def test_expiration_of_a_result_is_lowered_or_put_in(given: bytes | None, sent: bytes) -> None:
    assert expiration_of(a_result(given)) == sent
    assert expiration_of(a_result(given, routing_key="results"), is_result=True) == sent


@pytest.mark.parametrize(
    ("exchange", "routing_key", "is_reply"),
    [
        ("", TASK_ID, True),
        ("", "amq.gen-JzTY20BRgKO-HjmUJj0wLg", True),
        ("reply.celery.pidbox", TASK_ID, True),
        ("", f"{TASK_ID}.reply.celery.pidbox", False),
        ("celery.pidbox", "", False),
        ("celeryev", "worker.heartbeat", False),
        ("", "celery", False),
        ("results", TASK_ID, False),
    ],
)
def test_reply_is_told_by_where_it_goes(exchange: str, routing_key: str, is_reply: bool) -> None:
    """A message to a reply queue of remote control by its name is a command to the broker's mailbox rules."""
    message = a_message(RESULT, {}, exchange=exchange, routing_key=routing_key)
    assert (expiration_of(message) is not None) is is_reply


def test_task_is_no_reply_wherever_it_goes() -> None:
    assert expiration_of(a_message(routing_key=TASK_ID)) is None


def test_verifier_lowers_a_result_wherever_it_goes_and_leaves_tasks_alone() -> None:
    policy = a_policy(expiry=EXPIRY)
    accepted = judge_sealed(a_result(routing_key="elsewhere"), policy)
    assert isinstance(accepted, Accepted) and accepted.edits is not None
    assert (accepted.edits.bounds, accepted.edits.fields) == (["expiration"], {EXPIRATION: b"3600000"})
    task = judge_sealed(a_message(), policy)
    assert isinstance(task, Accepted) and task.edits is None


def test_observed_result_is_only_counted() -> None:
    accepted = judge_sealed(a_result(), a_policy(expiry=EXPIRY, observe_default=True))
    assert isinstance(accepted, Accepted) and accepted.edits is not None and accepted.edits.observed


@pytest.mark.parametrize(
    ("values", "changed"),
    [
        ({}, {"x-expires": HOUR_MS, "x-message-ttl": 60_000}),
        ({"x-expires": 10_000, "x-message-ttl": 60_000}, {}),
        (
            {"x-expires": HOUR_MS + 1, "x-message-ttl": 60_001},
            {"x-expires": HOUR_MS, "x-message-ttl": 60_000},
        ),
        ({"x-expires": "never", "x-message-ttl": True}, {}),
        ({"x-max-length": 5, "x-message-ttl": 1}, {"x-expires": HOUR_MS}),
    ],
)
def test_arguments_of_a_reply_queue_are_lowered_or_put_in(
    values: dict[str, object], changed: dict[str, int]
) -> None:
    """What is no integer the broker refuses itself."""
    for name in (TASK_ID, f"{TASK_ID}.reply.celery.pidbox", "amq.gen-x", ""):
        assert EXPIRY.arguments(name, values) == changed
    # Declared again with what it was given, it is the same queue.
    assert EXPIRY.arguments(TASK_ID, {**values, **changed}) == {}


@pytest.mark.parametrize("name", ["celery", "w1@host.celery.pidbox", "celeryev.x", f"x{TASK_ID}", "amq.ctag"])
def test_other_queues_are_left_alone(name: str) -> None:
    assert EXPIRY.arguments(name, {}) == {}


def test_only_what_is_bounded_is_changed() -> None:
    assert Expiry(expires_ms_max=5).arguments(TASK_ID, {}) == {"x-expires": 5}
    assert Expiry(message_ttl_ms_max=5).arguments(TASK_ID, {}) == {"x-message-ttl": 5}
    assert Expiry(expires_ms_max=5).edits(a_result(), True, None) is None
