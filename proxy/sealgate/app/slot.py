"""One place for a worker, and the process that is in it now."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

from sealgate.app.reports import REPORT, REPORT_BYTES_MAX, Report

log: Final = logging.getLogger("sealgate.app")

#: A worker that has not answered for so long is stuck, not busy; as `ops.health` has it for a loop.
SILENT_S_MAX: Final = 5.0
#: A worker whose loop stands still for so many times `ASK_S` (half a minute) is killed: the kernel would go
#: on giving it clients. Counted, not timed, so that a machine that was paused kills nobody.
UNANSWERED_MAX: Final = 60
#: From its start until it listens: the store's own patience is far shorter.
STARTING_S_MAX: Final = 60.0
#: How often a worker is asked how it is. What a killed worker had counted since is lost.
ASK_S: Final = 0.5
#: A report of this size takes a worker about a millisecond; who has more to say is asked less often.
SHORT_REPORT_BYTES: Final = 65_536
#: From the end of its reports to the end of the process; what takes longer is killed.
LEAVING_S: Final = 10.0
#: Orders that a worker does not read. It is asked for one report at a time, so that these are reloads.
UNREAD_BYTES_MAX: Final = 65_536
#: What a process that could not be started counts as: our bug, though it is mostly memory that lacks.
EXIT_BUG: Final = 70


@unique
class State(Enum):
    STARTING = "starting"
    LISTENING = "listening"
    WAITING = "waiting"
    ENDED = "ended"


@dataclass(slots=True, frozen=True)
class End:
    """How a worker ended: its exit code (negative for a signal), and whether and for how long it served."""

    code: int
    listened: bool
    lived_s: float

    @property
    def how(self) -> str:
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        return f"exit code {self.code}"


class Slot:
    """Runs one worker at a time. `report` is the newest that there is of the one that lives."""

    def __init__(
        self,
        number: int,
        command: Sequence[str],
        heard: Callable[[Slot], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`heard` is called after each report."""
        self.number: Final = number
        self._command: Final = (*command, "--worker", str(number))
        self._heard: Final = heard
        self._clock: Final = clock
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._answer: asyncio.Future[None] | None = None
        self._asked_at = 0.0
        self._report_bytes = 0
        self._unanswered = 0
        #: The order to end that came while nobody was there to hear it.
        self._ending = ""
        self.state = State.STARTING
        self.report: Report | None = None
        #: Why nobody is in it.
        self.trouble = ""

    @property
    def pid(self) -> int:
        """0 when nobody is in it."""
        return self._process.pid if self._process is not None else 0

    @property
    def silent_s(self) -> float:
        """How long a question has waited for its answer."""
        return self._clock() - self._asked_at if self._answer is not None else 0.0

    @property
    def stuck(self) -> bool:
        return self.silent_s > SILENT_S_MAX

    async def live(self, orders: bytes) -> End:
        """Start a worker with `orders` (its first line), listen to it, and tell how it ended."""
        began = self._clock()
        self.state, self.trouble = State.STARTING, ""
        try:
            code = await self._run(orders)
        except OSError as error:
            log.error("worker not started", extra=self._about("worker.not_started", error=str(error)))
            code = EXIT_BUG
        listened = self.state is State.LISTENING
        self._process, self._writer = None, None
        self._answered()
        self.state = State.ENDED
        return End(code, listened, self._clock() - began)

    async def _run(self, orders: bytes) -> int:
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(*self._command, stdin=theirs.fileno())
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._process = process
        log.info("worker started", extra=self._about("worker.started", pid=process.pid))
        reader, self._writer = await asyncio.open_unix_connection(sock=ours, limit=REPORT_BYTES_MAX)
        self._writer.write(orders)
        if self._ending:
            self.order(self._ending)
        impatience = asyncio.get_running_loop().call_later(STARTING_S_MAX, self._kill_if_not_listening)
        try:
            while line := await reader.readline():
                self._report_bytes = len(line)
                self._take(Report(json.loads(line)))
        except OSError:
            pass
        except (ValueError, KeyError, TypeError) as error:
            log.error(
                "a report that is none", extra=self._about("worker.confused", error=type(error).__name__)
            )
            self.kill()
        finally:
            impatience.cancel()
            self._writer.close()
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(process.wait(), LEAVING_S)
        self.kill()
        return await process.wait()

    def _take(self, report: Report) -> None:
        self.report = report
        if report.listening:
            self.state = State.LISTENING
        self._answered()
        self._heard(self)

    def _answered(self) -> None:
        """Nobody need wait any longer."""
        self._unanswered = 0
        if self._answer is not None:
            self._answer.set_result(None)
            self._answer = None

    def end(self, order: str) -> None:
        """Give an order to end (`reports.DRAIN` or `CUT`), to who is there or who is just being started."""
        self._ending = order
        self.order(order)

    def order(self, order: str) -> None:
        """Tell it, if anybody is there who reads."""
        writer = self._writer
        if writer is None or writer.is_closing():
            return
        if writer.transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            log.error("a worker does not read its orders", extra=self._about("worker.deaf"))
            return
        writer.write(json.dumps(order).encode() + b"\n")

    def command(self, order: object) -> None:
        """The same for what it must not miss: who does not read goes, and the next one begins with it."""
        writer = self._writer
        if writer is None or writer.is_closing():
            return
        if writer.transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            self._kill_for("worker.deaf", "a worker does not read its orders")
            return
        writer.write(json.dumps(order).encode() + b"\n")

    def ask(self) -> asyncio.Future[None] | None:
        """Ask for a report; done when it is there. None when nobody listens, or it has waited too long."""
        if self.state is not State.LISTENING or self.stuck:
            return None
        if self._answer is None:
            self._answer = asyncio.get_running_loop().create_future()
            self._asked_at = self._clock()
            self.order(REPORT)
        return self._answer

    def ask_now_and_then(self) -> None:
        """Call it every `ASK_S`: asks as often as fits the length of the answers, and ends who is stuck."""
        if self._answer is not None:
            self._unanswered += 1
            if self._unanswered == UNANSWERED_MAX:
                self._kill_for("worker.stuck", "a worker does not answer any more")
        pause_s = ASK_S * (self._report_bytes // SHORT_REPORT_BYTES)
        if self._clock() - self._asked_at > pause_s:
            self.ask()

    def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _kill_for(self, event: str, why: str) -> None:
        log.error(why, extra=self._about(event))
        self.kill()

    def _kill_if_not_listening(self) -> None:
        if self.state is State.STARTING:
            self._kill_for("worker.not_listening", "a worker does not come to listen")

    def bury(self) -> Report | None:
        """The last report of the worker that has ended, once."""
        report, self.report = self.report, None
        return report

    def _about(self, event: str, **more: object) -> dict[str, object]:
        return {"event": event, "worker": self.number, **more}
