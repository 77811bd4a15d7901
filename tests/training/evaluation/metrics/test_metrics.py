from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import DECISIONS, Decision
from alpha_umi.training.evaluation.examples import Prediction, StepOutput
from alpha_umi.training.evaluation.metrics import (
    compare,
    estimate,
    estimate_difference,
    render_comparison,
    score_static,
)
from alpha_umi.training.evaluation.result_folder import PREDICTIONS
from tests.training.evaluation.conftest import MakePrediction, MakeRun


def test_estimate_of_nothing_is_nothing() -> None:
    empty = estimate([])
    assert (empty.value, empty.low, empty.high, empty.n) == (None, None, None, 0)


def test_one_cluster_has_no_interval() -> None:
    one = estimate([("a", 1.0), ("a", 0.0)])
    assert (one.value, one.low, one.high, one.n) == (0.5, None, None, 2)


def test_mean_is_over_observations_and_not_over_clusters() -> None:
    assert estimate([("a", 1.0), ("b", 0.0), ("b", 0.0), ("b", 0.0)]).value == 0.25


@pytest.mark.parametrize("value", [1.0, 0.9])  # a share has Wilson's interval, another mean that of the bootstrap
def test_interval_of_independent_values_is_the_normal_one(value: float) -> None:
    values = [(str(i), value * (i % 2)) for i in range(400)]
    found = estimate(values, n_resamples=4000)
    assert found.low == pytest.approx(value * (0.5 - 1.96 * 0.025), abs=0.006)
    assert found.high == pytest.approx(value * (0.5 + 1.96 * 0.025), abs=0.006)


def test_shares_without_a_hit_or_a_miss_are_not_certain() -> None:
    """The figures are those of Wilson's formula worked out by hand."""
    none, all_ = (estimate([(str(i), value) for i in range(20)]) for value in (0.0, 1.0))
    assert none.low == pytest.approx(0.0)
    assert none.high == pytest.approx(0.1611, abs=1e-4)
    assert all_.low == pytest.approx(0.8389, abs=1e-4)
    assert all_.high == pytest.approx(1.0)


def test_steps_that_fail_together_widen_the_interval() -> None:
    alone = estimate([(str(i), float(i % 2)) for i in range(200)])
    together = estimate([(str(i % 20), float(i % 2)) for i in range(200)])
    assert together.value == alone.value
    assert together.high is not None
    assert together.low is not None
    assert alone.high is not None
    assert alone.low is not None
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_equal_seeds_give_equal_intervals() -> None:
    values = [(str(i), random.Random(i).random()) for i in range(30)]
    assert estimate(values, seed=1) == estimate(values, seed=1)
    assert estimate(values, seed=1) != estimate(values, seed=2)


def test_difference_is_paired() -> None:
    """B is better by the same small amount everywhere, which unpaired intervals would not show."""
    a = {str(i): (str(i), i / 10) for i in range(20)}
    b = {key: (cluster, value + 0.01) for key, (cluster, value) in a.items()}
    found = estimate_difference(a, b, n_resamples=1000)
    assert found.value == pytest.approx(0.01)
    assert found.low == pytest.approx(0.01)
    assert found.p == pytest.approx(2 / 1001)


def test_no_difference_is_not_significant() -> None:
    a = {str(i): (str(i), float(i % 2)) for i in range(20)}
    assert estimate_difference(a, a).p == 1.0
    assert estimate_difference(a, {}).value is None


def test_difference_is_over_common_keys() -> None:
    a = {"1": ("1", 0.0), "2": ("2", 0.0), "3": ("3", 1.0)}
    b = {"1": ("1", 1.0), "2": ("2", 1.0), "4": ("4", 0.0)}
    found = estimate_difference(a, b)
    assert (found.value, found.n) == (1.0, 2)


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


def test_a_run_equals_itself(make_run: MakeRun) -> None:
    run = make_run("a")
    for each in compare(run, run, n_resamples=100):
        assert (each.a, each.difference.value) == (each.b, 0.0)


def test_a_better_run_has_positive_differences(make_run: MakeRun) -> None:
    good = make_run("good")
    bad = make_run("bad", lambda role, text: text.replace('"a":', '"b":'))
    by_metric = {each.metric: each for each in compare(bad, good, n_resamples=500)}
    call_em = by_metric["call_em"]
    assert (call_em.a, call_em.b, call_em.difference.value, call_em.difference.n) == (0.0, 1.0, 1.0, 5)
    assert by_metric["act_em"].difference.value == 0.0
    assert call_em.difference.p is not None
    assert call_em.difference.p < 0.05


def test_only_common_steps_are_compared(make_run: MakeRun) -> None:
    whole, part = make_run("whole"), make_run("part", lambda role, text: "")
    lines = (part / PREDICTIONS).read_text().splitlines(keepends=True)
    (part / PREDICTIONS).write_text("".join(lines[:4]))
    by_metric = {each.metric: each for each in compare(part, whole, n_resamples=100)}
    assert by_metric["plan_acc"].difference.n == 4


def test_runs_on_other_data_are_not_compared(make_run: MakeRun) -> None:
    a, b = make_run("a"), make_run("b")
    rows = [json.loads(line) for line in (b / PREDICTIONS).read_text().splitlines()]
    (b / PREDICTIONS).write_text("".join(json.dumps({**row, "instruction": "Else."}) + "\n" for row in rows))
    with pytest.raises(ConfigError, match="different questions"):
        compare(a, b)
    (b / PREDICTIONS).write_text("".join(json.dumps({**row, "key": f"x{row['key']}"}) + "\n" for row in rows))
    with pytest.raises(ConfigError, match="no step or task in common"):
        compare(a, b)


def test_what_is_no_result_is_not_compared(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"kind": "scaling"}')
    with pytest.raises(ConfigError, match="no result"):
        compare(make_run("a"), tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        compare(tmp_path / "nothing", tmp_path)


def test_results_of_two_kinds_are_not_compared(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"kind": "tasks"}')
    (tmp_path / "outcomes.jsonl").touch()
    with pytest.raises(ConfigError, match=r"of 'eval static', .* those of 'eval tasks'"):
        compare(make_run("a"), tmp_path)


def test_a_comparison_marks_what_is_significant(make_run: MakeRun) -> None:
    good, bad = make_run("good"), make_run("bad", lambda role, text: "")
    table = render_comparison(compare(bad, good, n_resamples=100))
    assert next(line for line in table.splitlines() if line.startswith("plan_acc")).count("*") == 1
    assert "*" not in render_comparison(compare(good, good, n_resamples=100))
