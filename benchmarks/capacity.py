"""The scaling model of docs/capacity.md: tables from measured figures. Arithmetic only; the text is there."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from benchmarks.judging import Part, number

#: A server that is busier than this answers late.
BUSY_SHARE_MAX = 0.7
RATES = (10_000, 50_000, 100_000, 300_000, 1_000_000)
#: max_age + 2 * clock_skew + 5 s with the defaults: how long a stored nonce is remembered.
REMEMBERED_S = 365
#: On the wire: the body, the frames around it with 19 headers and a seal, and the packets around those.
MESSAGE_BYTES = 1500
GIB = 1024**3


def carried(cpu_us: float) -> float:
    """Messages a second that one core carries at BUSY_SHARE_MAX when each costs so much."""
    return 1e6 / cpu_us * BUSY_SHARE_MAX


def needed(rate: float, cpu_us: float) -> int:
    """Cores for `rate` messages a second."""
    return math.ceil(rate / carried(cpu_us))


def tables(parts: Mapping[str, Part]) -> str:
    """One core's load, then what rates need; empty when costs or broker were not measured."""
    if "costs" not in parts or "broker" not in parts:
        return ""
    costs = parts["costs"]

    def cpu_us(column: str, quantity: str = "cpu_us") -> float:
        return statistics.median(costs.of("300 B, mixed", column, quantity))

    broker_us = statistics.median(parts["broker"].of("persistent", "session", "broker_cpu_us"))
    redis_us = cpu_us("redis", "redis_cpu_us")
    servers = {
        "gateway worker, session nonces": cpu_us("session"),
        "gateway worker, memory store": cpu_us("stored"),
        "gateway worker, Redis": cpu_us("redis"),
        "signing sidecar": cpu_us("sign"),
        "Redis shard (one core by its nature)": redis_us,
        "RabbitMQ, per core, persistent with confirms": broker_us,
    }
    lines = ["| one core of | CPU us per message | messages/s at 70 % |", "|---|---|---|"]
    lines += [f"| {name} | {number(us)} | {_round(carried(us))} |" for name, us in servers.items()]
    nonce_bytes = statistics.median(costs.of("300 B", "redis", "redis_bytes_per_nonce"))
    lines += ["", _by_rate(cpu_us("session"), cpu_us("redis"), redis_us, broker_us, nonce_bytes)]
    return "\n".join(lines)


def speed(costs: Part) -> str:
    """The small table of the project's README."""
    names = {
        "haproxy": "HAProxy, plain TCP: looks at nothing",
        "floor": "the floor",
        "session": "Sealgate verifies, from signing sidecars (session nonces)",
        "stored": "Sealgate verifies, from other signers, memory store",
        "redis": "the same, Redis store",
        "sign": "Sealgate signs",
    }
    floor = costs.of("300 B", "floor", "cpu_us")
    lines = ["| | CPU us per message | times the floor |", "|---|---|---|"]
    for column, name in names.items():
        values = costs.of("300 B", column, "cpu_us")
        times = statistics.median(mine / its for mine, its in zip(values, floor, strict=True))
        lines.append(f"| {name} | {number(statistics.median(values))} | {number(times)} |")
    return "\n".join(lines)


def _by_rate(session_us: float, redis_gate_us: float, redis_us: float, broker_us: float, nonce: float) -> str:
    head = (
        "messages/s",
        "gateway cores, session nonces",
        "gateway cores, Redis",
        "Redis shards",
        "nonces in Redis, GiB",
        "network in and out, Gbit/s each",
        "RabbitMQ cores",
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for rate in RATES:
        cells = (
            f"{rate:,}",
            f"{needed(rate, session_us)}",
            f"{needed(rate, redis_gate_us)}",
            f"{needed(rate, redis_us)}",
            number(rate * REMEMBERED_S * nonce / GIB),
            number(rate * MESSAGE_BYTES * 8 / 1e9),
            f"{needed(rate, broker_us)}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _round(value: float) -> str:
    """Two digits: the model is no better than that."""
    digits = 1 - math.floor(math.log10(value))
    return f"{round(value, digits):,.0f}"
