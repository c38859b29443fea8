"""Rates by task name: their text form, and which buckets a message of a task draws from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sealgate.verify.bounds import Edits
from sealgate.verify.globs import compiled, is_glob
from sealgate.verify.message import Message
from sealgate.verify.ratelimit import Limit, Reserve, parse_rate
from sealgate.verify.ratevalue import SOURCE_TASK, ValueSource, parse_source
from sealgate.verify.verdict import Bucket, Debit

__all__ = ["RateTable", "limits_of", "parse_rate"]

#: Remembered answers, by task and by value. Both come from clients: they are bounded, and dropped when full.
_REMEMBERED_MAX: Final = 4096
#: Of one pattern: each is a bucket that every message of it asks for.
_LIMITS_MAX: Final = 8
_SHARE: Final = re.compile(r"([0-9]{1,2})%")
_PRIORITY_MAX: Final = 255


def limits_of(value: object) -> list[Limit]:
    """The limits that one value of the `[rate]` section says: a text, a table, or a list of both.

    Raises ValueError with a message for who wrote it.
    """
    items = value if isinstance(value, list | tuple) else [value]
    if not items:
        raise ValueError("is an empty list: it limits nothing")
    limits: list[Limit] = []
    for item in items:
        if isinstance(item, str):
            limits.append(Limit(item))
        elif isinstance(item, Mapping):
            limits += _limits_of_table(item)
        else:
            raise ValueError('must be a rate such as "5/m burst 10", a table with limit, or a list of these')
    if len(limits) > _LIMITS_MAX:
        raise ValueError(f"has over {_LIMITS_MAX} limits")
    return limits


def _limits_of_table(table: Mapping[str, object]) -> list[Limit]:
    unknown = sorted(set(table) - {"limit", "per", "reserve"})
    if unknown:
        raise ValueError(f'has no key "{unknown[0]}": limit, per and reserve are known')
    texts = table.get("limit")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError('needs limit: a rate such as "5/m burst 10", or a list of rates')
    source = parse_source(table["per"]) if "per" in table else SOURCE_TASK
    reserve = _reserve(table["reserve"]) if "reserve" in table else None
    return [Limit(text, source, reserve) for text in texts]


def _reserve(value: object) -> Reserve:
    wanted = 'reserve must be like { priority = 5, share = "20%" }'
    if not isinstance(value, Mapping) or set(value) != {"priority", "share"}:
        raise ValueError(wanted)
    priority, share = value["priority"], value["share"]
    if type(priority) is not int or not 1 <= priority <= _PRIORITY_MAX:
        raise ValueError(f"{wanted}, with a priority from 1 to {_PRIORITY_MAX}")
    match = _SHARE.fullmatch(share) if isinstance(share, str) else None
    if match is None or not int(match[1]):
        raise ValueError(f'{wanted}, with a share from "1%" to "99%"')
    return Reserve(priority, int(match[1]))


class RateTable:
    """Debits by task name or glob, in the order of configuration.

    A bucket belongs to a pattern, never to a name a client sent: unknown names create none. Where a limit is
    per key, user, argument or header, each value has a bucket of its own, and stores bound how many.
    """

    __slots__ = ("_limits", "_names", "_remembered", "delay_us")

    def __init__(self, rates: Mapping[str, object] | None = None, delay_us: int = 0) -> None:
        """From the `[rate]` section: pattern to limits. `delay_us` is the longest that a message may wait.

        Raises ValueError as `limits_of` and `parse_rate`.
        """
        limits: list[_Bound] = []
        for pattern, value in (rates or {}).items():
            for index, limit in enumerate(limits_of(value)):
                limits.append(_Bound(pattern, index, limit, delay_us))
        self._limits: Final = tuple(limits)
        self._names: Final = frozenset(rates or ())
        #: By task: the limits whose pattern matches, and what they take where that is always the same.
        self._remembered: Final[dict[str, _Matching]] = {}
        self.delay_us: Final = delay_us

    def __bool__(self) -> bool:
        return bool(self._limits)

    def debits(
        self, task: str, message: Message, body: object, user: str, kid: str, edits: Edits | None = None
    ) -> tuple[Debit, ...]:
        """What one message of `task` takes: from every bucket whose pattern matches.

        `body` is the parsed body, None where it is not read; `edits` are what the bounds change.
        """
        if not self._limits:
            return ()
        matching = self._matching(task)
        if matching.debits is not None:
            return matching.debits
        return tuple([limit.debit(message, body, user, kid, edits) for limit in matching.limits])

    def _matching(self, task: str) -> _Matching:
        found = self._remembered.get(task)
        if found is None:
            limits = [limit for limit in self._limits if compiled((limit.pattern,)).match(task)]
            plain = [limit.plain for limit in limits if limit.plain is not None]
            found = _Matching(limits, tuple(plain) if len(plain) == len(limits) else None)
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[task] = found
        return found

    def limits(self, task: str) -> list[tuple[str, int]]:
        """Pattern and cost of each limit that counts messages of `task`."""
        return [(limit.pattern, limit.cost) for limit in self._matching(task).limits]

    def label(self, task: str) -> str:
        """The configured name or glob that stands for `task` in a metric, "" for none; `*` alone does not."""
        if task in self._names:
            return task
        if not self._limits:
            return ""
        for limit in self._matching(task).limits:
            if is_glob(limit.pattern) and limit.pattern != "*":
                return limit.pattern
        return ""


class _Matching:
    """The limits for one task; `debits` where no message can make a difference."""

    __slots__ = ("debits", "limits")

    def __init__(self, limits: list[_Bound], debits: tuple[Debit, ...] | None) -> None:
        self.limits: Final = limits
        self.debits: Final = debits


class _Bound:
    """One limit of one pattern."""

    __slots__ = ("_delay_us", "_key", "_limit", "_remembered", "_shared", "cost", "pattern", "plain")

    def __init__(self, pattern: str, index: int, limit: Limit, delay_us: int) -> None:
        if "\0" in pattern:
            raise ValueError("a task name has no NUL")
        self.pattern: Final = pattern
        self.cost: Final = limit.cost
        self._limit: Final = limit
        self._delay_us: Final = delay_us
        #: The first limit of a pattern keeps the key that the pattern alone had in earlier versions.
        self._key: Final = f"{pattern}\0{index}" if index else pattern
        fixed = limit.source.kind == SOURCE_TASK.kind
        #: What every message takes, if all take the same.
        self.plain: Final = self._pair(self._key, None)[0] if fixed and limit.reserve is None else None
        self._shared: Final = self._pair(self._key if fixed else f"{self._key}\0other", None)
        self._remembered: Final[dict[str, tuple[Debit, Debit]]] = {}

    def debit(self, message: Message, body: object, user: str, kid: str, edits: Edits | None) -> Debit:
        """What this message takes."""
        if self.plain is not None:
            return self.plain
        pair = self._shared
        source = self._limit.source
        if source.kind != SOURCE_TASK.kind:
            value = source.value(message, body, user, kid)
            if value is not None:
                pair = self._of(value)
        reserve = self._limit.reserve
        return pair[1 if reserve is not None and reserve.is_for(message, edits) else 0]

    def _of(self, value: str) -> tuple[Debit, Debit]:
        found = self._remembered.get(value)
        if found is None:
            found = self._pair(f"{self._key}\0{ValueSource.digest(value)}", self._shared)
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[value] = found
        return found

    def _pair(self, key: str, shared: tuple[Debit, Debit] | None) -> tuple[Debit, Debit]:
        """What a message takes, and what one takes that the reserve is for."""
        limit = self._limit
        others: tuple[Debit | None, Debit | None] = (None, None) if shared is None else shared
        reserve = limit.reserve
        # The first key is the name itself, which an empty key stands for.
        first = "" if key == self.pattern else key
        if reserve is None:
            bucket = Bucket(self.pattern, limit.rate, limit.period_us, limit.burst, first, self._delay_us)
            return Debit(bucket, limit.cost, None, others[0]), Debit(bucket, limit.cost, None, others[1])
        share = reserve.share
        kept = limit.burst * share // 100
        period_us = limit.period_us * 100
        bucket = Bucket(
            self.pattern, limit.rate * (100 - share), period_us, limit.burst - kept, first, self._delay_us
        )
        spare = Bucket(self.pattern, limit.rate * share, period_us, kept, f"{key}\0r", self._delay_us)
        return Debit(bucket, limit.cost, None, others[0]), Debit(bucket, limit.cost, spare, others[1])
