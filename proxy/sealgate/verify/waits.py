"""How long a message may wait for its rate: no longer than it is good, and not where it can not wait."""

from __future__ import annotations

from typing import Final

from sealgate.signing.token import Token
from sealgate.verify.bounds import Edits
from sealgate.verify.celery import TASK_HEADER, parse_moment
from sealgate.verify.expiration import expiration_ms
from sealgate.verify.message import Message, Peer
from sealgate.verify.policy import Policy
from sealgate.wire.properties import EXPIRATION

_MICROSECONDS: Final = 1_000_000
_MILLISECOND_US: Final = 1000


def wait_us(
    task: str,
    message: Message,
    body: object,
    peer: Peer,
    token: Token,
    policy: Policy,
    now: float,
    edits: Edits | None,
) -> int:
    """The longest wait for `message`, whose checks were good at `now` (Unix seconds); 0: it can not wait.

    Nothing of it may end before its slot: the seal, Celery's `expires`, the expiration property. A mandatory
    message does not wait: whether its target takes it can not be told from a queue. Nor does one that is only
    observed.
    """
    longest = policy.rates.delay_us
    if not longest or message.mandatory:
        return 0
    if (policy.rules or policy.observe_default) and policy.observes(
        peer.vhost, message.exchange, task, peer.user
    ):
        return 0
    longest = min(longest, int((token.expires - now) * _MICROSECONDS))
    expiration = message.header.fields[EXPIRATION]
    if edits is not None:
        expiration = edits.fields.get(EXPIRATION, expiration)
    if expiration is not None:
        milliseconds = expiration_ms(expiration)
        longest = min(longest, 0 if milliseconds is None else milliseconds * _MILLISECOND_US)
    expires = _expires(message, body)
    if edits is not None and edits.expires is not None:
        expires = edits.expires
    if expires is not None:
        longest = min(longest, int((expires - now) * _MICROSECONDS))
    return max(longest, 0)


def _expires(message: Message, body: object) -> float | None:
    """When the task is not to be run any more: protocol 2 says it in a header, protocol 1 in the body."""
    values = message.header.table.values
    if TASK_HEADER in values:
        return parse_moment(values.get("expires"))
    return parse_moment(body.get("expires")) if isinstance(body, dict) else None
