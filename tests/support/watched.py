"""What a running gateway holds: memory, file descriptors, connections, tasks. Seen from outside, on Linux."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.gateway import GatewayProcess
from support.processes import wait_until

MIB = 1_048_576
#: What a process may take for itself while it works: caches, arenas, the quarantine's connection.
SLACK_BYTES = 24 * MIB
#: What a connection costs beside what is bounded by name: objects, and one read of the event loop per leg.
CONNECTION_BYTES = MIB
#: Everything that takes a while to end has ended by then: a close takes 5 s at most on either leg.
REST_SECONDS_MAX = 40
#: A gateway that has just started still connects its quarantine and looks for the broker: a handshake of
#: more than 15 looks, on a busy machine, left three tasks that were not there before.
QUIET_LOOKS = 40

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="memory and descriptors are read from /proc")


@dataclass(frozen=True)
class Holdings:
    """What must return to where it was when nobody is connected any more."""

    descriptors: int
    tasks: int
    client_connections: int
    upstream_connections: int
    buffered_bytes: int


class Watched:
    """Keeps an eye on one gateway from now on; nobody may be connected to it now."""

    def __init__(self, process: GatewayProcess, allowed_bytes: int) -> None:
        """`allowed_bytes` is by how much its memory may grow above what it takes now, however briefly."""
        self.process = process
        self.allowed_bytes = allowed_bytes
        self.before = self._quiet()
        (self._proc / "clear_refs").write_text("5")  # the highest memory so far is forgotten
        self.base_bytes = self.memory("VmRSS")

    @property
    def _proc(self) -> Path:
        return Path(f"/proc/{self.process.pid}")

    def memory(self, what: str) -> int:
        """A line of /proc/PID/status in bytes: VmRSS is now, VmHWM the highest since we began to watch."""
        found = re.search(rf"^{what}:\s+(\d+) kB$", (self._proc / "status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def holdings(self) -> Holdings:
        """What it holds now. Our own question takes a socket and a task, the same ones each time."""
        descriptors = len(os.listdir(self._proc / "fd"))
        page = self.process.get("/metrics")[1]
        gauges = dict(re.findall(r"^sealgate_(\w+) ([\d.e+]+)$", page, re.MULTILINE))
        names = ("tasks", "client_connections", "upstream_connections", "buffered_bytes")
        return Holdings(descriptors, *[int(float(gauges[name])) for name in names])

    def _quiet(self) -> Holdings:
        """What it holds with nobody connected, when that has not changed for a while."""
        seen: list[Holdings] = []

        def still() -> bool:
            seen.append(self.holdings())
            newest = seen[-QUIET_LOOKS:]
            return (
                len(newest) == QUIET_LOOKS and set(newest) == {seen[-1]} and not seen[-1].client_connections
            )

        wait_until(still, REST_SECONDS_MAX, "the gateway to be quiet")
        return seen[-1]

    def check_memory(self) -> None:
        """Whatever happened so far took no more memory than allowed."""
        grown = self.memory("VmHWM") - self.base_bytes
        assert grown <= self.allowed_bytes, f"{grown:,} bytes more than at first, over {self.allowed_bytes:,}"

    def check_at_rest(self) -> None:
        """All that was taken is given back, and memory never went over what is allowed."""
        seen = [self.before]

        def back() -> bool:
            seen.append(self.holdings())
            return seen[-1] == self.before

        try:
            wait_until(back, REST_SECONDS_MAX, "everything to be given back")
        except AssertionError as error:
            raise AssertionError(f"{error}: before {self.before}, now {seen[-1]}") from None
        self.check_memory()
        assert "Traceback" not in self.process.log_text(), self.process.log_text()[-3000:]

    def report(self) -> str:
        """The memory it took, for people to read."""
        base, most, now = self.base_bytes, self.memory("VmHWM"), self.memory("VmRSS")
        return (
            f"memory {base / MIB:.0f} MiB before, {most / MIB:.0f} at most (allowed "
            f"{(base + self.allowed_bytes) / MIB:.0f}), {now / MIB:.0f} after; {self.before.descriptors} "
            f"descriptors and {self.before.tasks} tasks before and after"
        )
