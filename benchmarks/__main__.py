"""`python -m benchmarks`: measure, print the table of promises, and write figures where asked."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType

from benchmarks import gates, report
from benchmarks.gates import Variant
from benchmarks.parts import broker, costs, footprint, growth, latency, passing, soak, trust
from benchmarks.plan import Plan
from benchmarks.stage import Stage

PARTS: dict[str, ModuleType] = {
    part.NAME: part for part in (trust, costs, passing, broker, latency, growth, footprint, soak)
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs (default 5)")
    parser.add_argument("--share", type=float, default=1.0, help="share of the messages per run (default 1)")
    parser.add_argument("--only", action="append", default=[], choices=[*PARTS], help="this part; repeatable")
    parser.add_argument("--full", action="store_true", help="the long measurements too")
    parser.add_argument("--compiled", type=Path, help="folder that holds a compiled sealgate package")
    parser.add_argument("--figures", action="store_true", help="print every figure, not the promises alone")
    parser.add_argument("--results", type=Path, help="write every figure of every run to this file, as JSON")
    return parser.parse_args()


def main() -> int:
    """0 when everything could be measured, whatever came out."""
    options = _options()
    plain = Variant("plain")
    plain.check()
    plan = Plan(options.runs, options.share, options.full, plain, gates.find_compiled(options.compiled))
    found = []
    with Stage() as stage:
        for name, part in PARTS.items():
            if not options.only or name in options.only:
                found.append(part.measure(plan, stage))
    print(f"{report.machine()}; {plan.product.name} core; {options.runs} runs.\n")
    if options.figures:
        print("\n\n".join(report.figures_table(part) for part in found), end="\n\n")
    print(report.ratios_table([ratio for part in found for ratio in part.ratios]))
    if options.results:
        options.results.write_text(report.to_json(found, options.runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
