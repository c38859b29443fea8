"""Rates by task name: their text form, and which buckets a task draws from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sealgate.verify.globs import compiled, is_glob
from sealgate.verify.verdict import Bucket, Debit

_PERIODS_US: Final = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_RATE: Final = re.compile(r"([0-9]{1,9})/([0-9]{0,6})([smhd])((?: (?:burst|cost) [0-9]{1,9})*)")
#: What one bucket may be told: with these bounds all arithmetic stays below 2**53, the integers of a Redis
#: script.
RATE_MAX: Final = 1_000_000
BURST_MAX: Final = 1_000_000
PERIOD_US_MAX: Final = 30 * 86_400_000_000
FILL_US_MAX: Final = 366 * 86_400_000_000
#: Remembered answers of `debits`. Names come from clients, so the memory is bounded and dropped when full.
_REMEMBERED_MAX: Final = 4096


def parse_rate(text: str) -> tuple[int, int, int, int]:
    """(rate, period in microseconds, burst, cost) of "5/m burst 10 cost 1".

    The period is s, m, h or d, with a count where wanted ("1/10s"). Burst is the rate when not given, cost 1.
    Raises ValueError with a message for who wrote it.
    """
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError('a rate looks like "5/m" or "5/m burst 10 cost 1"; periods are s, m, h and d')
    rate = int(match[1])
    period_us = int(match[2] or "1") * _PERIODS_US[match[3]]
    options = _options(match[4].split())
    burst = options.get("burst", rate)
    cost = options.get("cost", 1)
    if not 1 <= rate <= RATE_MAX:
        raise ValueError(f"a rate is 1 to {RATE_MAX} tokens")
    if not 1 <= period_us <= PERIOD_US_MAX:
        raise ValueError("a period is 1 second to 30 days")
    if not 1 <= burst <= BURST_MAX:
        raise ValueError(f"a burst is 1 to {BURST_MAX} tokens")
    if burst * period_us > rate * FILL_US_MAX:
        raise ValueError("an empty bucket must be full again within a year")
    if not 1 <= cost <= burst:
        raise ValueError("a cost is at least 1 and not over the burst")
    return rate, period_us, burst, cost


def _options(words: list[str]) -> dict[str, int]:
    options: dict[str, int] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name in options:
            raise ValueError(f"{name} is given twice")
        options[name] = int(value)
    return options


class RateTable:
    """Debits by task name or glob, in the order of configuration.

    A bucket belongs to a pattern, never to a name a client sent: unknown names create none.
    """

    __slots__ = ("_debits", "_names", "_remembered")

    def __init__(self, rates: Mapping[str, str] | None = None) -> None:
        """From the `[rate]` section: pattern to rate text. Raises ValueError as `parse_rate`."""
        debits: list[Debit] = []
        for pattern, text in (rates or {}).items():
            rate, period_us, burst, cost = parse_rate(text)
            debits.append(Debit(Bucket(pattern, rate, period_us, burst), cost))
        self._debits: Final = tuple(debits)
        self._names: Final = frozenset(rates or ())
        self._remembered: Final[dict[str, tuple[Debit, ...]]] = {}

    def debits(self, task: str) -> tuple[Debit, ...]:
        """What one message of `task` takes: from every bucket whose pattern matches."""
        if not self._debits:
            return ()
        found = self._remembered.get(task)
        if found is None:
            found = tuple([debit for debit in self._debits if compiled((debit.bucket.name,)).match(task)])
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[task] = found
        return found

    def label(self, task: str) -> str:
        """The configured name or glob that stands for `task` in a metric, "" for none; `*` alone does not."""
        if task in self._names:
            return task
        for debit in self.debits(task):
            name = debit.bucket.name
            if is_glob(name) and name != "*":
                return name
        return ""
