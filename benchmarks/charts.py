"""Which charts there are: name of the file -> drawing. A chart whose part was not measured is left out."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

from benchmarks.judging import Part, Ratio
from benchmarks.svg import Bar, Drawing, bars, lines

NAMES = {
    "direct": "no proxy (broker's own)",
    "haproxy": "HAProxy, TCP",
    "copy": "uvloop copy",
    "floor": "floor: hashes, one JSON decode",
    "session": "Sealgate, session nonces",
    "stored": "Sealgate, memory store",
    "redis": "Sealgate, Redis",
    "sign": "Sealgate signs",
    "pass": "Sealgate passes",
    "relay": "relay on queues (aio-pika)",
    "plain session": "uncompiled, session nonces",
    "plain stored": "uncompiled, memory store",
    "plain sign": "uncompiled, signs",
}
_OTHERS = ("haproxy", "copy", "floor", "direct", "relay")


def drawings(parts: Mapping[str, Part], where: Mapping[str, str]) -> dict[str, Drawing]:
    found = {}
    for name, (part, draw) in _CHARTS.items():
        if part in parts:
            found[name] = draw(parts[part], where[part])
    return found


def _bar(part: Part, row: str, column: str, quantity: str, label: str = "") -> Bar:
    values = part.of(row, column, quantity)
    colour = 1 if column in _OTHERS else 0
    middle = statistics.median(values)
    return Bar(label or NAMES.get(column, column), middle, min(values), max(values), colour=colour)


def _columns(part: Part, row: str, quantity: str, leave_out: str = "") -> list[Bar]:
    columns = [column for found, column, told in part.figures if found == row and told == quantity]
    return [_bar(part, row, column, quantity) for column in columns if column != leave_out]


def _costs(part: Part, where: str) -> Drawing:
    rows = sorted(_columns(part, "300 B", "cpu_us", "direct"), key=lambda bar: bar.value)
    title = "CPU time per message in the proxy, 300-byte body, confirms, window 256"
    return bars(title, where, rows, "us", logarithmic=True)


def _sizes(part: Part, where: str) -> Drawing:
    rows = []
    for size in dict.fromkeys(row for row, _, _ in part.figures):
        for column, name in (("haproxy", "HAProxy"), ("floor", "floor"), ("session", "Sealgate")):
            if part.has(size, column):  # mixed tasks go through Sealgate alone
                rows.append(_bar(part, size, column, "cpu_us", f"{size}, {name}"))
    return bars("CPU time per message by body size", where, rows, "us", logarithmic=True)


def _of_ratio(ratio: Ratio) -> Bar:
    low, high = min(ratio.values), max(ratio.values)
    return Bar(ratio.what, ratio.value, low, high, ratio.limit, 0 if ratio.met else 4)


def _growth(part: Part, where: str) -> Drawing:
    title = "CPU time per message with many of something, as a multiple of that with one"
    return bars(title, where, [_of_ratio(ratio) for ratio in part.ratios], "")


def _latency(part: Part, where: str) -> Drawing:
    rows = []
    for row in dict.fromkeys(row for row, _, _ in part.figures):
        if "saturation" in row:
            continue
        for quantity in ("added p50", "added p99"):
            for column in ("haproxy", "copy", "session"):
                label = f"{row.partition(' on ')[0]}, {quantity[6:]}, {column}"
                rows.append(_bar(part, row, column, quantity, label))
    title = "Microseconds added from publish to confirm, over a direct connection"
    return bars(title, where, [bar for bar in rows if bar.value > 0], "us", logarithmic=True)


def _broker(part: Part, where: str) -> Drawing:
    rows = _columns(part, "persistent", "drained_per_second")
    return bars("Persistent messages through RabbitMQ, confirmed and drained", where, rows, "/s")


def _soak(part: Part, where: str) -> Drawing:
    series: dict[str, list[tuple[float, float]]] = {}
    for (row, column, _), values in part.figures.items():
        reached = float(row.removesuffix(" messages").replace(",", ""))
        series.setdefault(NAMES[column], []).append((reached, values[0]))
    return lines("Resident memory over messages in a row", where, series, "messages", "MiB")


_CHARTS: dict[str, tuple[str, Callable[[Part, str], Drawing]]] = {
    "costs": ("costs", _costs),
    "sizes": ("costs", _sizes),
    "latency": ("latency", _latency),
    "growth": ("growth", _growth),
    "broker": ("broker", _broker),
    "soak": ("soak", _soak),
}
