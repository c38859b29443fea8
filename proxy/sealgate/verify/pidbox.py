"""Remote control and events, as kombu 5.7 (`pidbox`) and Celery (`celery.events`) write them."""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason

#: A worker calls its mailbox with all of a command's names; these are the ones kombu writes.
_COMMAND_NAMES: Final = frozenset(
    {"method", "arguments", "destination", "pattern", "matcher", "ticket", "reply_to"}
)
#: `reply.celery.pidbox`, or with a `control_exchange` of one's own `reply.NAME.pidbox`.
_REPLY_PREFIX: Final = "reply."
_REPLY_SUFFIX: Final = "celery.pidbox"
#: A worker buffers up to 24 events of a kind; the list may be somebody else's setting.
EVENTS_MAX: Final = 1000


def read_command(value: object) -> str:
    """The name of the command in a control message.

    Raises `GateError` celery.envelope, or acl.reply_to where the answer should go anywhere but to a mailbox.
    """
    if not isinstance(value, dict) or not value.keys() <= _COMMAND_NAMES:
        raise GateError(Reason.CELERY_ENVELOPE, "not a control message")
    method = value.get("method")
    if not isinstance(method, str) or not isinstance(value.get("arguments") or {}, dict):
        raise GateError(Reason.CELERY_ENVELOPE, "method or arguments")
    if not isinstance(value.get("destination") or [], list):
        raise GateError(Reason.CELERY_ENVELOPE, "destination")
    reply_to = value.get("reply_to")
    if reply_to is not None:
        if not isinstance(reply_to, dict):
            raise GateError(Reason.CELERY_ENVELOPE, "reply_to")
        exchange = reply_to.get("exchange")
        if not isinstance(exchange, str) or not _is_mailbox(exchange):
            raise GateError(Reason.ACL_REPLY_TO, "an answer to no mailbox")
    return method


def _is_mailbox(exchange: str) -> bool:
    return exchange.startswith(_REPLY_PREFIX) and exchange.endswith(_REPLY_SUFFIX)


def check_reply(value: object) -> None:
    """An answer is a table by worker. Raises `GateError` celery.envelope."""
    if not isinstance(value, dict):
        raise GateError(Reason.CELERY_ENVELOPE, "not a control reply")


def check_event(value: object) -> None:
    """One event or a list of them. Raises `GateError` celery.envelope."""
    events = value if isinstance(value, list) else [value]
    if len(events) > EVENTS_MAX:
        raise GateError(Reason.CELERY_ENVELOPE, f"over {EVENTS_MAX} events")
    for event in events:
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise GateError(Reason.CELERY_ENVELOPE, "not an event")
