"""The servers and proxies of a benchmark: processes of their own on free ports, gone at the end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.gates import Gate
from benchmarks.messages import Layout
from support.processes import accepts_tcp, end, free_port, spawn
from support.rabbitmq_server import RabbitMQServer, private_rabbitmq
from support.redis_server import RedisServer, private_redis

_T = TypeVar("_T")
HERE = Path(__file__).parent
START_S_MAX = 15

_HAPROXY = """\
global
    nbthread 1
    maxconn 8000
defaults
    mode tcp
    timeout connect 5s
    timeout client 5m
    timeout server 5m
listen amqp
    bind 127.0.0.1:{port}
    server upstream 127.0.0.1:{upstream}
"""


@dataclass(slots=True, frozen=True)
class Proxy:
    """Something that listens; the CPU time of process `pid` and of its children is its own."""

    name: str
    port: int
    pid: int

    def cpu_s(self) -> float:
        """User and system time of the process and its children so far, by the kernel's own clocks (Linux)."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in (self.pid, *map(int, children)))

    def cpu_s_by_ticks(self) -> float:
        """The same from /proc, in hundredths of a second: to check the clock above by."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


class Stage:
    """Starts what is asked for once, and ends all of it. The folder holds messages, configurations, logs."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.folder = Path("/")
        self._programs: dict[str, Path] = {}
        self._once: dict[str, object] = {}
        self._number = 0

    def __enter__(self) -> Stage:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="sealgate-bench-")))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def part(self) -> Iterator[Stage]:
        """A stage whose own processes end with the block; it shares what this one has."""
        inner = Stage()
        inner.folder, inner._programs, inner._once = self.folder / f"part{self._next()}", self._programs, {}
        inner.folder.mkdir()
        with inner._stack:
            yield inner

    def _next(self) -> int:
        self._number += 1
        return self._number

    def program(self, name: str) -> Path:
        """One of native/, compiled when first asked for."""
        if name not in self._programs:
            built = self.folder / name
            subprocess.run(["gcc", "-O2", "-o", built, HERE / "native" / f"{name}.c"], check=True)
            self._programs[name] = built
        return self._programs[name]

    def swallow(self) -> Proxy:
        return self._shared("swallow", self.new_swallow)

    def new_swallow(self) -> Proxy:
        port = free_port()
        return self.start("swallow", [self.program("swallow"), str(port)], port)

    def rabbitmq(self) -> RabbitMQServer:
        return self._shared("rabbitmq", lambda: self._stack.enter_context(private_rabbitmq()))

    def redis(self) -> RedisServer:
        return self._shared("redis", lambda: self._stack.enter_context(private_redis()))

    def _shared(self, name: str, make: Callable[[], _T]) -> _T:
        if name not in self._once:
            self._once[name] = make()
        return self._once[name]  # type: ignore[return-value]

    def haproxy(self, upstream: int) -> Proxy:
        port, config = free_port(), self.folder / f"haproxy{self._next()}.cfg"
        config.write_text(_HAPROXY.format(port=port, upstream=upstream))
        program = shutil.which("haproxy") or "/usr/sbin/haproxy"
        return self.start("haproxy", [program, "-db", "-f", config], port)

    def copy(self, upstream: int) -> Proxy:
        port = free_port()
        command = [sys.executable, HERE / "rivals" / "uvcopy.py", str(port), str(upstream)]
        return self.start("copy", command, port)

    def floor(self, upstream: int, layout: Layout) -> Proxy:
        port = free_port()
        command = [sys.executable, HERE / "rivals" / "floor.py", str(port), str(upstream)]
        return self.start("floor", [*command, json.dumps(asdict(layout))], port)

    def gate(self, gate: Gate, upstream: int) -> Proxy:
        port = free_port()
        command = gate.command(self.folder / f"gate{self._next()}", port, upstream)
        return self.start(f"gate-{gate.action}", command, port, gate.variant.environment())

    def relay(self, arguments: Sequence[str]) -> Proxy:
        """The relay on queues; it listens nowhere and says when it consumes."""
        log = self.folder / f"relay{self._next()}.log"
        process = spawn([sys.executable, HERE / "rivals" / "relay.py", *arguments], log)
        self._stack.callback(end, process, seconds=5)
        self._wait("relay", process, log, lambda: log.read_bytes().startswith(b"ready"))
        return Proxy("relay", 0, process.pid)

    @contextlib.contextmanager
    def starting(self, gate: Gate, port: int, upstream: int) -> Iterator[Proxy]:
        """The gate just spawned: nobody has looked yet whether it listens. It ends with the stage."""
        command = gate.command(self.folder / f"gate{self._next()}", port, upstream)
        log = self.folder / f"starting{self._next()}.log"
        process = spawn(command, log, gate.variant.environment())
        self._stack.callback(end, process, seconds=5)
        try:
            yield Proxy("starting", port, process.pid)
        except (OSError, RuntimeError) as error:
            raise RuntimeError(f"{error}:\n{log.read_text(errors='replace')[-2000:]}") from error

    def start(
        self, name: str, command: Sequence[str | Path], port: int, env: Mapping[str, str] | None = None
    ) -> Proxy:
        """Return when it listens; an error shows the end of its log."""
        log = self.folder / f"{name}{self._next()}.log"
        process = spawn(command, log, env)
        self._stack.callback(end, process, seconds=5)
        self._wait(name, process, log, lambda: accepts_tcp(port))
        return Proxy(name, port, process.pid)

    @staticmethod
    def _wait(name: str, process: subprocess.Popen[bytes], log: Path, serves: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_S_MAX
        while not serves():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.01)
