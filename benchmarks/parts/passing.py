"""Promise 3: what is only passed, beside the uvloop copy: unchecked publishes, deliveries, acks.

And what deliveries cost that are judged, which no promise is made of.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import client
from benchmarks.client import Load
from benchmarks.judging import Part
from benchmarks.messages import TASK, Template
from benchmarks.plan import Plan, Publishing
from benchmarks.stage import Proxy, Stage

NAME = "passing"
ITEMS = (3,)
TITLE = "What is only passed: CPU time per message"
BODY_BYTES = 300
PUBLISHED, DELIVERED = 40_000, 40_000
PASSES = 5
PREFETCH = 200
#: The header that a seal is in, and how the frame of a task's body ends.
SEAL, BODY_END = b"x-seal", b"}]\xce"
WHAT = {"published": "publishes passed", "delivered": "deliveries and acks passed"}


@dataclass(slots=True, frozen=True)
class Consuming:
    """Deliveries of the message that the swallowing broker was given, each acknowledged by itself."""

    stage: Stage
    proxy: Proxy

    def once(self, count: int) -> tuple[float, float]:
        """CPU microseconds per delivery, and deliveries a second."""
        opened = client.open_consumer(self.proxy.port, PREFETCH)
        with opened.socket:
            before = self.proxy.cpu_s()
            client.start_consuming(opened)
            done = client.consume(self.stage.program("consume"), opened, count)
            spent = self.proxy.cpu_s() - before
        return spent / done.messages * 1e6, done.messages / done.seconds


def give(upstream: Proxy, message: bytes) -> None:
    """Let the swallowing broker keep `message` as what it delivers."""
    opened = client.open_connection(upstream.port, confirms=False)
    with opened.socket:
        opened.socket.sendall(message)
        client.close(opened)


def check_judges(proxy: Proxy) -> None:
    """One that did not look would make a fine benchmark and a wrong one: who looks takes the seals off."""
    opened = client.open_consumer(proxy.port, 1)
    with opened.socket:
        client.start_consuming(opened)
        got = b""
        while TASK.encode() not in got or not got.endswith(BODY_END):
            chunk = opened.socket.recv(65_536)
            if not chunk:
                raise RuntimeError("closed before it delivered anything")
            got += chunk
    if SEAL in got:
        raise RuntimeError("a delivery was handed over as it came")


def measure(plan: Plan, stage: Stage) -> Part:
    part = Part(NAME, TITLE)
    with stage.part() as own:
        upstream = stage.swallow()
        template = Template(BODY_BYTES)
        give(upstream, next(template.sealed(1, plan.keys)))
        proxies = {
            "haproxy": own.haproxy(upstream.port),
            "copy": own.copy(upstream.port),
            "pass": own.gate(plan.gate(action="pass"), upstream.port),
            "verify": own.gate(plan.gate(), upstream.port),
            "judged": own.gate(plan.gate(action="sign", deliver="verify"), upstream.port),
        }
        check_judges(proxies["judged"])
        for counts, turn in plan.interleaved([*proxies], NAME):
            for column in turn:
                proxy = proxies[column]
                if column not in ("verify", "judged"):
                    sent = Publishing(own, proxy, template, plan.keys).once(
                        plan.count(PUBLISHED), Load(passes=PASSES)
                    )
                    if counts:
                        part.add("published", column, cpu_us=sent.cpu_us, per_second=sent.per_second)
                cpu_us, per_second = Consuming(own, proxy).once(plan.count(DELIVERED * PASSES, PREFETCH))
                if counts:
                    part.add("delivered", column, cpu_us=cpu_us, per_second=per_second)
    for row, what in WHAT.items():
        copied = part.of(row, "copy", "cpu_us")
        part.judge(3, f"{what} / uvloop copy", part.of(row, "pass", "cpu_us"), copied, 3)
    verifying = part.of("delivered", "verify", "cpu_us")
    what = "deliveries and acks passed by a verifying gateway / uvloop copy"
    part.judge(3, what, verifying, part.of("delivered", "copy", "cpu_us"), 3)
    part.show(3, "delivered, judged", part.of("delivered", "judged", "cpu_us"), "us")
    return part
