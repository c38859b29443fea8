"""A worker: a gate whose supervisor is at the other end of its standard input, a socket.

A line in each direction is one JSON value. The first line from the supervisor is what to run; then come
orders (`app.reports`). The worker answers with reports. When the supervisor goes away, however that happens,
the worker drains and ends: nobody would start it again or count what it does.

Warning: a service manager may send SIGTERM to supervisor and workers alike, and the supervisor passes its own
on. So signals here only drain, however many come; to end at once is an order.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from typing import Any, Final

from sealgate.app import process
from sealgate.app.gate import Gate
from sealgate.app.process import Ends
from sealgate.app.reports import CONTROLS, CUT, DRAIN, RELOAD, REPORT
from sealgate.app.share import share_of
from sealgate.config.settings import Settings
from sealgate.control.orders import Orders, orders_of
from sealgate.ops.logging import configure_logging

log: Final = logging.getLogger("sealgate.app")

STDIN: Final = 0
#: What a supervisor can have to say at once.
ORDER_BYTES_MAX: Final = 4_194_304
#: For the last report to be written; the supervisor reads it at once unless something is wrong with it.
LAST_WORD_S: Final = 2.0

EXIT_USAGE: Final = 64


def run_worker(number: int) -> int:
    """Run what the supervisor says, as its worker `number`; returns the exit code, as `process.run` does."""
    try:
        link = socket.socket(fileno=STDIN)
        orders = json.loads(_first_line(link))
        settings = Settings.model_validate(orders["settings"])
        controls = orders_of(orders["controls"])
    except (OSError, ValueError, KeyError) as error:
        print(f"sealgate: --worker is for a supervisor to use ({type(error).__name__})", file=sys.stderr)
        return EXIT_USAGE
    configure_logging(settings.log.level, settings.log.format, worker=number)
    share = share_of(settings, orders["port"], orders["in_service"])
    return process.run(share, Supervised(link, controls, empties=number == 1))


def _first_line(link: socket.socket) -> bytes:
    """Up to the first newline and not a byte more. Raises `OSError` where there is no socket, or no line."""
    line = b""
    while not line.endswith(b"\n"):
        ahead = link.recv(65_536, socket.MSG_PEEK)
        if not ahead or len(line) > ORDER_BYTES_MAX:
            raise ConnectionError("no orders")
        line += link.recv(ahead.find(b"\n") + 1 or len(ahead))
    return line


class Supervised:
    """Obeys a supervisor, and tells it how the gate is. `controls` are the operator's orders at the start."""

    supervises = True

    def __init__(self, link: socket.socket, controls: Orders, empties: bool) -> None:
        self.empties = empties
        self._link: Final = link
        self._controls: Final = controls
        self._gate: Gate | None = None
        self._ends: Ends | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listening = False
        self._obeying: asyncio.Task[None] | None = None

    async def attend(self, gate: Gate, ends: Ends) -> None:
        self._gate, self._ends = gate, ends
        gate.clerk.call = self._tell
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ends.stop)
        loop.add_signal_handler(signal.SIGHUP, gate.reload)
        reader, self._writer = await asyncio.open_unix_connection(sock=self._link, limit=ORDER_BYTES_MAX)
        gate.obey(self._controls)
        self._obeying = loop.create_task(self._obey(reader, gate, ends))

    def started(self) -> None:
        self._listening = True
        self._tell()

    async def closed(self) -> None:
        """What was counted until the very end."""
        assert self._writer is not None and self._obeying is not None
        self._obeying.cancel()
        self._tell()
        try:
            async with asyncio.timeout(LAST_WORD_S):
                self._writer.close()
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            pass

    async def _obey(self, reader: asyncio.StreamReader, gate: Gate, ends: Ends) -> None:
        try:
            while line := await reader.readline():
                self._carry_out(json.loads(line), gate, ends)
        except OSError:
            pass
        if not ends.stopped.is_set():
            log.warning("the supervisor is gone", extra={"event": "worker.orphaned"})
            ends.stop()

    def _carry_out(self, order: Any, gate: Gate, ends: Ends) -> None:
        if isinstance(order, dict):
            gate.obey(orders_of(order[CONTROLS]))
        elif order == REPORT:
            self._tell()
        elif order == RELOAD:
            gate.reload()
        elif order == DRAIN:
            ends.stop()
        elif order == CUT:
            ends.cut()

    def _tell(self) -> None:
        assert self._gate is not None and self._writer is not None
        report: dict[str, Any] = {**self._gate.vitals.report(), "listening": self._listening}
        if not self._writer.is_closing():
            self._writer.write(json.dumps(report).encode() + b"\n")
