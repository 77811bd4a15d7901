from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alpha_umi.errors import ConfigError, ContextOverflow
from alpha_umi.nodes.format.trajectory import Call, Step, Trajectory, Turn
from alpha_umi.training.evaluation.evaluator import RunAgent, make_answer_scorer, render_tasks
from alpha_umi.training.evaluation.evaluator import evaluate_tasks as evaluate_agent
from alpha_umi.training.evaluation.examples import Usage
from alpha_umi.training.evaluation.metrics import compare, score_tasks
from alpha_umi.training.evaluation.result_folder import OUTCOMES
from alpha_umi.training.evaluation.suites import EvalOutcome, EvalTask


def evaluate_tasks(run: RunAgent, tasks: list[EvalTask], out: Path, **more: Any) -> dict[str, Any]:
    return evaluate_agent(run, tasks, out, scorer=make_answer_scorer(), **more)


TASKS = [
    EvalTask("t0", "single", ("What is 2 + 3?",), tuple, ("5",)),
    EvalTask("t1", "single", ("What is 3 + 3?",), tuple, ("6",)),
    EvalTask("t2", "no tool", ("Sing.",), tuple, None),
    EvalTask("t3", "no tool", ("Dance.",), tuple, None),
]
ANSWER = Step("Done.", "conclusion", answer="It is 5.")
GIVE_UP = Step("I cannot.", "give up")
CALL = Step("I add.", "caller", (Call("c", "add", {}),))


def make_outcome(*steps: Step, finish: str = "answer") -> EvalOutcome:
    return EvalOutcome(Trajectory((), (Turn("?", steps),)), Usage(100, 40, 10), finish)


def answer_five(task: EvalTask) -> EvalOutcome:
    return make_outcome(CALL, ANSWER) if task.key != "t2" else make_outcome(GIVE_UP, finish="give up")


def test_outcomes_are_checked_and_costs_added(tmp_path: Path) -> None:
    metrics = evaluate_tasks(answer_five, TASKS, tmp_path, identity={"seed": 1})
    means = {name: value["value"] for name, value in metrics["strict"].items()}
    assert (means["success"], means["solved"], means["refused"], means["gave_up_wrongly"]) == (0.5, 0.5, 0.5, 0.0)
    assert (means["calls"], means["input_tokens"], means["cached_tokens"], means["output_tokens"]) == (
        0.75,
        100,
        40,
        10,
    )
    assert metrics["by_kind"]["no tool"]["success"]["value"] == 0.5
    assert metrics["by_kind"]["no tool"]["solved"]["n"] == 0
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())


def test_certainty_is_set_against_what_was_right(tmp_path: Path) -> None:
    tasks = [EvalTask(f"t{i}", "single", (f"{i}?",), tuple, ("5",) if i % 2 else ("6",)) for i in range(40)]

    def run(task: EvalTask) -> EvalOutcome:
        return replace(make_outcome(ANSWER), certainty=0.9 if int(task.key[1:]) % 2 else 0.45)

    metrics = evaluate_tasks(run, [*tasks, replace(tasks[0], key="t40")], tmp_path, identity={})
    certainty = metrics["certainty"]
    assert certainty["n"] == 41
    assert [each["right"]["value"] for each in certainty["bins"]] == [0.0, 0.0, 0.9, 1.0]
    shares = {each["below"]: (each["asked"], each["right"]["value"]) for each in certainty["asked"]}
    assert shares[0.5] == shares[0.9] == (pytest.approx(21 / 41), 1.0)
    assert shares[0.95] == (1.0, None)
    lines = [line.split() for line in render_tasks(metrics).splitlines()]
    assert ["0.7", "51.2", "100.0", "[83.9,", "100.0]", "20"] in lines


def test_without_certainties_nothing_is_said_of_them(tmp_path: Path) -> None:
    metrics = evaluate_tasks(answer_five, TASKS, tmp_path, identity={})
    assert metrics["certainty"] == {"n": 0, "bins": [], "asked": []}
    assert "unsure" not in render_tasks(metrics)


@pytest.mark.parametrize("outcome", [make_outcome(), EvalOutcome(Trajectory((), ()), Usage()), make_outcome(CALL)])
def test_an_agent_that_never_came_to_an_end_is_wrong_either_way(tmp_path: Path, outcome: EvalOutcome) -> None:
    assert (outcome.trajectory.answer, outcome.trajectory.gave_up) == (None, False)
    metrics = evaluate_tasks(lambda task: outcome, TASKS, tmp_path, identity={})
    assert metrics["strict"]["success"]["value"] == 0.0


def test_a_right_answer_is_not_what_an_impossible_task_wants(tmp_path: Path) -> None:
    gives_up = evaluate_tasks(lambda task: make_outcome(GIVE_UP), TASKS, tmp_path, identity={})
    means = {name: value["value"] for name, value in gives_up["strict"].items()}
    assert (means["solved"], means["refused"], means["gave_up_wrongly"]) == (0.0, 1.0, 1.0)


def test_a_killed_run_goes_on_and_other_settings_are_refused(tmp_path: Path) -> None:
    asked: list[str] = []

    def die(task: EvalTask) -> EvalOutcome:
        asked.append(task.key)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return answer_five(task)

    with pytest.raises(KeyboardInterrupt):
        evaluate_tasks(die, TASKS, tmp_path, identity={"seed": 1})
    metrics = evaluate_tasks(die, TASKS, tmp_path, identity={"seed": 1})
    assert asked == ["t0", "t1", "t2", "t2", "t3"]
    assert metrics["n_tasks"] == 4
    with pytest.raises(ConfigError, match="seed"):
        evaluate_tasks(die, TASKS, tmp_path, identity={"seed": 2})


def test_a_prompt_that_does_not_fit_is_a_failed_task(tmp_path: Path) -> None:
    def overflow(task: EvalTask) -> EvalOutcome:
        raise ContextOverflow("too long")

    metrics = evaluate_tasks(overflow, TASKS, tmp_path, identity={})
    assert (metrics["n_overflowed"], metrics["strict"]["success"]["value"]) == (4, 0.0)
    assert json.loads((tmp_path / OUTCOMES).read_text().splitlines()[0])["error"] == "too long"


def test_no_tasks_have_no_scores() -> None:
    metrics = score_tasks([])
    assert (metrics["n_tasks"], metrics["strict"]["success"]["value"]) == (0, None)


def test_live_runs_are_compared_by_task(tmp_path: Path) -> None:
    evaluate_tasks(answer_five, TASKS, tmp_path / "a", identity={})
    evaluate_tasks(lambda task: make_outcome(GIVE_UP), TASKS, tmp_path / "b", identity={})
    by_metric = {each.metric: each for each in compare(tmp_path / "a", tmp_path / "b", n_resamples=100)}
    assert (by_metric["success"].a, by_metric["success"].b) == (0.5, 0.5)
    assert by_metric["refused"].difference.value == 0.5
    assert by_metric["calls"].difference.value == -0.75


def test_several_tasks_at_a_time_give_the_same_outcomes(tmp_path: Path) -> None:
    one = evaluate_tasks(answer_five, TASKS, tmp_path / "one", identity={})
    many = evaluate_tasks(answer_five, TASKS, tmp_path / "many", identity={}, n_workers=3)
    for metrics in (one, many):
        del metrics["strict"]["seconds"]
    assert many["strict"] == one["strict"]


def test_other_tasks_under_the_same_ids_are_refused(tmp_path: Path) -> None:
    evaluate_tasks(answer_five, TASKS, tmp_path, identity={})
    with pytest.raises(ConfigError, match="t0"):
        evaluate_tasks(answer_five, [replace(TASKS[0], expected=("6",))], tmp_path, identity={})
