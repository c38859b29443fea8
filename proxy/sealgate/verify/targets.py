"""Whether a message was meant to arrive where it does (seal1.md, "At the consumer").

What is compared is the target in the signature and that of the delivery. Between the two a message may have
been dead-lettered, or have waited in a queue of Celery's or of Sealgate's own; its `x-death` tells. Whoever
writes to the broker directly can write that header too: so it is asked only where a queue's policy says so.
"""

from __future__ import annotations

import re
from enum import Enum, unique
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import Snapshot
from sealgate.verify.message import Message
from sealgate.wire.properties import EXPIRATION, TIMESTAMP
from sealgate.wire.values import Value

_DEATHS: Final = "x-death"
#: Queues in which a gateway lets messages wait for their rate, or parks them. They come out with the target
#: they were sealed for.
WAIT_PREFIX: Final = "sealgate.wait."
PARK_PREFIX: Final = "sealgate.park."
#: The exchanges of Celery's native delayed delivery: a message goes in at one and comes out of another, with
#: its routing key, which begins with the delay as 28 bits (kombu 5.5 and later).
_DELAY_EXCHANGE: Final = re.compile(r"((?:.+_)?celery_delayed_)(?:[0-9]|1[0-9]|2[0-7])", re.DOTALL)
_DELAY_KEY: Final = re.compile(r"(?:[01]\.){28}.*", re.DOTALL)
_DELIVERY: Final = "delivery"


@unique
class TargetPolicy(Enum):
    """How the target of a delivery may differ from the one that was signed: `deliver.queue.target`."""

    __hash__ = object.__hash__

    STRICT = "strict"
    DEAD_LETTER = "dead_letter"
    DELAYED = "delayed"


def check_delivered_target(message: Message, target: Snapshot, policy: TargetPolicy) -> None:
    """Raises `GateError` target.mismatch."""
    _check_timestamp(message, target)
    if message.exchange == target.exchange and message.routing_key == target.routing_key:
        _check_expiration(message, target, policy)
        return
    what = "exchange" if message.exchange != target.exchange else "routing key"
    if policy is TargetPolicy.STRICT:
        raise GateError(Reason.TARGET_MISMATCH, what)
    if policy is TargetPolicy.DELAYED and not _was_delayed(message, target):
        raise GateError(Reason.TARGET_MISMATCH, what)
    deaths = _deaths_at(message, target)
    if not deaths:
        raise GateError(Reason.TARGET_MISMATCH, f"{what}, and no x-death names it")
    if message.header.fields[EXPIRATION] is not None or not _expiration_died(message, target, deaths):
        _check_expiration(message, target, TargetPolicy.STRICT)


def _check_timestamp(message: Message, target: Snapshot) -> None:
    """One that was signed is still there; where none was, an interceptor of the broker may have added one."""
    if target.timestamp is not None and message.header.fields[TIMESTAMP] != target.timestamp:
        raise GateError(Reason.TARGET_MISMATCH, "timestamp")


def _check_expiration(message: Message, target: Snapshot, policy: TargetPolicy) -> None:
    """The same expiration, or none any more where the message was dead-lettered and came back."""
    expiration = message.header.fields[EXPIRATION]
    if expiration == target.expiration:
        return
    if expiration is None:
        if _waited_with_gateway(message):
            return
        if policy is not TargetPolicy.STRICT:
            deaths = _deaths_at(message, target)
            if deaths and _expiration_died(message, target, deaths):
                return
    raise GateError(Reason.TARGET_MISMATCH, "expiration")


def _expiration_died(message: Message, target: Snapshot, deaths: list[dict[str, Value]]) -> bool:
    """Whether an expiration that was signed is known to have been taken off by a dead-lettering."""
    if target.expiration is None:
        return True
    for death in deaths:
        original = death.get("original-expiration")
        if isinstance(original, str) and original.encode() == target.expiration:
            return True
    return _waited_with_gateway(message)


def _deaths(message: Message) -> list[dict[str, Value]]:
    """The entries of `x-death` that are tables, as the broker writes them."""
    found = message.header.table.values.get(_DEATHS)
    deaths: list[dict[str, Value]] = []
    if isinstance(found, list):
        for entry in found:
            if isinstance(entry, dict):
                deaths.append(entry)
    return deaths


def _deaths_at(message: Message, target: Snapshot) -> list[dict[str, Value]]:
    """Those of a message that had this target."""
    found: list[dict[str, Value]] = []
    for death in _deaths(message):
        keys = death.get("routing-keys")
        if death.get("exchange") == target.exchange and isinstance(keys, list) and target.routing_key in keys:
            found.append(death)
    return found


def _waited_with_gateway(message: Message) -> bool:
    """Whether it lay in a queue of a gateway's, which put an expiration of its own in place of the one there
    was. What the seal says of its end holds all the same."""
    for death in _deaths(message):
        queue = death.get("queue")
        if isinstance(queue, str) and queue.startswith((WAIT_PREFIX, PARK_PREFIX)):
            return True
    return False


def _was_delayed(message: Message, target: Snapshot) -> bool:
    """Whether it went in at an exchange of delays, and comes out of one of the same family."""
    entered = _DELAY_EXCHANGE.fullmatch(target.exchange)
    if entered is None or message.routing_key != target.routing_key:
        return False
    if _DELAY_KEY.fullmatch(target.routing_key) is None:
        return False
    left = _DELAY_EXCHANGE.fullmatch(message.exchange)
    prefix = left[1] if left is not None else message.exchange.removesuffix(_DELIVERY)
    return prefix == entered[1] and prefix != message.exchange
