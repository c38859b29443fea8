"""How a parser may answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sealgate.reason import GateError, Reason

P = ParamSpec("P")
T = TypeVar("T")


class FoundError(AssertionError):
    """What a target looks for, found: its text says what is wrong."""


def require(condition: object, text: str) -> None:
    """Unlike assert, also under `-O`."""
    if not condition:
        raise FoundError(text)


def answer(parse: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T | None, Reason | None]:
    """The value and None, or None and the reason of a refusal. What else is raised goes through."""
    try:
        return parse(*args, **kwargs), None
    except GateError as error:
        return None, error.reason
