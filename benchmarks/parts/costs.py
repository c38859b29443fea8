"""CPU time per message in the proxy, over the swallowing upstream: promises 1, 2, 4, and signing of 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.client import Load
from benchmarks.judging import Part
from benchmarks.messages import Template, mixed
from benchmarks.plan import Kind, Plan, Publishing
from benchmarks.stage import Proxy, Stage

NAME = "costs"
ITEMS = (1, 2, 3, 4)
TITLE = "CPU time per message, over the upstream that swallows"


@dataclass(slots=True, frozen=True)
class Size:
    """A body size; `window` keeps about 2 MB in flight at most; `limit` is promise 2's."""

    label: str
    body_bytes: int
    count: int
    window: int
    limit: float


SIZES = (
    Size("300 B", 300, 20_000, 256, 2.0),
    Size("1 KB", 1024, 16_000, 256, 1.9),
    Size("16 KB", 16_384, 3_000, 64, 1.6),
    Size("256 KB", 262_144, 200, 8, 1.3),
)
#: Sixteen kinds of tasks in no order: what a gateway saves by the likeness of messages does not help here.
MIXED = Size("300 B, mixed", 300, 20_000, 256, 0)
#: What looks at nothing is so cheap that one pass would measure the clock; uncompiled takes long.
PASSES = {"direct": 5, "haproxy": 5, "copy": 5}
SHARES = {"plain session": 0.25, "plain stored": 0.25, "plain sign": 0.25}
OF_SEALGATE = ("session", "stored", "redis", "sign", *SHARES)
KINDS: dict[str, Kind] = {"stored": "stored", "redis": "stored", "sign": "plain"}


@dataclass(slots=True, frozen=True)
class Field:
    """The proxies, and for each size its own floor."""

    plan: Plan
    stage: Stage
    proxies: dict[str, Proxy]
    floors: dict[str, Proxy]
    templates: dict[str, Template | Sequence[Template]]

    def publishing(self, column: str, size: Size) -> Publishing:
        proxy = self.floors[size.label] if column == "floor" else self.proxies[column]
        kind = KINDS.get(column.rpartition(" ")[2], "session")
        return Publishing(self.stage, proxy, self.templates[size.label], self.plan.keys, kind)


def _set_up(plan: Plan, stage: Stage) -> Field:
    upstream = stage.swallow()
    redis = stage.redis()
    proxies = {
        "direct": upstream,
        "haproxy": stage.haproxy(upstream.port),
        "copy": stage.copy(upstream.port),
    }
    for prefix, variant in (("", plan.product), ("plain ", plan.plain)):
        if prefix and variant is plan.product:
            continue
        verifying = plan.gate(variant=variant)
        proxies[f"{prefix}session"] = proxies[f"{prefix}stored"] = stage.gate(verifying, upstream.port)
        proxies[f"{prefix}sign"] = stage.gate(verifying.but(action="sign"), upstream.port)
    proxies["redis"] = stage.gate(plan.gate(store=redis.url), upstream.port)
    templates: dict[str, Template | Sequence[Template]]
    templates = {size.label: Template(size.body_bytes) for size in SIZES}
    floors = {
        label: stage.floor(upstream.port, template.layout(plan.keys[0], session=True))
        for label, template in templates.items()
        if isinstance(template, Template)
    }
    templates[MIXED.label] = mixed(MIXED.body_bytes)
    return Field(plan, stage, proxies, floors, templates)


def measure(plan: Plan, stage: Stage) -> Part:
    part = Part(NAME, TITLE)
    with stage.part() as own:
        field = _set_up(plan, own)
        field.publishing("session", SIZES[0]).insist_on_refusal()
        for column in ("stored", "redis", "plain stored"):
            if column in field.proxies:
                field.publishing(column, SIZES[0]).wait_for_horizon()
        empty = int(own.redis().info("used_memory"))
        redis = Proxy("redis", own.redis().port, own.redis().pid)
        columns = [*field.proxies, "floor"]
        for counts, turn in plan.interleaved(columns, NAME):
            for size in (*SIZES, MIXED):
                some = turn if size is not MIXED else [one for one in turn if one in OF_SEALGATE]
                _one_size(field, part if counts else Part(NAME, TITLE), size, some, redis, counts)
        entries = int(own.redis().command("DBSIZE").removeprefix(b":"))
        used = int(own.redis().info("used_memory")) - empty
        part.add(SIZES[0].label, "redis", redis_bytes_per_nonce=used / entries)
    _judge(part, plan)
    return part


def _one_size(
    field: Field, part: Part, size: Size, columns: Sequence[str], redis: Proxy, counts: bool
) -> None:
    for column in columns:
        count = field.plan.count(int(size.count * SHARES.get(column, 1) * (1 if counts else 0.1)))
        load = Load(window=size.window, passes=PASSES.get(column, 1))
        others = [redis] if column == "redis" else [field.proxies["direct"]]
        sent = field.publishing(column, size).once(count, load, others=others)
        part.add(size.label, column, cpu_us=sent.cpu_us, per_second=sent.per_second)
        part.add(size.label, column, generator_cpu_us=sent.generator_cpu_us)
        other = "redis_cpu_us" if column == "redis" else "swallow_cpu_us"
        part.add(size.label, column, **{other: sent.others_cpu_us[0]})


def _judge(part: Part, plan: Plan) -> None:
    small = SIZES[0].label

    def cpu(column: str, size: str = small) -> list[float]:
        return part.of(size, column, "cpu_us")

    part.judge(1, "session nonces / floor", cpu("session"), cpu("floor"), 2.0)
    part.judge(1, "session nonces / HAProxy", cpu("session"), cpu("haproxy"), 10)
    part.judge(1, "memory store / session nonces", cpu("stored"), cpu("session"), 1.2)
    part.judge(1, "Redis / memory store", cpu("redis"), cpu("stored"), 1.8)
    part.show(1, "Redis' own CPU per message", part.of(small, "redis", "redis_cpu_us"), "us")
    what = "session nonces, mixed tasks / floor with one task"
    part.judge(1, what, cpu("session", MIXED.label), cpu("floor"))
    kept = part.of(small, "redis", "redis_bytes_per_nonce")
    part.show(1, "Redis' memory per nonce", kept, "bytes")
    for size in SIZES[1:]:
        what = f"{size.label}, session nonces / floor"
        part.judge(2, what, cpu("session", size.label), cpu("floor", size.label), size.limit)
    part.judge(3, "signing / verifying with session nonces", cpu("sign"), cpu("session"), 1.1)
    if plan.compiled:
        part.judge(4, "uncompiled / compiled, session nonces", cpu("plain session"), cpu("session"), 10)
        part.judge(4, "uncompiled / compiled, memory store", cpu("plain stored"), cpu("stored"), 10)
        part.judge(4, "uncompiled / compiled, signing", cpu("plain sign"), cpu("sign"), 10)
        part.show(4, "compiled, session nonces", cpu("session"), "us")
        part.show(4, "uncompiled, session nonces", cpu("plain session"), "us")
