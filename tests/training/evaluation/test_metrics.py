from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.nodes.format.trajectory import DECISIONS, Decision
from alpha_umi.training.evaluation.examples import Prediction, StepOutput
from alpha_umi.training.evaluation.metrics import score_static
from tests.training.evaluation.conftest import MakePrediction

CALL = StepOutput("Next: caller.", 'Action: f\nAction Input: {"a": 1}')
ANSWER = StepOutput("Next: conclusion.", None, "The sum is 3.")

TEXTS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["f", "[1]", "{}", '{"a": 1}', '{"a": NaN}', '{"a"', "</s>", "conclusion: "]),
    st.sampled_from(["Action:", "Action Input: "]),
    st.sampled_from(["Next: caller.", "Next: conclusion.", "Next: give up.", "\n", "Action: f\nAction Input: {}"]),
)
WRITTEN = st.lists(TEXTS, max_size=4).map("".join)
OUTPUTS = st.builds(StepOutput, WRITTEN, st.none() | WRITTEN, st.none() | WRITTEN)


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
            make_prediction("conclusion", ANSWER, StepOutput("Hm.", "Action: f")),
        ]
    )
    assert metrics["confusion"]["caller"] == {"caller": 1, "conclusion": 1, "give up": 0, "none": 0}
    assert metrics["confusion"]["conclusion"]["none"] == 1
    assert sum(metrics["confusion"]["give up"].values()) == 0
    assert metrics["faults"]["planner: decision"] == 2
    assert sum(metrics["faults"].values()) == 2


def test_both_definitions_stand_side_by_side(make_prediction: MakePrediction) -> None:
    """A call that the planner never decided on is right for the paper and wrong for us."""
    metrics = score_static([make_prediction("caller", CALL, StepOutput("Hm.", CALL.call))])
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


@given(st.lists(st.tuples(st.sampled_from(DECISIONS), *[OUTPUTS] * 3), max_size=4))
def test_whatever_is_written_gives_shares(steps: list[tuple[Decision, StepOutput, StepOutput, StepOutput]]) -> None:
    predictions = [
        Prediction(f"e/0.{i}", "e", "hand", i, 9, "", "", ("f", "g"), decision, reference, predicted, isolated)
        for i, (decision, reference, predicted, isolated) in enumerate(steps)
    ]
    metrics = score_static(predictions)
    values = [*metrics["paper"].values(), *(each["value"] for each in metrics["strict"].values())]
    assert all(value is None or 0 <= value <= 1 for value in values)
    assert sum(metrics["faults"].values()) + round(len(steps) * (metrics["strict"]["step_acc"]["value"] or 0)) == len(
        steps
    )
