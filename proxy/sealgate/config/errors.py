"""What is wrong with a configuration: every problem, with its place and key, and the exit code to give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

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

    def __str__(self) -> str:
        return ": ".join([part for part in (self.where, self.key, self.message) if part])


class ConfigError(Exception):
    """The configuration can not be used; `problems` is everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join([str(problem) for problem in problems]))
        self.problems: Final = tuple(problems)

    @property
    def exit_code(self) -> int:
        """77 when all that failed was a permission, else 78."""
        return EXIT_PERMISSION if all(p.permission for p in self.problems) else EXIT_CONFIG
