"""Tables of what was measured, results.json, and the figures between marks in the documents."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.judging import Part, Ratio, number, spread

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


def machine() -> str:
    """Where and with what the figures were taken, in a sentence."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.+)", info)
    name = model.group(1).strip() if model else platform.machine()
    return f"{name}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def ratios_table(ratios: Sequence[Ratio]) -> str:
    """Figure and limit side by side."""
    lines = ["| # | what | median (min to max) | limit | |", "|---|---|---|---|---|"]
    for ratio in sorted(ratios, key=lambda one: one.item):
        sense = "at least" if ratio.at_least else "at most"
        limit = "" if ratio.limit is None else f"{sense} {number(ratio.limit)}{_unit(ratio)}"
        cells = (str(ratio.item), ratio.what, spread(ratio.values) + _unit(ratio), limit, ratio.verdict)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _unit(ratio: Ratio) -> str:
    return f" {ratio.unit}" if ratio.unit else ""


def figures_table(part: Part) -> str:
    """A row for each thing measured, a column for each quantity."""
    quantities = list(dict.fromkeys(quantity for _, _, quantity in part.figures))
    lines = [
        f"### {part.title}",
        "",
        f"| what | {' | '.join(quantities)} |",
        "|---" * (len(quantities) + 1) + "|",
    ]
    for row, column in dict.fromkeys(key[:2] for key in part.figures):
        cells = [part.figures.get((row, column, quantity)) for quantity in quantities]
        lines.append(f"| {row}, {column} | {' | '.join(spread(cell) if cell else '' for cell in cells)} |")
    return "\n".join(lines)


def to_json(parts: Sequence[Part], runs: int) -> str:
    found = {
        part.name: {
            "title": part.title,
            "figures": [
                [*key, [round(value, 4) for value in values]] for key, values in part.figures.items()
            ],
            "ratios": [
                {
                    "item": ratio.item,
                    "what": ratio.what,
                    "values": [round(value, 4) for value in ratio.values],
                    "limit": ratio.limit,
                    "at_least": ratio.at_least,
                    "unit": ratio.unit,
                }
                for ratio in part.ratios
            ],
        }
        for part in parts
    }
    return json.dumps({"machine": machine(), "runs": runs, "parts": found}, indent=1)
