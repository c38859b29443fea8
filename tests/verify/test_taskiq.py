from __future__ import annotations

from typing import Any

import pytest

from sealgate.reason import Reason
from sealgate.verify.verdict import Refused, Verdict
from support.hostile_rows import as_json
from support.sealed import a_key, a_message, a_policy, judge_sealed, rules

POLICY = a_policy(content=rules("taskiq", ""))
BODY: dict[str, Any] = {"task_id": "t1", "task_name": "app:add", "labels": {}, "args": [], "kwargs": {}}
HEADERS = {"task_id": "t1", "task_name": "app:add", "label": "x"}


def judged(body: object = BODY, headers: dict[str, object] | None = None, **key: Any) -> Verdict:
    message = a_message(as_json(body), HEADERS if headers is None else headers, {})
    return judge_sealed(message, POLICY, a_key(**key))


def reason(*args: Any, **key: Any) -> Reason:
    verdict = judged(*args, **key)
    return verdict.reason if isinstance(verdict, Refused) else Reason.OK


def test_message_passes_under_the_name_in_its_body() -> None:
    assert judged().task == "app:add"
    assert judged(BODY, {}).task == "app:add"
    assert reason() is Reason.OK


@pytest.mark.parametrize("name", ["task_name", "task_id"])
@pytest.mark.parametrize("value", ["app:other", "", None, 5])
def test_header_that_tells_otherwise_is_refused(name: str, value: object) -> None:
    assert reason(BODY, {**HEADERS, name: value}) is Reason.TASKIQ_MISMATCH


def test_name_in_the_body_is_held_to_the_key() -> None:
    assert reason(tasks=("app:add",)) is Reason.OK
    assert reason(tasks=("app:mul",)) is Reason.ACL_TASK


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {**BODY, "args": {}},
        {**BODY, "task_name": 5},
        {**BODY, "task_name": "a" * 256},
        {"task_name": "a"},
    ],
)
def test_body_in_another_shape_is_refused(body: object) -> None:
    assert reason(body) is Reason.TASKIQ_ENVELOPE
