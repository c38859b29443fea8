"""SVG by hand: bars, lines and flame graphs. Files stand alone, without scripts or fonts of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

WIDTH = 900
_BAR, _GAP, _LABEL, _HEAD, _VALUE = 18, 8, 300, 58, 190
_COLOURS = ("#2f6f9f", "#d07c2e", "#5a8f4e", "#9a5fa8", "#b0413e", "#6b7280")
_FRAME, _CHAR = 17, 6.4


@dataclass(slots=True, frozen=True)
class Bar:
    """One bar, with the lowest and highest run as a whisker; `limit` is drawn on its own row."""

    label: str
    value: float
    low: float
    high: float
    limit: float | None = None
    colour: int = 0


@dataclass(slots=True)
class Drawing:
    title: str
    subtitle: str
    height: float = _HEAD
    parts: list[str] = field(default_factory=list)

    def text(
        self, x: float, y: float, text: str, size: int = 12, anchor: str = "start", fill: str = "#222"
    ) -> None:
        style = f'font-size="{size}" text-anchor="{anchor}" fill="{fill}"'
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>')

    def box(self, x: float, y: float, width: float, height: float, fill: str, hint: str = "") -> None:
        hint = f"<title>{escape(hint)}</title>" if hint else ""
        size = f'width="{max(width, 0.3):.1f}" height="{height:.1f}"'
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{fill}">{hint}</rect>')

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str, dashed: bool = False) -> None:
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}"{dash}/>'
        )

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        head = Drawing(self.title, self.subtitle)
        head.text(12, 24, self.title, 16)
        head.text(12, 43, self.subtitle, 11, fill="#666")
        size = f'viewBox="0 0 {WIDTH} {self.height:.0f}" width="{WIDTH}"'
        label = f'font-family="sans-serif" role="img" aria-label="{escape(self.title, quote=True)}"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {label}>',
            f'<rect width="{WIDTH}" height="{self.height:.0f}" fill="#fff"/>',
            *head.parts,
            *self.parts,
            "</svg>",
        ]
        path.write_text("\n".join(lines) + "\n")


def bars(title: str, subtitle: str, rows: Sequence[Bar], unit: str, *, logarithmic: bool = False) -> Drawing:
    """Horizontal bars from zero; on a logarithmic scale, of values above zero, from the decade below them."""
    drawing = Drawing(title, subtitle)
    most = max(max(row.high, row.limit or 0) for row in rows)
    least = 10 ** math.floor(math.log10(min(row.value for row in rows))) if logarithmic else 0.0
    room = WIDTH - _LABEL - _VALUE

    def at(value: float) -> float:
        if logarithmic:
            return room * math.log10(max(value, least) / least) / math.log10(most / least)
        return room * max(value, 0) / most

    for number, row in enumerate(rows):
        y = _HEAD + number * (_BAR + _GAP)
        drawing.text(_LABEL - 8, y + 13, row.label, anchor="end")
        drawing.box(_LABEL, y, at(row.value), _BAR, _COLOURS[row.colour % len(_COLOURS)])
        middle = y + _BAR / 2
        drawing.line(_LABEL + at(row.low), middle, _LABEL + at(row.high), middle, "#111")
        told = f"{_short(row.value)} {unit}".rstrip()
        if row.limit is not None:
            drawing.line(_LABEL + at(row.limit), y - 3, _LABEL + at(row.limit), y + _BAR + 3, "#b00020", True)
            told += f"   (limit {_short(row.limit)})"
        drawing.text(WIDTH - _VALUE + 10, y + 13, told)
    drawing.height = _HEAD + len(rows) * (_BAR + _GAP) + 12
    if logarithmic:
        drawing.text(_LABEL, drawing.height - 2, f"logarithmic, from {_short(least)} {unit}", 10, fill="#666")
        drawing.height += 8
    return drawing


def lines(
    title: str, subtitle: str, series: Mapping[str, Sequence[tuple[float, float]]], x_unit: str, y_unit: str
) -> Drawing:
    """One line for each series, both axes from zero."""
    drawing = Drawing(title, subtitle)
    left, right, top, bottom = 70, WIDTH - 30, _HEAD + 6, _HEAD + 260
    x_most = max(x for points in series.values() for x, _ in points)
    y_most = max(y for points in series.values() for _, y in points) * 1.05
    for step in range(5):
        y, x = bottom - (bottom - top) * step / 4, left + (right - left) * step / 4
        drawing.line(left, y, right, y, "#ddd")
        drawing.text(left - 6, y + 4, _short(y_most * step / 4), 11, "end")
        drawing.text(x, bottom + 16, _short(x_most * step / 4), 11, "middle")
    drawing.text(left - 6, top - 8, y_unit, 11, "end", "#666")
    drawing.text(right, bottom + 32, x_unit, 11, "end", "#666")
    for number, (name, points) in enumerate(series.items()):
        placed = " ".join(
            f"{left + (right - left) * x / x_most:.1f},{bottom - (bottom - top) * y / y_most:.1f}"
            for x, y in points
        )
        colour = _COLOURS[number % len(_COLOURS)]
        drawing.parts.append(f'<polyline points="{placed}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawing.box(left + number * 220, bottom + 30, 12, 12, colour)
        drawing.text(left + number * 220 + 18, bottom + 40, name)
    drawing.height = bottom + 54
    return drawing


@dataclass(slots=True)
class Frame:
    """A function and what it called; `count` samples saw it."""

    count: int = 0
    called: dict[str, Frame] = field(default_factory=dict)

    def add(self, stack: Sequence[str], count: int) -> None:
        frame = self
        frame.count += count
        for name in stack:
            frame = frame.called.setdefault(name, Frame())
            frame.count += count

    def depth(self) -> int:
        return 1 + max((frame.depth() for frame in self.called.values()), default=0)


def flame(title: str, subtitle: str, root: Frame, colour: Mapping[str, str]) -> Drawing:
    """The root at the top; a box as wide as the share of samples in which its function was on the stack.

    `colour` gives a fill by the beginning of a function's name. What is under 0.1 % is left out.
    """
    drawing = Drawing(title, subtitle)
    margin = 10
    scale = (WIDTH - 2 * margin) / root.count

    def draw(name: str, frame: Frame, x: float, level: int) -> None:
        width = frame.count * scale
        y = _HEAD + level * _FRAME
        share = frame.count / root.count
        fill = next((fill for start, fill in colour.items() if name.startswith(start)), "#c9c9c9")
        drawing.box(x, y, width - 0.4, _FRAME - 1, fill, f"{name}: {share:.1%}")
        if width > 24:
            drawing.text(x + 2, y + 12, name[: int(width / _CHAR)], 11)
        for below, called in sorted(frame.called.items()):
            if called.count * scale >= (WIDTH - 2 * margin) / 1000:
                draw(below, called, x, level + 1)
            x += called.count * scale

    draw("all", root, margin, 0)
    drawing.height = _HEAD + (root.depth() + 1) * _FRAME
    return drawing


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
