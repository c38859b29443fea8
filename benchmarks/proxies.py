"""The proxies under measure and what stands behind them, each a process of its own on a free port."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import messages

HERE = Path(__file__).parent
START_S_MAX = 15

_HAPROXY = """\
global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 5m
    timeout server 5m
listen amqp
    bind 127.0.0.1:{port}
    server upstream 127.0.0.1:{upstream}
"""

_SEALGATE = """\
deployment = "{deployment}"
[listen]
address = "127.0.0.1:{port}"
[upstream]
urls = ["amqp://127.0.0.1:{upstream}"]
[publish]
action = "{action}"
{sign_with}
[keys]
source = "file:{keys}"
[replay]
store = "memory"
clock_skew = "0s"
[quarantine]
enabled = false
[admin]
enabled = false
"""

_KEYS = """\
[[key]]
kid = "{kid}"
alg = "hmac-sha256"
secret = "hex:{secret}"
state = "active"
"""


@dataclass(slots=True, frozen=True)
class Proxy:
    """A running proxy: where it listens and which process's CPU time is its own."""

    name: str
    port: int
    pid: int

    def cpu_s(self) -> float:
        """User and system time of the process so far, from the kernel's own clock of it (Linux)."""
        return time.clock_gettime((~self.pid << 3) | 2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def compile_c(name: str, folder: Path) -> Path:
    built = folder / name
    subprocess.run(["gcc", "-O2", "-o", built, HERE / f"{name}.c"], check=True)
    return built


@contextlib.contextmanager
def running(command: Sequence[str | Path], port: int, log: Path) -> Iterator[int]:
    """The command's process id while it listens on `port`; killed at the end."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + START_S_MAX
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


@contextlib.contextmanager
def haproxy(upstream: int, folder: Path) -> Iterator[Proxy]:
    port, config = free_port(), folder / "haproxy.cfg"
    config.write_text(_HAPROXY.format(port=port, upstream=upstream))
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    with running([program, "-db", "-f", config], port, folder / "haproxy.log") as pid:
        yield Proxy("haproxy", port, pid)


@contextlib.contextmanager
def uvloop_copy(upstream: int, folder: Path) -> Iterator[Proxy]:
    port = free_port()
    command = [sys.executable, HERE / "uvcopy.py", str(port), str(upstream)]
    with running(command, port, folder / "uvcopy.log") as pid:
        yield Proxy("copy", port, pid)


@contextlib.contextmanager
def sealgate(action: str, secret: bytes, upstream: int, folder: Path) -> Iterator[Proxy]:
    port = free_port()
    config, keys = folder / f"{action}.toml", folder / "keys.toml"
    keys.touch(mode=0o600)
    keys.write_text(_KEYS.format(kid=messages.KID, secret=secret.hex()))
    config.write_text(
        _SEALGATE.format(
            deployment=messages.DEPLOYMENT,
            port=port,
            upstream=upstream,
            action=action,
            sign_with=f'sign_with = "{messages.KID}"' if action == "sign" else "",
            keys=keys,
        )
    )
    command = [Path(sys.executable).with_name("sealgate"), "run", "--config", config]
    with running(command, port, folder / f"{action}.log") as pid:
        yield Proxy(action, port, pid)
