"""CPU time per message in the proxy, side by side: HAProxy as plain TCP, a uvloop copy, Sealgate.

One generator, one upstream that swallows, one connection with confirms. For each size the proxies take turns,
so that whatever else the machine does hits all alike. Linux only; README.md says how to read the table.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import client
import messages
import proxies

HERE = Path(__file__).parent


@dataclass(slots=True, frozen=True)
class Size:
    """A body size; `window` keeps about 2 MB in flight at most."""

    label: str
    body_bytes: int
    count: int
    window: int


SIZES = (
    Size("300 B", 300, 10_000, 256),
    Size("1 KB", 1024, 10_000, 256),
    Size("16 KB", 16_384, 2_000, 64),
    Size("256 KB", 262_144, 200, 8),
)

COLUMNS = {
    "haproxy": "HAProxy, TCP",
    "copy": "uvloop copy",
    "session": "Sealgate verifies, session nonces",
    "stored": "Sealgate verifies, stored nonces",
    "sign": "Sealgate signs",
}
#: What looks at nothing is so cheap that one pass would measure the clock.
PASSES = {"haproxy": 10, "copy": 10}

#: (size, column) -> (CPU microseconds per message, messages per second) of each run
Results = dict[tuple[str, str], list[tuple[float, float]]]


@dataclass(slots=True, frozen=True)
class Bench:
    """Everything a measurement needs."""

    replayer: Path
    folder: Path
    secret: bytes
    by_column: dict[str, proxies.Proxy]

    def prepare(self, column: str, size: Size, opened: client.Opened, count: int) -> Path:
        """Write the messages this column wants; sealed now, because a seal is fresh for minutes only."""
        path = self.folder / "messages"
        if column == "session":
            if not opened.challenge:
                raise RuntimeError("the gateway announced no challenge")
            made = messages.sealed_messages(count, size.body_bytes, self.secret, opened.challenge)
        elif column == "sign":
            made = messages.plain_messages(count, size.body_bytes)
        else:
            made = messages.sealed_messages(count, size.body_bytes, self.secret)
        messages.write_messages(path, made)
        return path

    def measure(self, column: str, size: Size, count: int) -> tuple[float, float]:
        proxy = self.by_column[column]
        opened = client.open_channel(proxy.port)
        with opened.socket:
            path = self.prepare(column, size, opened, count)
            before = proxy.cpu_s()
            done = client.replay(self.replayer, opened, path, size.window, PASSES.get(column, 1))
            spent = proxy.cpu_s() - before
        path.unlink()
        return spent / done.messages * 1e6, done.messages / done.seconds

    def insist_on_refusal(self) -> None:
        """A gateway that let an unsealed message through would make a fine benchmark and a wrong one."""
        opened = client.open_channel(self.by_column["session"].port)
        path = self.folder / "unsealed"
        messages.write_messages(path, messages.plain_messages(1, 300))
        with opened.socket:
            try:
                client.replay(self.replayer, opened, path, 1, 1)
            except RuntimeError:
                return
        raise RuntimeError("the gateway confirmed an unsealed message")

    def wait_for_horizon(self) -> None:
        """A store without a journal refuses stored nonces that were signed before it started."""
        deadline = time.monotonic() + 10
        while True:
            try:
                self.measure("stored", SIZES[0], 1)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return


def run(runs: int, sizes: tuple[Size, ...], share: float) -> Results:
    """All measurements, `runs` times over, the columns in turn; one short round first warms everything up."""
    results: Results = defaultdict(list)
    secret = os.urandom(32)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sealgate-bench-")))
        port = proxies.free_port()
        swallow = [proxies.compile_c("swallow", folder), str(port)]
        stack.enter_context(proxies.running(swallow, port, folder / "swallow.log"))
        gateway = stack.enter_context(proxies.sealgate("verify", secret, port, folder))
        by_column = {
            "haproxy": stack.enter_context(proxies.haproxy(port, folder)),
            "copy": stack.enter_context(proxies.uvloop_copy(port, folder)),
            "session": gateway,
            "stored": gateway,
            "sign": stack.enter_context(proxies.sealgate("sign", secret, port, folder)),
        }
        bench = Bench(proxies.compile_c("replay", folder), folder, secret, by_column)
        bench.insist_on_refusal()
        bench.wait_for_horizon()
        for number in range(runs + 1):
            for size in sizes:
                count = max(10, int(size.count * share) // (1 if number else 10))
                for column in COLUMNS:
                    figures = bench.measure(column, size, count)
                    if number:
                        results[size.label, column].append(figures)
            print(f"run {number} of {runs} done" if number else "warmed up", file=sys.stderr)
    return results


def cell(figures: list[tuple[float, float]]) -> str:
    """Median (min to max) of the CPU microseconds, and the median messages per second."""
    spent = [cpu_us for cpu_us, _ in figures]
    rate = statistics.median(per_second for _, per_second in figures)
    digits = 2 if statistics.median(spent) < 10 else 1
    low, middle, high = (
        f"{value:.{digits}f}" for value in (min(spent), statistics.median(spent), max(spent))
    )
    return f"{middle} ({low} to {high}), {rate:,.0f}/s"


def table(results: Results, sizes: tuple[Size, ...]) -> str:
    lines = ["| body | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for size in sizes:
        cells = [cell(results[size.label, column]) for column in COLUMNS]
        lines.append(f"| {size.label}, window {size.window} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine(runs: int) -> str:
    """Where and with what the figures were taken, in a sentence."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.+)", info)
    name = model.group(1).strip() if model else platform.machine()
    return f"{name}, {os.cpu_count()} cores, Linux, Python {platform.python_version()}, {runs} runs."


def write(text: str) -> None:
    """Put `text` between the marks in README.md."""
    readme = HERE / "README.md"
    marked = re.compile(r"(<!-- figures -->\n).*(<!-- /figures -->)", re.DOTALL)
    readme.write_text(marked.sub(lambda mark: f"{mark[1]}{text}\n{mark[2]}", readme.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs (default 5)")
    parser.add_argument("--share", type=float, default=1.0, help="share of the messages per run")
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/README.md")
    options = parser.parse_args()
    results = run(options.runs, SIZES, options.share)
    text = f"{machine(options.runs)}\n\n{table(results, SIZES)}"
    print(text)
    if options.write:
        write(text)


if __name__ == "__main__":
    main()
