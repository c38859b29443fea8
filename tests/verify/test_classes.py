from __future__ import annotations

import pytest

from sealgate.verify.classes import MessageClass, class_of_target, is_control_reply


@pytest.mark.parametrize(
    ("exchange", "routing_key", "kind"),
    [
        ("celery.pidbox", "", MessageClass.CONTROL),
        ("reply.celery.pidbox", "oid", MessageClass.CONTROL),
        ("", "w@h.celery.pidbox", MessageClass.CONTROL),
        ("", "oid.reply.celery.pidbox", MessageClass.CONTROL),
        ("shop.pidbox", "", MessageClass.CONTROL),
        ("reply.shop.pidbox", "oid", MessageClass.CONTROL),
        ("", "w@h.shop.pidbox", MessageClass.CONTROL),
        ("pidbox", "", None),
        ("celeryev", "task.sent", MessageClass.EVENT),
        ("celeryev.east", "task.sent", MessageClass.EVENT),
        ("", "celeryev.1234", MessageClass.EVENT),
        ("celeryevil", "", None),
        ("", "celery", None),
        ("celery", "celery.pidbox", None),
        ("celery", "celeryev.x", None),
    ],
)
def test_target_tells_control_and_event(exchange: str, routing_key: str, kind: MessageClass | None) -> None:
    assert class_of_target(exchange, routing_key) is kind


def test_only_the_reply_exchange_takes_answers() -> None:
    assert is_control_reply("reply.celery.pidbox")
    assert not is_control_reply("celery.pidbox")
    assert not is_control_reply("")
