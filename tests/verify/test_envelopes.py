from __future__ import annotations

from typing import Any

import pytest

from sealgate.reason import Reason
from sealgate.verify.policy import Policy
from sealgate.verify.verdict import Accepted, Refused, Verdict
from sealgate.wire.properties import TYPE
from support.hostile_rows import as_json
from support.sealed import JSON_HEADER, a_key, a_message, a_policy, judge_sealed, rules, task_headers

RESULT = {"task_id": "a", "status": "SUCCESS", "result": None}
PING = {"method": "ping", "arguments": {}}
V1 = {"task": "app.add", "id": "a", "args": [], "kwargs": {}}


def reason(verdict: Verdict) -> Reason:
    return verdict.reason if isinstance(verdict, Refused) else Reason.OK


def judged(body: object, headers: dict[str, object] | None = None, **options: Any) -> Verdict:
    target = {name: options.pop(name) for name in ("exchange", "routing_key") if name in options}
    policy: Policy = options.pop("policy", a_policy())
    return judge_sealed(a_message(as_json(body), headers or {}, **target), policy, a_key(**options))


@pytest.mark.parametrize(
    "body", [None, 5, [], [[], {}, {}], {}, {"id": "a"}, "task", {"task_id": "a", "result": 1}]
)
def test_body_that_names_no_task_and_is_no_result_is_no_envelope(body: object) -> None:
    assert reason(judged(body)) is Reason.CELERY_ENVELOPE


def test_result_with_the_header_of_a_task_is_a_task_of_no_shape() -> None:
    assert reason(judged(RESULT, task_headers())) is Reason.CELERY_ENVELOPE


def test_result_that_names_a_task_is_refused() -> None:
    for protocol_1 in (False, True):
        verdict = judged({**RESULT, **V1}, policy=a_policy(protocol_1=protocol_1))
        assert reason(verdict) is Reason.CELERY_HYBRID


def test_task_of_protocol_1_needs_a_key_for_tasks() -> None:
    policy = a_policy(protocol_1=True)
    assert reason(judged(V1, policy=policy)) is Reason.OK
    assert reason(judged(V1, policy=policy, classes=("result",))) is Reason.ACL_CLASS
    assert reason(judged(V1, policy=policy, tasks=("other",))) is Reason.ACL_TASK


def test_task_of_protocol_1_has_its_fields_checked() -> None:
    policy = a_policy(protocol_1=True)
    assert reason(judged({**V1, "id": "../x"}, policy=policy)) is Reason.CELERY_ID
    assert reason(judged({**V1, "task": 5}, policy=policy)) is Reason.CELERY_TASK_NAME
    assert reason(judged({**V1, "kwargs": 5}, policy=policy)) is Reason.CELERY_ENVELOPE
    headers: dict[str, object] = {"headers": {"task": "evil"}}
    assert reason(judged(V1, headers, policy=policy, tasks=("app.add",))) is Reason.ACL_TASK


def test_typed_value_of_kombu_is_no_object_where_one_is_asked_for() -> None:
    dressed = {"__type__": "datetime", "__value__": "2026-01-01T00:00:00"}
    assert reason(judged([[], dressed, {}], task_headers())) is Reason.CELERY_ENVELOPE
    assert reason(judged([[], {}, dressed], task_headers())) is Reason.CELERY_ENVELOPE
    assert reason(judged(dressed)) is Reason.CELERY_ENVELOPE
    assert reason(judged([[dressed], {"a": dressed}, {}], task_headers())) is Reason.OK


@pytest.mark.parametrize("profile", ["celery", "dramatiq", "taskiq", "generic"])
def test_commands_are_commands_under_every_profile(profile: str) -> None:
    for types in (("application/json", ""), ("*",)):
        policy = a_policy(content=rules(profile, *types))
        if profile == "celery" and types == ("*",):
            continue
        for exchange, routing_key in (("celery.pidbox", ""), ("", "w@h.celery.pidbox")):
            where = {"exchange": exchange, "routing_key": routing_key, "policy": policy}
            assert reason(judged(PING, classes=("control:ping",), **where)) is Reason.OK
            assert reason(judged(PING, classes=("task",), **where)) is Reason.CELERY_CONTROL
            assert reason(judged(PING, classes=("control:revoke",), **where)) is Reason.CELERY_CONTROL


def test_command_cannot_be_dressed_as_a_task() -> None:
    verdict = judged(PING, task_headers(), exchange="celery.pidbox", routing_key="", classes=("task",))
    assert reason(verdict) is Reason.CELERY_CONTROL


def test_answer_to_a_command_needs_the_right_to_answer() -> None:
    where = {"exchange": "reply.celery.pidbox", "routing_key": "oid"}
    answer = {"w@h": {"ok": "pong"}}
    assert reason(judged(answer, classes=("control:reply",), **where)) is Reason.OK
    assert reason(judged(answer, classes=("control:ping",), **where)) is Reason.CELERY_CONTROL
    assert reason(judged([], classes=("control",), **where)) is Reason.CELERY_ENVELOPE


def test_generic_task_is_named_by_type_else_by_routing_key() -> None:
    policy = a_policy(content=rules("generic", "application/json"))
    named = a_message(b"1", {}, {**JSON_HEADER, TYPE: b"order.paid"})
    verdict = judge_sealed(named, policy, a_key(tasks=("order.*",)))
    assert isinstance(verdict, Accepted)
    assert verdict.task == "order.paid"
    unnamed = a_message(b"1", {}, routing_key="orders")
    assert judge_sealed(unnamed, policy, a_key()).task == "orders"
    assert reason(judge_sealed(unnamed, policy, a_key(tasks=("order.*",)))) is Reason.ACL_TASK
