"""Which run of the operating system this is: a file written without fsync is whole only within one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

_LINUX: Final = Path("/proc/sys/kernel/random/boot_id")
_SYSCTL_S_MAX: Final = 2


def boot_id() -> str:
    """An identifier that changes when the machine restarts; empty where none can be had."""
    if _LINUX.exists():
        return _LINUX.read_text().strip()
    sysctl = shutil.which("sysctl")
    if sysctl is None:
        return ""
    command = [sysctl, "-n", "kern.bootsessionuuid"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SYSCTL_S_MAX, check=False)  # noqa: S603
    return done.stdout.strip()
