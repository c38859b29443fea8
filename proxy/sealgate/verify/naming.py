"""The names a message goes by before it is proven, for rules that name tasks.

A rule holds for the task that the consumer will run, wherever the consumer reads its name; anybody can write
any other name beside it. Where a name can not be known, no rule is stretched to it.
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError
from sealgate.verify.celery import TASK_HEADER, is_task_name
from sealgate.verify.classes import class_of_target
from sealgate.verify.content import read_body
from sealgate.verify.message import Message
from sealgate.verify.policy import CELERY, DRAMATIQ, GENERIC, TASKIQ, ContentRules, HeaderNames, Policy
from sealgate.verify.taskiq import TASK_NAME_HEADER
from sealgate.wire.properties import TYPE

#: Where a body names its task. Celery's does in protocol 1 only, where no header does.
_BODY_NAMES: Final = {CELERY: TASK_HEADER, DRAMATIQ: "actor_name", TASKIQ: "task_name"}


def header_names(message: Message) -> HeaderNames:
    """What is known without the body. Control and events are no tasks, whatever their headers say."""
    if class_of_target(message.exchange, message.routing_key) is not None:
        return HeaderNames("", "")
    values = message.header.table.values
    celery, taskiq = values.get(TASK_HEADER), values.get(TASK_NAME_HEADER)
    return HeaderNames(celery if is_task_name(celery) else "", taskiq if is_task_name(taskiq) else "")


def claimed_task(message: Message, profile: str) -> str:
    """The name for the record, as far as it is known without the body."""
    return generic_task(message) if profile == GENERIC else header_names(message).of(profile)


def generic_task(message: Message) -> str:
    """The name of a message that nobody reads (DESIGN.md, "The contract")."""
    return message.header.text(TYPE) or message.routing_key


def run_tasks(message: Message, rules: ContentRules, policy: Policy) -> tuple[str | None, ...]:
    """Every task that a consumer may run for this message: "" for none, None for one that can not be known.

    Reads the body, of whoever sent it, where only the body tells.
    """
    if class_of_target(message.exchange, message.routing_key) is not None:
        return ("",)
    if rules.profile == GENERIC:
        named = header_names(message).celery
        return (generic_task(message), named) if named else (generic_task(message),)
    values = message.header.table.values
    if rules.profile == CELERY and TASK_HEADER in values:
        return (_checked(values[TASK_HEADER]),)
    return (_body_task(message, rules, policy),)


def _body_task(message: Message, rules: ContentRules, policy: Policy) -> str | None:
    try:
        value = read_body(message, rules, policy).value
    except GateError:
        return None
    name = _BODY_NAMES[rules.profile]
    if isinstance(value, dict) and name in value:
        return _checked(value[name])
    return "" if rules.profile == CELERY else None


def _checked(name: object) -> str | None:
    return name if is_task_name(name) else None
