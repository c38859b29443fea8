"""A rule that names tasks holds for what the consumer will run, not for what a message calls itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealgate.reason import Reason
from sealgate.verify.message import Message
from sealgate.verify.policy import Policy, Rule
from sealgate.verify.verdict import Accepted, Verdict
from sealgate.wire.properties import CONTENT_TYPE, TYPE
from support.sealed import (
    EXPIRES,
    JSON_HEADER,
    TASK_ID,
    a_key,
    a_message,
    a_policy,
    judge,
    judge_sealed,
    rules,
    task_headers,
)

#: Only `open.*` is open to everybody.
OPEN = (Rule(task="open.*", observe=True),)
#: Everything is, but `shut.*`.
SHUT = (Rule(task="shut.*", observe=False), Rule(observe=True))
PROTOCOL_1 = {"task": "shut.it", "id": TASK_ID, "args": [], "kwargs": {}}
DRAMATIQ = {
    "queue_name": "default",
    "actor_name": "shut.it",
    "args": [],
    "kwargs": {},
    "options": {},
    "message_id": TASK_ID,
}
TASKIQ = {"task_id": TASK_ID, "task_name": "shut.it", "labels": {}, "args": [], "kwargs": {}}
RESULT = {"task_id": TASK_ID, "status": "SUCCESS", "result": 4}


def celery(rule_list: tuple[Rule, ...] = (), **changes: Any) -> Policy:
    return a_policy(rules=rule_list, **changes)


def other(profile: str, rule_list: tuple[Rule, ...]) -> Policy:
    return a_policy(rules=rule_list, content=rules(profile, "application/json"))


def message(body: object, headers: dict[str, object], **options: Any) -> Message:
    return a_message(json.dumps(body).encode(), headers, **options)


def passed(verdict: Verdict) -> bool:
    return isinstance(verdict, Accepted)


#: Unsigned messages that run `shut.it`, or a command, whatever else they say.
LIES: list[tuple[str, str, Message]] = [
    ("celery", "protocol 1 under a header of taskiq", message(PROTOCOL_1, {"task_name": "open.a"})),
    ("celery", "protocol 1", message(PROTOCOL_1, {})),
    ("dramatiq", "a header of Celery", message(DRAMATIQ, {"task": "open.a"}, routing_key="default")),
    ("dramatiq", "a header of taskiq", message(DRAMATIQ, {"task_name": "open.a"}, routing_key="default")),
    ("taskiq", "a header of taskiq", message(TASKIQ, {"task_name": "open.a", "task_id": TASK_ID})),
    ("taskiq", "a header of Celery", message(TASKIQ, {"task": "open.a"})),
    (
        "generic",
        "a type beside a header of Celery",
        a_message(headers=task_headers(task="shut.it"), properties={**JSON_HEADER, TYPE: b"open.a"}),
    ),
    (
        "generic",
        "a header of Celery beside a type",
        a_message(headers=task_headers(task="open.a"), properties={**JSON_HEADER, TYPE: b"shut.it"}),
    ),
]


@pytest.mark.parametrize(("profile", "lie", "found"), LIES)
@pytest.mark.parametrize("rule_list", [OPEN, SHUT])
def test_rule_is_not_reached_by_a_name_the_consumer_does_not_run(
    profile: str, lie: str, found: Message, rule_list: tuple[Rule, ...]
) -> None:
    assert not passed(judge(found, other(profile, rule_list))), lie


@pytest.mark.parametrize(
    ("exchange", "routing_key"), [("celery.pidbox", ""), ("", "celery@host.celery.pidbox"), ("celeryev", "x")]
)
def test_command_is_no_task_whatever_its_headers_say(exchange: str, routing_key: str) -> None:
    command = message({"method": "shutdown"}, {"task": "open.a"}, exchange=exchange, routing_key=routing_key)
    assert not passed(judge(command, celery(OPEN)))
    assert passed(judge(command, celery(SHUT)))


def test_what_can_not_be_read_may_be_any_task() -> None:
    for body in (b"{", b'{"task": "open.a", "task": "shut.it"}', b'{"task": "shut.it\\n"}', b'{"task": 5}'):
        assert not passed(judge(a_message(body, {}), celery(SHUT)))
        assert passed(judge(a_message(body, {}), celery((Rule(observe=True),))))
    assert not passed(judge(a_message(headers=task_headers(task=5)), celery(SHUT)))
    unlisted = a_message(
        json.dumps(PROTOCOL_1).encode(), {}, {CONTENT_TYPE: b"application/x-python-serialize"}
    )
    assert not passed(judge(unlisted, celery(SHUT)))


#: Unsigned messages that run `open.a`, or no task at all.
HONEST: list[tuple[str, Message, bool]] = [
    ("celery", a_message(headers=task_headers(task="open.a")), True),
    ("celery", message({**PROTOCOL_1, "task": "open.a"}, {}), True),
    ("celery", message(RESULT, {}), False),
    ("dramatiq", message({**DRAMATIQ, "actor_name": "open.a"}, {}, routing_key="default"), True),
    ("taskiq", message({**TASKIQ, "task_name": "open.a"}, {"task_name": "open.a"}), True),
    ("generic", message({}, {}, properties={**JSON_HEADER, TYPE: b"open.a"}), True),
    ("generic", message({}, {}, routing_key="open.a"), True),
]


@pytest.mark.parametrize(("profile", "found", "is_open"), HONEST)
def test_rule_holds_for_the_task_that_is_run(profile: str, found: Message, is_open: bool) -> None:
    assert passed(judge(found, other(profile, OPEN))) is is_open
    assert passed(judge(found, other(profile, SHUT)))


def test_observed_task_is_told_by_its_body_after_the_signature_as_well() -> None:
    """A key that may send both is refused for what is wrong with the one that is not open."""
    lie = message(TASKIQ, {"task_name": "open.a"})
    verdict = judge_sealed(lie, other("taskiq", OPEN))
    assert not passed(verdict)
    honest = message({**TASKIQ, "task_name": "open.a", "labels": 5}, {"task_name": "open.a"})
    assert judge_sealed(honest, other("taskiq", OPEN)) == Accepted(
        "k1", "open.a", observed=Reason.TASKIQ_ENVELOPE, expires=EXPIRES
    )


# --- the content a rule asks for ---

UNREAD = (Rule(task="open.*", content=rules("generic", "*")),)


def test_task_named_by_a_header_must_be_granted_in_every_profile() -> None:
    """The header made a rule leave the body unread; the key was asked about another name."""
    lie = a_message(headers=task_headers(task="open.a"), properties={CONTENT_TYPE: b"x", TYPE: b"app.add"})
    verdict = judge_sealed(lie, celery(UNREAD), a_key(tasks=("app.*",)))
    assert (passed(verdict), getattr(verdict, "reason", None)) == (False, Reason.ACL_TASK)
    assert passed(judge_sealed(lie, celery(UNREAD), a_key(tasks=("app.*", "open.*"))))


def test_content_rule_is_not_reached_by_the_header_of_another_library() -> None:
    lie = a_message(json.dumps(PROTOCOL_1).encode(), {"task_name": "open.a"}, {CONTENT_TYPE: b"x"})
    assert not passed(judge_sealed(lie, celery(UNREAD)))
    command = a_message(b"...", {"task": "open.a"}, {CONTENT_TYPE: b"x"}, exchange="celery.pidbox")
    assert not passed(judge_sealed(command, celery(UNREAD)))


@pytest.mark.parametrize(
    ("profile", "body", "reason"),
    [("taskiq", TASKIQ, Reason.TASKIQ_ENVELOPE), ("dramatiq", DRAMATIQ, Reason.DRAMATIQ_ENVELOPE)],
)
def test_message_of_another_library_that_celery_would_run_is_refused(
    profile: str, body: dict[str, object], reason: Reason
) -> None:
    hybrid = message({**body, "task": "shut.it", "id": TASK_ID}, {}, routing_key="default")
    verdict = judge_sealed(hybrid, other(profile, ()))
    assert getattr(verdict, "reason", None) is reason
