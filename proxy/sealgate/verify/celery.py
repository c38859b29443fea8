"""The Celery task envelope, protocols 2 and 1, and its results.

A stock worker dies of several envelopes that are valid JSON (hostile.jsonl CE09 to CE21 say which); others
let a message reach parts of the worker it should not. What Celery itself sends is taken from its code (5.7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TypeGuard

from sealgate.reason import GateError, Reason
from sealgate.wire.values import LENGTH_BYTES

TASK_HEADER: Final = "task"
#: What an embed may hold. A worker merges it over its request, so another name would replace what was
#: checked.
EMBEDDED_NAMES: Final = ("callbacks", "errbacks", "chain", "chord")
#: Names are compared, logged and used as metric labels; Python paths are far shorter.
TASK_NAME_BYTES_MAX: Final = 255
#: A chord that polls once a second gets here after eleven days.
RETRIES_MAX: Final = 999_999
#: Ten years: a worker adds it to the time of day.
TIME_LIMIT_S_MAX: Final = 315_360_000
_TIME_CHARACTERS_MAX: Final = 64
#: An id becomes a key of the result store, or a file name (CE16). Celery's own are UUIDs.
_ID: Final = re.compile(r"[A-Za-z0-9_:@+=~,-][A-Za-z0-9_.:@+=~,-]{0,254}")
_ID_CHARACTERS_MAX: Final = 255
#: Letters, digits and hyphens become `0`, all else something else.
_PLAIN_TO_ZERO: Final = bytes(
    ord("0") if octet < 128 and (chr(octet).isalnum() or octet == ord("-")) else ord("!")
    for octet in range(256)
)
#: By how many.
_ZEROS: Final = [b"0" * characters for characters in range(_ID_CHARACTERS_MAX + 1)]
ID_NAMES: Final = ("id", "group", "root_id", "parent_id", "taskset")
_PROTOCOL_1_NAMES: Final = frozenset({"task", "id", "args", "kwargs"})
#: The headers of a task that Celery writes itself, but for its name.
FIELD_NAMES: Final = frozenset(
    {
        "argsrepr",
        "callbacks",
        "chain",
        "chord",
        "compression",
        "errbacks",
        "eta",
        "expires",
        "group",
        "group_index",
        "id",
        "ignore_result",
        "kwargsrepr",
        "lang",
        "meth",
        "origin",
        "parent_id",
        "replaced_task_nesting",
        "retries",
        "root_id",
        "shadow",
        "stamped_headers",
        "stamps",
        "taskset",
        "timelimit",
    }
)
_RESULT_NAMES: Final = frozenset({"task_id", "status", "result"})
#: What `Context.as_execution_options` publishes a retry with: a stamp of such a name would replace it.
_EXECUTION_OPTIONS: Final = frozenset(
    {
        "chain",
        "chord",
        "connection",
        "countdown",
        "eta",
        "exchange",
        "expires",
        "group_id",
        "group_index",
        "headers",
        "link",
        "link_error",
        "origin",
        "parent_id",
        "producer",
        "queue",
        "replaced_task_nesting",
        "reply_to",
        "retries",
        "root_id",
        "routing_key",
        "serializer",
        "shadow",
        "soft_time_limit",
        "task_id",
        "time_limit",
    }
)


class Clock:
    """What times in an envelope are held against: `now` and the last ETA in Unix seconds, and the skew."""

    __slots__ = ("eta_max", "now", "skew_s")

    def __init__(self, now: float, skew_s: int, eta_max: int) -> None:
        self.now: Final = now
        self.skew_s: Final = skew_s
        self.eta_max: Final = eta_max


class TaskBody:
    """The body of a task as the worker sees it. `embed` has only `EMBEDDED_NAMES`."""

    __slots__ = ("args", "embed", "kwargs")

    def __init__(self, args: list[object], kwargs: dict[str, object], embed: dict[str, object]) -> None:
        self.args: Final = args
        self.kwargs: Final = kwargs
        self.embed: Final = embed


def is_task_name(value: object) -> TypeGuard[str]:
    """Whether `value` may name a task, of whatever library: it is logged, counted and remembered."""
    if not isinstance(value, str) or not 0 < len(value) <= TASK_NAME_BYTES_MAX or not value.isprintable():
        return False
    return value.isascii() or len(value.encode()) <= TASK_NAME_BYTES_MAX


def task_name(value: object) -> str:
    """`value` as a task name, spaces and all. Raises `GateError` celery.task_name."""
    if not is_task_name(value):
        raise GateError(Reason.CELERY_TASK_NAME, f"not printable text of up to {TASK_NAME_BYTES_MAX} bytes")
    return value


def check_fields(fields: Mapping[str, object], clock: Clock) -> None:
    """The fields of a task, which are headers in protocol 2 and in the body in protocol 1.

    Raises `GateError` celery.id, celery.retries, celery.timelimit, celery.eta, celery.expires,
    celery.envelope, or time.expired.
    """
    task_id = fields.get("id")
    check_id(task_id)
    for name in ID_NAMES:
        value = fields.get(name)
        # The root of a workflow is itself its root.
        if value is not None and value != task_id:
            check_id(value)
    _check_retries(fields.get("retries", 0))
    _check_time_limits(fields.get("timelimit"))
    eta = fields.get("eta")
    if eta is not None and _moment(eta, Reason.CELERY_ETA) > clock.eta_max:
        raise GateError(Reason.CELERY_ETA, "beyond the key's longest lifetime")
    expires = fields.get("expires")
    if expires is not None and clock.now > _moment(expires, Reason.CELERY_EXPIRES) + clock.skew_s:
        raise GateError(Reason.TIME_EXPIRED, "task expires")
    _check_stamps(fields)


def check_id(value: object) -> None:
    """Raises `GateError` celery.id."""
    if not isinstance(value, str) or not (_is_plain_id(value) or _ID.fullmatch(value) is not None):
        raise GateError(Reason.CELERY_ID, "not in the grammar of an id")


def _is_plain_id(text: str) -> bool:
    """Letters, digits and hyphens, as in Celery's own: they are UUIDs. Three times as fast as the grammar."""
    return len(text) <= _ID_CHARACTERS_MAX and text.isascii() and text.replace("-", "0").isalnum()


def is_plain_id(long_text: bytes) -> bool:
    """Whether `check_id` takes this long string, its length in front, at one look: else it must be asked."""
    characters = len(long_text) - LENGTH_BYTES
    return 0 < characters <= _ID_CHARACTERS_MAX and long_text.translate(_PLAIN_TO_ZERO).endswith(
        _ZEROS[characters]
    )


def read_body_2(value: object) -> TaskBody:
    """The body of protocol 2: exactly [args, kwargs, embed].

    Raises `GateError` celery.envelope or celery.hybrid. A body of protocol 1 under a header of protocol 2 is
    celery.hybrid: the worker mixes the two.
    """
    if isinstance(value, dict) and not _PROTOCOL_1_NAMES.isdisjoint(value):
        raise GateError(Reason.CELERY_HYBRID, "protocol 2 header, protocol 1 body")
    if not isinstance(value, list) or len(value) != 3:
        raise GateError(Reason.CELERY_ENVELOPE, "not three parts")
    args, kwargs, embed = value
    if not isinstance(embed, dict):
        raise GateError(Reason.CELERY_ENVELOPE, "embed")
    for name in embed:
        if name not in EMBEDDED_NAMES:
            raise GateError(Reason.CELERY_ENVELOPE, "unknown name in embed")
    return _task_body(args, kwargs, embed)


def read_body_1(value: dict[str, object]) -> TaskBody:
    """The body of protocol 1, whose fields are still to be checked. Raises `GateError` celery.envelope."""
    embed: dict[str, object] = {name: value[name] for name in EMBEDDED_NAMES if name in value}
    return _task_body(value.get("args", []), value.get("kwargs", {}), embed)


def is_result(value: object) -> bool:
    """Whether the body of a message without a `task` header is that of a result."""
    return isinstance(value, dict) and value.keys() >= _RESULT_NAMES


def check_result(value: object) -> None:
    """Raises `GateError` celery.hybrid, celery.id or celery.envelope."""
    assert isinstance(value, dict)
    if TASK_HEADER in value:
        # A worker would run this as a task of protocol 1.
        raise GateError(Reason.CELERY_HYBRID, "a result that names a task")
    check_id(value["task_id"])
    if not isinstance(value["status"], str):
        raise GateError(Reason.CELERY_ENVELOPE, "status")


def parse_moment(value: object) -> float | None:
    """An ISO 8601 time as Unix seconds, else None. Without a zone it is UTC, Celery's default."""
    if not isinstance(value, str) or len(value) > _TIME_CHARACTERS_MAX:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = moment.timestamp()
    return seconds if seconds >= 0 else None


def _moment(value: object, reason: Reason) -> float:
    seconds = parse_moment(value)
    if seconds is None:
        raise GateError(reason, "not an ISO 8601 time")
    return seconds


def _task_body(args: object, kwargs: object, embed: dict[str, object]) -> TaskBody:
    if not isinstance(args, list):
        raise GateError(Reason.CELERY_ENVELOPE, "args")
    if not isinstance(kwargs, dict):
        raise GateError(Reason.CELERY_ENVELOPE, "kwargs")
    return TaskBody(args, kwargs, embed)


def _check_retries(value: object) -> None:
    if type(value) is not int or not 0 <= value <= RETRIES_MAX:
        raise GateError(Reason.CELERY_RETRIES, f"not a number up to {RETRIES_MAX}")


def _check_time_limits(value: object) -> None:
    """None, or the pair hard and soft, each None or seconds."""
    if value is None:
        return
    if not isinstance(value, list) or len(value) != 2:
        raise GateError(Reason.CELERY_TIMELIMIT, "not a pair")
    for limit in value:
        if limit is None:
            continue
        if (
            isinstance(limit, bool)
            or not isinstance(limit, int | float)
            or not 0 <= limit <= TIME_LIMIT_S_MAX
        ):
            raise GateError(Reason.CELERY_TIMELIMIT, f"not seconds up to {TIME_LIMIT_S_MAX}")


def _check_stamps(fields: Mapping[str, object]) -> None:
    """`stamps` is None or a table of names of the application's own, `stamped_headers` a list of them."""
    stamped = fields.get("stamped_headers")
    if stamped is not None:
        # A worker goes through it for every task, and leaves one where it can not unrun and unanswered (M).
        if not isinstance(stamped, list):
            raise GateError(Reason.CELERY_ENVELOPE, "stamped_headers")
        for name in stamped:
            if not isinstance(name, str):
                raise GateError(Reason.CELERY_ENVELOPE, "stamped_headers")
    stamps = fields.get("stamps")
    if stamps is None:
        return
    if not isinstance(stamps, dict):
        raise GateError(Reason.CELERY_ENVELOPE, "stamps")
    if not _EXECUTION_OPTIONS.isdisjoint(stamps):
        raise GateError(Reason.CELERY_ENVELOPE, "a stamp named like an option of Celery")
