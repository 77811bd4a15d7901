from __future__ import annotations

from alpha_umi.nodes.format.trajectory import ROLES
from alpha_umi.training.evaluation.evaluator import render_tasks
from alpha_umi.training.evaluation.examples import StepOutput
from alpha_umi.training.evaluation.metrics import score_static, score_tasks
from alpha_umi.training.evaluation.metrics.published import PAPER_METRICS
from alpha_umi.training.evaluation.scaling import render_scaling
from alpha_umi.training.evaluation.static import render_static
from tests.training.evaluation.conftest import MakePrediction

WRONG = StepOutput("Hm. Next: give up.")
RIGHT = StepOutput("Yes. Next: caller.", "Action: f\nAction Input: {}")


def test_both_definitions_stand_side_by_side(make_prediction: MakePrediction) -> None:
    predictions = [
        make_prediction("caller", RIGHT, RIGHT, key="a/0.0"),
        make_prediction("caller", RIGHT, WRONG, key="b/0.0"),
    ]
    lines = render_static(score_static(predictions)).splitlines()
    assert lines[0] == "2 steps of 2 trajectories"
    plan = next(line for line in lines if line.startswith("Plan ACC"))
    assert plan.split() == ["Plan", "ACC", "50.00", "50.00", "[0.0,", "100.0]", "2"]
    answers = next(line for line in lines if line.startswith("R-L"))
    assert answers.split() == ["R-L", "–", "–", "–", "0"]


def test_nothing_measured_is_shown_as_nothing() -> None:
    assert "0 steps" in render_static(score_static([]))
    assert "0 tasks" in render_tasks(score_tasks([]))


def test_scaling_has_one_line_per_checkpoint() -> None:
    points = [
        {"method": role, "fraction": fraction, "strict": {name: {"value": fraction} for name in PAPER_METRICS}}
        for role in ROLES
        for fraction in (0.25, 1.0)
    ]
    lines = render_scaling({"points": points}).splitlines()
    assert len(lines) == 7
    assert lines[1].split() == ["planner", "25%", *["25.0"] * 5]
