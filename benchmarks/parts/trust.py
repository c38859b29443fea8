"""Is the measuring to be trusted: do twins measure equal, two clocks agree, is the generator cheap."""

from __future__ import annotations

from benchmarks.client import Load
from benchmarks.judging import Part
from benchmarks.messages import Template
from benchmarks.plan import Plan, Publishing
from benchmarks.stage import Proxy, Stage

NAME = "trust"
ITEMS = (0,)
TITLE = "The measuring itself"
BODY_BYTES = 300
COUNT, PASSES = 20_000, 5
TWINS, CLOCKS, GENERATOR = 1.05, 1.05, 0.5
#: The kernel tells ticks of 10 ms in /proc, so the clocks are compared over this much CPU time at least.
CPU_S_MIN = 1.0


def measure(plan: Plan, stage: Stage) -> Part:
    part = Part(NAME, TITLE)
    template = Template(BODY_BYTES)
    with stage.part() as own:
        upstream = own.swallow().port
        twins = {
            "copy": [own.copy(upstream), own.copy(upstream)],
            "session": [own.gate(plan.gate(), upstream), own.gate(plan.gate(), upstream)],
        }
        for counts, turn in plan.interleaved(["first", "second"], NAME):
            for row, pair in twins.items():
                load = Load(passes=PASSES if row == "copy" else 1)
                for column in turn:
                    proxy = pair[column == "second"]
                    sent = Publishing(own, proxy, template, plan.keys).once(plan.count(COUNT), load)
                    if counts:
                        part.add(row, column, cpu_us=sent.cpu_us, generator_cpu_us=sent.generator_cpu_us)
        agreement = _clocks(plan, own, twins["session"][0], template)
    for row in twins:
        first, second = part.of(row, "first", "cpu_us"), part.of(row, "second", "cpu_us")
        larger, smaller = (sorted([min(first), min(second)], reverse=True)[at] for at in (0, 1))
        part.judge(0, f"two identical proxies ({row}), the larger / the smaller", [larger], [smaller], TWINS)
    part.judge(0, "CPU time, the larger of two clocks of the kernel's / the smaller", *agreement, CLOCKS)
    generator, floor = part.of("session", "first", "generator_cpu_us"), part.of("session", "first", "cpu_us")
    part.judge(0, "generator / gateway, CPU per message", generator, floor, GENERATOR)
    return part


def _clocks(plan: Plan, own: Stage, proxy: Proxy, template: Template) -> tuple[list[float], list[float]]:
    """The larger and the smaller CPU time of the same work by the two clocks."""
    clock, ticks = proxy.cpu_s(), proxy.cpu_s_by_ticks()
    while proxy.cpu_s() - clock < CPU_S_MIN * min(1, plan.share):
        Publishing(own, proxy, template, plan.keys).once(plan.count(COUNT), Load())
    by_clock, by_ticks = proxy.cpu_s() - clock, proxy.cpu_s_by_ticks() - ticks
    return [max(by_clock, by_ticks)], [min(by_clock, by_ticks)]
