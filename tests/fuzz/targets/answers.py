"""How a parser may answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sealgate.reason import GateError, Reason

P = ParamSpec("P")
T = TypeVar("T")

#: Hear every answer: a value, or the `GateError`.
LISTENERS: list[Callable[[object], None]] = []


class FoundError(AssertionError):
    """What a target looks for, found: its text says what is wrong."""


def require(condition: object, text: str) -> None:
    """Unlike assert, also under `-O`."""
    if not condition:
        raise FoundError(text)


def answer(parse: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T | None, Reason | None]:
    """The value and None, or None and the reason of a refusal. What else is raised goes through."""
    try:
        found = parse(*args, **kwargs)
    except GateError as error:
        tell(error)
        return None, error.reason
    tell(found)
    return found, None


def tell(value: object) -> None:
    """Whoever compares answers hears this one."""
    for listener in LISTENERS:
        listener(value)
