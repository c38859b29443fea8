"""Logs on stderr: JSON, one object a line, or text on a terminal. And repeats: counted, not printed.

A line is an event name and fields: `log.warning("upstream.lost", extra={"address": ...})`. Where the message
is a sentence, the name is the field `event`.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

AUDIT_LOGGER: Final = "sealgate.audit"
#: Of one field's text: a log line is for reading.
FIELD_CHARS_MAX: Final = 2048
#: Distinct events that `Sampled` tells apart; more fall together.
SAMPLED_KEYS_MAX: Final = 1000

#: Their debug lines hold whole messages, or the answers of secret stores; their errors are raised as well,
#: and told by us once.
_SILENT: Final = ("aio_pika", "aiormq", "boto3", "botocore", "hvac", "requests", "urllib3")
#: Their warnings are about us, their chatter is not.
_OWN_ATTRIBUTES: Final = frozenset(
    {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName", "color_message"}
)

Format = Literal["auto", "json", "text"]


def configure_logging(
    level: str = "info", style: Format = "auto", stream: TextIO | None = None, worker: int | None = None
) -> None:
    """Send every log of the process to `stream` (stderr), from `level` up.

    `auto` is text on a terminal and JSON elsewhere. Audit records are written at any level. The number of a
    `worker` is in each of its lines. Replaces what an earlier call set up. Raises `ValueError`
    for a level that does not exist.
    """
    target = sys.stderr if stream is None else stream
    as_text = style == "text" or (style == "auto" and target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    if worker is not None:
        handler.addFilter(_Numbered(worker))
    root = logging.getLogger()
    root.setLevel(level.upper())
    root.handlers[:] = [handler]
    for library in _SILENT:
        logging.getLogger(library).setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger(AUDIT_LOGGER).setLevel(logging.INFO)


class _Numbered(logging.Filter):
    """Lets everything pass, with the worker's number."""

    def __init__(self, worker: int) -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        record.worker = self._worker
        return True


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """What the caller gave as `extra`, and the exception if there is one."""
    fields = {name: value for name, value in record.__dict__.items() if name not in _OWN_ATTRIBUTES}
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        fields["error"] = f"{type(error).__name__}: {error}"
        fields["traceback"] = logging.Formatter().formatException(record.exc_info)
    return fields


class JsonFormatter(logging.Formatter):
    """`ts` (UTC, milliseconds), `level`, `logger`, `event`, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields = fields_of(record)
        message = _short(record.getMessage())
        line: dict[str, object] = {
            "ts": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": fields.pop("event", message),
        }
        if line["event"] != message:
            line["message"] = message
        for name, value in fields.items():
            line.setdefault(name, _plain(value))
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """`12:34:56.789 warning upstream.lost address=...`; what could break the line is quoted."""

    def format(self, record: logging.LogRecord) -> str:
        fields = fields_of(record)
        traceback = fields.pop("traceback", "")
        pairs = "".join([f" {name}={_quoted(value)}" for name, value in fields.items()])
        clock = _time(record).astimezone().strftime("%H:%M:%S.%f")[:-3]
        event = _escaped(_short(record.getMessage()))
        line = f"{clock} {record.levelname.lower():7} {event}{pairs}"
        return f"{line}\n{traceback}" if traceback else line


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _short(text: str) -> str:
    return text if len(text) <= FIELD_CHARS_MAX else text[:FIELD_CHARS_MAX] + "..."


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | list | dict | tuple):
        return value
    return _short(str(value))


def _escaped(text: str) -> str:
    """`text` with nothing in it that a terminal would obey."""
    return text if text.isprintable() else json.dumps(text)[1:-1]


def _quoted(value: object) -> str:
    text = _short(str(value))
    return text if text.isprintable() and text and not set(text) & set(' "=') else json.dumps(text)


@dataclass(slots=True)
class _Row:
    """One event's repeats: when it was last printed, what came since, and the newest fields."""

    printed_at: float
    repeats: int
    level: int
    event: str
    fields: dict[str, Any]


class Sampled:
    """A logger that prints the first of a row of equal events, then one every `every_s` with the count.

    Equal is the same event and `key`. `flush` prints what is still owed: call it now and then, and last.
    """

    def __init__(
        self, log: logging.Logger, every_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._every_s = every_s
        self._clock = clock
        self._rows: dict[tuple[str, str], _Row] = {}

    def warning(self, event: str, key: str = "", **fields: Any) -> None:
        """`event` happened; `key` tells rows of the same event apart (a reason, an address)."""
        now = self._clock()
        row = self._rows.get((event, key))
        if row is None and len(self._rows) >= SAMPLED_KEYS_MAX:
            key = "other"
            row = self._rows.get((event, key))
        if row is None:
            self._rows[event, key] = _Row(now, 0, logging.WARNING, event, fields)
            self._log.warning(event, extra=fields)
            return
        row.repeats += 1
        row.fields = fields
        if now - row.printed_at >= self._every_s:
            self._print(row, now)

    def flush(self) -> None:
        """Print every count that is owed, and forget the rows that were quiet for a while."""
        now = self._clock()
        for row in self._rows.values():
            if row.repeats:
                self._print(row, now)
        self._rows = {key: row for key, row in self._rows.items() if now - row.printed_at < self._every_s}

    def _print(self, row: _Row, now: float) -> None:
        self._log.log(row.level, row.event, extra={**row.fields, "count": row.repeats})
        row.repeats = 0
        row.printed_at = now
