"""Promise 5: over a real RabbitMQ, persistent, confirms, drained; beside the relay one writes first."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import pika

from benchmarks import client
from benchmarks.client import Load
from benchmarks.judging import Part
from benchmarks.messages import QUEUE, Template
from benchmarks.plan import Kind, Plan, Publishing, Sent
from benchmarks.stage import Proxy, Stage

NAME = "broker"
ITEMS = (5,)
TITLE = "Over RabbitMQ, persistent messages, confirms, drained"
BODY_BYTES = 300
COUNT, RELAYED = 20_000, 3_000
#: Where the relay puts what it took from QUEUE.
RELAYED_QUEUE = "relayed"
DRAIN_PREFETCH = 2000


def empty_queues(port: int) -> None:
    """Both queues, durable, so that persistent messages are written to disk, and with nothing in them."""
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port)) as connection:
        channel = connection.channel()
        for queue in (QUEUE, RELAYED_QUEUE):
            channel.queue_declare(queue, durable=True)
            channel.queue_purge(queue)


@dataclass(slots=True, frozen=True)
class Draining:
    """A consumer on a direct connection that keeps a queue empty, cheaper than what it is beside."""

    stage: Stage
    broker: Proxy
    queue: str = QUEUE

    def _start(self, count: int) -> tuple[client.Opened, subprocess.Popen[str]]:
        opened = client.open_consumer(self.broker.port, DRAIN_PREFETCH)
        client.start_consuming(opened, self.queue)
        fd = opened.socket.fileno()
        command = [str(self.stage.program("consume")), "-m", str(fd), str(count)]
        return opened, subprocess.Popen(
            command, pass_fds=[fd], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def around(self, work: Callable[[], Sent], count: int) -> tuple[Sent, float, float]:
        """Do `work`; what it gave, the seconds from the first publish until `count` messages were drained,
        and the broker's CPU us for each of them."""
        empty_queues(self.broker.port)
        opened, drain = self._start(count)
        with opened.socket:
            before = self.broker.cpu_s()
            try:
                sent = work()
                confirmed = time.monotonic()
                _, said = drain.communicate(timeout=client.REPLAY_S_MAX)
            finally:
                drain.kill()
            seconds, spent = time.monotonic() - confirmed, self.broker.cpu_s() - before
        if drain.returncode != 0:
            raise RuntimeError(f"the queue was not drained: {said.strip()}")
        return sent, sent.done.seconds + seconds, spent / count * 1e6


def _relay(plan: Plan, own: Stage, broker_url: str, redis_url: str) -> Proxy:
    key = plan.keys[0]
    return own.relay([broker_url, redis_url, QUEUE, RELAYED_QUEUE, key.kid, key.secret.hex()])


def measure(plan: Plan, stage: Stage) -> Part:
    part = Part(NAME, TITLE)
    with stage.part() as own:
        server, redis = stage.rabbitmq(), own.redis()
        empty_queues(server.port)
        broker = Proxy("rabbitmq", server.port, server.pid)
        proxies = {
            "direct": broker,
            "haproxy": own.haproxy(server.port),
            "copy": own.copy(server.port),
            "session": own.gate(plan.gate(), server.port),
            "stored": own.gate(plan.gate(), server.port),
            "redis": own.gate(plan.gate(store=redis.url), server.port),
        }
        template = Template(BODY_BYTES)
        for column in ("stored", "redis"):
            Publishing(own, proxies[column], template, plan.keys, "stored").wait_for_horizon()
        for counts, turn in plan.interleaved([*proxies], NAME):
            for column in turn:
                count = plan.count(COUNT // (1 if counts else 10))
                kind: Kind = "stored" if column in ("stored", "redis") else "session"
                sending = Publishing(own, proxies[column], template, plan.keys, kind)
                _add(part if counts else None, column, Draining(own, broker), sending, count)
            with own.part() as relayed:
                relay = _relay(plan, relayed, server.url, redis.url)
                count = plan.count(RELAYED // (1 if counts else 10))
                sending = Publishing(relayed, broker, template, plan.keys, "stored")
                draining = Draining(relayed, broker, RELAYED_QUEUE)
                _add(part if counts else None, "relay", draining, sending, count, relay)
    _judge(part)
    return part


def _add(
    part: Part | None,
    column: str,
    draining: Draining,
    sending: Publishing,
    count: int,
    relay: Proxy | None = None,
) -> None:
    before = relay.cpu_s() if relay else 0.0
    sent, seconds, broker_cpu_us = draining.around(lambda: sending.once(count, Load()), count)
    cpu_us = (relay.cpu_s() - before) / count * 1e6 if relay else sent.cpu_us
    if part:
        part.add("persistent", column, cpu_us=cpu_us, broker_cpu_us=broker_cpu_us)
        part.add("persistent", column, drained_per_second=count / seconds)
        if not relay:  # its producer is confirmed by the broker, before the relay has seen anything
            part.add("persistent", column, confirmed_per_second=sent.per_second)


def _judge(part: Part) -> None:
    def of(column: str, quantity: str) -> list[float]:
        return part.of("persistent", column, quantity)

    rate, through = "confirmed_per_second", of("haproxy", "confirmed_per_second")
    part.judge(5, "messages/s, gateway / HAProxy", of("session", rate), through, 0.95, at_least=True)
    part.judge(5, "messages/s, gateway with stored nonces / HAProxy", of("stored", rate), through)
    part.judge(5, "messages/s, gateway with Redis / HAProxy", of("redis", rate), through)
    spent = of("session", "broker_cpu_us")
    part.judge(5, "CPU, gateway / broker", of("session", "cpu_us"), spent, 1 / 8)
    part.judge(5, "CPU, naive relay / gateway", of("relay", "cpu_us"), of("session", "cpu_us"))
    drained = "drained_per_second"
    part.judge(5, "messages/s drained, naive relay / gateway", of("relay", drained), of("session", drained))
