"""Exit codes (DESIGN.md, "The contract"): those of sysexits.h that apply."""

from __future__ import annotations

from typing import Final

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1  # the command worked, and its answer is no
EXIT_USAGE: Final = 64
EXIT_UNAVAILABLE: Final = 69
EXIT_BUG: Final = 70
EXIT_PERMISSION: Final = 77
EXIT_CONFIG: Final = 78
EXIT_INTERRUPTED: Final = 130  # as a shell reports SIGINT
