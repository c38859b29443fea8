"""What an operator has ordered while the gateway runs: tasks that are shed or paused, ids that are revoked.

Orders are no rules on trial: they hold also where rules only observe. They are asked of what would be let
through, so that nobody learns of them by guessing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.verify.globs import Patterns


class Controls:
    """Replaced whole on every change, with the policy that holds it, so that nothing remembered outlives it.

    `shed` and `paused` are task names and globs; `revoked` is task id to when that ends, in Unix seconds.
    """

    __slots__ = ("_paused", "_paused_each", "_shed", "revoked")

    def __init__(
        self, shed: tuple[str, ...], revoked: dict[str, float], paused: tuple[str, ...] = ()
    ) -> None:
        self._shed: Final = Patterns(shed)
        self.revoked: Final = revoked
        self._paused: Final = Patterns(paused)
        #: Sorted, so that every gateway takes the same one for a task that several match.
        self._paused_each: Final[list[tuple[str, Patterns]]] = [
            (pattern, Patterns((pattern,))) for pattern in sorted(paused)
        ]

    def may_concern(self, task: str) -> bool:
        """Whether an order on tasks is for `task`; ids are asked for apart."""
        return self._shed.match(task) or self._paused.match(task)

    def paused_by(self, tasks: Iterable[str]) -> str:
        """The first pattern that pauses one of `tasks`, "" for none."""
        for task in tasks:
            if self._paused.match(task):
                for pattern, one in self._paused_each:
                    if one.match(task):
                        return pattern
        return ""

    def check_tasks(self, tasks: Iterable[str]) -> None:
        """Raises `GateError` rate.shed when one of `tasks` is shed."""
        for task in tasks:
            if self._shed.match(task):
                raise GateError(Reason.RATE_SHED, "by order of an operator")

    def check_ids(self, ids: Iterable[str], now: float) -> None:
        """Raises `GateError` acl.revoked when one of `ids` is revoked at `now`, Unix seconds."""
        for task_id in ids:
            until = self.revoked.get(task_id)
            if until is not None and now < until:
                raise GateError(Reason.ACL_REVOKED, "by order of an operator")
