"""What runs gave: series of figures, and ratios beside the limits that the README promises."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True, frozen=True)
class Ratio:
    """One promise: the figure of each run, and the limit that their median is held against.

    `item` is the number of the promise in the README; without `limit` the figure is only shown.
    """

    item: int
    what: str
    values: tuple[float, ...]
    limit: float | None = None
    at_least: bool = False
    unit: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def verdict(self) -> str:
        return "shown" if self.limit is None else "pass" if self.met else "MISS"


@dataclass(slots=True)
class Part:
    """Everything one measurement found: (row, column, quantity) -> the figure of each run, and its ratios."""

    name: str
    title: str
    figures: dict[tuple[str, str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    ratios: list[Ratio] = field(default_factory=list)

    def add(self, row: str, column: str, **quantities: float) -> None:
        for quantity, value in quantities.items():
            self.figures[row, column, quantity].append(value)

    def of(self, row: str, column: str, quantity: str) -> list[float]:
        """The runs' figures; KeyError where nothing was measured."""
        found = self.figures.get((row, column, quantity))
        if not found:
            raise KeyError((row, column, quantity))
        return found

    def has(self, row: str, column: str) -> bool:
        return any(key[:2] == (row, column) for key in self.figures)

    def judge(
        self,
        item: int,
        what: str,
        numerator: Iterable[float],
        denominator: Iterable[float],
        limit: float | None = None,
        *,
        at_least: bool = False,
    ) -> None:
        """Add the ratio, run by run: what disturbed a run disturbed both."""
        pairs = zip(numerator, denominator, strict=True)
        values = tuple(above / below if below else float("inf") for above, below in pairs)
        self.ratios.append(Ratio(item, what, values, limit, at_least))

    def show(
        self, item: int, what: str, values: Iterable[float], unit: str, limit: float | None = None
    ) -> None:
        """Add a figure that is no ratio."""
        self.ratios.append(Ratio(item, what, tuple(values), limit, unit=unit))


def spread(values: Iterable[float]) -> str:
    """Median (min to max), with as many digits as its size deserves."""
    found = sorted(values)
    middle = statistics.median(found)
    if found[0] == found[-1]:
        return number(middle)
    return f"{number(middle)} ({number(found[0])} to {number(found[-1])})"


def number(value: float) -> str:
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{0 if size >= 200 else 1 if size >= 10 else 2 if size >= 0.2 else 3}f}"
