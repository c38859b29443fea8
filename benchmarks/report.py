"""Tables of what was measured, and results.json, from which the documents and charts are made."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.judging import Part, Ratio, number, spread

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


def machine() -> str:
    """Where and with what the figures were taken, in a phrase."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.+)", info)
    name = model.group(1).strip() if model else platform.machine()
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    return f"{name}, {os.cpu_count()} cores, Linux {kernel}, Python {platform.python_version()}"


def ratios_table(ratios: Sequence[Ratio]) -> str:
    """Figure and limit side by side, by the number of the promise."""
    lines = ["| # | what | median (min to max) | limit | |", "|---|---|---|---|---|"]
    for ratio in sorted(ratios, key=lambda one: one.item):
        unit = f" {ratio.unit}" if ratio.unit else ""
        sense = "at least" if ratio.at_least else "at most"
        limit = "" if ratio.limit is None else f"{sense} {number(ratio.limit)}{unit}"
        cells = (str(ratio.item), ratio.what, spread(ratio.values) + unit, limit, ratio.verdict)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def figures_table(part: Part) -> str:
    """A row for each thing measured, a column for each quantity."""
    quantities = list(dict.fromkeys(quantity for _, _, quantity in part.figures))
    lines = [f"| what | {' | '.join(quantities)} |", "|---" * (len(quantities) + 1) + "|"]
    for row, column in dict.fromkeys(key[:2] for key in part.figures):
        cells = [part.figures.get((row, column, quantity)) for quantity in quantities]
        lines.append(f"| {row}, {column} | {' | '.join(spread(cell) if cell else '' for cell in cells)} |")
    return "\n".join(lines)


def to_dict(part: Part, core: str, runs: int) -> dict[str, Any]:
    return {
        "title": part.title,
        "machine": machine(),
        "core": core,
        "runs": runs,
        "figures": [[*key, [_rounded(value) for value in values]] for key, values in part.figures.items()],
        "ratios": [
            {
                "item": ratio.item,
                "what": ratio.what,
                "values": [_rounded(value) for value in ratio.values],
                "limit": ratio.limit,
                "at_least": ratio.at_least,
                "unit": ratio.unit,
            }
            for ratio in part.ratios
        ],
    }


def _rounded(value: float) -> float:
    """Five digits say more than any run repeats."""
    return float(f"{value:.5g}")


def from_dict(name: str, found: Mapping[str, Any]) -> Part:
    part = Part(name, found["title"])
    for row, column, quantity, values in found["figures"]:
        part.figures[row, column, quantity] = values
    for ratio in found["ratios"]:
        part.ratios.append(Ratio(**{**ratio, "values": tuple(ratio["values"])}))
    return part


def save(path: Path, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Put these parts into the file; what it holds of other parts stays."""
    kept = load(path) if path.exists() else {}
    lines = [f"{json.dumps(name)}: {_compact(part)}" for name, part in {**kept, **parts}.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _compact(part: Mapping[str, Any]) -> str:
    """A line for each series, so that a change shows as what it is."""
    return re.sub(r", (?=\[\"|\{\"item\")", ",\n  ", json.dumps(part))


def load(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(path.read_text())
    return found
