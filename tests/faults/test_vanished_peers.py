"""Clients that are gone and never said so: heartbeats end what is left of them, their messages go back."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.canary import canary
from support.celery_setup import TESTS
from support.gateway import Start
from support.holder import PREFETCH
from support.processes import end, free_port, spawn, wait_until
from support.rabbitmq_server import RabbitMQServer
from support.watched import CONNECTION_BYTES, SLACK_BYTES, Watched, needs_proc

pytestmark = [pytest.mark.system, pytest.mark.timeout(240), needs_proc]

SHORT_LOOPS = ("uvloop",)

HEARTBEAT_S = 1
#: Without heartbeats the kernel asks after a minute, and gives up after half a minute more.
END_SECONDS_MAX = 150
QUEUE = "held"
BODY_BYTES = 20_000
_numbers = itertools.count(1)


@contextmanager
def another_host() -> Iterator[tuple[str, str, str]]:
    """A network namespace at the other end of a cable: its name, the cable's near end and its address here.

    Skips where this needs rights that we do not have.
    """
    number = next(_numbers)
    name = f"sg{os.getpid()}n{number}"
    near, far = f"{name}a", f"{name}b"
    here, there = f"10.213.{number}.1", f"10.213.{number}.2"
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("another host needs `ip` and root")
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace here: {error.stderr.decode().strip()}")
    try:
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        _ip("address", "add", f"{here}/24", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", name, "address", "add", f"{there}/24", "dev", far)
        _ip("-n", name, "link", "set", far, "up")
        yield name, near, here
    finally:
        subprocess.run(["ip", "link", "delete", near], capture_output=True, check=False)
        _ip("netns", "delete", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def holding(
    home: Path,
    host: str,
    port: int,
    vhost: str,
    count: int,
    before: Sequence[str] = (),
    heartbeat_s: int = HEARTBEAT_S,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with so many connections that holds its share of the queue."""
    log = home / "holder.log"
    process = spawn(
        [
            *(*before, sys.executable, "-m", "support.holder", host, port, vhost),
            *(count, heartbeat_s, QUEUE),
        ],
        log,
        {**os.environ, "PYTHONPATH": str(TESTS)},
    )
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            return "ready" in log.read_text()

        wait_until(ready, 60, "the connections of the other process")
        yield process
    finally:
        end(process, signal.SIGKILL)


def check_ended(watched: Watched, server: RabbitMQServer, vhost: str, count: int, what: str) -> str:
    """All is given back by itself while a canary sings, and what was held can be had again."""
    process = watched.process
    with canary(process.port, vhost) as bird:
        bird.sing(50)

        def alone() -> bool:
            bird.sing()
            return watched.holdings().client_connections == 1

        wait_until(alone, END_SECONDS_MAX, "the end of what is gone")
        served = bird.served
    held = PREFETCH * count
    wait_until(lambda: server.depth(vhost, QUEUE) == held, 20, "what was not acknowledged to be back")
    watched.check_at_rest()
    return f"{what}: {count} connections, the canary was served {served} times; {watched.report()}"


def test_stopped_process(
    rabbitmq: RabbitMQServer,
    vhost: str,
    start: Start,
    loop: str,
    tmp_path: Path,
    full: bool,
    closing_lines: list[str],
) -> None:
    """Its kernel still acknowledges everything; it is silent all the same."""
    count = 300 if full else 30
    process = start()
    rabbitmq.fill(vhost, QUEUE, PREFETCH * count, bytes(BODY_BYTES))
    watched = Watched(process, count * CONNECTION_BYTES // 4 + SLACK_BYTES)
    with holding(tmp_path, "127.0.0.1", process.port, vhost, count) as holder:
        assert watched.holdings().client_connections == count
        os.kill(holder.pid, signal.SIGSTOP)
        closing_lines.append(check_ended(watched, rabbitmq, vhost, count, f"stopped clients, {loop}"))


@pytest.mark.parametrize("heartbeat_s", [HEARTBEAT_S, 0])
def test_pulled_cable(
    heartbeat_s: int,
    rabbitmq: RabbitMQServer,
    vhost: str,
    start: Start,
    loop: str,
    tmp_path: Path,
    full: bool,
    closing_lines: list[str],
) -> None:
    """Nothing comes any more and nothing arrives: no FIN, no reset, no acknowledgement.

    Without heartbeats it is TCP's own questions that end it.
    """
    if not heartbeat_s and not full:
        pytest.skip("at full size only: make faults")
    count = 300 if full else 30
    with another_host() as (name, near, here):
        port = free_port()
        process = start(port=port, listen={"address": f"0.0.0.0:{port}"}, credentials={"loopback_users": []})
        rabbitmq.fill(vhost, QUEUE, PREFETCH * count, bytes(BODY_BYTES))
        watched = Watched(process, count * CONNECTION_BYTES // 4 + SLACK_BYTES)
        inside = ("ip", "netns", "exec", name)
        with holding(tmp_path, here, process.port, vhost, count, inside, heartbeat_s):
            assert watched.holdings().client_connections == count
            _ip("link", "set", near, "down")
            what = f"clients behind a pulled cable, heartbeat {heartbeat_s}, {loop}"
            told = check_ended(watched, rabbitmq, vhost, count, what)
            closing_lines.append(told)
