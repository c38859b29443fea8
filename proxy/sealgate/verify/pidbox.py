"""Remote control and events, as kombu 5.7 (`pidbox`) and Celery (`celery.events`) write them."""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.verify.classes import PIDBOX, REPLY_PREFIX

#: A worker calls its mailbox with all of a command's names; these are the ones kombu writes.
_COMMAND_NAMES: Final = frozenset(
    {"method", "arguments", "destination", "pattern", "matcher", "ticket", "reply_to"}
)
#: How a pattern picks workers, unless another matcher is named: `pcre` takes it for a regular expression.
_GLOB: Final = "glob"
#: A pattern of node names, a ticket (a UUID), a routing key of an answer.
_TEXT_CHARACTERS_MAX: Final = 255
#: The command that has workers elect one of them.
ELECTION: Final = "election"
#: The header, and the field of an event, with the logical clock of who sent it.
CLOCK: Final = "clock"
#: Every process adds one to the highest clock it has seen, and writes it as 64 bits: at the end of those a
#: worker answers no command any more (M). This is far beyond what counting reaches, and far from that end.
CLOCK_MAX: Final = 2**53
#: A worker buffers up to 24 events of a kind; the list may be somebody else's setting.
EVENTS_MAX: Final = 1000


#: Where workers send what is about themselves. They read it one by one, and leave tasks to monitors.
_WORKER_KEYS: Final = "worker."
_ELECTION_KEYS: Final = "worker.elect"
#: What Celery computes of a worker, and no event can set.
_COMPUTED_NAMES: Final = frozenset({"alive", "heartbeat_expires", "id", "status_string"})


class Command:
    """What a control message asks for. `action` is the signature that a worker shall publish, if any."""

    __slots__ = ("action", "matches_expression", "name")

    def __init__(self, name: str, action: object, matches_expression: bool) -> None:
        self.name: Final = name
        self.action: Final = action
        self.matches_expression: Final = matches_expression


def read_command(value: object, mailbox: str) -> Command:
    """The command in a control message to the exchange `mailbox`, "" where it goes to a queue by its name.

    Raises `GateError` celery.envelope, or acl.reply_to where the answer should go anywhere but to a mailbox.
    """
    if not isinstance(value, dict) or not value.keys() <= _COMMAND_NAMES:
        raise GateError(Reason.CELERY_ENVELOPE, "not a control message")
    method, arguments = value.get("method"), value.get("arguments") or {}
    if not isinstance(method, str) or not isinstance(arguments, dict):
        raise GateError(Reason.CELERY_ENVELOPE, "method or arguments")
    if not isinstance(value.get("destination") or [], list):
        raise GateError(Reason.CELERY_ENVELOPE, "destination")
    for name in ("pattern", "matcher", "ticket"):
        _check_text(value.get(name), name)
    reply_to = value.get("reply_to")
    if reply_to is not None:
        if not isinstance(reply_to, dict):
            raise GateError(Reason.CELERY_ENVELOPE, "reply_to")
        _check_text(reply_to.get("routing_key"), "reply_to")
        exchange = reply_to.get("exchange")
        if not isinstance(exchange, str) or not _answers(exchange, mailbox):
            raise GateError(Reason.ACL_REPLY_TO, "an answer to no mailbox of these")
    matcher = value.get("matcher")
    return Command(method, arguments.get("action"), matcher is not None and matcher != _GLOB)


def _check_text(value: object, name: str) -> None:
    if value is not None and (not isinstance(value, str) or len(value) > _TEXT_CHARACTERS_MAX):
        raise GateError(Reason.CELERY_ENVELOPE, name)


def _answers(exchange: str, mailbox: str) -> bool:
    """Whether kombu would have the commands to `mailbox` answered at `exchange`. A worker declares it."""
    if mailbox:
        return exchange == REPLY_PREFIX + mailbox
    return exchange.startswith(REPLY_PREFIX) and exchange.endswith(PIDBOX)


def check_reply(value: object) -> None:
    """An answer is a table by worker. Raises `GateError` celery.envelope."""
    if not isinstance(value, dict):
        raise GateError(Reason.CELERY_ENVELOPE, "not a control reply")


def check_clock(value: object) -> None:
    """Raises `GateError` celery.envelope for a logical clock that nobody has."""
    if value is not None and (type(value) is not int or not 0 <= value <= CLOCK_MAX):
        raise GateError(Reason.CELERY_ENVELOPE, "clock")


class Events:
    """What events say that their key is asked for: signatures to publish, and whether workers are to vote."""

    __slots__ = ("actions", "elects")

    def __init__(self) -> None:
        self.actions: Final[list[object]] = []
        self.elects = False


def read_events(value: object, routing_key: str) -> Events:
    """One event or a list of them. Raises `GateError` celery.envelope."""
    of_workers = routing_key.startswith(_WORKER_KEYS)
    events = value if isinstance(value, list) and not of_workers else [value]
    if len(events) > EVENTS_MAX:
        raise GateError(Reason.CELERY_ENVELOPE, f"over {EVENTS_MAX} events")
    found = Events()
    found.elects = routing_key.startswith(_ELECTION_KEYS)
    for event in events:
        if not isinstance(event, dict):
            raise GateError(Reason.CELERY_ENVELOPE, "not an event")
        _check_event(event)
        if of_workers:
            _check_worker_event(event, found.elects)
        action = event.get("action")
        if action is not None:
            found.actions.append(action)
    return found


def _check_event(event: dict[str, object]) -> None:
    if not isinstance(event.get("type"), str):
        raise GateError(Reason.CELERY_ENVELOPE, "not an event")
    check_clock(event.get(CLOCK))
    _check_text(event.get("hostname"), "hostname")
    timestamp = event.get("timestamp")
    if timestamp is not None and not isinstance(timestamp, int | float):
        raise GateError(Reason.CELERY_ENVELOPE, "timestamp")


def _check_worker_event(event: dict[str, object], elects: bool) -> None:
    """Workers read each other's events, and may end with an exception over one that no worker writes (M)."""
    if event.get("hostname") is None:
        raise GateError(Reason.CELERY_ENVELOPE, "an event of no worker")
    if not elects and not _COMPUTED_NAMES.isdisjoint(event):
        raise GateError(Reason.CELERY_ENVELOPE, "an event with what is computed of a worker")
