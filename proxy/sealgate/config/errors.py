"""What is wrong with a configuration: every problem, with its place and key, and the exit code to give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

EXIT_UNAVAILABLE: Final = 69
EXIT_PERMISSION: Final = 77
EXIT_CONFIG: Final = 78


@dataclass(slots=True, frozen=True)
class Problem:
    """One thing that is wrong, or that deserves a warning.

    `where` is a file, an environment variable or an option; `key` is the dotted path in that file, and empty
    where `where` says it all. `message` holds no value that may be secret.
    """

    where: str
    key: str
    message: str
    permission: bool = False
    #: a store on the network that could not be reached
    away: bool = False

    def __str__(self) -> str:
        return ": ".join([part for part in (self.where, self.key, self.message) if part])


class ConfigError(Exception):
    """The configuration can not be used; `problems` is everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join([str(problem) for problem in problems]))
        self.problems: Final = tuple(problems)

    @property
    def exit_code(self) -> int:
        """77 when all that failed was a permission, 69 when all of it was away, else 78."""
        if all(p.permission for p in self.problems):
            return EXIT_PERMISSION
        return EXIT_UNAVAILABLE if all(p.away for p in self.problems) else EXIT_CONFIG


class SourceError(ValueError):
    """A reference that gives nothing. The text is safe to print.

    `permission` when it was only not allowed, `away` when a store on the network could not be reached.
    """

    def __init__(self, message: str, permission: bool = False, away: bool = False) -> None:
        super().__init__(message)
        self.permission: Final = permission
        self.away: Final = away

    def problem(self, key: str) -> Problem:
        """The same as a problem with the setting `key`."""
        return Problem("", key, str(self), self.permission, self.away)
