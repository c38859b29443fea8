"""What options of a signature let a worker do, by the key that the signature came under."""

from __future__ import annotations

from typing import Any

import pytest

from sealgate.reason import GateError, Reason
from sealgate.verify.authority import TaskGrant
from sealgate.verify.options import HEADERS_DEPTH_MAX, OptionGrant
from support.sealed import a_key, rules

KEY = a_key(
    tasks=("app.*",),
    exchanges=("", "orders", "celery_delayed_5"),
    routing_keys=("celery", "orders.*"),
    reply_to=("r.*",),
)
ID = "b3f359bd-b8c5-4497-848c-a9ef77163319"


def refusal(options: dict[str, Any], **limits: Any) -> Reason | None:
    key = a_key(**limits) if limits else KEY
    content = rules("celery", "application/json", compression=("application/x-gzip",))
    try:
        OptionGrant(key, TaskGrant(key), content).check(options)
    except GateError as error:
        return error.reason
    return None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"exchange": "orders", "routing_key": "orders.new"}, None),
        ({"exchange": "orders", "routing_key": "celery"}, None),
        ({"exchange": "celery_delayed_5", "routing_key": "0." * 27 + "1.celery"}, None),
        ({"exchange": "celery_delayed_5", "routing_key": "0." * 27 + "1.secret"}, Reason.ACL_ROUTING_KEY),
        ({"exchange": "secret"}, Reason.ACL_EXCHANGE),
        ({"routing_key": "secret"}, Reason.ACL_ROUTING_KEY),
        ({"exchange": "orders", "routing_key": "secret"}, Reason.ACL_ROUTING_KEY),
        ({"queue": "celery"}, None),
        ({"queue": "secret"}, Reason.ACL_ROUTING_KEY),
        ({"reply_to": "r.1"}, None),
        ({"reply_to": ""}, None),
        ({"reply_to": "somebody"}, Reason.ACL_REPLY_TO),
        ({"reply_to": "amq.rabbitmq.reply-to.g1h2"}, Reason.ACL_REPLY_TO),
        ({"route_name": "app.add"}, None),
        ({"route_name": "admin.wipe"}, Reason.ACL_TASK),
        ({"exchange": {"name": "orders"}}, Reason.CELERY_ENVELOPE),
        ({"routing_key": ["celery"]}, Reason.CELERY_ENVELOPE),
        ({"queue": {"name": "celery"}}, Reason.CELERY_ENVELOPE),
        ({"reply_to": 5}, Reason.CELERY_ENVELOPE),
        ({"exchange": None, "routing_key": None, "queue": None, "reply_to": None, "route_name": None}, None),
    ],
)
def test_a_worker_publishes_where_the_key_may(options: dict[str, Any], reason: Reason | None) -> None:
    assert refusal(options) is reason


@pytest.mark.parametrize(
    ("exchanges", "reason"),
    [
        (None, None),
        (("",), None),
        (("q",), None),
        (("celery",), Reason.ACL_EXCHANGE),
        ((), Reason.ACL_EXCHANGE),
    ],
)
def test_a_queue_is_reached_by_the_default_exchange_or_its_own(
    exchanges: tuple[str, ...] | None, reason: Reason | None
) -> None:
    assert refusal({"queue": "q"}, exchanges=exchanges, routing_keys=("q",)) is reason


@pytest.mark.parametrize(
    "options",
    [
        {"exchange": "celery.pidbox"},
        {"exchange": "shop.pidbox", "routing_key": "x"},
        {"exchange": "celeryev", "routing_key": "task.sent"},
        {"queue": "w1@host.celery.pidbox"},
        {"routing_key": "celeryev.1234"},
        {"exchange": "", "routing_key": "w1@host.celery.pidbox"},
        {"queue": "celeryev"},
    ],
)
def test_no_signature_goes_to_a_mailbox_or_to_the_events(options: dict[str, Any]) -> None:
    assert refusal(options, classes=None) is Reason.ACL_CLASS


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"serializer": "json"}, None),
        ({"serializer": None}, None),
        ({"serializer": "pickle"}, Reason.CONTENT_TYPE),
        ({"serializer": "yaml"}, Reason.CONTENT_TYPE),
        ({"serializer": "msgpack"}, Reason.CONTENT_TYPE),
        ({"serializer": "auth"}, Reason.CONTENT_TYPE),
        ({"serializer": ["json"]}, Reason.CELERY_ENVELOPE),
        ({"compression": "zlib"}, None),
        ({"compression": "application/x-gzip"}, None),
        ({"compression": "bzip2"}, Reason.CONTENT_COMPRESSION),
        ({"compression": "brotli"}, Reason.CONTENT_COMPRESSION),
        ({"compression": ""}, None),
    ],
)
def test_a_worker_writes_the_content_that_is_listed(options: dict[str, Any], reason: Reason | None) -> None:
    # Whatever the key: what is listed is the gateway's.
    assert refusal(options) is reason
    assert refusal(options, tasks=None) is reason


@pytest.mark.parametrize("name", ["task_id", "root_id", "parent_id", "group_id"])
def test_ids_are_ids(name: str) -> None:
    assert refusal({name: ID}) is None
    assert refusal({name: None}) is None
    assert refusal({name: "../../etc/passwd"}) is Reason.CELERY_ID
    assert refusal({name: 5}) is Reason.CELERY_ID


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"tenant": "a", "sentry-trace": "b"}, None),
        ({"task": "app.add"}, None),
        ({"task": "admin.wipe"}, Reason.ACL_TASK),
        ({"headers": {"task": "admin.wipe"}}, Reason.ACL_TASK),
        ({"id": ID}, Reason.CELERY_ENVELOPE),
        ({"headers": {"callbacks": []}}, Reason.CELERY_ENVELOPE),
        ({"compression": "zlib"}, Reason.CELERY_ENVELOPE),
        ({"CC": ["secret"]}, Reason.HEADER_ROUTING),
        ({"headers": {"BCC": ["secret"]}}, Reason.HEADER_ROUTING),
        ({"headers": [["task", "admin.wipe"]]}, Reason.CELERY_ENVELOPE),
        ("x", Reason.CELERY_ENVELOPE),
        (None, None),
    ],
)
def test_headers_name_no_other_task_and_no_other_queue(headers: object, reason: Reason | None) -> None:
    assert refusal({"headers": headers}) is reason


def test_headers_of_headers_are_bounded() -> None:
    nested: dict[str, Any] = {"trace": "x"}
    for _ in range(HEADERS_DEPTH_MAX - 1):
        nested = {"headers": nested}
    assert refusal({"headers": nested}) is None
    assert refusal({"headers": {"headers": nested}}) is Reason.CELERY_EMBEDDED_DEPTH


def test_stamps_are_told_from_options() -> None:
    assert refusal({"visit": "v1"}) is Reason.CELERY_ENVELOPE
    assert refusal({"visit": "v1", "stamped_headers": ["visit"]}) is None
    assert refusal({"visit": "v1", "stamped_headers": ["other"]}) is Reason.CELERY_ENVELOPE
    assert refusal({"visit": "v1", "stamped_headers": None}) is Reason.CELERY_ENVELOPE
    assert refusal({"visit": "v1", "stamped_headers": "visit"}) is Reason.CELERY_ENVELOPE
    # Called like an option, it is one.
    assert refusal({"queue": "secret", "stamped_headers": ["queue"]}) is Reason.ACL_ROUTING_KEY


@pytest.mark.parametrize(
    "name", ["options", "subtask_type", "producer", "connection", "router", "declare", "immediate"]
)
def test_no_stamp_is_called_like_what_celery_never_serializes(name: str) -> None:
    assert refusal({name: {"link": []}}) is Reason.CELERY_ENVELOPE
    assert refusal({name: {"link": []}, "stamped_headers": [name]}) is Reason.CELERY_ENVELOPE


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": None}, None),
        ({"errback": "x"}, Reason.CELERY_ENVELOPE),
        ({"max_retries": "many"}, Reason.CELERY_ENVELOPE),
        ([["max_retries", 3]], Reason.CELERY_ENVELOPE),
    ],
)
def test_a_retry_policy_is_numbers(policy: object, reason: Reason | None) -> None:
    assert refusal({"retry_policy": policy}) is reason


def test_what_celery_writes_for_time_and_order_passes() -> None:
    options = {
        "countdown": 5,
        "eta": {"__type__": "datetime", "__value__": "2026-01-01T00:00:00+00:00"},
        "expires": 60,
        "time_limit": 5,
        "soft_time_limit": 4.5,
        "priority": 3,
        "retries": 1,
        "group_index": 0,
        "replaced_task_nesting": 1,
        "add_to_parent": False,
        "ignore_result": True,
        "shadow": "name",
        "link": [],
        "link_error": [],
        "chain": [],
        "chord": None,
    }
    assert refusal(options) is None
