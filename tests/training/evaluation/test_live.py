from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from alpha_umi.errors import ConfigError, ContextOverflow, ModelNotAvailable
from alpha_umi.nodes.format.trajectory import Call, Step, Trajectory, Turn
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.training.data.files import read_records
from alpha_umi.training.evaluation.evaluator import RunAgent, evaluate_tasks, make_live_scorer, render_live
from alpha_umi.training.evaluation.examples import Usage
from alpha_umi.training.evaluation.judge import VERDICTS, Judge
from alpha_umi.training.evaluation.metrics import compare
from alpha_umi.training.evaluation.metrics.published import load_table_2
from alpha_umi.training.evaluation.report import write_live_page, write_report
from alpha_umi.training.evaluation.result_folder import OUTCOMES
from alpha_umi.training.evaluation.suites import Check, EvalOutcome, EvalTask

TABLE_2 = load_table_2()


def count_calls(trajectory: Trajectory) -> dict[str, float]:
    n_calls = sum(len(step.calls) for turn in trajectory.turns for step in turn.steps)
    return {"solved": float(n_calls == 1), "completeness": float(n_calls > 0)}


def make_task(group: str, query_id: str, query: str, check: Check | None = None) -> EvalTask:
    return EvalTask(f"{group}/{query_id}", group, (query,), list, check=check)


TASKS = [
    make_task(group, str(number), f"Question {number} of {group}?", count_calls)
    for group in ("G1_tool", "mine")
    for number in range(3)
]


def make_outcome(task: EvalTask, answer: str | None = "It is 5.", **more: Any) -> EvalOutcome:
    call = Step("I add.", "caller", (Call("c", "add", {}),))
    end = Step("No.", "give up") if answer is None else Step("", "conclusion", answer=answer)
    finish = "give up" if answer is None else "answer"
    return EvalOutcome(Trajectory((), (Turn(task.instructions[0], (call, end)),)), Usage(100, 40, 10), finish, **more)


def make_judge(*replies: str, n_votes: int = 1, **identity: Any) -> tuple[Judge, ScriptedChatModel]:
    model = ScriptedChatModel(script=replies)
    return Judge(model, n_votes, identity={"judge": "test", **identity}), model


def evaluate(
    out: Path,
    run: RunAgent = make_outcome,
    tasks: list[EvalTask] = TASKS,
    judge: Judge | None = None,
    reference: Path | None = None,
    **more: Any,
) -> dict[str, Any]:
    scorer = make_live_scorer("react", judge, reference)
    return evaluate_tasks(run, tasks, out, scorer=scorer, **{"identity": {"suite": "test"}} | more)


def read_rows(path: Path) -> dict[str, Any]:
    return {row["key"]: row for _, row in read_records(path)}


def test_outcomes_are_checked_converted_and_counted(tmp_path: Path) -> None:
    metrics = evaluate(tmp_path, lambda task: make_outcome(task, None if task.key.endswith("/2") else "5"))
    overall = {name: each["value"] for name, each in metrics["overall"].items()}
    assert (overall["solved"], overall["completeness"], overall["answered"]) == (1.0, 1.0, pytest.approx(2 / 3))
    assert (overall["calls"], overall["input_tokens"], overall["passed"]) == (1.0, 100.0, None)
    assert (metrics["n_tasks"], metrics["n_failed"], metrics["ends"]) == (6, 0, {"answer": 4, "give up": 2})
    assert list(metrics["by_group"]) == ["G1_tool", "mine"]
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())
    answers = json.loads((tmp_path / "answers/G1_tool.json").read_text())
    assert list(answers) == ["0", "1", "2"]
    assert answers["0"]["query"] == "Question 0 of G1_tool?"


@pytest.mark.parametrize("n_workers", [1, 3])
def test_a_failing_query_is_recorded_and_tried_again(tmp_path: Path, n_workers: int) -> None:
    failing = {"G1_tool/1": ContextOverflow("too long"), "mine/0": RuntimeError("server died")}
    asked: list[str] = []

    def run(task: EvalTask) -> EvalOutcome:
        asked.append(task.key)
        if task.key in failing:
            raise failing[task.key]
        return make_outcome(task)

    metrics = evaluate(tmp_path, run, n_workers=n_workers)
    assert (metrics["n_failed"], metrics["overall"]["answered"]["value"]) == (2, pytest.approx(4 / 6))
    assert (metrics["overall"]["answered"]["n"], metrics["overall"]["calls"]["n"]) == (6, 4)
    assert read_rows(tmp_path / OUTCOMES)["mine/0"]["error"] == "RuntimeError: server died"
    assert "2 failed" in render_live(metrics)
    asked.clear()
    del failing["mine/0"]
    assert evaluate(tmp_path, run)["n_failed"] == 1
    assert asked == ["G1_tool/1", "mine/0"]


@pytest.mark.parametrize("error", [ConfigError("no server"), ModelNotAvailable("no weights")])
def test_what_is_wrong_with_every_query_stops_the_run(tmp_path: Path, error: Exception) -> None:
    def run(task: EvalTask) -> EvalOutcome:
        raise error

    with pytest.raises(type(error)):
        evaluate(tmp_path, run, n_workers=2)


def test_a_killed_run_goes_on_and_other_settings_or_queries_are_refused(tmp_path: Path) -> None:
    asked: list[str] = []

    def die(task: EvalTask) -> EvalOutcome:
        asked.append(task.key)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return make_outcome(task)

    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path, die)
    assert evaluate(tmp_path, die)["n_tasks"] == 6
    assert len(asked) == 7
    with pytest.raises(ConfigError, match="suite"):
        evaluate(tmp_path, die, identity={"suite": "other"})
    changed = [make_task("mine", "0", "Another question?")]
    with pytest.raises(ConfigError, match="another query 'mine/0'"):
        evaluate(tmp_path, die, changed)


def test_several_workers_run_queries_in_threads_at_the_same_time(tmp_path: Path) -> None:
    meeting = threading.Barrier(3)
    names: set[str] = set()

    def run(task: EvalTask) -> EvalOutcome:
        meeting.wait(timeout=120)
        names.add(threading.current_thread().name)
        return make_outcome(task)

    evaluate(tmp_path, run, n_workers=3)
    assert len(names) == 3


def test_a_search_tree_is_kept_beside_the_answers(tmp_path: Path) -> None:
    tasks = [*TASKS, make_task("mine", "../../1", "?")]
    evaluate(tmp_path / "out", lambda task: make_outcome(task, tree={"tree": task.key}), tasks)
    assert json.loads((tmp_path / "out/trees/mine/1.json").read_text()) == {"tree": "mine/1"}
    assert sorted(path.name for path in (tmp_path / "out/trees/mine").iterdir()) == [
        ".._.._1.json",
        "0.json",
        "1.json",
        "2.json",
    ]


def test_the_judge_passes_answers_and_is_not_asked_about_none(tmp_path: Path) -> None:
    judge, model = make_judge("VERDICT: solved", "VERDICT: unsolved", "what?", "what?", "VERDICT: solved")
    metrics = evaluate(tmp_path, lambda task: make_outcome(task, None if task.key.endswith("/2") else "5"), judge=judge)
    assert len(model.requests) == 5
    overall = metrics["overall"]
    assert (overall["passed"]["value"], overall["unsure"]["value"]) == (pytest.approx(2 / 6), pytest.approx(1 / 6))
    assert metrics["by_group"]["G1_tool"]["passed"]["value"] == pytest.approx(1 / 3)
    verdicts = read_rows(tmp_path / "pass" / VERDICTS)
    assert verdicts["mine/0"]["verdict"] == "unsure"
    assert verdicts["mine/0"]["votes"] == [{"choice": "unsure", "texts": ["what?", "what?"], "swapped": False}]
    assert (verdicts["mine/2"]["verdict"], verdicts["mine/2"]["votes"]) == ("unsolved", [])


def test_a_judge_that_cannot_be_reached_is_asked_again_next_time(tmp_path: Path) -> None:
    def say(role: str, messages: list[Any]) -> str:
        if is_down and "Question 1" in messages[1].text:
            raise TimeoutError("no route")
        return "VERDICT: solved"

    is_down = True
    model = ScriptedChatModel(script=say, role="summarizer")
    judge = Judge(model, 1, identity={"judge": "test"}, n_workers=2)
    metrics = evaluate(tmp_path, judge=judge)
    assert (metrics["n_unjudged"], metrics["overall"]["passed"]["n"]) == (2, 4)
    assert "2 verdicts are missing" in render_live(metrics)
    n_asked = len(model.requests)
    is_down = False
    metrics = evaluate(tmp_path, judge=judge)
    assert (metrics["n_unjudged"], metrics["overall"]["passed"]["value"]) == (0, 1.0)
    assert len(model.requests) == n_asked + 2
    with pytest.raises(ConfigError, match="judge"):
        evaluate(tmp_path, judge=make_judge(judge="another")[0])


def test_a_run_that_changed_is_judged_again(tmp_path: Path) -> None:
    def fail(task: EvalTask) -> EvalOutcome:
        raise RuntimeError("died")

    tasks = TASKS[:1]
    assert evaluate(tmp_path, fail, tasks, judge=make_judge()[0])["overall"]["passed"]["value"] == 0.0
    assert evaluate(tmp_path, tasks=tasks, judge=make_judge("VERDICT: solved")[0])["overall"]["passed"]["value"] == 1.0


def test_wins_are_against_a_reference_and_ties_count_half(tmp_path: Path) -> None:
    evaluate(tmp_path / "other", lambda task: make_outcome(task, "6"), TASKS[:3])

    def say(role: str, messages: list[Any]) -> str:
        text = messages[1].text
        if "<run_a>" not in text:
            return "VERDICT: solved"
        ours = "A" if text.index("It is 5.") < text.index(">6<") else "B"
        return "BETTER: tie" if "Question 1" in text else f"BETTER: {ours}"

    judge = Judge(ScriptedChatModel(script=say, role="summarizer"), 2, identity={"judge": "test"})
    metrics = evaluate(tmp_path / "ours", judge=judge, reference=tmp_path / "other")
    won = metrics["overall"]["won"]
    assert (won["value"], won["n"], metrics["n_ties"]) == (pytest.approx(5 / 6), 3, 1)
    with pytest.raises(ConfigError, match="answers none of these queries"):
        evaluate(tmp_path / "ours", tasks=TASKS[3:], judge=judge, reference=tmp_path / "other")


def test_two_runs_without_an_answer_are_a_tie_without_asking(tmp_path: Path) -> None:
    def give_up(task: EvalTask) -> EvalOutcome:
        return make_outcome(task, None)

    evaluate(tmp_path / "other", give_up)
    metrics = evaluate(tmp_path / "ours", give_up, judge=make_judge()[0], reference=tmp_path / "other")
    assert (metrics["overall"]["won"]["value"], metrics["n_ties"]) == (0.5, 6)


@pytest.mark.parametrize("row", TABLE_2.rows)
def test_rows_of_the_paper_have_its_averages(row: Any) -> None:
    for rates, average in ((row.passed, row.average_passed), (row.won, row.average_won)):
        if rates is not None:
            assert sum(rates) / len(TABLE_2.columns) == pytest.approx(average, abs=0.06)


def test_the_page_shows_our_run_beside_the_paper(tmp_path: Path) -> None:
    tasks = [make_task(group, "1", "?") for group in TABLE_2.columns]
    evaluate(tmp_path / "run", tasks=tasks, judge=make_judge(*["VERDICT: solved"] * 6)[0])
    write_live_page(tmp_path / "run")
    page = (tmp_path / "run/live.md").read_text()
    assert "| **run** | **100.0 / –** |" in page
    assert "| α-UMi 7B DFSDT | – / – | – / – | – / – | – / – | – / – | – / – | 70.9 / 65.9 |" in page
    assert all(name in page for name in TABLE_2.columns.values())
    report = write_report([tmp_path / "run"], tmp_path / "report")
    assert "ToolLLaMA DFSDT" in report.read_text()


def test_a_suite_of_ones_own_is_not_set_beside_the_paper(tmp_path: Path) -> None:
    metrics = evaluate(tmp_path, tasks=TASKS[3:])
    write_live_page(tmp_path)
    assert "Table 2" not in (tmp_path / "live.md").read_text()
    assert "mine, %" in render_live(metrics)


def test_live_runs_are_compared_query_by_query(tmp_path: Path) -> None:
    ask: RunAgent = make_outcome
    evaluate(tmp_path / "a", ask)
    evaluate(tmp_path / "b", lambda task: make_outcome(task, None))
    by_metric = {each.metric: each for each in compare(tmp_path / "a", tmp_path / "b", n_resamples=100)}
    assert by_metric["answered"].difference.value == -1.0
