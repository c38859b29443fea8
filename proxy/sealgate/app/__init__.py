"""Builds everything from the settings, runs it, drains it, stops it. The only room that knows all others.

    build        settings -> the objects of the core and the edges
    credentials  keys and certificates, read again when they change
    users        who may log in, where that is asked here
    gate         one running instance
    process      the process around it: signals, event loop, exit codes

The warning: whatever fails at start must say which key of which file is at fault, and exit as documented.
"""

from __future__ import annotations

from sealgate.app.gate import Gate
from sealgate.app.process import run

__all__ = ["Gate", "run"]
