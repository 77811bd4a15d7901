from __future__ import annotations

import json

from alpha_umi.training.evaluation.metrics import score_static
from alpha_umi.training.evaluation.records import Output
from tests.training.evaluation.conftest import MakePrediction

CALL = Output("Next: caller.", 'Action: f\nAction Input: {"a": 1}')
ANSWER = Output("Next: conclusion.", None, "The sum is 3.")


def test_metrics_of_nothing_are_plain_json() -> None:
    metrics = json.loads(json.dumps(score_static([])))
    assert metrics["n_steps"] == 0
    assert metrics["paper"]["plan_acc"] is None
    assert metrics["strict"]["arg_f1"] == {"value": None, "low": None, "high": None, "n": 0, "p": None}
    assert metrics["by_step"] == {}


def test_confusion_and_faults_count_every_step(make_prediction: MakePrediction) -> None:
    metrics = score_static(
        [
            make_prediction("caller", CALL, CALL),
            make_prediction("caller", CALL, ANSWER),
            make_prediction("conclusion", ANSWER, Output("Hm.", "Action: f")),
        ]
    )
    assert metrics["confusion"]["caller"] == {"caller": 1, "conclusion": 1, "give up": 0, "none": 0}
    assert metrics["confusion"]["conclusion"]["none"] == 1
    assert sum(metrics["confusion"]["give up"].values()) == 0
    assert metrics["faults"]["planner: decision"] == 2
    assert sum(metrics["faults"].values()) == 2


def test_both_definitions_stand_side_by_side(make_prediction: MakePrediction) -> None:
    """A call that the planner never decided on is right for the paper and wrong for us."""
    metrics = score_static([make_prediction("caller", CALL, Output("Hm.", CALL.call))])
    assert metrics["paper"]["plan_acc"] == metrics["paper"]["act_em"] == 1.0
    assert metrics["strict"]["plan_acc"]["value"] == metrics["strict"]["act_em"]["value"] == 0.0


def test_breakdowns_are_in_order(make_prediction: MakePrediction) -> None:
    predictions = [
        make_prediction("caller", CALL, CALL, key=f"e/0.{step}", step=step, prompt_chars=chars)
        for step, chars in ((9, 20_000), (5, 4_000), (1, 2_000), (0, 1_999))
    ]
    metrics = score_static(predictions)
    assert list(metrics["by_step"]) == ["1", "2", "6 and later"]
    assert metrics["by_step"]["6 and later"]["plan_acc"]["n"] == 2
    assert list(metrics["by_length"]) == ["0–2k", "2–4k", "4–8k", "16k and more"]


def test_roles_are_scored_alone(make_prediction: MakePrediction) -> None:
    metrics = score_static(
        [make_prediction("caller", CALL, ANSWER, CALL), make_prediction("conclusion", ANSWER, CALL, ANSWER)]
    )
    assert metrics["roles"]["planner"]["plan_acc"]["value"] == 0.0
    assert metrics["roles"]["caller"]["caller.call_em"]["value"] == 1.0
    assert metrics["roles"]["summarizer"]["summarizer.rouge_l"]["n"] == 1
