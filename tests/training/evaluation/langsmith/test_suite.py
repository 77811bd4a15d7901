from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alpha_umi import declare_effects
from alpha_umi.errors import ConfigError, InputError
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.tools.toolbox import Toolbox
from alpha_umi.training.evaluation.evaluator import make_answer_scorer
from alpha_umi.training.evaluation.examples import Usage
from alpha_umi.training.evaluation.langsmith import EvalSuite, make_judging
from alpha_umi.training.evaluation.langsmith.suite import make_example, read_run
from alpha_umi.training.evaluation.suites import EvalOutcome

N_TASKS = 12


@pytest.fixture(scope="module", params=["builtin", "world"])
def suite(request: pytest.FixtureRequest) -> EvalSuite:
    return EvalSuite(request.param, n_tasks=N_TASKS)


def list_scores(feedback: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: each["score"] for each in feedback["results"]}


def test_examples_hold_request_tools_and_reference(suite: EvalSuite) -> None:
    assert len(suite.tasks) == N_TASKS
    for task in suite.tasks.values():
        inputs, outputs = make_example(task)
        assert json.loads(json.dumps([inputs, outputs])) == [inputs, outputs]
        texts = [message["content"] for message in inputs["messages"]] + inputs.get("follow_ups", [])
        assert texts == list(task.instructions)
        assert [message["content"] for message in outputs["messages"] if message["role"] == "user"] == texts
        offered = Toolbox(suite.make_tools(inputs)).specs
        assert [tool.to_openai() for tool in offered] == inputs["tools"]


def test_the_reference_itself_passes_every_check(suite: EvalSuite) -> None:
    for task in suite.tasks.values():
        scores = list_scores(suite.check(*make_example(task)))
        assert scores.pop("success") is True
        bad = {"wrong_effect", "false_refusal"}
        assert all(score == (key not in bad) for key, score in scores.items()), (task.key, scores)
        assert ("calls_exact" in scores) == (suite.name == "world-1")


def test_checks_score_as_eval_tasks_does(suite: EvalSuite) -> None:
    """Every run is set against every task, so that most are wrong, in many ways."""
    examples = [make_example(task) for task in suite.tasks.values()]
    causes = set()
    for inputs, _ in examples:
        task = suite.tasks[inputs["task"]]
        for other, (_, outputs) in zip(suite.tasks.values(), examples, strict=True):
            assert other.right is not None
            outcome = EvalOutcome(other.right, Usage(), outputs["finish"])
            row = make_answer_scorer().score(task, outcome)
            feedback = suite.check(inputs, outputs)
            assert list_scores(feedback) == {"success": row["success"], **row["checks"]}
            assert feedback["results"][0]["comment"] == row["cause"]
            causes.add(row["cause"])
    assert len(causes) > 4


def test_a_run_that_failed_is_no_success(suite: EvalSuite) -> None:
    for task in suite.tasks.values():
        assert list_scores(suite.check(make_example(task)[0], {}))["success"] is False


def test_gsm8k_has_answers_and_no_reference_calls(tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_text(json.dumps({"question": "How much is 6 times 7?", "answer": "It is 42.\n#### 42"}))
    suite = EvalSuite(f"gsm8k:{file}")
    assert suite.name == "gsm8k-problems"
    (task,) = suite.tasks.values()
    inputs, outputs = make_example(task)
    assert outputs == {"expected": ["42"], "finish": "answer"}
    assert [tool["function"]["name"] for tool in inputs["tools"]] == ["calculator"]
    for answer, success in (("It is 42.", True), ("42 is not 43.", False)):
        messages = [*inputs["messages"], {"role": "assistant", "content": answer}]
        assert list_scores(suite.check(inputs, {"messages": messages})) == {"success": success}


QUESTIONS = """
questions:
- question: How many bolts are left?
  calls: {count_stock: {item: {$any: [bolts, bolt]}}}
  answer: 1200
- question: Order some bolts, two boxes.
  calls: {order: {item: bolts, boxes: 2}}
- question: Order some.
  refuse: missing value
"""


def count_stock(item: str) -> str:
    """Count a part."""
    return "1200"


def order(item: str, boxes: int) -> str:
    """Order a part."""
    raise AssertionError("a tool with effects ran")


def test_questions_of_ones_own_are_a_suite(tmp_path: Path) -> None:
    file = tmp_path / "stock.yaml"
    file.write_text(QUESTIONS)
    suite = EvalSuite.from_questions(file, [declare_effects("none")(count_stock), order])
    assert suite.name == "stock"
    count, ordering, vague = (make_example(task) for task in suite.tasks.values())
    assert [tool["function"]["name"] for tool in count[0]["tools"]] == ["count_stock", "order"]
    assert [message["role"] for message in count[1]["messages"]] == ["user", "assistant", "tool", "assistant"]
    for inputs, outputs in (count, ordering, vague):
        said = {"role": "assistant", "content": "There are 1200."}
        scores = list_scores(suite.check(inputs, {**outputs, "messages": [*outputs["messages"][:-1], said]}))
        assert scores["success"] is True, inputs
    other = json.loads(json.dumps(count[1]).replace("bolts", "bolt"))
    other["messages"][-1]["content"] = "1,200."
    assert list_scores(suite.check(count[0], other))["calls_exact"] == 1.0
    assert list_scores(suite.check(count[0], ordering[1]))["wrong_effect"] == 1.0
    stand_in = next(tool for tool in suite.make_tools(ordering[0]) if tool.name == "order")
    assert "done" in stand_in.invoke({"item": "bolts", "boxes": 2})
    assert len(EvalSuite.from_questions(file, [count_stock, order], n_tasks=1).tasks) == 1


def test_examples_of_other_suites_are_refused() -> None:
    suite = EvalSuite("builtin", n_tasks=1)
    for task in ("builtin-1-1", "builtin-2-0", None):
        with pytest.raises(InputError, match=r"suite, seed and number of tasks of 'alpha-umi eval push'"):
            suite.make_tools({"messages": [], "task": task})
    with pytest.raises(ConfigError, match="Unknown suite"):
        EvalSuite("nothing").make_tools({"task": "1"})


@pytest.mark.parametrize(
    ("replies", "score", "value"),
    [(("Good.\nVERDICT: solved", "VERDICT: solved"), 1, "solved"), (("VERDICT: unsolved",) * 2, 0, "unsolved")],
)
def test_the_judge_reads_the_run(replies: tuple[str, ...], score: int, value: str) -> None:
    model = ScriptedChatModel(script=replies)
    inputs: dict[str, Any] = {
        "messages": [{"role": "user", "content": "Add 2 and 3!"}],
        "tools": [{"type": "function", "function": {"name": "add", "description": "Adds."}}],
    }
    answer = {"role": "assistant", "content": "It is 5."}
    feedback = make_judging(model, n_votes=2)(inputs, {"messages": [*inputs["messages"], answer], "finish": "answer"})
    assert feedback == {"key": "judge", "score": score, "value": value, "comment": "\n\n".join(replies)}
    asked = model.requests[0].messages[-1].text
    assert "<tool>add: Adds.</tool>" in asked
    assert "<answer>It is 5.</answer>" in asked


def test_the_judge_is_not_asked_about_runs_without_an_answer() -> None:
    inputs: dict[str, Any] = {"messages": [{"role": "user", "content": "Sing!"}], "follow_ups": ["Now!"]}
    assert read_run(inputs, {}) == Trajectory.from_row(
        {"tools": [], "turns": [{"instruction": "Sing!"}, {"instruction": "Now!"}]}
    )
    given_up = {"messages": [*inputs["messages"], {"role": "assistant", "content": "I cannot."}], "finish": "give up"}
    for outputs in ({}, given_up):
        feedback = make_judging(ScriptedChatModel(script=()))(inputs, outputs)
        assert (feedback["score"], feedback["comment"]) == (0, "There is no answer.")
