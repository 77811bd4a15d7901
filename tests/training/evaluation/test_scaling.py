from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.training.evaluation.examples import StepOutput
from alpha_umi.training.evaluation.metrics import score_static
from alpha_umi.training.evaluation.metrics.published import PAPER_METRICS
from alpha_umi.training.evaluation.scaling import evaluate_scaling
from tests.training.evaluation.conftest import MakePrediction

METHODS = ["umi", "single"]


class Lab:
    """Trains and evaluates in no time; dies at the given training."""

    def __init__(self, make_prediction: MakePrediction, dies_at: int = 99) -> None:
        self.trained: list[str] = []
        self._make_prediction = make_prediction
        self._dies_at = dies_at

    def train(self, method: str, fraction: float) -> Path:
        if len(self.trained) == self._dies_at:
            raise KeyboardInterrupt
        self.trained.append(f"{method}@{fraction}")
        return Path(method)

    def evaluate(self, path: Path) -> Mapping[str, Any]:
        call = StepOutput("Next: caller.", "Action: f\nAction Input: {}")
        other = call if path.name == "umi" else StepOutput("Next: give up.")
        pairs = [(f"e{i}/0.0", call if i % 2 else other) for i in range(4)]
        return score_static([self._make_prediction("caller", call, output, key=key) for key, output in pairs])


def test_each_method_is_trained_on_each_share_once(tmp_path: Path, make_prediction: MakePrediction) -> None:
    lab = Lab(make_prediction, dies_at=3)
    with pytest.raises(KeyboardInterrupt):
        evaluate_scaling(METHODS, [1.0, 0.5], lab.train, lab.evaluate, tmp_path, identity={})
    again = Lab(make_prediction)
    metrics = evaluate_scaling(METHODS, [1.0, 0.5], again.train, again.evaluate, tmp_path, identity={})
    assert lab.trained + again.trained == ["umi@0.5", "single@0.5", "umi@1.0", "single@1.0"]
    values = [(point["method"], point["strict"]["plan_acc"]["value"]) for point in metrics["points"]]
    assert values == [("umi", 1.0), ("single", 0.5), ("umi", 1.0), ("single", 0.5)]


def test_curves_are_drawn_even_where_a_metric_has_no_values(tmp_path: Path, make_prediction: MakePrediction) -> None:
    lab = Lab(make_prediction)
    evaluate_scaling(METHODS, [0.5, 1.0], lab.train, lab.evaluate, tmp_path, identity={})
    pictures = {name: (tmp_path / f"{name}.svg").read_text() for name in PAPER_METRICS}
    for picture in pictures.values():
        ElementTree.fromstring(picture)
    assert all(f">{method}<" in pictures["plan_acc"] for method in METHODS)
    assert "no values" not in pictures["plan_acc"]
    assert "no values" in pictures["rouge_l"]


@pytest.mark.parametrize(("methods", "fractions"), [([], [1.0]), (["umi"], []), (["umi"], [0.0]), (["umi"], [1.5])])
def test_wrong_shares_are_refused(
    tmp_path: Path, make_prediction: MakePrediction, methods: list[str], fractions: list[float]
) -> None:
    lab = Lab(make_prediction)
    with pytest.raises(ConfigError, match="fraction"):
        evaluate_scaling(methods, fractions, lab.train, lab.evaluate, tmp_path, identity={})
