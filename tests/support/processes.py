"""Child processes of the tests: free ports, readiness with a deadline, and certain death at the end."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

#: Set by `make test` once the servers are installed: a missing one is then a failure, not a skip.
REQUIRE_SERVERS = "SEALGATE_TESTS_REQUIRE_SERVERS"


#: Below the ports that systems give to outgoing connections, so that none of those takes the port of a
#: server that is not started yet, or just killed.
_PORTS_MIN, _PORTS, _BLOCK = 15_000, 17_000, 100


def _own_ports() -> Iterator[int]:
    """Ports from blocks that no other process takes from, of whatever run: a block's first port is its lock.

    Each port once, until every block there is was used up.
    """
    blocks = _PORTS // _BLOCK
    first, mine = random.SystemRandom().randrange(blocks), list[int]()
    for number in itertools.count(first):
        start = _PORTS_MIN + number % blocks * _BLOCK
        lock = socket.socket()
        try:
            lock.bind(("127.0.0.1", start))
        except OSError:
            lock.close()
        else:
            # Held until this process ends.
            lock.detach()
            mine.append(start)
            yield from range(start + 1, start + _BLOCK)
        if number - first >= blocks:
            yield from (port for block in mine for port in range(block + 1, block + _BLOCK))


_ports = _own_ports()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody holds now, and that was not given out here before."""
    while True:
        port = next(_ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def find_program(name: str, *folders: str) -> str:
    """The path of a server's program, from PATH or `folders`; skips (or fails, see above) without it."""
    path = os.pathsep.join([*folders, os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        missing = f"{name} is not installed; `make test` installs it where it can"
        if os.environ.get(REQUIRE_SERVERS) == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll `condition` until it holds; `AssertionError` naming `what` when `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.02)


def accepts_tcp(port: int) -> bool:
    """Whether something listens on 127.0.0.1:`port`."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def spawn(
    command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `command` as leader of its own process group, output appended to `log`.

    On Linux the kernel kills it when the test process dies, however that dies.
    """
    with_parent = shutil.which("setpriv")
    prefix = [with_parent, "--pdeathsig", "KILL", "--"] if with_parent else []
    with log.open("ab") as output:
        return subprocess.Popen(
            [*prefix, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes], first: signal.Signals = signal.SIGTERM, seconds: float = 20) -> int:
    """Stop a process by `first`, by SIGKILL after `seconds`; then kill what is left of its group."""
    if process.poll() is None:
        process.send_signal(first)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait(10)
