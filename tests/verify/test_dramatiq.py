from __future__ import annotations

from typing import Any

import pytest

from sealgate.reason import Reason
from sealgate.verify.dramatiq import FOLLOWING_MAX
from sealgate.verify.verdict import Accepted, Refused
from support.hostile_rows import as_json
from support.sealed import a_key, a_message, a_policy, judge_sealed, rules

POLICY = a_policy(content=rules("dramatiq", ""))


def sent(actor: str = "add", **changes: object) -> dict[str, object]:
    message: dict[str, object] = {
        "queue_name": "low",
        "actor_name": actor,
        "args": [1],
        "kwargs": {},
        "options": {},
        "message_id": "5e9e5b6c",
        "message_timestamp": 1_767_225_600_000,
    }
    return {name: value for name, value in {**message, **changes}.items() if value is not ...}


def reason(value: object, routing_key: str = "low", **key: Any) -> Reason:
    verdict = judge_sealed(
        a_message(as_json(value), {}, {}, routing_key=routing_key),
        POLICY,
        a_key(**{"tasks": ("add",), **key}),
    )
    return verdict.reason if isinstance(verdict, Refused) else Reason.OK


def test_message_passes_under_the_name_of_its_actor() -> None:
    verdict = judge_sealed(a_message(as_json(sent()), {}, {}, routing_key="low"), POLICY)
    assert isinstance(verdict, Accepted)
    assert verdict.task == "add"


@pytest.mark.parametrize(
    ("queue", "routing_key", "passes"),
    [
        ("low", "low", True),
        ("low.DQ", "low.DQ", True),
        ("low", "low.DQ", True),
        ("low", "low.XQ", True),
        ("low.DQ", "low", True),
        ("low", "high.DQ", False),
        ("low", "low.ZQ", False),
    ],
)
def test_queue_of_the_body_is_the_routing_key(queue: str, routing_key: str, passes: bool) -> None:
    expected = Reason.OK if passes else Reason.DRAMATIQ_MISMATCH
    assert reason(sent(queue_name=queue), routing_key) is expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "x",
        sent(args=...),
        sent(kwargs=[]),
        sent(options=None),
        sent(7),
        sent(""),
        sent("a" * 256),
        sent("a\n"),
    ],
)
def test_body_in_another_shape_is_refused(value: object) -> None:
    assert reason(value) is Reason.DRAMATIQ_ENVELOPE


def test_actor_outside_the_key_is_refused() -> None:
    assert reason(sent("evil")) is Reason.ACL_TASK
    assert reason(sent(), classes=("event",)) is Reason.ACL_CLASS


@pytest.mark.parametrize(
    "options",
    [
        {"pipe_target": sent("evil")},
        {"pipe_target": sent(options={"pipe_target": sent("evil")})},
        {"group_completion_callbacks": [sent(), sent("evil")]},
        {"on_failure": "evil"},
        {"on_success": "evil"},
    ],
)
def test_actor_that_would_follow_is_held_to_the_key(options: dict[str, object]) -> None:
    assert reason(sent(options=options)) is Reason.ACL_TASK
    assert reason(sent(options=options), tasks=("add", "evil")) is Reason.OK


@pytest.mark.parametrize("options", [{"pipe_target": 5}, {"on_success": 5}, {"pipe_target": {}}])
def test_what_follows_must_be_messages(options: dict[str, object]) -> None:
    assert reason(sent(options=options)) is Reason.DRAMATIQ_ENVELOPE


def test_message_that_follows_may_leave_out_its_options() -> None:
    assert reason(sent(options={"pipe_target": sent(options=...)})) is Reason.OK


def test_number_of_messages_that_follow_is_bounded() -> None:
    # The first message and the list count as well.
    many = {"group_completion_callbacks": [sent()] * (FOLLOWING_MAX - 2)}
    assert reason(sent(options=many)) is Reason.OK
    more = {"group_completion_callbacks": [sent()] * (FOLLOWING_MAX - 1)}
    assert reason(sent(options=more)) is Reason.DRAMATIQ_ENVELOPE


@pytest.mark.parametrize("option", ["pipe_target", "group_completion_callbacks"])
def test_worker_sends_to_the_queues_of_the_key_alone(option: str) -> None:
    def following(**changes: object) -> dict[str, object]:
        step = sent(**changes)
        return sent(options={option: step if option == "pipe_target" else [step]})

    assert reason(following(), routing_keys=("low",)) is Reason.OK
    assert reason(following(queue_name="secret")) is Reason.OK
    assert reason(following(queue_name="secret"), routing_keys=("low",)) is Reason.ACL_ROUTING_KEY
    assert reason(following(queue_name="w1@h.celery.pidbox")) is Reason.ACL_CLASS
    assert reason(following(queue_name=...)) is Reason.DRAMATIQ_ENVELOPE
    nested = sent(options={"pipe_target": sent(options={"pipe_target": sent(queue_name="secret")})})
    assert reason(nested, routing_keys=("low",)) is Reason.ACL_ROUTING_KEY
