"""`alpha-umi eval scaling`: how each method gets better with more data (the paper's Figure 4).

Training and models come as functions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console

from alpha_umi.errors import ConfigError
from alpha_umi.files import write_atomically
from alpha_umi.training.charts import ChartPoint, Line, draw_lines, load_matplotlib
from alpha_umi.training.data.dataset import ROWS_FILE, find_rows, read_rows
from alpha_umi.training.data.files import Record
from alpha_umi.training.evaluation.metrics.published import PAPER_METRICS
from alpha_umi.training.evaluation.render import TITLES, percent, render_columns
from alpha_umi.training.evaluation.result_folder import ResultFolder

POINTS = "points.jsonl"

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
) -> dict[str, Any]:
    """Train and evaluate each method on growing shares of the data; write ``metrics.json`` and one curve per metric.

    A run that was killed is resumed with the first method and share that is not done.

    Args:
        methods: Names that `train` knows.
        fractions: Shares of the training data in (0, 1].
        train: From method and share to a checkpoint; has to resume a training that was killed.
        evaluate: From checkpoint to the metrics of `evaluate_static`.
        out: Folder to write into.
        identity: What the points depend on: data, configuration, budget.

    Raises:
        ConfigError: If a share is out of range, the folder holds results with other settings, or matplotlib is missing.
    """
    load_matplotlib()
    wrong = [fraction for fraction in fractions if not 0 < fraction <= 1]
    if wrong or not fractions or not methods:
        raise ConfigError("Give at least one method and one fraction, each above 0 and at most 1.")
    points = [(method, fraction) for fraction in sorted(set(fractions)) for method in methods]
    # lines and no bar: training and evaluation draw their own bars meanwhile
    console = Console(stderr=True)
    with ResultFolder(out, POINTS, {"kind": "scaling", **identity}) as folder:
        for number, (method, fraction) in enumerate(points, 1):
            key = f"{method}@{fraction:g}"
            console.print(f"{number} of {len(points)}: {method} on {fraction:.1%} of the data", highlight=False)
            if key not in folder.rows:
                scores = evaluate(train(method, fraction))
                kept = {name: scores[name] for name in ("n_examples", "n_steps", "paper", "strict")}
                folder.append([{"key": key, "method": method, "fraction": fraction, **kept}])
        rows = [folder.rows[f"{method}@{fraction:g}"] for method, fraction in points]
        metrics = {"kind": "scaling", "points": rows}
        for name in PAPER_METRICS:
            with write_atomically(out / f"{name}.svg") as file:
                file.write(draw_scaling(rows, name))
        folder.write_metrics(metrics)
    return metrics


def draw_scaling(points: Sequence[Record], metric: str) -> str:
    """Return the curve of one metric over the share of the data, one line per method, as SVG."""
    lines: dict[str, list[ChartPoint]] = {point["method"]: [] for point in points}
    for point in points:
        measured = point["strict"][metric]
        if measured["n"]:
            lines[point["method"]].append(ChartPoint.from_share(100 * point["fraction"], measured))
    drawn = [Line(method, found) for method, found in lines.items()]
    return draw_lines(drawn, title=f"{TITLES[metric]} (%)", x_title="share of the training data (%)")


def render_scaling(metrics: Mapping[str, Any]) -> str:
    """Return one line per checkpoint, in percent, strict definition."""
    rows = [["method", "data", *(TITLES[name] for name in PAPER_METRICS)]]
    for point in metrics["points"]:
        values = [percent(point["strict"][name]["value"]) for name in PAPER_METRICS]
        rows.append([point["method"], f"{point['fraction']:.0%}", *values])
    return render_columns(rows, (2 + max(len(row[0]) for row in rows[1:]), 7, *[10] * len(PAPER_METRICS)))


def write_share(data: Path, fraction: float, out: Path) -> Path:
    """Write a share of the training split of `data` into the folder `out`, and return that.

    It is drawn from all of the split in the same way each time. A larger share holds all of a smaller one, so that a
    curve over shares shows what more data add. A folder without a training split is a `ConfigError`.
    """
    rows = _read_training_rows(data)
    ranked = sorted(_rank(str(row.get("id"))) for row in rows)
    last = ranked[max(1, round(fraction * len(rows))) - 1]
    with write_atomically(out / ROWS_FILE) as file:
        for row in rows:
            if _rank(str(row.get("id"))) <= last:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return out


def hash_share(data: Path) -> str:
    """Return the sha256 of the training split."""
    digest = hashlib.sha256()
    for row in _read_training_rows(data):
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


def _read_training_rows(data: Path) -> list[Record]:
    rows = [row for _, row in read_rows(data, "train")]
    if not rows:
        raise ConfigError(
            f"{find_rows(data)} has no trajectory of the split 'train'; give a folder of 'alpha-umi data build'."
        )
    return rows


def _rank(id_: str) -> str:
    return hashlib.sha256(id_.encode("utf-8", "replace")).hexdigest()
