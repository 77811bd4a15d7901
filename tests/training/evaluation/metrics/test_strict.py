from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.nodes.format.parsing import ParsedCall
from alpha_umi.training.evaluation.examples import StepOutput
from alpha_umi.training.evaluation.metrics.strict import Fault, score_call, score_calls, score_step
from tests.training.evaluation.conftest import MakePrediction

CALL = StepOutput("Next: caller.", 'Action: f\nAction Input: {"a": 1}')
ANSWER = StepOutput("Next: conclusion.", None, "The sum is 3.")
GIVE_UP = StepOutput("Next: give up.")


def call(text: str) -> StepOutput:
    return StepOutput("Next: caller.", text)


def test_a_right_call_scores_full_marks(make_prediction: MakePrediction) -> None:
    score = score_step(make_prediction("caller", CALL, CALL))
    ones = ("step_acc", "plan_acc", "act_em", "arg_f1", "call_em")
    assert score.values == {**dict.fromkeys(ones, 1.0), "hallu": 0.0}
    assert score.fault is None


def test_metrics_apply_by_reference_and_not_by_prediction(make_prediction: MakePrediction) -> None:
    outputs = [CALL, ANSWER, GIVE_UP, StepOutput("What?")]
    for decision, reference in (("caller", CALL), ("conclusion", ANSWER), ("give up", GIVE_UP)):
        applied = {frozenset(score_step(make_prediction(decision, reference, each)).values) for each in outputs}
        assert len(applied) == 1


def test_a_plan_without_a_decision_is_wrong_whatever_the_caller_did(make_prediction: MakePrediction) -> None:
    score = score_step(make_prediction("caller", CALL, StepOutput("I wait.", CALL.call)))
    assert (score.values["plan_acc"], score.values["act_em"], score.decision) == (0.0, 0.0, None)
    assert score.fault == "planner: decision"


@pytest.mark.parametrize("text", ["Hello.", "Action: \nAction Input: {}", 'Action: h\nAction Input: {"a": 1}'])
def test_a_missing_or_unknown_name_is_a_hallucination(make_prediction: MakePrediction, text: str) -> None:
    score = score_step(make_prediction("caller", CALL, call(text)))
    assert (score.values["hallu"], score.values["act_em"]) == (1.0, 0.0)


def test_a_missing_answer_scores_nothing(make_prediction: MakePrediction) -> None:
    for output in (GIVE_UP, StepOutput("Next: conclusion.", None, " ")):
        assert score_step(make_prediction("conclusion", ANSWER, output)).values["rouge_l"] == 0.0


def test_steps_without_reference_work_have_no_work_to_score(make_prediction: MakePrediction) -> None:
    for decision in ("caller", "conclusion", "give up"):
        bare = StepOutput(f"Next: {decision}.")
        score = score_step(make_prediction(decision, bare, bare))
        assert set(score.values) == {"step_acc", "plan_acc", "hallu"}


def test_the_given_decision_counts_and_not_what_the_reference_rationale_says(make_prediction: MakePrediction) -> None:
    reference = StepOutput("They said 'Next: give up.' but I go on. Next: caller.", CALL.call)
    assert score_step(make_prediction("caller", reference, CALL)).fault is None


@pytest.mark.parametrize(
    ("decision", "reference", "predicted", "isolated", "fault"),
    [
        ("caller", CALL, ANSWER, CALL, "planner: decision"),
        ("caller", CALL, call("Action: g\nAction Input: {}"), CALL, "planner: rationale"),
        ("caller", CALL, call("Action: g\nAction Input: {}"), call("Action: g\nAction Input: {}"), "caller: name"),
        # the right tool from the reference plan, though with wrong arguments: the name was lost by the plan
        (
            "caller",
            CALL,
            call("Action: g\nAction Input: {}"),
            call("Action: f\nAction Input: {}"),
            "planner: rationale",
        ),
        ("caller", CALL, call("Action: f\nAction Input: {}"), CALL, "planner: rationale"),
        ("caller", CALL, call("Action: f\nAction Input: {}"), call("Action: f"), "caller: arguments"),
        ("caller", CALL, call("Action: f\nAction Input: {}"), None, "caller: arguments"),
        ("caller", CALL, call("Action: g\nAction Input: {}"), None, "caller: name"),
        ("conclusion", ANSWER, StepOutput("Next: conclusion.", None, "No idea"), ANSWER, "planner: rationale"),
        ("conclusion", ANSWER, StepOutput("Next: conclusion.", None, "No idea"), None, "summarizer: answer"),
        ("conclusion", ANSWER, StepOutput("Next: conclusion.", None, "The sum is 4."), None, None),
        ("give up", GIVE_UP, GIVE_UP, GIVE_UP, None),
        ("give up", GIVE_UP, CALL, GIVE_UP, "planner: decision"),
    ],
)
def test_every_lost_step_has_one_to_blame(
    make_prediction: MakePrediction,
    decision: str,
    reference: StepOutput,
    predicted: StepOutput,
    isolated: StepOutput | None,
    fault: Fault | None,
) -> None:
    score = score_step(make_prediction(decision, reference, predicted, isolated))
    assert score.fault == fault
    assert score.values["step_acc"] == (fault is None)


def test_roles_alone_are_scored_beside_the_pipeline(make_prediction: MakePrediction) -> None:
    wrong = call("Action: h\nAction Input: {}")
    values = score_step(make_prediction("caller", CALL, wrong, CALL)).values
    assert (values["act_em"], values["hallu"]) == (0.0, 1.0)
    assert (values["caller.act_em"], values["caller.call_em"], values["caller.hallu"]) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("wanted", "done", "score"),
    [
        ({}, {}, 1.0),
        ({}, {"a": 1}, 0.0),
        ({"a": 1}, {}, 0.0),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}, 0.6),
        ({"a": 1}, {"a": 1.0}, 1.0),
        ({"a": 1}, {"a": True}, 0.5),
        ({"a": [1, {"b": 0}]}, {"a": [1.0, {"b": False}]}, 0.5),
        ({"a": "1"}, {"a": 1}, 0.5),
        ("{broken", "{broken", 1.0),
        ("{broken", "{other", 0.0),
        ({"a": 1}, "{broken", 0.0),
    ],
)
def test_arguments_score_as_worked_by_hand(
    wanted: dict[str, object] | str, done: dict[str, object] | str, score: float
) -> None:
    assert score_call(ParsedCall("f", wanted), ParsedCall("f", done)) == pytest.approx(score)
    assert score_call(ParsedCall("f", wanted), ParsedCall("g", done)) == 0.0


def test_calls_of_one_step_may_come_in_any_order() -> None:
    one, two = ParsedCall("f", {"a": 1}), ParsedCall("f", {"a": 2})
    assert score_calls([one, two], [two, one]) == 1.0
    assert score_calls([one, two], [two]) == pytest.approx(2 / 3)
    assert score_calls([one], [one, two]) == pytest.approx(2 / 3)
    assert score_calls([one], []) == 0.0


@given(
    st.lists(
        st.builds(ParsedCall, st.sampled_from("fg"), st.dictionaries(st.sampled_from("ab"), st.integers(0, 2))),
        min_size=1,
    ),
    st.lists(st.builds(ParsedCall, st.sampled_from("fg"), st.dictionaries(st.sampled_from("ab"), st.integers(0, 2)))),
)
def test_scores_of_calls_are_shares(wanted: list[ParsedCall], done: list[ParsedCall]) -> None:
    assert 0.0 <= score_calls(wanted, done) <= 1.0
    assert score_calls(wanted, wanted[::-1]) == 1.0
