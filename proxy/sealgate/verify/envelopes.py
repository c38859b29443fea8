"""Which envelope a proven body must be, and what it lets its key do (DESIGN.md, "Message classes")."""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.keyring import Key
from sealgate.verify import celery, dramatiq, pidbox, taskiq
from sealgate.verify.authority import REPLY_COMMAND, TaskGrant, check_all_commands, check_class, check_command
from sealgate.verify.canvas import check_action, check_canvas
from sealgate.verify.classes import MessageClass, is_control_reply
from sealgate.verify.content import COMPRESSION, Body
from sealgate.verify.message import Message
from sealgate.verify.policy import CELERY, DRAMATIQ, TASKIQ, ContentRules
from sealgate.wire.properties import TYPE


class Envelope:
    """A message with its body read. `message_class` and `task` are what its checks find them to be.

    `task` stays "" for all but tasks, and until it is known.
    """

    __slots__ = ("body", "message", "message_class", "task")

    def __init__(self, message_class: MessageClass | None, message: Message, body: Body) -> None:
        self.message_class = message_class
        self.message: Final = message
        self.body: Final = body
        self.task = ""


def check_envelope(
    envelope: Envelope, rules: ContentRules, key: Key, grant: TaskGrant, clock: celery.Clock, protocol_1: bool
) -> None:
    """Check the envelope of the profile of `rules`, or of the class the target told.

    Raises `GateError` celery.*, dramatiq.*, taskiq.*, acl.*, content.*, header.routing or time.expired.
    """
    if envelope.message_class is MessageClass.CONTROL:
        _check_control(envelope, rules, key, grant)
    elif envelope.message_class is MessageClass.EVENT:
        _check_events(envelope, rules, key, grant)
    elif rules.profile == CELERY:
        _check_celery(envelope, rules, key, grant, clock, protocol_1)
    else:
        envelope.message_class = MessageClass.TASK
        _check_other(envelope, rules.profile, key, grant)


def _check_control(envelope: Envelope, rules: ContentRules, key: Key, grant: TaskGrant) -> None:
    message, value = envelope.message, envelope.body.value
    pidbox.check_clock(message.header.table.values.get(pidbox.CLOCK))
    if is_control_reply(message.exchange):
        check_command(key, REPLY_COMMAND)
        pidbox.check_reply(value)
        return
    command = pidbox.read_command(value, message.exchange)
    check_command(key, command.name)
    if command.matches_expression:
        # An expression of anybody's choice can hold a worker up for good (M).
        check_all_commands(key)
    check_action(key, grant, rules, command.action)


def _check_events(envelope: Envelope, rules: ContentRules, key: Key, grant: TaskGrant) -> None:
    events = pidbox.read_events(envelope.body.value, envelope.message.routing_key)
    if events.elects:
        # To vote is to have a worker do what the winner was asked to: as much as the command that asks.
        check_command(key, pidbox.ELECTION)
    for action in events.actions:
        check_action(key, grant, rules, action)


def _check_celery(
    envelope: Envelope, rules: ContentRules, key: Key, grant: TaskGrant, clock: celery.Clock, protocol_1: bool
) -> None:
    headers = envelope.message.header.table.values
    value = envelope.body.value
    if celery.TASK_HEADER in headers:
        envelope.message_class = MessageClass.TASK
        task = envelope.task = celery.task_name(headers[celery.TASK_HEADER])
        # The body first: a task of protocol 1 that a header renames may have nothing else of protocol 2.
        body = celery.read_body_2(value)
        celery.check_fields(headers, clock)
        check_canvas(key, grant, rules, task, body, headers)
    elif celery.is_result(value):
        envelope.message_class = MessageClass.RESULT
        check_class(key, MessageClass.RESULT)
        celery.check_result(value)
    else:
        envelope.message_class = MessageClass.TASK
        check_class(key, MessageClass.TASK)
        if not isinstance(value, dict) or celery.TASK_HEADER not in value:
            raise GateError(Reason.CELERY_ENVELOPE, "no task in header or body")
        if not protocol_1:
            raise GateError(Reason.CELERY_PROTOCOL, "protocol 1 is not let in")
        _check_protocol_1(envelope, value, rules, key, grant, clock)


def _check_protocol_1(
    envelope: Envelope,
    value: dict[str, object],
    rules: ContentRules,
    key: Key,
    grant: TaskGrant,
    clock: celery.Clock,
) -> None:
    task = envelope.task = celery.task_name(value[celery.TASK_HEADER])
    grant.check(task)
    celery.check_fields(value, clock)
    # The headers of a task of protocol 1 are headers of its retries. How this one is compressed is known.
    headers = envelope.message.header.table.values
    retried = {"headers": {name: headers[name] for name in headers if name != COMPRESSION}}
    check_canvas(key, grant, rules, task, celery.read_body_1(value), retried)


def _check_other(envelope: Envelope, profile: str, key: Key, grant: TaskGrant) -> None:
    message = envelope.message
    header = message.header
    value = envelope.body.value
    if profile == DRAMATIQ:
        found = dramatiq.read_message(value, message.routing_key)
        envelope.task = str(found["actor_name"])
        dramatiq.check_following(key, grant, found)
        return
    if profile == TASKIQ:
        envelope.task = taskiq.read_message(value, header.table.values)
    else:
        envelope.task = header.text(TYPE) or message.routing_key
    grant.check(envelope.task)
