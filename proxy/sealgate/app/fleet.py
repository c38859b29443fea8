"""The workers of one gateway: started, asked, started again when they die, and ended."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from sealgate.app.errors import EXIT_CONFIG, EXIT_PERMISSION, EXIT_UNAVAILABLE
from sealgate.app.reports import CONTROLS, CUT, DRAIN, RELOAD, Report, Sum
from sealgate.app.slot import ASK_S, EXIT_BUG, End, Slot, State
from sealgate.ops.health import Health, LoopLag
from sealgate.ops.health import Report as Checks

log: Final = logging.getLogger("sealgate.app")

#: How long somebody who looks at the admin address waits for them: half of what Kubernetes waits for a probe.
ANSWER_S: Final = 0.5
#: A worker that lived this long died of something new.
STEADY_S: Final = 10.0
#: Before a worker that died young is started again: doubled each time.
PAUSE_S: Final = 0.1
PAUSE_S_MAX: Final = 10.0
#: So many times, for each worker there should be, one has ended before it listened, and none listens: it will
#: not work.
BARREN_MAX: Final = 5
#: Deaths in a row from which on it is an error and no accident.
AGAIN_AND_AGAIN: Final = 3
#: After drain.timeout, for workers to close; then they are killed.
OVERTIME_S: Final = 15.0
#: The same for workers that were told to end at once.
CUT_S: Final = 10.0

EXIT_OK: Final = 0
EXIT_CUT: Final = 1
#: What is wrong with the configuration or the machine, and no second start changes.
_FINAL: Final = frozenset({EXIT_UNAVAILABLE, EXIT_PERMISSION, EXIT_CONFIG})


class Fleet:
    """`sum` is what all have told, after `refresh`; `restarts` counts, by number of the worker."""

    def __init__(
        self, count: int, command: Sequence[str], orders: Callable[[bool], bytes], drain_s: float
    ) -> None:
        """`orders` gives the first line for a worker, told whether the gateway was ready before."""
        self._orders: Final = orders
        self._drain_s: Final = drain_s
        self.slots: Final = [Slot(number + 1, command, self._heard) for number in range(count)]
        self.sum: Final = Sum()
        self.restarts: Final = Counter({slot.number: 0 for slot in self.slots})
        self._young: Final[Counter[int]] = Counter()
        self._barren = 0
        self._wanted = 1
        self._ready_once = False
        self._listening: Final = asyncio.Event()
        self._stopping: Final = asyncio.Event()
        self._code = EXIT_OK
        #: Told of each report, once.
        self.told: Callable[[Report], None] = _nobody_listens
        self._killers: Final[list[asyncio.TimerHandle]] = []

    @property
    def draining(self) -> bool:
        return self._stopping.is_set()

    async def run(self) -> int:
        """Until all have ended; returns the exit code."""
        # The first one alone: what is wrong with all is told once.
        keepers = [asyncio.create_task(self._keep(self.slots[0]))]
        asking = asyncio.create_task(self._ask_again_and_again())
        asking.add_done_callback(_tell_failure)
        first = asyncio.create_task(self._listening.wait())
        await asyncio.wait({keepers[0], first}, return_when=asyncio.FIRST_COMPLETED)
        if not self.draining:
            self._wanted = len(self.slots)
            keepers += [asyncio.create_task(self._keep(slot)) for slot in self.slots[1:]]
        try:
            await asyncio.gather(*keepers)
        finally:
            for task in (asking, first, *keepers):
                task.cancel()
            for killer in self._killers:
                killer.cancel()
        return self._code

    def drain(self) -> None:
        """Let each finish, and start none any more."""
        self._end(DRAIN, self._drain_s + OVERTIME_S)

    def cut(self) -> None:
        """End all at once."""
        self._end(CUT, CUT_S)

    def reload(self) -> None:
        """Let each read its keys, users and certificates again."""
        for slot in self.slots:
            slot.order(RELOAD)

    def control(self, orders: list[list[Any]]) -> None:
        """Let each obey these orders of the operator, in the place of those before."""
        for slot in self.slots:
            slot.command({CONTROLS: orders})

    async def refresh(self) -> None:
        """Bring `sum` up to date, as far as the workers answer."""
        answers = [answer for slot in self.slots if (answer := slot.ask()) is not None]
        if answers:
            await asyncio.wait(answers, timeout=ANSWER_S)
        self.sum.update(self.reports())

    def reports(self) -> Iterator[Report]:
        """The newest of each worker that lives."""
        for slot in self.slots:
            if slot.report is not None:
                yield slot.report

    def _end(self, order: str, kill_after_s: float) -> None:
        self._stopping.set()
        loop = asyncio.get_running_loop()
        for slot in self.slots:
            slot.end(order)
            self._killers.append(loop.call_later(kill_after_s, slot.kill))

    def _heard(self, slot: Slot) -> None:
        report = slot.report
        if report is None:
            return
        self.told(report)
        if not report.listening:
            return
        self._barren = 0
        self._listening.set()
        self._ready_once = self._ready_once or report.ready.ok

    async def _keep(self, slot: Slot) -> None:
        """Keep a worker in `slot` for as long as it is wanted."""
        while not self._stopping.is_set():
            end = await slot.live(self._orders(self._ready_once))
            self._bury(slot)
            if self._stopping.is_set():
                if end.code != EXIT_OK:
                    self._code = self._code or EXIT_CUT
                return
            self._judge(slot, end)
            if self._stopping.is_set():
                return
            await self._pause(slot, end)
            self.restarts[slot.number] += 1

    def _bury(self, slot: Slot) -> None:
        report = slot.bury()
        if report is not None:
            self.sum.bury(report)

    def _judge(self, slot: Slot, end: End) -> None:
        """Tell how it ended; give up where the next one would end the same way."""
        if end.code == EXIT_OK:
            log.info("worker ended", extra={"event": "worker.ended", "worker": slot.number})
            return
        facts = {"worker": slot.number, "how": end.how, "lived_s": round(end.lived_s, 1)}
        log.error("worker died", extra={"event": "worker.died", **facts})
        if not end.listened:
            self._barren += 1
        nobody = not any(other.state is State.LISTENING for other in self.slots)
        # At the first start the next one would fail as this one did.
        hopeless = not self._ready_once and end.code in _FINAL
        if hopeless or (nobody and self._barren >= BARREN_MAX * self._wanted):
            self._give_up(end.code if end.code in _FINAL else EXIT_BUG)

    def _give_up(self, code: int) -> None:
        self._code = code
        log.error("no worker can be started", extra={"event": "gate.given_up", "exit_code": code})
        self.cut()

    async def _pause(self, slot: Slot, end: End) -> None:
        """Wait before the next start: not at all for the first death in a long time."""
        if end.lived_s >= STEADY_S:
            self._young[slot.number] = 0
            return
        self._young[slot.number] += 1
        young = self._young[slot.number]
        pause_s = min(PAUSE_S * 2 ** (young - 1), PAUSE_S_MAX)
        slot.state, slot.trouble = State.WAITING, f"{end.how}; starts again within {pause_s:g} s"
        if young >= AGAIN_AND_AGAIN:
            facts = {"worker": slot.number, "times": young, "pause_s": pause_s}
            log.error("worker dies again and again", extra={"event": "worker.failing", **facts})
        try:
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _ask_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(ASK_S)
            for slot in self.slots:
                slot.ask_now_and_then()


def _nobody_listens(report: Report) -> None:
    pass


class FleetHealth(Health):
    """Alive when every worker that runs is; ready when all that should be there are."""

    def __init__(self, lag: LoopLag, fleet: Fleet) -> None:
        super().__init__(lag)
        self._fleet: Final = fleet
        for slot in fleet.slots:
            self.watch(f"worker {slot.number}", partial(_trouble, slot))

    def live(self) -> Checks:
        checks = dict(super().live().checks)
        for slot in self._fleet.slots:
            checks[f"worker {slot.number}"] = _stuck(slot)
        return Checks(checks)

    def ready(self) -> Checks:
        """With what workers only remark: the broker of several that is down, keys that did not load."""
        own = super().ready()
        remarks = {
            f"worker {slot.number} {name}": slot.report.ready.checks[name]
            for slot in self._fleet.slots
            if slot.report is not None
            for name in slot.report.ready.advisory
        }
        return Checks({**own.checks, **remarks}, frozenset({*own.advisory, *remarks}))


def _tell_failure(task: asyncio.Task[None]) -> None:
    """What runs in the background only ends by being cancelled, unless it has a bug."""
    if not task.cancelled() and task.exception() is not None:
        log.error("background work failed", extra={"event": "gate.error"}, exc_info=task.exception())


def _stuck(slot: Slot) -> str:
    if slot.state is not State.LISTENING or slot.report is None:
        return ""
    if slot.stuck:
        return f"has not answered for {slot.silent_s:.0f} s"
    return _told(slot.report.live)


def _trouble(slot: Slot) -> str:
    """What keeps it from serving."""
    if slot.state is not State.LISTENING or slot.report is None:
        return slot.trouble or slot.state.value
    return _stuck(slot) or _told(slot.report.ready)


def _told(checks: Checks) -> str:
    return ", ".join([f"{name} {checks.checks[name]}" for name in checks.failing])
