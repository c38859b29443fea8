"""What the key of a message may do (seal1.md, "Keys" and step 8 of "Order of checks")."""

from __future__ import annotations

import re
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import DIRECT_REPLY_TO
from sealgate.signing.keyring import Key
from sealgate.verify.classes import MessageClass, class_of_target
from sealgate.verify.globs import permits
from sealgate.verify.message import Message, Peer
from sealgate.verify.targets import PARK_PREFIX, WAIT_PREFIX
from sealgate.wire.properties import REPLY_TO

#: Queues of the gateway's own: what a client wrote there would stop what waits behind it, and come out where
#: its key may not send.
_HOLDING_PREFIXES: Final = (WAIT_PREFIX, PARK_PREFIX)
_DIRECT_REPLY: Final = DIRECT_REPLY_TO.decode()
#: Celery's native delayed delivery: the delay as 28 bits in front of the real routing key.
_DELAY_EXCHANGE: Final = re.compile(r"(?:.+_)?celery_delayed_(?:[0-9]|1[0-9]|2[0-7])", re.DOTALL)
_DELAY_BITS: Final = re.compile(r"(?:[01]\.){28}")
_CONTROL: Final = MessageClass.CONTROL.value
#: `control:NAME` in a key's classes lets it send that command; answers to commands count as a command called
#: this.
_CONTROL_PREFIX: Final = "control:"
REPLY_COMMAND: Final = "reply"


def real_routing_key(exchange: str, routing_key: str) -> str:
    """The routing key without the delay of Celery's native delayed delivery."""
    if _DELAY_EXCHANGE.fullmatch(exchange) is None:
        return routing_key
    return _DELAY_BITS.sub("", routing_key, count=1) if _DELAY_BITS.match(routing_key) else routing_key


def check_target(key: Key, message: Message, peer: Peer, delivered: bool = False) -> None:
    """Who sends, from where, and where to. An unknown user is in no list.

    Of what is `delivered` nobody knows any more which user sent it, and the broker has put a name of its own
    behind a direct reply-to.

    Raises `GateError` acl.vhost, acl.user, acl.exchange, acl.routing_key or acl.reply_to.
    """
    if not permits(key.vhosts, peer.vhost):
        raise GateError(Reason.ACL_VHOST, f"key {key.kid}")
    if not delivered and not permits(key.users, peer.user):
        raise GateError(Reason.ACL_USER, f"key {key.kid}")
    if not permits(key.exchanges, message.exchange):
        raise GateError(Reason.ACL_EXCHANGE, f"key {key.kid}")
    if not message.exchange:
        _check_not_holding(message.routing_key, Reason.ACL_ROUTING_KEY)
    if key.routing_keys is not None:
        routing_key = real_routing_key(message.exchange, message.routing_key)
        if not permits(key.routing_keys, routing_key):
            raise GateError(Reason.ACL_ROUTING_KEY, f"key {key.kid}")
    if message.header.fields[REPLY_TO]:
        check_reply_to(key, message.header.text(REPLY_TO) or "", delivered)


def check_reply_to(key: Key, reply_to: str, delivered: bool = False) -> None:
    """Raises `GateError` acl.reply_to."""
    if reply_to.startswith(_DIRECT_REPLY):
        # The signature covers only this much of it, so anything behind it may be anybody's (seal1.md).
        if reply_to != _DIRECT_REPLY and not delivered:
            raise GateError(Reason.ACL_REPLY_TO, "direct reply-to of somebody else")
        return
    _check_not_holding(reply_to, Reason.ACL_REPLY_TO)
    if not permits(key.reply_to, reply_to):
        raise GateError(Reason.ACL_REPLY_TO, f"key {key.kid}")


def check_queue(key: Key, queue: str) -> None:
    """A queue that a worker would publish to by its name: through the default exchange, or one of its name.

    Raises `GateError` acl.routing_key, acl.exchange or acl.class.
    """
    if not permits(key.routing_keys, queue):
        raise GateError(Reason.ACL_ROUTING_KEY, f"key {key.kid}, queue of a task in the message")
    if not permits(key.exchanges, "") and not permits(key.exchanges, queue):
        raise GateError(Reason.ACL_EXCHANGE, f"key {key.kid}, queue of a task in the message")
    check_goes_to_tasks("", queue)


def check_goes_to_tasks(exchange: str, routing_key: str) -> None:
    """Raises `GateError` acl.class for where control or events go: no task in a message may.

    Nor to a queue that holds messages (acl.routing_key).
    """
    if not exchange:
        _check_not_holding(routing_key, Reason.ACL_ROUTING_KEY)
    target = class_of_target(exchange, routing_key)
    if target is not None:
        raise GateError(Reason.ACL_CLASS, f"a task in the message that goes where {target.value} does")


def _check_not_holding(queue: str, reason: Reason) -> None:
    if queue.startswith(_HOLDING_PREFIXES):
        raise GateError(reason, "a queue of the gateway's own")


def check_class(key: Key, message_class: MessageClass) -> None:
    """Raises `GateError` acl.class; for control celery.control, when the key may send no command at all."""
    classes = key.classes
    if classes is None or message_class.value in classes:
        return
    if message_class is not MessageClass.CONTROL:
        raise GateError(Reason.ACL_CLASS, f"key {key.kid} sends no {message_class.value}")
    for name in classes:
        if name.startswith(_CONTROL_PREFIX):
            return
    raise GateError(Reason.CELERY_CONTROL, f"key {key.kid} sends no control")


def check_command(key: Key, command: str) -> None:
    """Raises `GateError` celery.control for a command that the key may not send."""
    classes = key.classes
    if classes is None or _CONTROL in classes or _CONTROL_PREFIX + command in classes:
        return
    raise GateError(Reason.CELERY_CONTROL, f"command not permitted to key {key.kid}")


def check_all_commands(key: Key) -> None:
    """Raises `GateError` celery.control for a key that may send some commands only."""
    if key.classes is not None and _CONTROL not in key.classes:
        raise GateError(Reason.CELERY_CONTROL, f"key {key.kid} may not send all commands")


class TaskGrant:
    """The task names one message may name: those of its key."""

    __slots__ = ("_kid", "_tasks")

    def __init__(self, key: Key) -> None:
        self._kid: Final = key.kid
        self._tasks: Final = key.tasks

    def check(self, task: str) -> None:
        """Raises `GateError` acl.task. Names are compared as they are."""
        if not permits(self._tasks, task):
            raise GateError(Reason.ACL_TASK, f"key {self._kid}")
