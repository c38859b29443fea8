"""Celery as people run it: producer and worker behind signing sidecars, or signing themselves, and the
gateway before RabbitMQ."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import kombu.pools
from celery import Celery

from support.chopped import Chop
from support.gateway import GatewayProcess, gateway, key, new_secret
from support.processes import end, spawn, wait_until

TESTS = Path(__file__).resolve().parent.parent
WORKER_START_SECONDS_MAX = 60


#: How messages are signed: by a sidecar beside each process, or by the process (`sealgate.celery:Transport`).
SIDECAR = "sidecar"
IN_PROCESS = "in the process"
#: By a sidecar that verifies what the process is delivered, too.
VERIFYING = "verifying sidecar"
#: Where such a sidecar keeps what it refuses.
KEPT = "sealgate.quarantine."
#: Celery delays through exchanges of its own where queues are quorum queues.
QUEUES = [{"match": "celery", "target": "delayed"}]


class Setup:
    """Everything running. `app` publishes through the producer's sidecar, or signs itself.

    Who signs itself also verifies what it is delivered. `producer` and `worker_side` are the gateway then.
    """

    def __init__(
        self, home: Path, vhost: str, confirms: bool, results: str, quorum: bool, signing: str = SIDECAR
    ) -> None:
        self.home = home
        self.vhost = vhost
        self.confirms = confirms
        self.results = results
        self.quorum = quorum
        self.signing = signing
        self.runs_file = home / "runs.jsonl"
        self.keys: list[dict[str, object]] = [key("producer", new_secret()), key("worker", new_secret())]
        self.gateway: GatewayProcess
        self.producer: GatewayProcess
        self.worker_side: GatewayProcess
        self.worker: subprocess.Popen[bytes]
        self.worker_log = home / "worker.log"
        self.app: Celery

    def env(self, broker: str) -> dict[str, str]:
        """The environment of a process of the project that talks to `broker`."""
        return {
            **os.environ,
            "PROJECT_BROKER": broker,
            "PROJECT_RUNS": str(self.runs_file),
            "PROJECT_CONFIRMS": "1" if self.confirms else "0",
            "PROJECT_RESULTS": self.results,
            "PROJECT_QUORUM": "1" if self.quorum else "0",
            "PYTHONPATH": str(TESTS),
            **self.signer_env(),
        }

    def signer_env(self, kid: str = "worker") -> dict[str, str]:
        """What a process is told that signs itself."""
        if self.signing != IN_PROCESS:
            return {}
        return {
            "PROJECT_TRANSPORT": "sealgate.celery:Transport",
            # Celery delays through exchanges of its own where queues are quorum queues.
            "PROJECT_TRANSPORT_OPTIONS": json.dumps({"sealgate": {"queues": {"celery": "delayed"}}}),
            "SEALGATE__KEYS__SOURCE": f"file:{self.gateway.keys_file}",
            "SEALGATE__PUBLISH__SIGN_WITH": kid,
            "SEALGATE__DELIVER__ACTION": "verify",
        }

    def runs(self) -> Counter[tuple[str, int]]:
        """(task id, retry) -> how often it ran."""
        if not self.runs_file.exists():
            return Counter()
        lines = [json.loads(line) for line in self.runs_file.read_text().splitlines()]
        return Counter((run[0], run[2]) for run in lines)

    def runs_of(self, task: str) -> int:
        """How often a task of that name ran."""
        if not self.runs_file.exists():
            return 0
        return sum(json.loads(line)[1] == task for line in self.runs_file.read_text().splitlines())

    def refused(self) -> dict[str, int]:
        """Everything refused anywhere on the way, by reason."""
        found: Counter[str] = Counter()
        for process in {self.gateway, self.producer, self.worker_side}:
            found.update(process.refusals())
        return dict(found)

    def worker_alive(self) -> bool:
        return self.worker.poll() is None

    def start_worker(self, pool: str) -> None:
        self.worker = spawn(
            [
                *(sys.executable, "-m", "celery", "-A", "support.celery_project", "worker"),
                *("-P", pool, "-c", "4", "-l", "INFO", "-E", "-n", "w1@tests"),
            ],
            self.worker_log,
            self.env(self.worker_side.url(self.vhost)),
        )

        def ready() -> bool:
            assert self.worker_alive(), self.worker_log.read_text()
            return "w1@tests ready" in self.worker_log.read_text()

        wait_until(ready, WORKER_START_SECONDS_MAX, "the worker to be ready")


@contextmanager
def celery_setup(
    home: Path,
    broker_port: int,
    vhost: str,
    *,
    confirms: bool = False,
    pool: str = "prefork",
    results: str = "rpc://",
    quorum: bool = False,
    gateway_settings: Mapping[str, Any] | None = None,
    worker_settings: Mapping[str, Any] | None = None,
    more_keys: Sequence[dict[str, object]] = (),
    chop: Chop | None = None,
    presets: bool = False,
    signing: str = SIDECAR,
) -> Iterator[Setup]:
    """Gateway, worker, and, where processes do not sign themselves, both signing sidecars; all ended at the
    end.

    `worker_settings` are further ones of the worker's sidecar, and `more_keys` further keys of everybody's.

    With `presets` the whole policy of each is its preset.

    With `chop` gateway and sidecars read what comes from both sides in small pieces.
    """

    def env(name: str) -> dict[str, str] | None:
        return None if chop is None else {**os.environ, **chop.env(name)}

    def sidecar(kid: str) -> dict[str, Any]:
        if presets:
            return {"preset": f"celery-{kid}"}
        tables: dict[str, Any] = {
            "publish": {"action": "sign", "sign_with": kid},
            "quarantine": {"enabled": False},
        }
        if signing == VERIFYING:
            # Past the gateway, which takes nothing unsealed.
            url = f"amqp://guest:guest@127.0.0.1:{broker_port}/{vhost}"
            tables["quarantine"] = {"url": url, "exchange": KEPT + kid}
            tables["deliver"] = {"action": "verify", "tasks": ["shop.*"], "queue": QUEUES}
            content = (gateway_settings or {}).get("content")
            if content is not None:
                tables["content"] = content
        if kid == "worker":
            tables |= worker_settings or {}
        return tables

    if presets:
        gateway_settings = {"preset": "celery-gateway", **(gateway_settings or {})}
    setup = Setup(home, vhost, confirms, results, quorum, signing)
    setup.keys += more_keys
    with ExitStack() as stack:
        setup.gateway = stack.enter_context(
            gateway(
                home / "gateway",
                broker_port,
                setup.keys,
                gateway_settings,
                env=env("gateway"),
            )
        )
        setup.producer = setup.worker_side = setup.gateway
        if signing != IN_PROCESS:
            setup.producer, setup.worker_side = [
                stack.enter_context(
                    gateway(
                        home / kid,
                        setup.gateway.port,
                        setup.keys,
                        sidecar(kid),
                        env=env(kid),
                    )
                )
                for kid in ("producer", "worker")
            ]
        setup.start_worker(pool)
        stack.callback(lambda: end(setup.worker))
        setup.app = _producer_app(setup)
        stack.callback(_disconnect, setup.app)
        yield setup


def _producer_app(setup: Setup) -> Celery:
    """The project's application in this process, connected through its sidecar if it has one."""
    from support import celery_project

    app = celery_project.app
    app.conf.broker_url = app.conf.broker_write_url = app.conf.broker_read_url = setup.producer.url(
        setup.vhost
    )
    app.conf.broker_transport_options = {"confirm_publish": setup.confirms}
    app.conf.broker_transport = None
    if setup.signing == IN_PROCESS:
        app.conf.broker_transport = "sealgate.celery:Transport"
        app.conf.broker_transport_options["sealgate"] = {
            "keys": f"file:{setup.gateway.keys_file}",
            "sign_with": "producer",
            "verify": True,
        }
    return app


def _disconnect(app: Celery) -> None:
    """Close what the application connected: its pools, and the consumer of results, which has no other end.

    What Celery has lost track of itself is collected here, so that no later test is blamed for it.
    """
    app.conf.broker_transport = None
    results = app.backend.result_consumer
    if results._connection is not None:
        results.stop()
    kombu.pools.reset()
    app._after_fork()
    app._local = threading.local()
    app._backend_cache = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
