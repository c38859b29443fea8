"""The client's side of a benchmark connection: handshake here, then the same socket in native/'s hands."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pamqp import base, commands
from pamqp import frame as frames
from pamqp import header as headers

from benchmarks.messages import FRAME_BYTES_MAX, QUEUE

TIMEOUT_S = 30
REPLAY_S_MAX = 600


@dataclass(slots=True)
class Opened:
    """A connection with its channels open; `challenge` is empty where none was announced."""

    socket: socket.socket
    challenge: bytes
    methods: Iterator[base.Frame]

    def ask(self, method: base.Frame, answer: type[base.Frame], channel: int = 1) -> base.Frame:
        self.socket.sendall(frames.marshal(method, channel))
        got = next(self.methods)
        if not isinstance(got, answer):
            raise RuntimeError(f"asked {method.name}, got {got!r}")
        return got


@dataclass(slots=True, frozen=True)
class Replayed:
    """What a program of native/ measured of itself, and of the way to the last confirm or delivery."""

    messages: int
    seconds: float
    generator_cpu_s: float
    latencies_ns: array[int] = field(default_factory=lambda: array("Q"))


@dataclass(slots=True, frozen=True)
class Load:
    """How replay.c sends: see the options there."""

    window: int = 256
    passes: int = 1
    rate: float = 0
    turn: int = 0
    channels: int = 1
    base: int = 0
    latencies: bool = False

    def options(self, latencies: Path) -> list[str]:
        said = ["-w", self.window, "-p", self.passes, "-r", self.rate, "-t", self.turn, "-c", self.channels]
        said += ["-b", self.base, *(["-l", latencies] if self.latencies else [])]
        return [str(part) for part in said]


def _methods(sock: socket.socket) -> Iterator[base.Frame]:
    buffer = b""
    while True:
        while len(buffer) < 8 or len(buffer) < int.from_bytes(buffer[3:7], "big") + 8:
            data = sock.recv(65_536)
            if not data:
                raise ConnectionError("closed during the handshake")
            buffer += data
        size, _, method = frames.unmarshal(buffer)
        buffer = buffer[size:]
        yield method


def open_connection(port: int, channels: int = 1, confirms: bool = True) -> Opened:
    """Connect to 127.0.0.1:`port` as guest, open channels 1 to `channels`, select confirms."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(headers.ProtocolHeader(0, 9, 1).marshal())
    methods = _methods(sock)
    start = next(methods)
    assert isinstance(start, commands.Connection.Start), start
    announced = (start.server_properties or {}).get("sealgate")
    challenge = announced["challenge"] if isinstance(announced, dict) else b""
    challenge = challenge.encode() if isinstance(challenge, str) else bytes(challenge)
    opened = Opened(sock, challenge, methods)
    start_ok = commands.Connection.StartOk(
        {"product": "sealgate-benchmark"}, "PLAIN", "\0guest\0guest", "en_US"
    )
    tune = opened.ask(start_ok, commands.Connection.Tune, 0)
    assert isinstance(tune, commands.Connection.Tune)
    assert tune.frame_max >= FRAME_BYTES_MAX, tune
    sock.sendall(frames.marshal(commands.Connection.TuneOk(tune.channel_max, FRAME_BYTES_MAX, 0), 0))
    opened.ask(commands.Connection.Open("/"), commands.Connection.OpenOk, 0)
    for channel in range(1, channels + 1):
        opened.ask(commands.Channel.Open(), commands.Channel.OpenOk, channel)
        if confirms:
            opened.ask(commands.Confirm.Select(), commands.Confirm.SelectOk, channel)
    return opened


@contextlib.contextmanager
def connections(port: int, count: int = 1, channels: int = 1) -> Iterator[list[Opened]]:
    """So many connections with confirms, closed at the end."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            opened = open_connection(port, channels)
            stack.callback(opened.socket.close)
            made.append(opened)
        yield made


def replay(program: Path, opened: Sequence[Opened], messages: Path, load: Load) -> Replayed:
    """Send the file's messages over these connections until all are confirmed."""
    latencies = messages.with_name("latencies")
    fds = [one.socket.fileno() for one in opened]
    command = [str(program), *load.options(latencies), str(messages), *map(str, fds)]
    done = _run(command, fds)
    if not load.latencies:
        return done
    read = array("Q")
    read.frombytes(latencies.read_bytes())
    latencies.unlink()
    return Replayed(done.messages, done.seconds, done.generator_cpu_s, read)


def _run(command: list[str], fds: list[int]) -> Replayed:
    done = subprocess.run(
        command, pass_fds=fds, capture_output=True, text=True, timeout=REPLAY_S_MAX, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"not every message came through: {done.stderr.strip() or done.returncode}")
    messages, seconds, cpu_s = done.stdout.split()
    return Replayed(int(messages), float(seconds), float(cpu_s))


def open_consumer(port: int, prefetch: int) -> Opened:
    """A connection that may have `prefetch` deliveries unacknowledged, and consumes nothing yet."""
    opened = open_connection(port, confirms=False)
    opened.ask(commands.Basic.Qos(0, prefetch, False), commands.Basic.QosOk)
    return opened


def start_consuming(opened: Opened, queue: str = QUEUE) -> None:
    """Ask for `queue` with manual acks, without an answer: whatever comes next is a delivery."""
    consume = commands.Basic.Consume(0, queue, "c1", False, False, False, True)
    opened.socket.sendall(frames.marshal(consume, 1))


def consume(program: Path, opened: Opened, count: int) -> Replayed:
    """Take and acknowledge `count` deliveries, each by itself."""
    fd = opened.socket.fileno()
    return _run([str(program), str(fd), str(count)], [fd])


def close(opened: Opened) -> None:
    """A close that is answered: everything sent before it has been taken."""
    opened.ask(commands.Connection.Close(200, "", 0, 0), commands.Connection.CloseOk, 0)
