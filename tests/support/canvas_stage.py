"""Where canvas cases are played: a real worker behind the gate, and one on the broker itself.

The worker and who looks at it have signing sidecars; what producers send is forged and sealed here, octet by
octet. `CanvasWorker` reads what the workers left behind.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pamqp import commands

from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key
from support.canvas_project import PARKED, QUEUES, SECRET
from support.documented import documented_limits
from support.gateway import GatewayProcess, gateway, key, new_secret
from support.hostile_broker import Direct
from support.hostile_keys import DEPLOYMENT
from support.hostile_publish import Draft, Publish, next_nonce
from support.processes import end, spawn, wait_until
from support.rabbitmq_server import RabbitMQServer
from support.raw_client import PY_AMQP, RawClient
from support.sealed import received, seal

TESTS = Path(__file__).resolve().parent.parent
WORKER_START_SECONDS_MAX = 60
RUN_SECONDS_MAX = 60
#: A producer; one that may send Celery's own tasks, to anywhere; the workers; who may look at them; who may
#: command them.
NARROW = {
    "tasks": ["shop.*"],
    "exchanges": [""],
    "routing_keys": [*QUEUES, PARKED],
    "reply_to": ["replies.*"],
    "classes": ["task"],
}
LIMITS: dict[str, dict[str, object]] = {
    "narrow": NARROW,
    "wide": {"tasks": ["shop.*", "celery.*"], "classes": ["task"]},
    "worker": documented_limits("worker"),
    "monitor": documented_limits("monitor"),
    "admin": {"tasks": ["shop.*"], "classes": ["control", "event"]},
}
#: Keys whose holders are Celery processes of their own.
SIDECARS = ("worker", "monitor")
#: Marks what belongs to one case, in ids and arguments.
_MARK = re.compile(r"~(\w+)~")


def mark(name: str) -> str:
    return f"~{name}~"


@dataclass(frozen=True)
class Run:
    """One run of a task, as the task itself saw it."""

    task: str
    id: str
    reply_to: str | None
    arguments: str

    @property
    def case(self) -> str:
        """The case it belongs to, "" for none."""
        found = _MARK.search(f"{self.id} {self.arguments}")
        return found[1] if found else ""


class CanvasWorker:
    """A prefork worker of `support.canvas_project`, and what ran in it."""

    def __init__(self, home: Path, name: str, broker: str, results: str, *options: str) -> None:
        self.name = f"{name}@tests"
        self.log = home / f"{name}.log"
        self._runs = home / f"{name}.jsonl"
        self.broker, self._results, self._options = broker, results, options
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        env = {
            **os.environ,
            "PROJECT_BROKER": self.broker,
            "PROJECT_RESULTS": self._results,
            "PROJECT_RUNS": str(self._runs),
            "PYTHONPATH": str(TESTS),
        }
        queues = ",".join(QUEUES)
        command = [sys.executable, "-m", "celery", "-A", "support.canvas_project", "worker"]
        options = ["-P", "prefork", "-c", "2", "-l", "INFO", "-E", "-Q", queues, "-n", self.name]
        self.process = spawn([*command, *options, *self._options], self.log, env)

    def wait(self) -> None:
        def ready() -> bool:
            assert self.alive(), self.log.read_text()
            return f"{self.name} ready" in self.log.read_text()

        wait_until(ready, WORKER_START_SECONDS_MAX, "the worker to be ready")

    def alive(self) -> bool:
        return self.process.poll() is None

    def runs(self) -> list[Run]:
        if not self._runs.exists():
            return []
        # The last line may be half written.
        whole = self._runs.read_text().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        return [
            Run(task, task_id, reply_to, args + kwargs) for task, task_id, reply_to, args, kwargs in lines
        ]

    def runs_of(self, case: str) -> Counter[str]:
        """Task -> how often it ran because of `case`."""
        return Counter(run.task for run in self.runs() if run.case == case)


class CanvasStage:
    """Everything running. `bare` is the worker that nothing protects."""

    def __init__(self, server: RabbitMQServer, home: Path, results: str) -> None:
        self.vhost, self.bare_vhost = server.new_vhost(), server.new_vhost()
        self.keys = [key(kid, new_secret(), **limits) for kid, limits in LIMITS.items()]
        self._signers = {
            str(table["kid"]): Key(
                str(table["kid"]), HmacSha256(bytes.fromhex(str(table["secret"]).removeprefix("hex:")))
            )
            for table in self.keys
        }
        self.gateway: GatewayProcess
        self.sidecars: dict[str, GatewayProcess] = {}
        self.broker_port = server.port
        self.direct = Direct(server, self.vhost)
        self.bare_direct = Direct(server, self.bare_vhost)
        for direct in (self.direct, self.bare_direct):
            for queue in (PARKED, SECRET):
                # As Celery declares queues.
                direct.declare(queue, durable=True)
        self._home, self._results = home, results
        self.worker: CanvasWorker
        self.bare: CanvasWorker

    def start(self, stack: ExitStack, settings: Mapping[str, Any]) -> None:
        stack.callback(self.direct.close)
        stack.callback(self.bare_direct.close)
        broker = f"amqp://guest:guest@127.0.0.1:{self.broker_port}/{self.bare_vhost}"
        self.bare = CanvasWorker(self._home, "bare", broker, f"{self._results}/1")
        self.bare.start()
        stack.callback(lambda: end(self.bare.process))
        self.gateway = stack.enter_context(
            gateway(
                self._home / "gateway", self.broker_port, self.keys, {"deployment": DEPLOYMENT, **settings}
            )
        )
        for kid in SIDECARS:
            signing: dict[str, Any] = {
                "publish": {"action": "sign", "sign_with": kid},
                "quarantine": {"enabled": False},
            }
            signing["deployment"] = DEPLOYMENT
            self.sidecars[kid] = stack.enter_context(
                gateway(self._home / kid, self.gateway.port, self.keys, signing)
            )
        self.worker = CanvasWorker(
            self._home, "kept", self.sidecars["worker"].url(self.vhost), f"{self._results}/2"
        )
        self.worker.start()
        stack.callback(lambda: end(self.worker.process))
        self.worker.wait()
        self.bare.wait()

    def send(self, draft: Draft, kid: str) -> str:
        """Publish sealed by `kid`; "" when it was confirmed, else what the client was told."""
        if kid in self.sidecars:
            return publish(self.sidecars[kid].port, self.vhost, draft)
        return publish(self.gateway.port, self.vhost, draft, self._signers[kid])

    def send_bare(self, draft: Draft) -> None:
        """The same to the broker itself, where nobody looks."""
        assert publish(self.broker_port, self.bare_vhost, draft) == ""


def publish(port: int, vhost: str, draft: Draft, signer: Key | None = None) -> str:
    """Publish `draft` as it is, or sealed by `signer`, as py-amqp would with confirms."""
    client = RawClient(port, vhost, product=PY_AMQP)
    try:
        client.open_channel(confirms=True)
        payload = draft.payload(token_of(draft, client, signer) if signer is not None else b"")
        sent = Publish(draft.exchange, draft.routing_key, payload, payload, draft.body)
        client.send(sent.frames(client))
        answer = client.read().said
        if isinstance(answer, commands.Channel.Close):
            return str(answer.reply_text)
        assert isinstance(answer, commands.Basic.Ack), answer
        return ""
    finally:
        client.close()


def token_of(draft: Draft, client: RawClient, signer: Key) -> bytes:
    """The seal of `draft` as a sidecar would make it for this connection."""
    message = received(draft.payload(), draft.body, draft.exchange, draft.routing_key)
    now = int(time.time())
    nonce = next_nonce(client)
    return seal(message, signer, now, now + 3600, nonce=nonce, deployment=DEPLOYMENT, vhost=client.vhost)


@contextmanager
def canvas_stage(
    server: RabbitMQServer, home: Path, results: str, settings: Mapping[str, Any]
) -> Iterator[CanvasStage]:
    """`results` is the URL of a Redis without its database: chords count their parts there."""
    stage = CanvasStage(server, home, results)
    with ExitStack() as stack:
        stage.start(stack, settings)
        yield stage
