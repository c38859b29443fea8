"""Gateways on either event loop: uvloop, or asyncio's own as where uvloop is missing."""

from __future__ import annotations

import os
from pathlib import Path

LOOPS = ("uvloop", "asyncio")
WITHOUT_UVLOOP = Path(__file__).parent / "without_uvloop"


def loop_env(loop: str) -> dict[str, str]:
    """What must be in the environment of a gateway for it to run on `loop`."""
    if loop == "uvloop":
        return {}
    before = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(WITHOUT_UVLOOP), *([before] if before else [])])}


def loop_of(pid: int) -> str:
    """The event loop of a running gateway (Linux)."""
    return "uvloop" if "/uvloop/" in Path(f"/proc/{pid}/maps").read_text() else "asyncio"
