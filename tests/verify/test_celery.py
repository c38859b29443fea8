from __future__ import annotations

from typing import Any

import pytest

from sealgate.reason import GateError, Reason
from sealgate.verify.celery import (
    RETRIES_MAX,
    TIME_LIMIT_S_MAX,
    Clock,
    check_fields,
    check_id,
    check_result,
    is_result,
    parse_moment,
    read_body_1,
    read_body_2,
    task_name,
)
from support.sealed import NOW, task_headers

CLOCK = Clock(NOW, 30, NOW + 7 * 86400)
EMBED: dict[str, Any] = {"callbacks": None}


def refusal(check: Any, *args: Any) -> Reason | None:
    try:
        check(*args)
    except GateError as error:
        return error.reason
    return None


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("app.add", True),
        ("app.add ", True),
        ("zażółć", True),
        ("a" * 255, True),
        ("a" * 256, False),
        ("ż" * 128, False),
        ("", False),
        ("a\n", False),
        ("a\x00", False),
        ("\ud800", False),
        ("a\u2028", False),
        (None, False),
        (b"app.add", False),
        (["app.add"], False),
    ],
)
def test_task_name_is_printable_text_of_bounded_length(name: object, passes: bool) -> None:
    assert (refusal(task_name, name) is None) is passes


@pytest.mark.parametrize(
    ("value", "passes"),
    [
        ("b3f359bd-b8c5-4497-848c-a9ef77163319", True),
        ("order-17:paid@eu", True),
        ("x" * 255, True),
        ("x" * 256, False),
        ("..", False),
        (".hidden", False),
        ("a/b", False),
        ("a\\b", False),
        ("a b", False),
        ("a\n", False),
        ("", False),
        ("é", False),
        (7, False),
        (None, False),
    ],
)
def test_id_is_no_path_and_no_surprise_as_a_key(value: object, passes: bool) -> None:
    assert (refusal(check_id, value) is None) is passes


@pytest.mark.parametrize("name", ["group", "root_id", "parent_id", "taskset"])
def test_other_ids_are_ids_where_they_are_set(name: str) -> None:
    assert refusal(check_fields, task_headers(**{name: None}), CLOCK) is None
    assert refusal(check_fields, task_headers(**{name: "../x"}), CLOCK) is Reason.CELERY_ID


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"retries": ...}, None),
        ({"retries": RETRIES_MAX}, None),
        ({"retries": RETRIES_MAX + 1}, Reason.CELERY_RETRIES),
        ({"retries": -1}, Reason.CELERY_RETRIES),
        ({"retries": True}, Reason.CELERY_RETRIES),
        ({"retries": "1"}, Reason.CELERY_RETRIES),
        ({"retries": 1.0}, Reason.CELERY_RETRIES),
        ({"retries": None}, Reason.CELERY_RETRIES),
        ({"timelimit": ...}, None),
        ({"timelimit": None}, None),
        ({"timelimit": [0, 1.5]}, None),
        ({"timelimit": [TIME_LIMIT_S_MAX, None]}, None),
        ({"timelimit": [TIME_LIMIT_S_MAX + 1, None]}, Reason.CELERY_TIMELIMIT),
        ({"timelimit": [10**400, None]}, Reason.CELERY_TIMELIMIT),
        ({"timelimit": [float("nan"), None]}, Reason.CELERY_TIMELIMIT),
        ({"timelimit": [-1, None]}, Reason.CELERY_TIMELIMIT),
        ({"timelimit": [True, None]}, Reason.CELERY_TIMELIMIT),
        ({"timelimit": [1]}, Reason.CELERY_TIMELIMIT),
        ({"timelimit": [1, 2, 3]}, Reason.CELERY_TIMELIMIT),
        ({"timelimit": {"hard": 1}}, Reason.CELERY_TIMELIMIT),
        ({"eta": "2026-01-01T00:00:00"}, None),
        ({"eta": "2026-01-08T00:00:00+00:00"}, None),
        ({"eta": "2026-01-08T00:00:00.000001+00:00"}, Reason.CELERY_ETA),
        ({"eta": "2026-01-08T00:30:00+01:00"}, None),
        ({"eta": "2026-01-07T23:30:00-01:00"}, Reason.CELERY_ETA),
        ({"eta": ""}, Reason.CELERY_ETA),
        ({"eta": "1969-12-31T23:59:59+00:00"}, Reason.CELERY_ETA),
        ({"eta": "0001-01-01T00:00:00+14:00"}, Reason.CELERY_ETA),
        ({"eta": "9999-12-31T23:59:59-14:00"}, Reason.CELERY_ETA),
        ({"eta": "2026-01-01T00:00:00" + "0" * 60}, Reason.CELERY_ETA),
        ({"eta": 0}, Reason.CELERY_ETA),
        ({"expires": "2025-12-31T23:59:30+00:00"}, None),
        ({"expires": "2025-12-31T23:59:29+00:00"}, Reason.TIME_EXPIRED),
        ({"expires": NOW + 10}, Reason.CELERY_EXPIRES),
        ({"expires": "\ud800"}, Reason.CELERY_EXPIRES),
        ({"stamped_headers": None}, None),
        ({"stamped_headers": []}, None),
        ({"stamped_headers": ["visit"]}, None),
        ({"stamped_headers": "visit"}, Reason.CELERY_ENVELOPE),
        ({"stamped_headers": 5}, Reason.CELERY_ENVELOPE),
        ({"stamped_headers": ["visit", None]}, Reason.CELERY_ENVELOPE),
        ({"stamps": None}, None),
        ({"stamps": {"visit": 1}}, None),
        ({"stamps": [1]}, Reason.CELERY_ENVELOPE),
        ({"stamps": {"link": []}}, Reason.CELERY_ENVELOPE),
        ({"stamps": {"headers": {"task": "app.evil"}}}, Reason.CELERY_ENVELOPE),
        ({"stamps": {"reply_to": "elsewhere"}}, Reason.CELERY_ENVELOPE),
    ],
)
def test_fields_of_a_task(changes: dict[str, object], reason: Reason | None) -> None:
    assert refusal(check_fields, task_headers(**changes), CLOCK) is reason


def test_every_option_a_retry_is_published_with_is_no_name_for_a_stamp() -> None:
    from celery.app.task import Context

    for name in Context(timelimit=[1, 2]).as_execution_options():
        assert refusal(check_fields, task_headers(stamps={name: 1}), CLOCK) is Reason.CELERY_ENVELOPE


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([[], {}, {}], None),
        ([[1], {"a": 1}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}], None),
        ([[], {}], Reason.CELERY_ENVELOPE),
        ([{}, {}, {}], Reason.CELERY_ENVELOPE),
        ([[], [], {}], Reason.CELERY_ENVELOPE),
        ([[], {}, []], Reason.CELERY_ENVELOPE),
        ([[], {}, None], Reason.CELERY_ENVELOPE),
        ([[], {}, {"reply_to": "elsewhere"}], Reason.CELERY_ENVELOPE),
        ([[], {}, {"id": "x"}], Reason.CELERY_ENVELOPE),
        ("args", Reason.CELERY_ENVELOPE),
        ({}, Reason.CELERY_ENVELOPE),
        ({"args": []}, Reason.CELERY_HYBRID),
        ({"task": "a"}, Reason.CELERY_HYBRID),
    ],
)
def test_body_of_protocol_2(value: object, reason: Reason | None) -> None:
    assert refusal(read_body_2, value) is reason


def test_body_of_protocol_1() -> None:
    body = read_body_1({"args": [1], "kwargs": {"a": 1}, "callbacks": [], "other": 1})
    assert (body.args, body.kwargs, body.embed) == ([1], {"a": 1}, {"callbacks": []})
    assert (read_body_1({}).args, read_body_1({}).kwargs) == ([], {})
    assert refusal(read_body_1, {"args": "x"}) is Reason.CELERY_ENVELOPE
    assert refusal(read_body_1, {"kwargs": []}) is Reason.CELERY_ENVELOPE
    assert refusal(read_body_1, {"kwargs": None}) is Reason.CELERY_ENVELOPE


def test_result_is_told_by_its_three_names() -> None:
    result = {"task_id": "a", "status": "SUCCESS", "result": None, "children": []}
    assert is_result(result)
    assert not is_result([result])
    for name in ("task_id", "status", "result"):
        assert not is_result({key: value for key, value in result.items() if key != name})


def test_result_that_a_worker_would_run_is_refused() -> None:
    result = {"task_id": "a", "status": "SUCCESS", "result": None}
    assert refusal(check_result, result) is None
    assert refusal(check_result, {**result, "task": "app.evil"}) is Reason.CELERY_HYBRID
    assert refusal(check_result, {**result, "task_id": "../x"}) is Reason.CELERY_ID
    assert refusal(check_result, {**result, "status": 5}) is Reason.CELERY_ENVELOPE


def test_times_are_read_as_unix_seconds() -> None:
    assert parse_moment("2026-01-01T00:00:00Z") == NOW
    assert parse_moment("2026-01-01T01:00:00.5+01:00") == NOW + 0.5
    assert parse_moment("2026-01-01T00:00:00") == NOW
    assert parse_moment("soon") is None
    assert parse_moment(None) is None
