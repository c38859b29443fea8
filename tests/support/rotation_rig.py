"""A rotation under load: producers, two gateways and workers, each with its own copy of the key file.

The files of `sealgate keys rotate` are the operator's. Everybody else gets a copy when the test says so.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from click.testing import CliRunner

from sealgate.cli import main
from sealgate.signing.material import generate_hmac
from support.celery_setup import KEPT, TESTS
from support.gateway import GatewayProcess, key, toml
from support.processes import end, spawn, wait_until
from support.rabbitmq_server import RabbitMQServer
from support.rolled import QUEUE, declare

#: Of two producers whose seals are short-lived; of pika's, and the queue that nobody reads; of workers.
WEB, TILL, WORKER = "web1", "till", "worker"
HOARD = "hoard"
PRODUCERS = ("by-sidecar", "by-kombu", "by-pika")
#: Nothing counts beyond its end, so that a rotation takes seconds.
STRICT = {"replay": {"clock_skew": "0s"}}
READ_SECONDS_MAX = 40
#: In-process signers say that they have read their file, and look every two seconds.
LOADED = "sealgate: keys loaded again"


class Outcome(NamedTuple):
    """Ids published, and failures seen."""

    published: list[str]
    failed: list[str]


class Side:
    """Who has a copy of the key file."""

    def __init__(self, name: str, home: Path, file: Path) -> None:
        self.name = name
        self.home = home
        self.file = file
        self.log = home / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def copy(self, text: str) -> Callable[[], bool]:
        """Give it this key file; what it gives says whether it has read it."""
        before = self.log_text().count(LOADED)
        self._replace(text)
        return lambda: self.log_text().count(LOADED) > before

    def _replace(self, text: str) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(text)
        fresh.replace(self.file)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def outcome(self) -> Outcome:
        """Of a producer that has ended."""
        told = json.loads(self.log_text().splitlines()[-1])
        return Outcome(told["published"], told["failed"])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            end(self.process, number)


class GateSide(Side):
    """A gateway or a sidecar."""

    def __init__(self, name: str, gate: GatewayProcess) -> None:
        super().__init__(name, gate.config.parent, gate.keys_file)
        self.gate = gate
        self.log = gate.log

    def copy(self, text: str) -> Callable[[], bool]:
        loaded = '"event":"keys.reloaded"'
        before = self.log_text().replace(" ", "").count(loaded)
        self._replace(text)
        return lambda: self.log_text().replace(" ", "").count(loaded) > before

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.gate.stop(number)


class Rig:
    """Everything running. `sides` are those who have a copy, by name."""

    def __init__(self, home: Path, server: RabbitMQServer, vhost: str, validity: str) -> None:
        self.home = home
        self.server = server
        self.vhost = vhost
        self.runs_file = home / "runs.jsonl"
        self.file = home / "operator" / "keys.toml"
        self.sides: dict[str, Side] = {}
        self.children: dict[str, Side] = {}
        self._stack = ExitStack()
        self.file.parent.mkdir(parents=True)
        self.keys = [
            key(f"{WEB}-a", self._secret(f"{WEB}-a"), max_lifetime=validity),
            key(f"{TILL}-a", self._secret(f"{TILL}-a"), max_lifetime="1h"),
            key(WORKER, self._secret(WORKER)),
        ]
        self.file.touch(mode=0o600)
        self.file.write_text(toml({"key": self.keys}))

    def _secret(self, kid: str) -> str:
        path = self.file.parent / f"{kid}.secret"
        path.touch(mode=0o600)
        path.write_text(generate_hmac(os.urandom(32)))
        return f"file:{path}"

    # Who runs

    def gate(self, name: str, upstream_port: int, **settings: object) -> GateSide:
        """One that `start_gates` starts."""
        gate = GatewayProcess(self.home / name, upstream_port, self.keys, {**STRICT, **settings})
        side = GateSide(name, gate)
        self._stack.callback(side.stop, signal.SIGKILL)
        self.sides[name] = side
        return side

    def signing(self, name: str, upstream: GateSide, kid: str, **settings: object) -> GateSide:
        return self.gate(
            name,
            upstream.gate.port,
            publish={"action": "sign", "sign_with": kid},
            **{"quarantine": {"enabled": False}, **settings},
        )

    def start_gates(self) -> None:
        """All of them at once."""
        for side in self.gates():
            side.gate.launch()
        for side in self.gates():
            side.gate.await_ready()

    def child(self, name: str, via: GateSide, signs: str | None, *command: str, **env: str) -> Side:
        """A process of the project. With `signs` it signs itself, by the keys of its own copy."""
        home = self.home / name
        home.mkdir()
        side = Side(name, home, home / "keys.toml")
        shutil.copy(self.file, side.file)
        given = {
            **os.environ,
            "PROJECT_BROKER": via.gate.url(self.vhost),
            "PROJECT_RUNS": str(self.runs_file),
            "PROJECT_CONFIRMS": "1",
            "PROJECT_RESULTS": "disabled://",
            "PYTHONPATH": str(TESTS),
            **env,
        }
        if signs is not None:
            self.sides[name] = side
            given |= {
                "SEALGATE__KEYS__SOURCE": f"file:{side.file}",
                "SEALGATE__PUBLISH__SIGN_WITH": signs,
                "SEALGATE__DELIVER__ACTION": "verify",
            }
        self.children[name] = side
        side.process = spawn([sys.executable, "-m", *command], side.log, given)
        self._stack.callback(side.stop, signal.SIGKILL)
        return side

    def producer(self, name: str, via: GateSide, signs: str | None, how: str, per_second: float) -> Side:
        env = {"PROJECT_TRANSPORT": "sealgate.celery:Transport"} if signs and how == "celery" else {}
        command = ("support.paced_producer", how, str(per_second), "celery", "0")
        return self.child(name, via, signs, *command, **env)

    def worker(self, name: str, via: GateSide, signs: str | None, queues: str = "celery") -> Side:
        env = {"PROJECT_TRANSPORT": "sealgate.celery:Transport"} if signs else {}
        options = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-P", "threads", "-c", "4")
        command = ("celery", "-A", "support.celery_project", "worker", "-l", "INFO", "-Q", queues)
        return self.child(name, via, signs, *command, "-n", f"{name}@tests", *options, **env)

    def hoard(self, count: int) -> Outcome:
        """Fill a queue that nobody reads; by another process that signs with pika's key, and ends."""
        via = self.gate_of("gateway-1")
        command = ("support.paced_producer", "pika", "1000", HOARD, str(count))
        side = self.child("hoarder", via, f"{TILL}-*", *command)
        del self.sides["hoarder"]  # it has ended when the keys change
        wait_until(side.ended, READ_SECONDS_MAX + count / 50, "the queue to be full")
        return side.outcome()

    def stop_producers(self) -> dict[str, Outcome]:
        found = {}
        for name in PRODUCERS:
            self.children[name].stop()
            found[name] = self.children[name].outcome()
        return found

    def close(self) -> None:
        self._stack.close()

    # What the operator does

    def rotate(self, step: str, *arguments: str, asked: Sequence[GateSide] = ()) -> tuple[int, str]:
        """`sealgate keys rotate STEP` on the operator's file: exit code, and all that it said."""
        words = ["keys", "rotate", step, str(self.file), *arguments]
        for side in asked:
            words += ["--gateway", f"127.0.0.1:{side.gate.admin_port}"]
        done = CliRunner().invoke(main, words)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.output

    def distribute(self, names: Sequence[str], pause: Callable[[], float] = lambda: 0.0) -> None:
        """Copy the operator's file to these in this order, `pause()` seconds apart; each has read it then."""
        text = self.file.read_text()
        waiting = {}
        for name in names:
            time.sleep(pause())
            waiting[name] = self.sides[name].copy(text)
        for name, has_read in waiting.items():
            wait_until(has_read, READ_SECONDS_MAX, f"{name} to read its keys")

    # What happened

    def runs(self) -> Counter[str]:
        if not self.runs_file.exists():
            return Counter()
        return Counter(json.loads(line)[0] for line in self.runs_file.read_text().splitlines())

    def gate_of(self, name: str) -> GateSide:
        side = self.sides[name]
        assert isinstance(side, GateSide)
        return side

    def gates(self) -> list[GateSide]:
        return [side for side in self.sides.values() if isinstance(side, GateSide)]

    def refused(self) -> dict[str, dict[str, int]]:
        """Refusals of each gate, by reason, and what in-process verifiers say of theirs."""
        found = {side.name: side.gate.refusals() for side in self.gates()}
        for side in self.sides.values():
            told = [line for line in side.log_text().splitlines() if "sealgate: refused" in line]
            found[side.name] = found.get(side.name, {}) | dict.fromkeys(told, 1)
        return {name: reasons for name, reasons in found.items() if reasons}


@contextmanager
def rotation_rig(
    home: Path, server: RabbitMQServer, vhost: str, validity: str, per_second: float
) -> Iterator[Rig]:
    """Three producers (through a sidecar, by the transport for Celery, by pika), two gateways, two workers
    that verify (one by its sidecar, one in its process), and one more gate for workers to come."""
    rig = Rig(home, server, vhost, validity)
    for queue in (QUEUE, HOARD):  # before anybody publishes to it
        declare(server, vhost, queue)
    try:
        one = rig.gate("gateway-1", server.port)
        two = rig.gate("gateway-2", server.port)
        broker = server.url_of(vhost)
        sidecar = rig.signing("sidecar", one, f"{WEB}-*")
        verifying = {"action": "verify", "tasks": ["shop.*"]}
        kept = {"url": broker, "exchange": KEPT + "rotation"}
        beside = rig.signing("worker-sidecar", two, WORKER, deliver=verifying, quarantine=kept)
        rig.start_gates()
        rig.producer("by-sidecar", sidecar, None, "celery", per_second / 3)
        rig.producer("by-kombu", two, f"{WEB}-*", "celery", per_second / 3)
        rig.producer("by-pika", one, f"{TILL}-*", "pika", per_second / 3)
        rig.worker("w1", beside, None)
        rig.worker("w2", one, WORKER)
        yield rig
    finally:
        rig.close()
