"""`alpha-umi eval scaling`: how each method gets better with more data (the paper's Figure 4).

Knows nothing about training or models: both come as functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console

from alpha_umi.errors import ConfigError
from alpha_umi.files import write_atomically
from alpha_umi.training.data.files import Record
from alpha_umi.training.evaluation.charts import Line, Point, draw_lines
from alpha_umi.training.evaluation.folder import ResultFolder

POINTS = "points.jsonl"
SCALING_METRICS = {
    "plan_acc": "Plan ACC",
    "act_em": "Act. EM",
    "hallu": "Hallu.",
    "arg_f1": "Arg. F1",
    "rouge_l": "R-L",
}

Train: TypeAlias = Callable[[str, float], Path]
Evaluate: TypeAlias = Callable[[Path], Mapping[str, Any]]


def evaluate_scaling(
    methods: Sequence[str],
    fractions: Sequence[float],
    train: Train,
    evaluate: Evaluate,
    out: Path,
    *,
    identity: Mapping[str, Any],
    console: Console | None = None,
) -> dict[str, Any]:
    """Train and evaluate each method on growing shares of the data; write ``metrics.json`` and one curve per metric.

    A run that was killed goes on with the first method and share that is not done.

    Args:
        methods: Names that `train` knows.
        fractions: Shares of the training data in (0, 1].
        train: From method and share to a checkpoint; must itself be able to go on after a kill.
        evaluate: From checkpoint to the metrics of `evaluate_static`.
        out: Folder to write into.
        identity: What the points depend on: data, configuration, budget. Points of others in the same folder are
            refused.
        console: Where progress is shown.

    Raises:
        ConfigError: If a share is out of range, or the folder holds results with other settings.
    """
    wrong = [fraction for fraction in fractions if not 0 < fraction <= 1]
    if wrong or not fractions or not methods:
        raise ConfigError("Give at least one method and one fraction, each above 0 and at most 1.")
    points = [(method, fraction) for fraction in sorted(set(fractions)) for method in methods]
    # lines and no bar: training and evaluation draw bars of their own meanwhile
    console = console or Console(stderr=True)
    with ResultFolder(out, POINTS, {"kind": "scaling", **identity}) as folder:
        for number, (method, fraction) in enumerate(points, 1):
            key = f"{method}@{fraction:g}"
            console.print(f"{number} of {len(points)}: {method} on {fraction:.1%} of the data", highlight=False)
            if key not in folder.rows:
                scores = evaluate(train(method, fraction))
                folder.append([{"key": key, "method": method, "fraction": fraction, **_pick(scores)}])
        rows = [folder.rows[f"{method}@{fraction:g}"] for method, fraction in points]
        metrics = {"kind": "scaling", "points": rows}
        for name, title in SCALING_METRICS.items():
            with write_atomically(out / f"{name}.svg") as file:
                file.write(draw_scaling(rows, name, title))
        folder.write_metrics(metrics)
    return metrics


def _pick(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: metrics[name] for name in ("n_examples", "n_steps", "paper", "strict")}


def draw_scaling(points: Sequence[Record], metric: str, title: str) -> str:
    """Return the curve of one metric over the share of the data, one line per method, as SVG."""
    lines = []
    for method in dict.fromkeys(point["method"] for point in points):
        mine = [point for point in points if point["method"] == method]
        lines.append(Line(method, [_make_point(point, metric) for point in mine if point["strict"][metric]["n"]]))
    return draw_lines(lines, title=f"{title} (%)", x_title="share of the training data (%)")


def _make_point(point: Record, metric: str) -> Point:
    measured = point["strict"][metric]
    ends = [None if measured[end] is None else 100 * measured[end] for end in ("low", "high")]
    return Point(100 * point["fraction"], 100 * measured["value"], ends[0], ends[1])
