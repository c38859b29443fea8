"""Message classes: what a message is by where it goes (DESIGN.md, "The contract").

Control and event are told by the target alone, so nobody can send a command as something else. Result and
task go to the same places and are told apart by header and body, in `celery`.
"""

from __future__ import annotations

from enum import Enum, unique
from typing import Final

#: The end of a mailbox's name, exchange or queue: `celery.pidbox`, or with a `control_exchange` of one's own
#: another name before the dot.
PIDBOX: Final = ".pidbox"
#: What a mailbox's name has in front where its answers go.
REPLY_PREFIX: Final = "reply."
_EVENTS: Final = "celeryev"
_EVENTS_PREFIX: Final = "celeryev."


@unique
class MessageClass(Enum):
    """`value` is what a key's `classes` names."""

    TASK = "task"
    RESULT = "result"
    CONTROL = "control"
    EVENT = "event"


def class_of_target(exchange: str, routing_key: str) -> MessageClass | None:
    """CONTROL or EVENT, or None where the message itself has to tell.

    The default exchange reaches a queue by its name: that of a worker's mailbox or of an event monitor as
    well.
    """
    if exchange.endswith(PIDBOX):
        return MessageClass.CONTROL
    if exchange == _EVENTS or exchange.startswith(_EVENTS_PREFIX):
        return MessageClass.EVENT
    if not exchange:
        if routing_key.endswith(PIDBOX):
            return MessageClass.CONTROL
        if routing_key.startswith(_EVENTS_PREFIX):
            return MessageClass.EVENT
    return None


def is_control_reply(exchange: str) -> bool:
    """Whether a control message answers a command: kombu sends answers to this exchange and nowhere else."""
    return exchange.startswith(REPLY_PREFIX)
