"""One audit record per refusal, on the logger `sealgate.audit`; in a flood, one for many with their count."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sealgate.ops.logging import AUDIT_LOGGER
from sealgate.reason import Reason
from sealgate.session.records import RefusalRecord

#: Records per reason in one second: every refusal of ordinary times, and a flood costs no more than this.
PER_SECOND_MAX: Final = 10
_WINDOW_S: Final = 1.0

Fields = dict[str, str | int | float | bool]


@dataclass(slots=True)
class _Pace:
    """A reason's current second: when it began, records written in it, and refusals not written yet."""

    began_at: float
    written: int = 0
    owed: int = 0
    newest: Fields | None = None


class Audit:
    """Writes what happened to whom and why, and never what was in it. Belongs to the event loop's thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._log = logging.getLogger(AUDIT_LOGGER)
        self._paces: dict[Reason, _Pace] = {}

    def write(self, record: RefusalRecord) -> None:
        """One refusal. Its record has a `count` of how many it stands for, itself included."""
        now = self._clock()
        pace = self._paces.get(record.reason)
        if pace is None:
            pace = self._paces[record.reason] = _Pace(now)
        if now - pace.began_at >= _WINDOW_S:
            pace.began_at = now
            pace.written = 0
        pace.owed += 1
        pace.newest = _fields(record)
        if pace.written < PER_SECOND_MAX:
            self._put(pace)

    def flush(self) -> None:
        """Write what is owed, the newest of each reason for all of it. Call it now and then, and last."""
        for pace in self._paces.values():
            if pace.owed:
                self._put(pace)

    def _put(self, pace: _Pace) -> None:
        assert pace.newest is not None
        self._log.info("refused", extra={**pace.newest, "count": pace.owed})
        pace.written += 1
        pace.owed = 0


def _fields(record: RefusalRecord) -> Fields:
    """The record without its bytes, which would hold a flood's memory and must not be logged."""
    return {
        "direction": record.direction,
        "reason": record.reason.value,
        "detail": record.detail,
        "observed": record.observed,
        "answer": record.answer,
        "kid": record.kid,
        "task": record.task,
        "exchange": record.exchange,
        "routing_key": record.routing_key,
        "vhost": record.vhost,
        "user": record.user,
        "client": record.client,
        "channel": record.channel,
        "body_size": record.body_size,
        "complete": record.complete,
        "refused_at": record.at,
    }
