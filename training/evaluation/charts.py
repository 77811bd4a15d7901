"""Charts as SVG text: lines with bands, and bars of parts. No dependency, no script, readable in light and dark.

A chart carries its own style sheet, so that it is the same inside a page and as a file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from alpha_umi.training.evaluation.style import CHART_STYLE

_WIDTH, _HEIGHT = 640, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 16, 34, 44
_BAR, _BAR_GAP, _LABEL_WIDTH, _LABEL_CHARS = 26, 12, 150, 22
_LEGEND_ROW = 20
N_COLORS = 6


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a line; `low` and `high` are the ends of its interval."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One named line; points in the order of x."""

    name: str
    points: Sequence[Point]


def draw_lines(lines: Sequence[Line], *, title: str, x_title: str) -> str:
    """Return a line chart; intervals are drawn as bands.

    Args:
        lines: At most `N_COLORS` are told apart by colour.
        title: Above the chart.
        x_title: Below it.
    """
    points = [point for line in lines for point in line.points]
    legend = _Legend([line.name for line in lines], _WIDTH - _LEFT - _RIGHT)
    parts = [f'<text class="title" x="{_LEFT}" y="18">{escape(title)}</text>']
    if points:
        ys = [y for point in points for y in (point.y, point.low, point.high) if y is not None]
        plane = _Plane(_Axis.over([point.x for point in points]), _Axis.over(ys))
        parts += plane.draw(x_title)
        for i, line in enumerate(lines):
            parts += plane.draw_line(line, _color(i))
    else:
        parts.append(f'<text class="axis" x="{_LEFT}" y="60">no values</text>')
    parts += legend.draw(_LEFT, _HEIGHT + 6)
    return _wrap(parts, _HEIGHT + legend.height, title)


def draw_bars(bars: Mapping[str, Mapping[str, float]], *, title: str) -> str:
    """Return one bar per name, each as wide as the others and divided into its parts.

    Args:
        bars: Name → part → amount; every bar has the same parts. The first part is drawn in grey.
        title: Above the chart.
    """
    names = list(next(iter(bars.values()), {}))
    legend = _Legend(names, _WIDTH - _RIGHT)
    parts = [f'<text class="title" x="0" y="18">{escape(title)}</text>']
    for row, (name, amounts) in enumerate(bars.items()):
        y = _TOP + row * (_BAR + _BAR_GAP)
        label = name if len(name) <= _LABEL_CHARS else f"{name[: _LABEL_CHARS - 1]}…"
        parts.append(f'<text x="0" y="{y + 17}">{escape(label)}</text>')
        parts += _draw_bar(amounts, y)
    bottom = _TOP + len(bars) * (_BAR + _BAR_GAP)
    return _wrap([*parts, *legend.draw(0, bottom, grey_first=True)], bottom + legend.height, title)


def _draw_bar(amounts: Mapping[str, float], y: float) -> Iterator[str]:
    total = sum(amounts.values()) or 1.0
    x, width = float(_LABEL_WIDTH), _WIDTH - _LABEL_WIDTH - _RIGHT
    for i, (name, amount) in enumerate(amounts.items()):
        part = width * amount / total
        share = f"{100 * amount / total:.1f}%"
        color = _color(i, grey_first=True)
        yield f'<rect x="{x:.1f}" y="{y}" width="{part:.1f}" height="{_BAR}" style="fill:{color}">'
        yield f"<title>{escape(name)}: {amount:g} ({share})</title></rect>"
        if part > 44:
            yield f'<text class="inside" x="{x + part / 2:.1f}" y="{y + 17}" text-anchor="middle">{share}</text>'
        x += part


@dataclass(frozen=True, slots=True)
class _Axis:
    """A range that begins and ends on a tick."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, values: Sequence[float]) -> _Axis:
        low, high = min(values), max(values)
        if high - low < 1e-9:
            low, high = low - 1, high + 1
        raw = (high - low) / 5
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw - 1e-12)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        ticks = tuple(round(i * step, 10) for i in range(first, last + 1))
        return cls(ticks[0], ticks[-1], ticks)

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class _Plane:
    """Where values stand on the picture."""

    x: _Axis
    y: _Axis

    def place(self, x: float, y: float) -> tuple[float, float]:
        width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return _LEFT + self.x.share(x) * width, _HEIGHT - _BOTTOM - self.y.share(y) * height

    def draw(self, x_title: str) -> Iterator[str]:
        for tick in self.y.ticks:
            x, y = self.place(self.x.low, tick)
            yield f'<line class="grid" x1="{x:.1f}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text class="tick" x="{x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in self.x.ticks:
            x, y = self.place(tick, self.y.low)
            yield f'<text class="tick" x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{tick:g}</text>'
        x, y = (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8
        yield f'<text class="axis" x="{x:.0f}" y="{y}" text-anchor="middle">{escape(x_title)}</text>'

    def draw_line(self, line: Line, color: str) -> Iterator[str]:
        places = [self.place(point.x, point.y) for point in line.points]
        ends = [(p.x, p.low, p.high) for p in line.points if p.low is not None and p.high is not None]
        upper = [self.place(x, high) for x, _, high in ends]
        lower = [self.place(x, low) for x, low, _ in reversed(ends)]
        if len(ends) > 1:
            yield f'<polygon class="band" points="{_join([*upper, *lower])}" style="fill:{color}"/>'
        yield f'<polyline class="line" points="{_join(places)}" style="stroke:{color}"/>'
        for point, (x, y) in zip(line.points, places, strict=True):
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" style="fill:{color}">'
            yield f"<title>{escape(line.name)}: {point.y:.1f} at {point.x:g}</title></circle>"


class _Legend:
    """Names beside their colours, in as many rows as the width asks for."""

    def __init__(self, names: Sequence[str], width: float) -> None:
        self._rows: list[list[tuple[int, str, float]]] = [[]]
        x = 0.0
        for i, name in enumerate(names):
            needed = 30 + 7.2 * len(name)
            if x + needed > width and self._rows[-1]:
                self._rows.append([])
                x = 0.0
            self._rows[-1].append((i, name, x))
            x += needed

    @property
    def height(self) -> int:
        return len(self._rows) * _LEGEND_ROW + 10

    def draw(self, left: float, top: float, *, grey_first: bool = False) -> Iterator[str]:
        for row, entries in enumerate(self._rows):
            y = top + row * _LEGEND_ROW
            for i, name, x in entries:
                color = _color(i, grey_first=grey_first)
                yield f'<rect x="{left + x:.1f}" y="{y}" width="12" height="12" rx="3" style="fill:{color}"/>'
                yield f'<text x="{left + x + 18:.1f}" y="{y + 11}">{escape(name)}</text>'


def _color(index: int, *, grey_first: bool = False) -> str:
    if grey_first and index == 0:
        return "var(--rest)"
    return f"var(--c{(index - grey_first) % N_COLORS})"


def _join(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _wrap(parts: Sequence[str], height: float, title: str) -> str:
    head = f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img"'
    return f'{head} aria-label="{escape(title)}">{CHART_STYLE}{"".join(parts)}</svg>\n'
