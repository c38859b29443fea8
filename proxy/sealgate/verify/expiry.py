"""How long results and replies may lie about: the TTL of messages, and of the queues they are sent to.

Celery's rpc backend declares one queue for each process (a UUID, auto-delete) and publishes results to it by
its name; kombu's remote control has a reply queue for each caller (celery.backends.rpc, kombu.pidbox, 5.7).
Nobody else reads them, so that what is left there is left for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sealgate.verify.bounds import Edits
from sealgate.verify.celery import TASK_HEADER
from sealgate.verify.classes import MessageClass, class_of_target, is_control_reply
from sealgate.verify.expiration import expiration_ms
from sealgate.verify.globs import compiled
from sealgate.verify.message import Message
from sealgate.wire.properties import EXPIRATION

#: The name of the bound in metric and log.
EXPIRATION_BOUND: Final = "expiration"
X_EXPIRES: Final = "x-expires"
X_MESSAGE_TTL: Final = "x-message-ttl"
#: What names of queues that the broker chooses begin with.
_SERVER_NAMED: Final = "amq.gen-"
#: Celery's rpc backend; kombu's remote control; names of the broker's choice, as most RPC clients use.
REPLY_QUEUES: Final = ("????????-????-????-????-????????????", "*.reply.*.pidbox", f"{_SERVER_NAMED}*")


@dataclass(slots=True, frozen=True)
class Expiry:
    """The most, in milliseconds; None bounds nothing. `queues` are globs of the names of reply queues.

    `expiration_ms_max` is of each message, `expires_ms_max` of a queue that nobody uses (x-expires),
    `message_ttl_ms_max` of what lies in a queue (x-message-ttl). With `observed` the
    arguments of queues are only counted.
    """

    expiration_ms_max: int | None = None
    expires_ms_max: int | None = None
    message_ttl_ms_max: int | None = None
    queues: tuple[str, ...] = REPLY_QUEUES
    observed: bool = False

    @property
    def bounds_queues(self) -> bool:
        """Whether any argument of a queue is bounded."""
        return self.expires_ms_max is not None or self.message_ttl_ms_max is not None

    def edits(self, message: Message, is_result: bool, edits: Edits | None) -> Edits | None:
        """`edits`, and what else has to be changed in a message so that it expires in time."""
        most = self.expiration_ms_max
        if most is None or not (is_result or self._is_reply(message)):
            return edits
        value = message.header.fields[EXPIRATION]
        given = None if value is None else expiration_ms(value)
        if value is not None and (given is None or given <= most):
            # What is no number the broker refuses.
            return edits
        edits = edits or Edits()
        edits.bounds.append(EXPIRATION_BOUND)
        edits.fields[EXPIRATION] = str(most).encode()
        return edits

    def arguments(self, name: str, values: Mapping[str, object]) -> dict[str, int]:
        """What to change in the arguments of an exclusive or auto-delete queue that is declared as `name`.

        It hangs on nothing but these, so that declaring the queue again means the same.
        """
        if not compiled(self.queues).match(name or _SERVER_NAMED):
            return {}
        changed: dict[str, int] = {}
        for argument, most in ((X_EXPIRES, self.expires_ms_max), (X_MESSAGE_TTL, self.message_ttl_ms_max)):
            if most is None:
                continue
            value = values.get(argument)
            if value is None or (type(value) is int and value > most):
                changed[argument] = most
        return changed

    def _is_reply(self, message: Message) -> bool:
        if TASK_HEADER in message.header.table.values:
            return False
        if class_of_target(message.exchange, message.routing_key) is MessageClass.CONTROL:
            return is_control_reply(message.exchange)
        return not message.exchange and compiled(self.queues).match(message.routing_key)
