"""`python -m benchmarks`: measure, print the table of promises, and write figures where asked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from benchmarks import documents, gates, report
from benchmarks.gates import Variant
from benchmarks.parts import broker, costs, footprint, growth, latency, passing, soak, trust, workers
from benchmarks.plan import Plan
from benchmarks.stage import Stage

PARTS: dict[str, ModuleType] = {
    part.NAME: part for part in (trust, costs, passing, broker, latency, growth, footprint, soak, workers)
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs (default 5)")
    parser.add_argument("--share", type=float, default=1.0, help="share of the messages per run (default 1)")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=[*PARTS, *(str(item) for item in range(10))],
        metavar="PART",
        help=f"this part, or those of this promise; repeatable ({', '.join(PARTS)}, 0 to 9)",
    )
    parser.add_argument("--full", action="store_true", help="a million messages in the soak")
    gates.add_options(parser)
    parser.add_argument("--figures", action="store_true", help="print every figure, not the promises alone")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a limit is missed")
    parser.add_argument("--results", type=Path, help="put every figure of every run into this file, as JSON")
    parser.add_argument("--write", action="store_true", help="renew results.json, the documents, the charts")
    parser.add_argument("--render", action="store_true", help="measure nothing; documents from results.json")
    return parser.parse_args()


def _wanted(only: Sequence[str]) -> list[str]:
    items = {int(name) for name in only if name.isdigit()}
    return [name for name, part in PARTS.items() if not only or name in only or items & set(part.ITEMS)]


def main() -> int:
    """0 when everything could be measured; with --strict 1 when a limit was missed."""
    options = _options()
    if options.render:
        documents.write(report.RESULTS)
        return 0
    plain = Variant("plain")
    plain.check()
    plan = Plan(options.runs, options.share, options.full, plain, gates.find_compiled(options))
    with Stage() as stage:
        found = [PARTS[name].measure(plan, stage) for name in _wanted(options.only)]
    core = plan.product.name
    print(f"{report.machine()}; {core} core; {options.runs} runs.\n")
    if options.figures:
        print("\n\n".join(f"{part.title}\n\n{report.figures_table(part)}" for part in found), end="\n\n")
    print(report.ratios_table([ratio for part in found for ratio in part.ratios]))
    told = {part.name: report.to_dict(part, core, options.runs) for part in found}
    if options.results:
        report.save(options.results, told)
    if options.write:
        report.save(report.RESULTS, told)
        documents.write(report.RESULTS)
    missed = any(not ratio.met for part in found for ratio in part.ratios)
    return 1 if options.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
