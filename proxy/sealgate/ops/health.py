"""Whether the process lives (its loop turns) and whether it is ready (everything it needs is there).

Liveness never asks about the broker or the store: restarting the gateway heals neither.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

#: A probe answers what is wrong in a few words, or "" when nothing is.
Probe = Callable[[], str]

#: A loop that came this late is stuck, not busy: far over any pause of garbage collection or key loading.
LAG_S_MAX: Final = 5.0
#: Between two looks at the clock.
TICK_S: Final = 0.5


@dataclass(slots=True, frozen=True)
class Report:
    """The outcome of some checks: name -> what is wrong ("" when nothing is), in their order.

    Those in `advisory` are for people to see: they fail nothing.
    """

    checks: Mapping[str, str]
    advisory: frozenset[str] = frozenset()

    @property
    def failing(self) -> list[str]:
        return [name for name, problem in self.checks.items() if problem and name not in self.advisory]

    @property
    def ok(self) -> bool:
        return not self.failing

    def text(self, verbose: bool) -> str:
        """One line, or with `verbose` one more for each check, as Kubernetes prints them."""
        lines = [f"[{self._mark(name)}]{name} {problem or 'ok'}" for name, problem in self.checks.items()]
        lines.append("ok" if self.ok else f"failing: {', '.join(self.failing)}")
        return "\n".join(lines if verbose else lines[-1:]) + "\n"

    def _mark(self, name: str) -> str:
        if not self.checks[name]:
            return "+"
        return "!" if name in self.advisory else "-"


class LoopLag:
    """How late the event loop runs its timers, in seconds, from one timer that looks at the clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = 0.0

    @property
    def seconds(self) -> float:
        """How long the next look at the clock is overdue: 0 while the loop keeps up or is not watched."""
        return max(0.0, self._clock() - self._due_at) if self._timer is not None else 0.0

    def start(self) -> None:
        """Watch the running loop."""
        self._due_at = self._clock() + TICK_S
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self.start)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Health:
    """The checks by name. `draining` is one of them and fails readiness for as long as it is set."""

    def __init__(self, lag: LoopLag) -> None:
        self._lag = lag
        self._probes: dict[str, Probe] = {}
        self._advisory: set[str] = set()
        self.draining = False

    def watch(self, name: str, probe: Probe, advisory: bool = False) -> None:
        """Ask `probe` for readiness under `name`; one that is only `advisory` is shown and fails nothing."""
        self._probes[name] = probe
        if advisory:
            self._advisory.add(name)

    def live(self) -> Report:
        lag_s = self._lag.seconds
        return Report({"loop": f"{lag_s:.1f} s behind" if lag_s > LAG_S_MAX else ""})

    def ready(self) -> Report:
        """Every check; a probe that raises fails, and takes no other down."""
        checks = {name: _ask(probe) for name, probe in self._probes.items()}
        checks["draining"] = "stops soon" if self.draining else ""
        return Report(checks, frozenset(self._advisory))


def _ask(probe: Probe) -> str:
    try:
        return probe()
    except Exception as error:
        return f"the check failed: {type(error).__name__}"
