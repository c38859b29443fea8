"""The process around a gate: event loop, signals, exit codes."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol

from sealgate.app.errors import StartError
from sealgate.app.gate import Gate
from sealgate.config.settings import Settings

log: Final = logging.getLogger("sealgate.app")

#: Room for 32,000 clients; the system may allow less.
FILES_MAX: Final = 65_536

#: Freed memory that the allocator keeps, and the size from which each piece comes from the kernel and goes
#: back by itself (glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD). Its own bounds are 128 KiB at first, then
#: they follow the largest piece: less than a read of a busy socket takes, 250 KiB and what is made of it, so
#: that memory comes and goes with each read: a third of the time for messages of 256 KiB, and ten page faults
#: for each of 16 KiB in some gateways (measured).
FREE_BYTES_KEPT_MAX: Final = 2_097_152
KEPT_PIECE_BYTES_MAX: Final = 1_048_576
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

#: Objects that are made, less those that are gone, between two searches for cycles.
GARBAGE_THRESHOLD: Final = 50_000

EXIT_OK: Final = 0
EXIT_CUT: Final = 1


class Ends:
    """How a gate is asked to end: `stop` drains, `cut` ends at once."""

    def __init__(self) -> None:
        self.stopped: Final = asyncio.Event()
        self.cut_off: Final = asyncio.Event()

    def stop(self) -> None:
        self.stopped.set()

    def cut(self) -> None:
        self.cut_off.set()
        self.stopped.set()

    def ask(self) -> None:
        """`stop`; asked once more, `cut`."""
        if self.stopped.is_set():
            self.cut()
        self.stop()


class Steward(Protocol):
    """Who listens for what is asked of a running gate: signals, or a supervisor (`supervises`)."""

    supervises: bool
    #: Whether it is this gate that empties queues of pauses that are over.
    empties: bool

    async def attend(self, gate: Gate, ends: Ends) -> None:
        """Before the gate starts: pass on to both what is asked from now on."""

    def started(self) -> None:
        """The gate listens."""

    async def closed(self) -> None:
        """The gate is closed, whatever became of it."""


class Signals:
    """SIGTERM and SIGINT drain (a second one cuts at once), SIGHUP reads keys and certificates again."""

    supervises = False
    empties = True

    async def attend(self, gate: Gate, ends: Ends) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ends.ask)
        loop.add_signal_handler(signal.SIGHUP, gate.reload)

    def started(self) -> None:
        pass

    async def closed(self) -> None:
        pass


def run(settings: Settings, steward: Steward | None = None) -> int:
    """Run a gate until its steward (signals) ends it; returns the exit code.

    0 after a clean drain, 1 when clients had to be cut, 69, 77 or 78 when the gate could not start.
    """
    _allow_files()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(settings, steward or Signals()))
    except StartError as error:
        print(f"sealgate: {error}", file=sys.stderr)
        return error.exit_code


def _allow_files() -> None:
    """Each client takes two sockets; the usual soft limit of 1,024 is for programs that call select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed; asyncio's own loop is complete, only slower."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(settings: Settings, steward: Steward) -> int:
    ends = Ends()
    gate = Gate(settings, steward.supervises, steward.empties)
    await steward.attend(gate, ends)
    try:
        await gate.start()
        _settle_garbage()
        keep_freed_memory()
        steward.started()
        expecting = asyncio.ensure_future(gate.expect_upstream())
        expecting.add_done_callback(lambda done: ends.stop() if _failed(done) else None)
        await ends.stopped.wait()
        if _failed(expecting):
            await expecting
        expecting.cancel()
        return await _drain(gate, ends.cut_off)
    finally:
        await gate.close()
        await steward.closed()


def _settle_garbage() -> None:
    """Look for cycles seldom: messages have none, and what a start leaves behind stays. From now on: a start
    itself is not searched (`cli.run`).

    With the interpreter's own threshold a search began every 35 messages, and went through those that were
    waiting for the store: a fifth of a gateway's time with stored nonces (measured). Nor is what the start
    left behind looked through once more: a fifth of its time, for no memory that could be seen.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, 10, 10)
    gc.enable()


def keep_freed_memory() -> None:
    """Have the allocator keep what a read or two need. From now on: what the start freed goes back before."""
    allocator = ctypes.CDLL(None)
    # Other allocators than glibc's have no such bounds, or their own.
    if hasattr(allocator, "mallopt"):
        allocator.mallopt(_M_TRIM_THRESHOLD, FREE_BYTES_KEPT_MAX)
        allocator.mallopt(_M_MMAP_THRESHOLD, KEPT_PIECE_BYTES_MAX)


def _failed(work: asyncio.Future[None]) -> bool:
    return work.done() and not work.cancelled() and work.exception() is not None


async def _drain(gate: Gate, cut: asyncio.Event) -> int:
    draining: asyncio.Task[Any] = asyncio.ensure_future(gate.drain())
    cutting: asyncio.Task[Any] = asyncio.ensure_future(cut.wait())
    await asyncio.wait({draining, cutting}, return_when=asyncio.FIRST_COMPLETED)
    clean = draining.done() and draining.result()
    for task in (draining, cutting):
        task.cancel()
    await asyncio.gather(draining, cutting, return_exceptions=True)
    log.info("stopped", extra={"event": "gate.stopped", "clean": clean})
    return EXIT_OK if clean else EXIT_CUT
