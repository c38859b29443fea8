"""Builds everything from the settings, runs it, drains it, stops it. The only room that knows all others.

    build        settings -> the objects of the core and the edges (bounds: those of [[bound]])
    credentials  keys and certificates, read again when they change
    keywatch     the keys in force, and since when
    users        who may log in, where that is asked here
    gate         one running instance
    vitals       what there is to know of it
    controlling  the operator's orders: who may give them, where they are kept
    parking      queues of paused tasks: kept, declared, emptied
    observing    what rules that only observe would have refused
    process      the process around it: signals, event loop, exit codes
    plan         with several workers: what their supervisor must know, and how a process becomes one
    supervisor   the process that has no gate, and keeps those that have one
    fleet        the workers, seen from there: slot (one of them), reports (what they tell)
    worker       the same, seen from the worker; share (its part of the limits)

The warning: whatever fails at start must say which key of which file is at fault, and exit as documented.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sealgate.app.gate import Gate

__all__ = ["Gate"]


def __getattr__(name: str) -> Any:
    """`Gate`, which brings nearly everything with it: a supervisor should stay small."""
    if name != "Gate":
        raise AttributeError(name)
    from sealgate.app.gate import Gate

    return Gate
