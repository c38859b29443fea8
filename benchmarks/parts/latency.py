"""Promise 6: what a proxy adds to the time from publish to confirm: at a rate, at window 1, at saturation.

Added is the quantile through the proxy less the quantile on a direct connection, of the same run. What the
floor adds is what copying, hashing and decoding alone add to a message that comes by itself, with no caches
that are warm from the one before.
"""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.client import Load
from benchmarks.judging import Part
from benchmarks.messages import Template
from benchmarks.parts.broker import Draining, empty_queues
from benchmarks.plan import Plan, Publishing, Sent
from benchmarks.stage import Proxy, Stage

NAME = "latency"
ITEMS = (6,)
TITLE = "Time from publish to confirm, microseconds"
BODY_BYTES = 300
QUANTILES = {"p50": 0.5, "p99": 0.99}


@dataclass(slots=True, frozen=True)
class Way:
    """How messages are sent; `count` over all connections."""

    label: str
    load: Load
    connections: int
    count: int
    judged: bool


WAYS = (
    Way("1,000/s on 4 connections", Load(rate=1000, latencies=True), 4, 3000, True),
    Way("window 1", Load(window=1, latencies=True), 1, 3000, True),
    Way("saturation, window 256", Load(window=256, latencies=True), 1, 10_000, False),
)
LIMITS = {"p50": 1.3, "p99": 1.5}


def quantiles(latencies_ns: array[int]) -> dict[str, float]:
    """In microseconds; nearest rank."""
    ordered = sorted(latencies_ns)
    return {name: ordered[int(share * (len(ordered) - 1))] / 1000 for name, share in QUANTILES.items()}


def measure(plan: Plan, stage: Stage) -> Part:
    part = Part(NAME, TITLE)
    with stage.part() as own:
        upstream = stage.swallow()
        _over(plan, own, part, "swallow", upstream, lambda send, _: send())
    with stage.part() as own:
        broker = stage.rabbitmq()
        empty_queues(broker.port)
        direct = Proxy("rabbitmq", broker.port, broker.pid)
        draining = Draining(stage, direct)
        _over(plan, own, part, "RabbitMQ", direct, lambda send, count: draining.around(send, count)[0])
    for where in ("swallow", "RabbitMQ"):
        for way in WAYS:
            _judge(part, where, way)
    return part


def _over(
    plan: Plan,
    own: Stage,
    part: Part,
    where: str,
    upstream: Proxy,
    around: Callable[[Callable[[], Sent], int], Sent],
) -> None:
    template = Template(BODY_BYTES, transient=True)
    proxies = {
        "direct": upstream,
        "haproxy": own.haproxy(upstream.port),
        "copy": own.copy(upstream.port),
        "floor": own.floor(upstream.port, template.layout(plan.keys[0], session=True)),
        "session": own.gate(plan.gate(), upstream.port),
    }
    for counts, turn in plan.interleaved([*proxies], f"{NAME} over {where}"):
        for way in WAYS:
            for column in turn:
                each = plan.count(way.count // (1 if counts else 10)) // way.connections
                sending = Publishing(own, proxies[column], template, plan.keys)
                send = partial(sending.once, each, way.load, way.connections)
                sent = around(send, each * way.connections)
                if counts:
                    found = quantiles(sent.done.latencies_ns)
                    part.add(f"{where}, {way.label}", column, **found, cpu_us=sent.cpu_us)


def _judge(part: Part, where: str, way: Way) -> None:
    row = f"{where}, {way.label}"
    for name in QUANTILES:
        direct = part.of(row, "direct", name)
        added = {
            column: [
                through - without for through, without in zip(part.of(row, column, name), direct, strict=True)
            ]
            for column in ("haproxy", "copy", "floor", "session")
        }
        for column, values in added.items():
            part.figures[row, column, f"added {name}"] = values
        limit = LIMITS[name] if way.judged and where == "swallow" else None
        judged = ("session", "gateway", limit), ("floor", "floor", None), ("copy", "uvloop copy", None)
        for column, who, most in judged:
            # Of the medians: in one run something else may well delay the direct connection alone.
            middles = [[statistics.median(added[one])] for one in (column, "haproxy")]
            part.judge(6, f"{row}: {name} added, {who} / HAProxy", *middles, most)
