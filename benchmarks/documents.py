"""The figures in README.md and docs/capacity.md, and the charts, all made from results.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import capacity, charts, report
from benchmarks.judging import Part

HERE = Path(__file__).parent
README, CAPACITY = HERE / "README.md", HERE.parent / "docs" / "capacity.md"
ROOT_README = HERE.parent / "README.md"
PLACES = (ROOT_README, README, CAPACITY)
FIGURES = HERE.parent / "docs" / "figures"


def write(
    results: Path,
    root: Path = ROOT_README,
    readme: Path = README,
    capacity_: Path = CAPACITY,
    figures: Path = FIGURES,
) -> None:
    """Renew the marked places and the charts; parts that were never measured leave theirs as they are."""
    found = report.load(results)
    parts = {name: report.from_dict(name, part) for name, part in found.items()}
    _between_marks(readme, "promises", _promises(found, parts))
    _between_marks(readme, "figures", _figures(found, parts))
    if "costs" in parts:
        _between_marks(root, "speed", f"{_where(found['costs'])}\n\n{capacity.speed(parts['costs'])}")
    model = capacity.tables(parts)
    if model:
        _between_marks(capacity_, "model", f"{_where(found['costs'])}\n\n{model}")
    for name, drawing in charts.drawings(parts, {name: _where(part) for name, part in found.items()}).items():
        drawing.write(figures / f"{name}.svg")


def _where(part: Mapping[str, Any]) -> str:
    return f"{part['machine']}; {part['core']} core; {part['runs']} runs."


def _promises(found: Mapping[str, Mapping[str, Any]], parts: Mapping[str, Part]) -> str:
    ratios = [ratio for part in parts.values() for ratio in part.ratios]
    missed = sum(not ratio.met for ratio in ratios)
    judged = sum(ratio.limit is not None for ratio in ratios)
    where = "\n".join(sorted({_where(part) for part in found.values()}))
    return f"{where}\n{judged - missed} of {judged} limits kept.\n\n{report.ratios_table(ratios)}"


def _figures(found: Mapping[str, Mapping[str, Any]], parts: Mapping[str, Part]) -> str:
    tables = []
    for name, part in parts.items():
        if name != "soak":  # fifty rounds are for the chart
            tables.append(f"### {part.title}\n\n{_where(found[name])}\n\n{report.figures_table(part)}")
    return "\n\n".join(tables)


def _between_marks(path: Path, mark: str, text: str) -> None:
    """Replace what is between <!-- mark --> and <!-- /mark -->; ValueError where they are not."""
    marked = re.compile(rf"(<!-- {mark} -->\n).*(<!-- /{mark} -->)", re.DOTALL)
    whole = path.read_text()
    if not marked.search(whole):
        raise ValueError(f"{path.name} has no place for {mark}")
    path.write_text(marked.sub(lambda place: f"{place[1]}{text}\n{place[2]}", whole))
