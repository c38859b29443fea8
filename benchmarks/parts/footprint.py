"""Promise 7: memory of an idle sidecar and of an idle connection, and the time from start to service."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass

from pamqp import header as headers

from benchmarks import client
from benchmarks.client import Load
from benchmarks.gates import Gate
from benchmarks.judging import Part
from benchmarks.messages import Template
from benchmarks.plan import Plan, Publishing, say
from benchmarks.stage import START_S_MAX, Proxy, Stage, free_port

NAME = "footprint"
ITEMS = (7,)
TITLE = "Memory when idle, and the start"
BODY_BYTES = 300
IDLE_CONNECTIONS = 1000
KIB, MIB = 1024, 1024 * 1024


@dataclass(slots=True, frozen=True)
class Started:
    proxy: Proxy
    #: Seconds from the start of the process until its port took a connection, and until that one was served:
    #: `connection.start` had come from the broker, through the gate.
    accepted_s: float
    served_s: float
    #: CPU seconds until then: what the start costs where nothing else runs.
    cpu_s: float


def started(stage: Stage, gate: Gate, upstream: int) -> Started:
    port, begun = free_port(), time.monotonic()
    with stage.starting(gate, port, upstream) as proxy:
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                connection = socket.create_connection(("127.0.0.1", port), timeout=START_S_MAX)
                break
            if time.monotonic() - begun > START_S_MAX:
                raise RuntimeError("the gateway does not listen")
            time.sleep(0.001)
        accepted_s = time.monotonic() - begun
        with connection:
            connection.sendall(headers.ProtocolHeader(0, 9, 1).marshal())
            if not connection.recv(1):
                raise RuntimeError("the gateway closed its first connection")
            served_s, cpu_s = time.monotonic() - begun, proxy.cpu_s()
        return Started(proxy, accepted_s, served_s, cpu_s)


def measure(plan: Plan, stage: Stage) -> Part:
    part = Part(NAME, TITLE)
    idle = plan.count(IDLE_CONNECTIONS, 50)
    for run in range(plan.runs):
        with stage.part() as own:
            upstream = own.swallow().port
            # As a user runs it: with quarantine and the admin address.
            sidecar = plan.gate(action="sign", quarantine=True, admin_port=free_port())
            first = started(own, sidecar, upstream)
            took = {"accepted_ms": first.accepted_s, "served_ms": first.served_s, "cpu_ms": first.cpu_s}
            part.add("sidecar", "start", **{name: seconds * 1e3 for name, seconds in took.items()})
            part.add("sidecar", "idle", resident_mib=first.proxy.resident_bytes() / MIB)
            proxies = {"gateway": own.gate(plan.gate(), upstream), "haproxy": own.haproxy(upstream)}
            for column, proxy in proxies.items():
                publishing = Publishing(own, proxy, Template(BODY_BYTES), plan.keys)
                part.add("idle connection", column, kib=_per_connection(publishing, idle) / KIB)
        say(f"{NAME}: run {run + 1} of {plan.runs} done")
    starts, sizes = part.of("sidecar", "start", "served_ms"), part.of("sidecar", "idle", "resident_mib")
    part.show(
        7,
        f"memory per idle connection, {idle:,} that published once",
        part.of("idle connection", "gateway", "kib"),
        "KiB",
        64,
    )
    part.show(7, "the same in HAProxy", part.of("idle connection", "haproxy", "kib"), "KiB")
    part.show(7, "resident memory of an idle sidecar", sizes, "MiB", 60)
    part.show(7, "start to the first connection served", starts, "ms", 500)
    part.show(7, "CPU time until then", part.of("sidecar", "start", "cpu_ms"), "ms")
    return part


def _per_connection(publishing: Publishing, count: int) -> float:
    """Resident octets that each of `count` connections adds that has published once; ten first warm up."""
    proxy = publishing.proxy
    publishing.once(1, Load(), 10)
    before = proxy.resident_bytes()
    with client.connections(proxy.port, count) as opened:
        made = (message for one in opened for message in publishing.made(1, one.challenge))
        publishing.over(opened, made, Load())
        return (proxy.resident_bytes() - before) / count
