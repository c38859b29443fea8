"""Why a gate can not start, with the exit code that says so."""

from __future__ import annotations

from typing import Final

EXIT_UNAVAILABLE: Final = 69
EXIT_PERMISSION: Final = 77
EXIT_CONFIG: Final = 78


class StartError(Exception):
    """The gate can not start. `exit_code` is the documented one (DESIGN.md, "The contract")."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code: Final = exit_code


def start_error(key: str, error: Exception) -> StartError:
    """What the machine said to the setting `key`."""
    code = EXIT_PERMISSION if isinstance(error, PermissionError) else EXIT_CONFIG
    return StartError(f"{key}: {error}", code)
