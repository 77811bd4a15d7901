from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.training.evaluation.examples import StepOutput
from alpha_umi.training.evaluation.metrics import score_static
from alpha_umi.training.evaluation.metrics.published import PAPER_METRICS
from alpha_umi.training.evaluation.scaling import evaluate_scaling, hash_share, write_share
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


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"id": f"r{i}", "split": "dev-tools" if i % 5 == 4 else "train"} for i in range(50)]
    (tmp_path / "trajectories.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def take(data: Path, fraction: float) -> list[str]:
    folder = write_share(data, fraction, data / f"{fraction:g}")
    return [json.loads(line)["id"] for line in (folder / "trajectories.jsonl").read_text().splitlines()]


def test_a_larger_share_holds_the_smaller_ones(data: Path) -> None:
    shares = [take(data, fraction) for fraction in (0.001, 0.25, 0.5, 1)]
    assert [len(share) for share in shares] == [1, 10, 20, 40]
    assert all(set(small) < set(large) for small, large in itertools.pairwise(shares))
    assert take(data, 0.25) == shares[1]


def test_a_share_has_training_rows_in_their_order_only(data: Path) -> None:
    numbers = [int(id_[1:]) for id_ in take(data, 0.5)]
    assert numbers == sorted(numbers)
    assert all(number % 5 != 4 for number in numbers)


def test_the_hash_is_that_of_the_training_rows(data: Path, tmp_path: Path) -> None:
    whole = write_share(data, 1, tmp_path / "whole")
    assert hash_share(whole) == hash_share(data) != hash_share(write_share(data, 0.5, tmp_path / "half"))


def test_data_without_a_training_split_are_refused(tmp_path: Path) -> None:
    (tmp_path / "trajectories.jsonl").write_text('{"id": "a", "split": "dev-tools"}\n')
    with pytest.raises(ConfigError, match="data build"):
        write_share(tmp_path, 1, tmp_path / "out")
