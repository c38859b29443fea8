"""What `--workers` gives: CPU time per message and messages a second over several connections."""

from __future__ import annotations

import os

from benchmarks.client import Load
from benchmarks.judging import Part
from benchmarks.messages import Template
from benchmarks.plan import Plan, Publishing
from benchmarks.stage import Stage

NAME = "workers"
ITEMS = (9,)
TITLE = "Several workers on one port, 16 connections, session nonces"
BODY_BYTES = 300
CONNECTIONS, COUNT, WINDOW = 16, 20_000, 64


def measure(plan: Plan, stage: Stage) -> Part:
    """Promises nothing: with generator and broker on the same cores, throughput can not grow with workers
    here. That a message costs the same in each is what lets it grow where cores are free."""
    part = Part(NAME, TITLE)
    most = max(2, min(os.cpu_count() or 2, 4))
    with stage.part() as own:
        upstream = own.swallow().port
        template = Template(BODY_BYTES)
        proxies = {f"{number} workers": own.gate(plan.gate(workers=number), upstream) for number in (1, most)}
        for counts, turn in plan.interleaved([*proxies], NAME):
            for column in turn:
                publishing = Publishing(own, proxies[column], template, plan.keys)
                each = plan.count(COUNT, 160) // CONNECTIONS
                sent = publishing.once(each, Load(window=WINDOW), CONNECTIONS)
                if counts:
                    part.add("300 B", column, cpu_us=sent.cpu_us, per_second=sent.per_second)
    one, several = (part.of("300 B", column, "cpu_us") for column in proxies)
    part.judge(9, f"CPU per message, {most} workers / 1", several, one)
    return part
