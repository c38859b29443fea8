"""What a sender may ask of workers, by task: time limits, expiry, ETA, retries, priority, sizes, compression.

A Celery worker obeys the headers of a task over its own configuration (celery.worker.request, 5.7): whoever
may send a task may else have it run for a year. Each bound refuses what exceeds it, or clamps it to what is
allowed. What is embedded in a body (callbacks, chains, chords) is bounded when a worker publishes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.verify.celery import TASK_HEADER, TIME_LIMIT_S_MAX, parse_moment
from sealgate.verify.globs import compiled
from sealgate.verify.inflate import ALIASES
from sealgate.verify.message import Message
from sealgate.verify.strict_json import KombuValue
from sealgate.wire.constants import TIMESTAMP_S_MAX
from sealgate.wire.entries import ITEM_VOID, array_items, encode_number, entry_array, entry_longstr
from sealgate.wire.properties import PRIORITY

#: The names of what can be clamped: keys of the configuration, and labels of the metric.
TIME_LIMIT: Final = "time_limit"
SOFT_TIME_LIMIT: Final = "soft_time_limit"
EXPIRES: Final = "expires"
PRIORITY_BOUND: Final = "priority"

_LIMITS_HEADER: Final = "timelimit"
_COMPRESSION: Final = "compression"
#: Remembered answers of `BoundTable.of`. Names come from clients, so the memory is dropped when full.
_REMEMBERED_MAX: Final = 4096


@dataclass(slots=True, frozen=True)
class Limit:
    """One bound: the most that may be asked for, and what is put in where nothing is (None for neither).

    With `clamps` what exceeds it is lowered, else it is refused.
    """

    maximum: float | None = None
    default: float | None = None
    clamps: bool = False


@dataclass(slots=True, frozen=True)
class Bound:
    """The bounds of tasks called `task`, a name or a glob. Times in seconds; None bounds nothing.

    ETA and retries are never clamped: a task must not run before its time, and one whose count of retries is
    set back is retried for ever.
    """

    task: str
    time_limit: Limit | None = None
    soft_time_limit: Limit | None = None
    expires: Limit | None = None
    expires_required: bool = False
    eta_s_max: float | None = None
    retries_max: int | None = None
    priority: Limit | None = None
    body_bytes_max: int | None = None
    arguments_bytes_max: int | None = None
    compression: frozenset[str] | None = None


class BoundTable:
    """Bounds by task, in the order of configuration: the first that matches counts."""

    __slots__ = ("_bounds", "_remembered")

    def __init__(self, bounds: tuple[Bound, ...]) -> None:
        self._bounds: Final = bounds
        self._remembered: Final[dict[str, Bound | None]] = {}

    def of(self, task: str) -> Bound | None:
        """What bounds `task`, if anything does."""
        if task in self._remembered:
            return self._remembered[task]
        found: Bound | None = None
        for bound in self._bounds:
            if compiled((bound.task,)).match(task):
                found = bound
                break
        if len(self._remembered) >= _REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[task] = found
        return found


@dataclass(slots=True)
class Edits:
    """What is to be changed in a message: header entries by name, encoded, and property values by index.

    `bounds` names the bounds that asked for it, in order. With `observed` it is only counted. `expires` is
    when the task ends then, Unix seconds, if that changes.
    """

    bounds: list[str] = field(default_factory=list)
    entries: dict[str, bytes] = field(default_factory=dict)
    fields: dict[int, bytes] = field(default_factory=dict)
    observed: bool = False
    expires: float | None = None


class Subject:
    """A task as its bounds see it.

    `task` names what the profile makes of it. `fields` are those of Celery: the headers in protocol 2, the
    body in protocol 1; None where no Celery worker would read any. `arguments` are what the task is called
    with.
    """

    __slots__ = ("arguments", "fields", "message", "task")

    def __init__(
        self, message: Message, task: str, fields: Mapping[str, object] | None, arguments: list[object]
    ) -> None:
        self.message: Final = message
        self.task: Final = task
        self.fields: Final = fields
        self.arguments: Final = arguments


def subject_of(message: Message, task: str, value: object) -> Subject:
    """The subject in a task with the proven body `value`, of whatever profile."""
    headers = message.header.table.values
    if TASK_HEADER in headers:
        return Subject(message, task, headers, value[:2] if isinstance(value, list) else [value])
    if isinstance(value, dict):
        fields = value if TASK_HEADER in value else None
        return Subject(message, task, fields, [value.get("args"), value.get("kwargs")])
    return Subject(message, task, None, [value])


def apply_bounds(bounds: BoundTable, subject: Subject, now: float, skew_s: int) -> Edits | None:
    """What has to be changed in a task before it may go on; None for nothing.

    Times are held against `now`, Unix seconds, with `skew_s` of tolerance for the sender's clock. Raises
    `GateError` celery.timelimit, celery.expires, celery.eta, celery.retries, props.priority, body.size or
    content.compression for what is refused: also what would be changed in the body (protocol 1).
    """
    return _Bounding(bounds, subject, True).run(now, skew_s)


def check_delivered(bounds: BoundTable, subject: Subject, now: float, skew_s: int) -> None:
    """As `apply_bounds` for a message that is delivered: nothing can be changed any more.

    What would have been clamped, or given a default, was not sent through a gateway with these bounds, and is
    refused.
    """
    _Bounding(bounds, subject, False).run(now, skew_s)


class _Bounding:
    """One task on its way through its bounds."""

    __slots__ = ("_bounds", "_editable", "_edits", "_in_headers", "_subject")

    def __init__(self, bounds: BoundTable, subject: Subject, editable: bool) -> None:
        self._bounds: Final = bounds
        self._subject: Final = subject
        #: Whether anything can be changed: the message is on its way in.
        self._editable: Final = editable
        #: Celery's fields are: in a body nothing is.
        self._in_headers: Final = TASK_HEADER in subject.message.header.table.values
        self._edits: Final = Edits()

    def run(self, now: float, skew_s: int) -> Edits | None:
        subject = self._subject
        bound = self._bounds.of(subject.task)
        if bound is not None:
            self._sizes(bound)
            self._priority(bound)
        fields = subject.fields
        if fields is not None:
            # A worker of Celery that got this runs what it finds there, whatever the profile calls it.
            name = fields.get(TASK_HEADER)
            named = self._bounds.of(name) if isinstance(name, str) else None
            if named is not None:
                self._time_limits(named, fields)
                self._expires(named, fields, now, skew_s)
                _check_eta(named, fields, now + skew_s)
                _check_retries(named, fields)
        return self._edits if self._edits.bounds else None

    def _exceeds(self, name: str, clamps: bool, reason: Reason, detail: str) -> None:
        """Note that bound `name` changes the message. Raises `GateError` where it must not."""
        if not clamps or not self._editable or not (self._in_headers or name == PRIORITY_BOUND):
            raise GateError(reason, detail)
        if name not in self._edits.bounds:
            self._edits.bounds.append(name)

    def _sizes(self, bound: Bound) -> None:
        message = self._subject.message
        size_max = bound.body_bytes_max
        if size_max is not None and len(message.body) > size_max:
            raise GateError(Reason.BODY_SIZE, f"over the task's {size_max} bytes")
        arguments_max = bound.arguments_bytes_max
        if arguments_max is not None and _larger(self._subject.arguments, arguments_max):
            raise GateError(Reason.BODY_SIZE, f"arguments over the task's {arguments_max} bytes")
        if bound.compression is not None:
            method = message.header.table.values.get(_COMPRESSION)
            if method and not (isinstance(method, str) and ALIASES.get(method, method) in bound.compression):
                raise GateError(Reason.CONTENT_COMPRESSION, "not listed for the task")

    def _priority(self, bound: Bound) -> None:
        limit = bound.priority
        if limit is None:
            return
        field = self._subject.message.header.fields[PRIORITY]
        value = None if field is None else float(field[0])
        allowed = self._allowed(PRIORITY_BOUND, value, limit, Reason.PROPS_PRIORITY)
        if allowed is not None and allowed != value:
            self._edits.fields[PRIORITY] = bytes((int(allowed),))

    def _allowed(self, name: str, value: float | None, limit: Limit | None, reason: Reason) -> float | None:
        """`value`, or what is put in its place."""
        if limit is None:
            return value
        if value is None:
            if limit.default is not None:
                self._exceeds(name, True, reason, f"no {name}")
            return limit.default
        if limit.maximum is None or value <= limit.maximum:
            return value
        self._exceeds(name, limit.clamps, reason, f"{name} over the task's {limit.maximum:g}")
        return limit.maximum

    def _time_limits(self, bound: Bound, fields: Mapping[str, object]) -> None:
        """Hard and soft.

        The soft one must be below the hard one: a prefork worker starts the clock of the hard one when the
        soft one is over, so that [5, 3600] stops nothing before an hour (celery.concurrency.asynpool).
        """
        if bound.time_limit is None and bound.soft_time_limit is None:
            return
        hard, soft = _time_limits(fields.get(_LIMITS_HEADER))
        new_hard = self._allowed(TIME_LIMIT, hard, bound.time_limit, Reason.CELERY_TIMELIMIT)
        new_soft = self._allowed(SOFT_TIME_LIMIT, soft, bound.soft_time_limit, Reason.CELERY_TIMELIMIT)
        if new_hard is not None and new_soft is not None and new_soft >= new_hard:
            clamps = hard != new_hard or soft != new_soft or _clamps(bound)
            self._exceeds(SOFT_TIME_LIMIT, clamps, Reason.CELERY_TIMELIMIT, "the soft limit is not below")
            new_soft = new_hard * 9 / 10
        if new_hard == hard and new_soft == soft:
            return
        items = array_items(self._subject.message.header.table, _LIMITS_HEADER) or [ITEM_VOID, ITEM_VOID]
        if new_hard is not None and new_hard != hard:
            items[0] = encode_number(new_hard)
        if new_soft is not None and new_soft != soft:
            items[1] = encode_number(new_soft)
        self._edits.entries[_LIMITS_HEADER] = entry_array(_LIMITS_HEADER, items)

    def _expires(self, bound: Bound, fields: Mapping[str, object], now: float, skew_s: int) -> None:
        """From now, or from the ETA of a task that starts later: else it would end before it began."""
        value = fields.get(EXPIRES)
        limit = bound.expires
        if value is None and bound.expires_required:
            raise GateError(Reason.CELERY_EXPIRES, "the task must have one")
        if limit is None:
            return
        begin = max(now, parse_moment(fields.get("eta")) or now)
        left: float | None = None
        if value is not None:
            moment = parse_moment(value)
            if moment is None:
                raise GateError(Reason.CELERY_EXPIRES, "not an ISO 8601 time")
            left = moment - begin
            if limit.maximum is not None and limit.maximum < left <= limit.maximum + skew_s:
                return
        allowed = self._allowed(EXPIRES, left, limit, Reason.CELERY_EXPIRES)
        if allowed is not None and allowed != left:
            end = begin + allowed
            if end > TIMESTAMP_S_MAX:
                raise GateError(Reason.CELERY_ETA, "after the year 9999")
            text = datetime.fromtimestamp(end, UTC).isoformat(timespec="milliseconds")
            self._edits.expires = end
            self._edits.entries[EXPIRES] = entry_longstr(EXPIRES, text.encode())


def _clamps(bound: Bound) -> bool:
    """Whether either of its time limits is clamped."""
    return any(limit is not None and limit.clamps for limit in (bound.time_limit, bound.soft_time_limit))


def _time_limits(value: object) -> tuple[float | None, float | None]:
    """Hard and soft; None where the worker's own holds, which it takes 0 for as well.

    Raises `GateError` celery.timelimit.
    """
    if value is None:
        return None, None
    if not isinstance(value, list) or len(value) != 2:
        raise GateError(Reason.CELERY_TIMELIMIT, "not a pair")
    return _seconds(value[0]), _seconds(value[1])


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    # NaN is neither below nor above anything, and an integer may be longer than any float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= TIME_LIMIT_S_MAX:
        raise GateError(Reason.CELERY_TIMELIMIT, "not seconds")
    return float(value) or None


def _check_eta(bound: Bound, fields: Mapping[str, object], now: float) -> None:
    if bound.eta_s_max is None or fields.get("eta") is None:
        return
    moment = parse_moment(fields.get("eta"))
    if moment is None or moment - now > bound.eta_s_max:
        raise GateError(Reason.CELERY_ETA, f"beyond the task's {bound.eta_s_max:g} s")


def _check_retries(bound: Bound, fields: Mapping[str, object]) -> None:
    retries = fields.get("retries")
    if bound.retries_max is None or retries is None:
        return
    if not isinstance(retries, int) or retries > bound.retries_max:
        raise GateError(Reason.CELERY_RETRIES, f"over the task's {bound.retries_max}")


def _larger(values: list[object], size_max: int) -> bool:
    """Whether `values` would take more than `size_max` bytes of JSON, without spaces and escapes."""
    waiting = list(values)
    size = 0
    while waiting and size <= size_max:
        value = waiting.pop()
        if isinstance(value, str):
            size += _text_bytes(value)
        elif isinstance(value, dict):
            size += 1 + max(len(value), 1)
            for key, item in value.items():
                size += _text_bytes(str(key)) + 1
                waiting.append(item)
        elif isinstance(value, list):
            size += 1 + max(len(value), 1)
            waiting.extend(value)
        elif isinstance(value, bytes):
            size += len(value)
        elif isinstance(value, KombuValue):
            waiting.append(value.value)
        elif value is False:
            size += 5
        else:
            # None counts as JSON's null, and True as true.
            size += len(str(value))
    return size > size_max


def _text_bytes(text: str) -> int:
    return 2 + (len(text) if text.isascii() else len(text.encode(errors="surrogatepass")))
