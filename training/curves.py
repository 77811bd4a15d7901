"""The loss of each stage as a chart: ``logs/loss.svg`` in the checkpoint folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from alpha_umi.errors import ConfigError
from alpha_umi.training.config import STAGES
from alpha_umi.training.evaluation.charts import Line, Point, draw_lines
from alpha_umi.training.trainer import METRICS

CURVES = "loss.svg"
_N_POINTS = 60


def draw_curves(logs: Path) -> str:
    """Return the chart, as SVG, of every stage that has metrics.

    A point is the mean of consecutive optimiser steps, so that at most `_N_POINTS` stand on a line; its band reaches
    from the lowest to the highest of them.

    Args:
        logs: The ``logs`` folder of a checkpoint.

    Raises:
        ConfigError: If no stage has logged a loss yet.
    """
    lines = [
        Line(stage, _average(points)) for stage in STAGES if (points := list(_read_losses(logs / stage / METRICS)))
    ]
    if not lines:
        raise ConfigError(f"{logs} holds no metrics with a loss; give the logs folder of a training that has begun.")
    return draw_lines(lines, title="Training loss (nats per trained token)", x_title="optimiser step")


def _read_losses(path: Path) -> Iterable[tuple[int, float]]:
    if not path.is_file():
        return
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        if "loss" in row:
            yield row["step"], row["loss"]


def _average(points: list[tuple[int, float]]) -> list[Point]:
    size = -(-len(points) // _N_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [_make_point(group) for group in groups]


def _make_point(group: list[tuple[int, float]]) -> Point:
    losses = [loss for _, loss in group]
    return Point(sum(step for step, _ in group) / len(group), sum(losses) / len(losses), min(losses), max(losses))
