"""Where the hostile rows are played: gateways of every configuration they need, and the broker behind.

Gateways start when a row first asks for them and are shared from then on. Rows are played one after the
other, and each takes out of queues and quarantine what it put there.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from support.gateway import GatewayProcess, gateway
from support.hostile_broker import Arrived, Broker, Direct
from support.hostile_keys import DEPLOYMENT, KEY_TABLES, STAGING
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer
from support.raw_client import RawClient, raw_client
from support.redis_server import RedisServer, private_redis
from support.valve import Valve, valve

RATES = {
    "rated.nack": "1/s burst 3",
    "rated.close": "1/s burst 3",
    "rated.scarce": "1/h burst 5",
    "rated.*": "1000/s burst 10000",
}
REFUSING = {"refuse": {"over_rate": "refuse"}}
#: So that the horizon of a memory store without a journal is a second away.
SOON = {"clock_skew": "1s"}
#: What each configuration has that the default one has not.
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "generic": {"content": {"profile": "generic", "types": ["application/json", ""]}},
    "dramatiq": {"content": {"profile": "dramatiq", "types": [""]}},
    "taskiq": {"content": {"profile": "taskiq", "types": [""]}},
    "no-type": {"content": {"types": ["application/json", ""]}},
    "msgpack": {"content": {"types": ["application/json", "application/x-msgpack"]}},
    "compressed": {"content": {"compression": ["application/x-gzip", "application/x-lzma"]}},
    "observe": {"mode": {"default": "observe"}},
    "protocol-1": {"celery": {"protocol_1": True}},
    "staging": {"deployment": STAGING, "replay": SOON},
    # The smallest frames, so that a content header can outgrow them.
    "countersign": {"publish": {"countersign_with": "gw1"}, "limits": {"frame_bytes_max": 8192}},
    "hasty": {"limits": {"handshake_s": 1.0, "message_s": 1.0}},
    "fresh": {},
    "stored": {"replay": SOON, "rate": RATES, **REFUSING},
    "held": {"replay": SOON},
    "shared": {"rate": RATES, **REFUSING},
    "twin": {"rate": RATES, **REFUSING},
    "doomed": {},
    "orphaned": {"rate": RATES, **REFUSING},
}
#: Gateways whose way to the broker has a valve in it.
VALVED = ("plain", "held", "doomed")
#: Gateways that share one Redis; the one that has a Redis of its own, to lose it.
SHARED_STORE = ("shared", "twin", "doomed")
ORPHANED = "orphaned"


class Gate:
    """A running gateway and what it kept."""

    def __init__(self, process: GatewayProcess, kept: Direct, quarantine: str) -> None:
        self.process = process
        self.started = time.time()
        self._kept = kept
        self._quarantine = quarantine
        wait_until(lambda: kept.exists(quarantine), 10, f"the queue {quarantine}")

    @property
    def port(self) -> int:
        return self.process.port

    def counts(self) -> Counter[str]:
        """Publishes counted so far, as "verdict reason"; "unconfirmed" are refusals no confirm could tell."""
        counted: Counter[str] = Counter()
        for family in text_string_to_metric_families(self.process.get("/metrics")[1]):
            for sample in family.samples:
                if sample.name == "sealgate_messages_total":
                    assert sample.labels["direction"] == "publish"
                    counted[f"{sample.labels['verdict']} {sample.labels['reason']}"] += int(sample.value)
                elif sample.name == "sealgate_unconfirmed_refusals_total":
                    counted["unconfirmed"] += int(sample.value)
        return counted

    @contextmanager
    def counting(self, expected: dict[str, int]) -> Iterator[None]:
        """What is done in this block changes the counts by exactly `expected`."""
        before = self.counts()
        yield
        counted = dict(self.counts() - before)
        assert counted == expected, f"{counted} instead of {expected}"

    def take_kept(self, count: int = 1) -> list[Arrived]:
        """Exactly `count` publications kept since the last look, once they are there."""
        self._kept.wait_for(self._quarantine, count)
        return self._kept.drain(self._quarantine)

    def wait_for_kept(self, count: int) -> None:
        """Exactly `count` were kept. Quarantine is bounded: a flood waits for it here and there."""
        self._kept.wait_for(self._quarantine, count)

    def forget_kept(self, count: int) -> None:
        """Exactly `count` were kept; throw them away."""
        self.wait_for_kept(count)
        self._kept.purge(self._quarantine)

    def settle(self) -> None:
        """Throw away whatever is kept, once nothing more comes."""
        counted = 0
        while (now := sum(self.counts().values())) != counted:
            counted = now
            time.sleep(0.5)
        self._kept.purge(self._quarantine)

    def wait_past_horizon(self) -> None:
        """Until a stored nonce made now is younger than this gateway's memory (see SOON)."""
        horizon = math.ceil(self.started) + 1
        wait_until(lambda: int(time.time()) >= horizon, 5, "the horizon of the memory store")

    def wait_for_no_upstream(self) -> None:
        """Until every connection to the broker is closed: all that was sent on them is done."""
        idle = lambda: self.process.metric("sealgate_upstream_connections") == 0  # noqa: E731
        wait_until(idle, 10, "the connections to the broker to be closed")

    def entries(self) -> int:
        """Nonces that its store remembers."""
        return int(self.process.metric("sealgate_replay_store_entries"))


class Stage:
    """All there is while the rows are played."""

    def __init__(self, rabbitmq: RabbitMQServer, home: Path, closing: ExitStack) -> None:
        self._rabbitmq = rabbitmq
        self._home = home
        self._closing = closing
        self._gates: dict[str, Gate] = {}
        self._broken: set[str] = set()
        self._shared_redis: RedisServer | None = None
        self.valves: dict[str, Valve] = {}
        self.orphans_redis: RedisServer | None = None
        self.vhost = rabbitmq.new_vhost()
        self.other_vhost = rabbitmq.new_vhost()
        self.broker = Broker(rabbitmq, self.vhost)
        closing.callback(self.broker.close)
        self._kept = Direct(rabbitmq, "/")
        closing.callback(self._kept.close)

    @property
    def shared_redis(self) -> RedisServer:
        """The Redis of the gateways that share their store."""
        if self._shared_redis is None:
            self._shared_redis = self._redis()
        return self._shared_redis

    def tidy(self) -> None:
        """After a row that failed: the next one finds what it would have found."""
        for gate in self._gates.values():
            gate.settle()
        self.broker.forget()

    def _redis(self) -> RedisServer:
        """A Redis whose memory counts as whole: stored nonces need not wait for a horizon to pass."""
        server = self._closing.enter_context(private_redis())
        server.age(DEPLOYMENT)
        return server

    def gate(self, name: str) -> Gate:
        """The running gateway of this configuration."""
        assert name not in self._broken, f"the gateway {name} did not start"
        if name not in self._gates:
            self._broken.add(name)
            self._gates[name] = self._start(name)
            self._broken.remove(name)
        return self._gates[name]

    def _start(self, name: str) -> Gate:
        settings = dict(CONFIGURATIONS[name])
        upstream_port = self._rabbitmq.port
        if name in VALVED:
            self.valves[name] = self._closing.enter_context(valve(upstream_port))
            upstream_port = self.valves[name].port
        if name in SHARED_STORE:
            settings["replay"] = {"store": self.shared_redis.url}
        elif name == ORPHANED:
            self.orphans_redis = self._redis()
            settings["replay"] = {"store": self.orphans_redis.url}
        return self.start_gateway(name, upstream_port, settings)

    def start_gateway(self, name: str, upstream_port: int, settings: dict[str, Any]) -> Gate:
        """A gateway that keeps what it refuses in a queue of its own."""
        quarantine = f"quarantine.{name}"
        kept_at = {"exchange": quarantine, "url": self._rabbitmq.url}
        running = gateway(self._home / name, upstream_port, KEY_TABLES, {**settings, "quarantine": kept_at})
        return Gate(self._closing.enter_context(running), self._kept, quarantine)

    def sidecar(self, upstream: Gate) -> GatewayProcess:
        """A signing sidecar in front of a gateway."""
        settings = {"publish": {"action": "sign", "sign_with": "k1"}}
        running = gateway(self._home / "sidecar", upstream.port, KEY_TABLES, settings)
        return self._closing.enter_context(running)

    def client(self, name: str, **options: Any) -> AbstractContextManager[RawClient]:
        """A client of the gateway of this configuration, on the virtual host of the rows."""
        return raw_client(self.gate(name).port, **{"vhost": self.vhost, **options})
