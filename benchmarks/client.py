"""The client's side of a benchmark connection: handshake here, replay in C on the same socket."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pamqp import base, commands
from pamqp import frame as frames
from pamqp import header as headers

from messages import FRAME_BYTES_MAX

TIMEOUT_S = 15


@dataclass(slots=True)
class Opened:
    """A connection with channel 1 open and confirms on; `challenge` is empty where none was announced."""

    socket: socket.socket
    challenge: bytes


@dataclass(slots=True, frozen=True)
class Replayed:
    """What replay.c measured of itself and of the way to the last confirm."""

    messages: int
    seconds: float
    generator_cpu_s: float


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


def open_channel(port: int) -> Opened:
    """Connect to 127.0.0.1:`port` as guest, open channel 1, select confirms."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(headers.ProtocolHeader(0, 9, 1).marshal())
    methods = _methods(sock)
    start = next(methods)
    assert isinstance(start, commands.Connection.Start), start
    start_ok = commands.Connection.StartOk(
        {"product": "sealgate-benchmark"}, "PLAIN", "\0guest\0guest", "en_US"
    )
    sock.sendall(frames.marshal(start_ok, 0))
    tune = next(methods)
    assert isinstance(tune, commands.Connection.Tune), tune
    assert tune.frame_max >= FRAME_BYTES_MAX, tune
    sock.sendall(frames.marshal(commands.Connection.TuneOk(tune.channel_max, FRAME_BYTES_MAX, 0), 0))
    sock.sendall(frames.marshal(commands.Connection.Open("/"), 0))
    assert isinstance(next(methods), commands.Connection.OpenOk)
    sock.sendall(frames.marshal(commands.Channel.Open(), 1))
    assert isinstance(next(methods), commands.Channel.OpenOk)
    sock.sendall(frames.marshal(commands.Confirm.Select(), 1))
    assert isinstance(next(methods), commands.Confirm.SelectOk)
    announced = (start.server_properties or {}).get("sealgate")
    challenge = announced["challenge"] if isinstance(announced, dict) else b""
    return Opened(sock, challenge.encode() if isinstance(challenge, str) else bytes(challenge))


def replay(program: Path, opened: Opened, messages: Path, window: int, passes: int) -> Replayed:
    """Send the file's messages `passes` times, `window` unconfirmed at most, until all are confirmed."""
    fd = opened.socket.fileno()
    command = [str(program), str(fd), str(messages), str(window), str(passes)]
    done = subprocess.run(command, pass_fds=[fd], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"not every message was confirmed: {done.stderr.strip()}")
    confirmed, seconds, cpu_s = done.stdout.split()
    return Replayed(int(confirmed), float(seconds), float(cpu_s))
