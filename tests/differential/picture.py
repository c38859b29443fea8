"""What a value of the core looks like from outside, as text: the same for a compiled class and a plain one.

Only what is public counts: how a class keeps its values is its own affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from enum import Enum

#: Deeper than any value of the core; objects that hold one another end here.
_DEPTH_MAX = 12


def picture(value: object, depth: int = 0) -> str:
    """`value` with everything public in it, in an order of its own where it has none."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        # The type as well: 1, 1.0 and True are equal, and are not signed alike.
        return f"{type(value).__name__}:{value!r}"
    if depth > _DEPTH_MAX:
        return "..."
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, BaseException):
        return f"{type(value).__name__}{picture(value.args, depth + 1)}"
    if isinstance(value, Mapping):
        rows = [f"{picture(key, depth + 1)}={picture(inner, depth + 1)}" for key, inner in value.items()]
        return f"{type(value).__name__}{{{', '.join(rows)}}}"
    if isinstance(value, Set):
        return f"{type(value).__name__}{{{', '.join(sorted(picture(inner, depth + 1) for inner in value))}}}"
    if isinstance(value, Sequence | bytearray | memoryview):
        return f"{type(value).__name__}[{', '.join(picture(inner, depth + 1) for inner in value)}]"
    return f"{type(value).__name__}({', '.join(_attributes(value, depth))})"


def _attributes(value: object, depth: int) -> list[str]:
    found = []
    for name in sorted(dir(type(value))):
        if name.startswith("_") or callable(getattr(type(value), name)):
            continue
        try:
            inner = getattr(value, name)
        except AttributeError:
            continue  # not set yet
        found.append(f"{name}={picture(inner, depth + 1)}")
    return found
