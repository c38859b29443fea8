"""One limit of the `[rate]` section: its rate, whose messages it counts together, and its reserve."""

from __future__ import annotations

import re
from typing import Final

from sealgate.verify.bounds import Edits
from sealgate.verify.message import Message
from sealgate.verify.ratevalue import SOURCE_TASK, ValueSource
from sealgate.wire.properties import PRIORITY

_PERIODS_US: Final = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_RATE: Final = re.compile(r"([0-9]{1,9})/([0-9]{0,6})([smhd])((?: (?:burst|cost) [0-9]{1,9})*)")
#: What one bucket may be told: with these bounds all arithmetic stays below 2**53, the integers of a Redis
#: script.
RATE_MAX: Final = 1_000_000
BURST_MAX: Final = 1_000_000
PERIOD_US_MAX: Final = 30 * 86_400_000_000
FILL_US_MAX: Final = 366 * 86_400_000_000


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


class Reserve:
    """`share` percent of rate and burst are for messages of at least `priority` only.

    They may use the rest as well. A part of its own, so that it is there also when messages of less wait for
    the rest, and both parts together never give more than the whole.
    """

    __slots__ = ("priority", "share")

    def __init__(self, priority: int, share: int) -> None:
        self.priority: Final = priority
        self.share: Final = share

    def is_for(self, message: Message, edits: Edits | None) -> bool:
        """A message without a priority has 0; what bounds make of it counts."""
        value = message.header.fields[PRIORITY]
        if edits is not None:
            value = edits.fields.get(PRIORITY, value)
        return value is not None and value[0] >= self.priority


class Limit:
    """A parsed limit. Raises ValueError as `parse_rate`, and for a reserve that leaves nothing of a part."""

    __slots__ = ("burst", "cost", "period_us", "rate", "reserve", "source")

    def __init__(self, text: str, source: ValueSource = SOURCE_TASK, reserve: Reserve | None = None) -> None:
        self.rate, self.period_us, self.burst, self.cost = parse_rate(text)
        self.source: Final = source
        self.reserve: Final = reserve
        if reserve is not None:
            kept = self.burst * reserve.share // 100
            if kept < self.cost or self.burst - kept < self.cost:
                raise ValueError(
                    "a reserve and what is left of the burst must each hold the cost of a message"
                )
