"""What an operator's orders are asked about a message: the tasks it runs, and the ids it goes by.

Not the tasks that its signatures name: a worker publishes those as messages of their own, which are asked
about then.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.verify.celery import TASK_HEADER, is_task_name
from sealgate.verify.classes import MessageClass
from sealgate.verify.content import read_body
from sealgate.verify.controls import Controls
from sealgate.verify.envelopes import Envelope
from sealgate.verify.message import Message
from sealgate.verify.naming import header_names, run_tasks
from sealgate.verify.policy import CELERY, DRAMATIQ, TASKIQ, ContentRules, Policy
from sealgate.wire.properties import EXPIRATION, MESSAGE_ID

_ID: Final = "id"
#: Where a body has the id; Celery's has it in protocol 1 only, where no header does.
_BODY_IDS: Final = {CELERY: _ID, DRAMATIQ: "message_id", TASKIQ: "task_id"}
#: Celery's own tasks that run another one in their place: their first argument, by name and by position.
_STAND_INS: Final = frozenset({"celery.map", "celery.starmap", "celery.chunks"})
_STOOD_IN: Final = "task"


def check_orders(envelope: Envelope, profile: str, policy: Policy, now: float) -> str:
    """Ask `policy.controls` about a message that was proven: the pattern that pauses it, "" for none.

    Raises `GateError` rate.shed, also for what is paused and can not be parked, or acl.revoked.
    """
    controls = policy.controls
    if controls is None or envelope.message_class is not MessageClass.TASK:
        return ""
    message = envelope.message
    tasks = [envelope.task]
    named = header_names(message).celery
    if named and named != envelope.task:
        tasks.append(named)
    if envelope.task in _STAND_INS:
        tasks += _stood_in(envelope.body.value)
    controls.check_ids(_ids(message, profile, envelope.body.value), now)
    controls.check_tasks(tasks)
    return _paused(controls, tasks, message)


def _paused(controls: Controls, tasks: list[str], message: Message) -> str:
    pattern = controls.paused_by(tasks)
    if pattern and message.header.fields[EXPIRATION] is not None:
        # The broker would bring it on when its own time is over, in the middle of the pause.
        raise GateError(Reason.RATE_SHED, "paused, and with an expiration it can not be parked")
    return pattern


def check_revoked(envelope: Envelope, profile: str, policy: Policy, now: float) -> None:
    """As `check_orders`, for a message that is delivered: what is shed was let in before, and goes on.

    Raises `GateError` acl.revoked.
    """
    if envelope.message_class is MessageClass.TASK:
        check_revoked_ids(envelope.message, profile, envelope.body.value, policy, now)


def check_revoked_ids(message: Message, profile: str, value: object, policy: Policy, now: float) -> None:
    """As `check_revoked`, for a task whose body is `value`."""
    controls = policy.controls
    if controls is not None and controls.revoked:
        controls.check_ids(_ids(message, profile, value), now)


def check_unproven(message: Message, rules: ContentRules, policy: Policy, now: float) -> str:
    """As `check_orders`, for a message that is only observed, as far as it tells."""
    controls = policy.controls
    if controls is None:
        return ""
    value: object = None
    with suppress(GateError):  # it is refused for this already, where anything is
        value = read_body(message, rules, policy).value
    controls.check_ids(_ids(message, rules.profile, value), now)
    tasks = [task for task in run_tasks(message, rules, policy) if task]
    controls.check_tasks(tasks)
    return _paused(controls, tasks, message)


def _ids(message: Message, profile: str, value: object) -> list[str]:
    """Every id that a consumer may know the message by."""
    found = [message.header.text(MESSAGE_ID), message.header.table.values.get(_ID)]
    name = _BODY_IDS.get(profile)
    if name is not None and isinstance(value, dict) and (profile != CELERY or TASK_HEADER in value):
        found.append(value.get(name))
    return [task_id for task_id in found if isinstance(task_id, str)]


def _stood_in(value: object) -> list[str]:
    """The task in the place of whose many runs one of `_STAND_INS` is sent."""
    if isinstance(value, dict):
        args, kwargs = value.get("args"), value.get("kwargs")
    elif isinstance(value, list) and len(value) > 1:
        args, kwargs = value[0], value[1]
    else:
        return []
    signatures: list[object] = []
    if isinstance(args, list):
        signatures += args[:1]
    if isinstance(kwargs, dict):
        signatures.append(kwargs.get(_STOOD_IN))
    names = [item.get("task") if isinstance(item, dict) else item for item in signatures]
    return [name for name in names if is_task_name(name)]
