"""Run simulations: `python -m sim.run --seeds 1000`, one seed with its transcript, or what a time allows.

Prints a line of progress every few seconds and the totals at the end; exits with 1 when a seed failed, after
the command that runs just that one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from multiprocessing import Pool
from typing import Final

from sim.settings import any_settings, ledger_settings
from sim.simulation import Draw, Simulation

KINDS: Final[dict[str, Draw]] = {"any": any_settings, "ledger": ledger_settings}
_PROGRESS_S: Final = 5.0
_BATCH: Final = 20
_TRANSCRIPT_LINES: Final = 80


@dataclass
class Report:
    """What some seeds led to: totals, and (seed, what did not hold) for those that failed."""

    seeds: int = 0
    cpu_s: float = 0.0
    totals: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Report) -> None:
        self.seeds += other.seeds
        self.cpu_s += other.cpu_s
        self.totals.update(other.totals)
        self.failures += other.failures

    def __str__(self) -> str:
        totals = ", ".join(f"{value:,} {name}" for name, value in sorted(self.totals.items()))
        rate = self.seeds / self.cpu_s if self.cpu_s else 0.0
        return f"{self.seeds:,} seeds, {self.cpu_s:,.0f} s of CPU time, {rate:.1f} seeds/s: {totals}"


def run_seeds(kind: str, seeds: list[int]) -> Report:
    """Run these, whatever fails."""
    report = Report()
    started = time.process_time()
    for seed in seeds:
        simulation = Simulation(seed, KINDS[kind])
        try:
            simulation.run()
        except Exception as error:
            report.failures.append((seed, f"{type(error).__name__}: {error}"))
        report.seeds += 1
        report.totals.update(simulation.totals)
    report.cpu_s = time.process_time() - started
    return report


def _run_batch(batch: tuple[str, list[int]]) -> Report:
    return run_seeds(*batch)


def _batches(kind: str, start: int, seeds: int) -> Iterator[tuple[str, list[int]]]:
    numbers = iter(range(start, start + seeds)) if seeds else count(start)
    while batch := list(islice(numbers, _BATCH)):
        yield kind, batch


def _reports(options: argparse.Namespace) -> Iterator[Report]:
    batches = _batches(options.kind, options.start, options.seeds)
    if options.workers <= 1:
        yield from map(_run_batch, batches)
        return
    with Pool(options.workers) as pool:
        if options.seeds:
            yield from pool.imap_unordered(_run_batch, batches)
            return
        # Without an end: never more in hand than there are workers.
        while True:
            yield from pool.map(_run_batch, list(islice(batches, options.workers)), chunksize=1)


def run_many(options: argparse.Namespace) -> int:
    """Told to the end also when Ctrl-C ends it early."""
    total = Report()
    stopped = False
    try:
        _add_reports(options, total)
    except KeyboardInterrupt:
        stopped = True
    print(total, "(stopped)" if stopped else "", flush=True)
    for seed, _ in total.failures:
        print(f"again, with its transcript: make simulate KIND={options.kind} SEED={seed}")
    return 1 if total.failures else 130 if stopped else 0


def _add_reports(options: argparse.Namespace, total: Report) -> None:
    said = time.monotonic()
    for report in _reports(options):
        total.add(report)
        for seed, what in report.failures:
            print(f"FAILED seed {seed}: {what}", flush=True)
        if time.monotonic() - said > _PROGRESS_S:
            said = time.monotonic()
            print(total, flush=True)
        if total.cpu_s > options.cpu_hours * 3600 > 0:
            break


def run_one(kind: str, seed: int, lines: int) -> int:
    """With the end of its transcript."""
    simulation = Simulation(seed, KINDS[kind], transcript=True)
    failed = ""
    try:
        simulation.run()
    except Exception as error:
        failed = f"{type(error).__name__}: {error}"
        if not isinstance(error, AssertionError):
            raise
    finally:
        print("\n".join((simulation.world.lines or [])[-lines:]))
    print(f"seed {seed}: {failed or 'all holds'} ({simulation.settings})")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="sim.run", description=__doc__)
    parser.add_argument(
        "--kind", choices=KINDS, default="any", help="any; ledger: nobody leaves, tags are compared"
    )
    parser.add_argument("--seed", type=int, help="run this one only, and print what was said")
    parser.add_argument(
        "--lines", type=int, default=_TRANSCRIPT_LINES, help="of the transcript, from its end"
    )
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=0, help="how many; 0 for no end")
    parser.add_argument(
        "--cpu-hours", type=float, default=0.0, help="stop after so much CPU time; 0 for no end"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args()
    if options.seed is not None:
        return run_one(options.kind, options.seed, options.lines)
    return run_many(options)


if __name__ == "__main__":
    sys.exit(main())
