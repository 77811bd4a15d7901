"""Charts as SVG: lines with bands, bars of parts, and points with intervals.

The same values give the same bytes. Colours of text and paper are CSS variables with a default, so that a chart is
readable as a separate file and in a page, light or dark.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alpha_umi.errors import ConfigError

_WIDTH, _HEIGHT = 6.4, 3.6
_MAX_LABEL = 22
_INK, _FAINT, _RULE, _PAPER = "#1f2933", "#5f6c79", "#dfe4e9", "#ffffff"
_VARIABLES = {_INK: "ink", _FAINT: "faint", _RULE: "rule", _PAPER: "paper"}
_COLORS = ("#2a82c9", "#d9761f", "#1c9a82", "#c0609b", "#8d74dd", "#9c861b")
_REST = "#8793a0"
_STYLE = {
    "svg.hashsalt": "alpha-umi",
    "svg.fonttype": "none",  # text stays text: it can be searched, and names cannot become markup
    "text.parse_math": False,
    "font.size": 10,
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "figure.facecolor": _PAPER,
    "axes.facecolor": "none",
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _FAINT,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "legend.frameon": False,
    "text.color": _INK,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """One point of a line; `low` and `high` are the ends of its interval."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def from_share(cls, x: float, measured: Mapping[str, Any]) -> ChartPoint:
        """Return an estimated share and its interval, in percent."""
        low, high = (None if measured[end] is None else 100 * measured[end] for end in ("low", "high"))
        return cls(x, 100 * measured["value"], low, high)


@dataclass(frozen=True, slots=True)
class Line:
    """One named line; points in the order of x."""

    name: str
    points: Sequence[ChartPoint]


def draw_lines(lines: Sequence[Line], *, title: str, x_title: str) -> str:
    """Return a line chart; intervals are drawn as bands, and at most six lines have different colours.

    Raises:
        ConfigError: If matplotlib is not installed.
    """

    def paint(figure: Any) -> None:
        axes = figure.add_subplot(title=title, xlabel=x_title)
        axes.grid(axis="y")
        handles = []
        for i, line in enumerate(lines):
            color = _COLORS[i % len(_COLORS)]
            xs, ys = [point.x for point in line.points], [point.y for point in line.points]
            handles += axes.plot(xs, ys, color=color, linewidth=2, marker="o", markersize=4)
            ends = [(p.x, p.low, p.high) for p in line.points if p.low is not None and p.high is not None]
            if len(ends) > 1:
                axes.fill_between(*zip(*ends, strict=True), color=color, alpha=0.15, linewidth=0)
        if all(float(point.x).is_integer() for line in lines for point in line.points):
            axes.xaxis.get_major_locator().set_params(integer=True)
        if not any(line.points for line in lines):
            axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center")
        _add_legend(figure, handles, [line.name for line in lines])

    return _draw(paint, _HEIGHT)


def draw_bars(bars: Mapping[str, Mapping[str, float]], *, title: str) -> str:
    """Return one bar per name, each as wide as the others and divided into its parts.

    In `bars`, name → part → amount, every bar has the same parts; the first part is drawn in grey.

    Raises:
        ConfigError: If matplotlib is not installed.
    """
    parts = list(next(iter(bars.values()), {}))
    totals = [sum(amounts.values()) or 1.0 for amounts in bars.values()]

    def paint(figure: Any) -> None:
        axes = figure.add_subplot(title=title, xlim=(0, 100), xticks=[])
        axes.spines["bottom"].set_visible(False)
        left = [0.0] * len(bars)
        handles = []
        for i, part in enumerate(parts):
            shares = [100 * amounts[part] / total for amounts, total in zip(bars.values(), totals, strict=True)]
            color = _REST if i == 0 else _COLORS[(i - 1) % len(_COLORS)]
            drawn = axes.barh(range(len(bars)), shares, left=left, color=color, height=0.7)
            labels = [f"{share:.1f}%" if share > 8 else "" for share in shares]
            axes.bar_label(drawn, labels, label_type="center", color=_PAPER)
            left = [start + share for start, share in zip(left, shares, strict=True)]
            handles.append(drawn)
        names = [name if len(name) <= _MAX_LABEL else f"{name[: _MAX_LABEL - 1]}…" for name in bars]
        axes.set_yticks(range(len(bars)), names, color=_INK)
        axes.invert_yaxis()
        _add_legend(figure, handles, parts)

    return _draw(paint, 1.3 + 0.45 * len(bars))


def draw_intervals(series: Mapping[str, Mapping[str, Mapping[str, Any]]], *, title: str) -> str:
    """Return shares as points with their intervals, in percent: a row for each name, a colour for each series.

    `series` maps its name to estimates by name; one that is missing, or has no value, is left out.

    Raises:
        ConfigError: If matplotlib is not installed.
    """
    names = list(dict.fromkeys(name for estimates in series.values() for name in estimates))

    def paint(figure: Any) -> None:
        axes = figure.add_subplot(title=title, xlim=(-2, 102), ylim=(len(names) - 0.5, -0.5))
        axes.grid(axis="x")
        handles = []
        for i, estimates in enumerate(series.values()):
            color, shift = _COLORS[i % len(_COLORS)], 0.6 * ((i + 0.5) / len(series) - 0.5)
            found = [(names.index(name) + shift, each) for name, each in estimates.items() if each["value"] is not None]
            for y, each in found:
                if each["low"] is not None:
                    axes.plot([100 * each["low"], 100 * each["high"]], [y, y], color=color, alpha=0.35, linewidth=5)
            xs, ys = [100 * each["value"] for _, each in found], [y for y, _ in found]
            handles += axes.plot(xs, ys, "o", color=color, markersize=6)
        axes.set_yticks(range(len(names)), names, color=_INK)
        _add_legend(figure, handles, list(series))

    return _draw(paint, 1.1 + (0.22 + 0.16 * len(series)) * len(names))


def _add_legend(figure: Any, handles: Sequence[Any], names: Sequence[str]) -> None:
    if names:
        n_columns = max(1, min(len(names), 80 // (6 + max(map(len, names)))))
        figure.legend(handles, names, loc="outside lower center", ncols=n_columns)


def _draw(paint: Callable[[Any], None], height: float) -> str:
    """Return a figure as SVG that can be part of a page."""
    matplotlib, figure_class = load_matplotlib()
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name in letters that the measuring font lacks is drawn by the browser's
        figure = figure_class(figsize=(_WIDTH, height), layout="constrained")
        paint(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    # nothing refers to these ids, and all charts of a page would share them
    svg = re.sub(r' id="[A-Za-z.0-9]+_\d+"', "", svg[svg.index("<svg") :])
    for color, name in _VARIABLES.items():
        svg = svg.replace(f": {color}", f": var(--{name}, {color})")
    return svg


def load_matplotlib() -> tuple[Any, Any]:
    """Return matplotlib and its figure class; call it before a long run, so that it is not missed at the end.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import matplotlib  # noqa: PLC0415 - optional, and it takes half a second
        from matplotlib.figure import Figure  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise ConfigError(
            "Charts need matplotlib, of the extras train and eval; run: pip install 'alpha-umi[eval]'."
        ) from error
    return matplotlib, Figure
