from __future__ import annotations

import json
from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.training.checkpoint_folder import draw_curves, read_curves


def write_metrics(folder: Path, losses: list[float]) -> None:
    folder.mkdir(parents=True)
    rows = [{"step": step, "loss": loss} for step, loss in enumerate(losses, start=1)]
    lines = [json.dumps(row) for row in [*rows, {"step": len(losses), "train_loss": 1.0}]]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def test_draw_curves_has_a_line_per_stage_with_few_points(tmp_path: Path) -> None:
    write_metrics(tmp_path / "backbone", [3.0 - 0.01 * step for step in range(250)])
    write_metrics(tmp_path / "caller", [1.0, 0.5])
    backbone, caller = read_curves(tmp_path)
    assert (backbone.name, caller.name) == ("backbone", "caller")
    assert len(backbone.points) == 50  # means of five steps
    first = backbone.points[0]
    assert (first.x, first.y, first.low, first.high) == pytest.approx((3.0, 2.98, 2.96, 3.0))
    assert [point.y for point in caller.points] == [1.0, 0.5]
    chart = draw_curves(tmp_path)
    assert ">caller<" in chart
    assert "planner" not in chart


def test_draw_curves_without_metrics_says_what_it_wants(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="logs folder"):
        draw_curves(tmp_path)
