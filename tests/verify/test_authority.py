from __future__ import annotations

from typing import Any

import pytest

from sealgate.reason import GateError, Reason
from sealgate.verify.authority import (
    TaskGrant,
    check_class,
    check_command,
    check_goes_to_tasks,
    check_queue,
    check_target,
    real_routing_key,
)
from sealgate.verify.classes import MessageClass
from sealgate.wire.properties import REPLY_TO
from support.sealed import JSON_HEADER, a_key, a_message, a_peer

BITS = "0." * 27 + "1."


def target_refusal(
    key: dict[str, Any], peer: dict[str, Any] | None = None, reply_to: bytes = b"", **message: Any
) -> Reason | None:
    properties = {**JSON_HEADER, REPLY_TO: reply_to}
    try:
        check_target(a_key(**key), a_message(properties=properties, **message), a_peer(**(peer or {})))
    except GateError as error:
        return error.reason
    return None


@pytest.mark.parametrize(
    ("limit", "good", "reason"),
    [
        ({"vhosts": ("/", "t-*")}, {"peer": {"vhost": "t-1"}}, None),
        ({"vhosts": ("/",)}, {"peer": {"vhost": "/x"}}, Reason.ACL_VHOST),
        ({"users": ("app",)}, {}, None),
        ({"users": ("app",)}, {"peer": {"user": "other"}}, Reason.ACL_USER),
        ({"users": ("app",)}, {"peer": {"user": ""}}, Reason.ACL_USER),
        ({"exchanges": ("", "celery")}, {}, None),
        ({"exchanges": ("celery",)}, {}, Reason.ACL_EXCHANGE),
        ({"routing_keys": ("cel*",)}, {}, None),
        ({"routing_keys": ("cel*",)}, {"routing_key": "other"}, Reason.ACL_ROUTING_KEY),
        ({"reply_to": ("r.*",)}, {}, None),
        ({"reply_to": ("r.*",)}, {"reply_to": b"r.1"}, None),
        ({"reply_to": ("r.*",)}, {"reply_to": b"celery"}, Reason.ACL_REPLY_TO),
        ({"reply_to": ("*",)}, {"reply_to": b"amq.rabbitmq.reply-to"}, None),
        ({"reply_to": ("*",)}, {"reply_to": b"amq.rabbitmq.reply-to.x"}, Reason.ACL_REPLY_TO),
        ({}, {"reply_to": b"amq.rabbitmq.reply-toX"}, Reason.ACL_REPLY_TO),
    ],
)
def test_key_is_held_to_its_lists(limit: dict[str, Any], good: dict[str, Any], reason: Reason | None) -> None:
    assert target_refusal(limit, **good) is reason


@pytest.mark.parametrize(
    ("exchange", "routing_key", "real"),
    [
        ("celery_delayed_0", BITS + "celery", "celery"),
        ("celery_delayed_27", BITS + "a.b", "a.b"),
        ("prod_celery_delayed_9", BITS + "celery", "celery"),
        ("celery_delayed_28", BITS + "celery", BITS + "celery"),
        ("celery_delayed_03", BITS + "celery", BITS + "celery"),
        ("xcelery_delayed_3", BITS + "celery", BITS + "celery"),
        ("celery_delayed_3", BITS[2:] + "celery", BITS[2:] + "celery"),
        ("celery_delayed_3", BITS.replace("1", "2") + "celery", BITS.replace("1", "2") + "celery"),
        ("celery_delayed_3", BITS + BITS + "celery", BITS + "celery"),
        ("celery", BITS + "celery", BITS + "celery"),
    ],
)
def test_delay_of_native_delayed_delivery_is_no_part_of_the_routing_key(
    exchange: str, routing_key: str, real: str
) -> None:
    assert real_routing_key(exchange, routing_key) == real


def test_delayed_message_is_held_to_the_real_routing_key() -> None:
    key = {"routing_keys": ("celery",)}
    assert target_refusal(key, exchange="celery_delayed_5", routing_key=BITS + "celery") is None
    assert target_refusal(key, exchange="celery_delayed_5", routing_key=BITS + "x") is Reason.ACL_ROUTING_KEY


@pytest.mark.parametrize(
    ("classes", "kind", "reason"),
    [
        (None, MessageClass.CONTROL, None),
        (("task",), MessageClass.TASK, None),
        (("task",), MessageClass.EVENT, Reason.ACL_CLASS),
        ((), MessageClass.TASK, Reason.ACL_CLASS),
        (("control",), MessageClass.CONTROL, None),
        (("task", "control:ping"), MessageClass.CONTROL, None),
        (("task",), MessageClass.CONTROL, Reason.CELERY_CONTROL),
        (("control:ping",), MessageClass.RESULT, Reason.ACL_CLASS),
    ],
)
def test_key_is_held_to_its_classes(
    classes: tuple[str, ...] | None, kind: MessageClass, reason: Reason | None
) -> None:
    if reason is None:
        check_class(a_key(classes=classes), kind)
        return
    with pytest.raises(GateError) as caught:
        check_class(a_key(classes=classes), kind)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("classes", "passes"),
    [
        (None, True),
        (("control",), True),
        (("control:ping",), True),
        (("control:pin",), False),
        (("task",), False),
    ],
)
def test_key_is_held_to_its_commands(classes: tuple[str, ...] | None, passes: bool) -> None:
    if passes:
        check_command(a_key(classes=classes), "ping")
        return
    with pytest.raises(GateError) as caught:
        check_command(a_key(classes=classes), "ping")
    assert caught.value.reason is Reason.CELERY_CONTROL


def test_task_must_be_granted_by_the_key() -> None:
    grant = TaskGrant(a_key(tasks=("app.*",)))
    grant.check("app.add")
    for task in ("app", "lib.x", "other"):
        with pytest.raises(GateError) as caught:
            grant.check(task)
        assert caught.value.reason is Reason.ACL_TASK


@pytest.mark.parametrize("name", ["sealgate.wait.00ff", "sealgate.park.00ff"])
def test_no_key_reaches_the_queues_that_hold_messages(name: str) -> None:
    """What waits there would wait behind it for ever, and it would get to where its key may not send."""
    assert target_refusal({}, exchange="", routing_key=name) is Reason.ACL_ROUTING_KEY
    assert target_refusal({"routing_keys": ("*",)}, exchange="", routing_key=name) is Reason.ACL_ROUTING_KEY
    assert target_refusal({}, reply_to=name.encode()) is Reason.ACL_REPLY_TO
    with pytest.raises(GateError) as refused:
        check_goes_to_tasks("", name)
    assert refused.value.reason is Reason.ACL_ROUTING_KEY
    with pytest.raises(GateError) as refused:
        check_queue(a_key(), name)
    assert refused.value.reason is Reason.ACL_ROUTING_KEY
    # A routing key of an exchange is only that.
    assert target_refusal({}, exchange="celery", routing_key=name) is None
