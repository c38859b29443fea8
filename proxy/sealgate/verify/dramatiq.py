"""The dramatiq message: all in a JSON body, no headers, no content type (dramatiq 2.2)."""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.keyring import Key
from sealgate.verify.authority import TaskGrant, check_queue
from sealgate.verify.celery import TASK_HEADER, is_task_name

#: Messages that a worker publishes after this one. A pipeline nests each step in the one before.
FOLLOWING_MAX: Final = 1000
#: Its queue of delayed messages, and of dead ones.
_SUFFIXES: Final = (".DQ", ".XQ")
_FIELDS: Final[tuple[tuple[str, type], ...]] = (
    ("queue_name", str),
    ("actor_name", str),
    ("args", list),
    ("kwargs", dict),
    ("options", dict),
    ("message_id", str),
)
#: Options that name an actor, and those that hold whole messages.
_ACTOR_OPTIONS: Final = ("on_success", "on_failure")
_MESSAGE_OPTIONS: Final = ("pipe_target", "group_completion_callbacks")


def read_message(value: object, routing_key: str) -> dict[str, object]:
    """The message, checked. Raises `GateError` dramatiq.envelope, or dramatiq.mismatch with its queue."""
    if not isinstance(value, dict):
        raise GateError(Reason.DRAMATIQ_ENVELOPE, "not an object")
    for name, kind in _FIELDS:
        if not isinstance(value.get(name), kind):
            raise GateError(Reason.DRAMATIQ_ENVELOPE, name)
    if TASK_HEADER in value:
        # A worker of Celery would run this as a task of protocol 1.
        raise GateError(Reason.DRAMATIQ_ENVELOPE, "a message that names a task of Celery")
    if not is_task_name(value["actor_name"]):
        raise GateError(Reason.DRAMATIQ_ENVELOPE, "actor_name is not printable text of bounded length")
    if _queue(value["queue_name"]) != _queue(routing_key):
        raise GateError(Reason.DRAMATIQ_MISMATCH, "queue_name is not the routing key")
    return value


def check_following(key: Key, grant: TaskGrant, message: dict[str, object]) -> None:
    """Ask `grant` for every actor a worker would send to because of this message, and `key` for their queues.

    Raises `GateError` acl.task, acl.routing_key, acl.exchange, acl.class or dramatiq.envelope.
    """
    _grant_actor(grant, message.get("actor_name"))
    waiting: list[object] = _following(grant, message.get("options"))
    count = 1
    while waiting:
        count += 1
        if count > FOLLOWING_MAX:
            raise GateError(Reason.DRAMATIQ_ENVELOPE, f"over {FOLLOWING_MAX} messages in one")
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            _grant_actor(grant, item.get("actor_name"))
            queue = item.get("queue_name")
            if not isinstance(queue, str):
                raise GateError(Reason.DRAMATIQ_ENVELOPE, "queue_name")
            check_queue(key, queue)
            waiting.extend(_following(grant, item.get("options")))
        else:
            raise GateError(Reason.DRAMATIQ_ENVELOPE, "not a message")


def _following(grant: TaskGrant, options: object) -> list[object]:
    if not isinstance(options, dict):
        return []
    for name in _ACTOR_OPTIONS:
        if options.get(name) is not None:
            _grant_actor(grant, options[name])
    return [options[name] for name in _MESSAGE_OPTIONS if options.get(name) is not None]


def _grant_actor(grant: TaskGrant, actor: object) -> None:
    if not isinstance(actor, str):
        raise GateError(Reason.DRAMATIQ_ENVELOPE, "actor_name")
    grant.check(actor)


def _queue(name: str) -> str:
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name
