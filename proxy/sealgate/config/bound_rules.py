"""What the keys of a `[[bound]]` say about one another, and about the rest: findings for `rules.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sealgate.config.bound_settings import Bound, ExpiresBound, Expiry, PriorityBound, TimeLimitBound
from sealgate.config.paths import Path
from sealgate.config.settings import Settings

Finding = tuple[Path, str]
_Limit = TimeLimitBound | ExpiresBound | PriorityBound

_UNSIGNED: Final = "changes messages, which breaks their seals: it needs publish.countersign_with"
#: Those that change messages when they are told to.
_CLAMPING: Final = ("time_limit", "soft_time_limit", "expires", "priority")


def bounds_make_sense(settings: Settings) -> Iterator[Finding]:
    """Of each bound for itself."""
    for index, bound in enumerate(settings.bound):
        at: Path = ("bound", index)
        if len(bound.model_fields_set) <= 1:
            yield at, "bounds nothing"
        for name, limit in _limits(bound):
            yield from _limit_makes_sense((*at, name), limit)
        yield from _soft_is_below_hard(at, bound)


def bounds_are_reached(settings: Settings) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, bound in enumerate(settings.bound):
        first = seen.get("*", seen.setdefault(bound.task, index))
        if first != index:
            yield ("bound", index, "task"), f"is never reached: bound[{first}] takes all of it"


def prefetch_makes_sense(settings: Settings) -> Iterator[Finding]:
    prefetch = settings.prefetch
    if prefetch.max is not None and prefetch.default is not None and prefetch.default > prefetch.max:
        yield ("prefetch", "default"), "is over prefetch.max"
    largest = prefetch.max or prefetch.default
    if prefetch.connection_max is not None and largest is not None and prefetch.connection_max < largest:
        yield ("prefetch", "connection_max"), "is below what one consumer may have"


def clamps_are_signed(settings: Settings) -> Iterator[Finding]:
    """A change breaks the producer's seal: a gateway has to answer for it with a signature of its own."""
    if settings.publish.action != "verify" or settings.publish.countersign_with is not None:
        return
    if settings.expiry.expiration_max is not None:
        yield ("expiry", "expiration_max"), _UNSIGNED
    for index, bound in enumerate(settings.bound):
        for name, limit in _limits(bound):
            key = "over" if limit.over == "clamp" else "default"
            if limit.over == "clamp" or limit.default is not None:
                yield ("bound", index, name, key), _UNSIGNED


def bound_warnings(settings: Settings) -> Iterator[Finding]:
    if settings.bound and settings.publish.action == "pass" and settings.deliver.action == "pass":
        yield ("bound",), "does nothing where all is passed on"
    expiry = settings.expiry
    if settings.publish.action == "pass" and expiry.expiration_max is not None:
        yield ("expiry", "expiration_max"), "does nothing where messages are passed on"
    if expiry.queues != Expiry().queues and expiry == Expiry(queues=expiry.queues):
        yield ("expiry", "queues"), "does nothing without a maximum"
    for index, bound in enumerate(settings.bound):
        soft = bound.soft_time_limit
        if bound.time_limit is not None and (soft is None or soft.default is None):
            yield (
                ("bound", index, "time_limit"),
                "holds only below the worker's own soft limit: soft_time_limit.default makes sure",
            )
        if settings.celery.protocol_1 and any(_limits(bound)):
            yield (
                ("bound", index),
                "refuses what it would change in tasks of protocol 1, whose seal is of the body",
            )


def _limits(bound: Bound) -> Iterator[tuple[str, _Limit]]:
    for name in _CLAMPING:
        limit = getattr(bound, name)
        if limit is not None:
            yield name, limit


def _limit_makes_sense(at: Path, limit: _Limit) -> Iterator[Finding]:
    required = isinstance(limit, ExpiresBound) and limit.required
    if limit.max is None and limit.default is None and not required:
        yield at, "bounds nothing: give max or default"
    if limit.max is None and limit.over == "clamp":
        yield (*at, "over"), 'is "clamp", and there is no max to clamp to'
    if limit.max is not None and limit.default is not None and limit.default > limit.max:
        yield (*at, "default"), "is over max"
    if required and limit.default is not None:
        yield (*at, "required"), "has no meaning beside default, which gives every task one"


def _soft_is_below_hard(at: Path, bound: Bound) -> Iterator[Finding]:
    hard, soft = bound.time_limit, bound.soft_time_limit
    if hard is None or soft is None:
        return
    if hard.max is not None and soft.max is not None and soft.max >= hard.max:
        yield (*at, "soft_time_limit", "max"), "is not below time_limit.max"
    most = hard.max if hard.default is None else hard.default
    if most is not None and soft.default is not None and soft.default >= most:
        key = "max" if hard.default is None else "default"
        yield (*at, "soft_time_limit", "default"), f"is not below time_limit.{key}"
