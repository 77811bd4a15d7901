"""The LangSmith loop against a local sink: `eval push`, then `langsmith.evaluate` of an agent on the dataset."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from langchain_core.messages import BaseMessage
from langsmith import Client, aevaluate, configure, evaluate
from openevals.trajectory.match import create_trajectory_match_evaluator

from alpha_umi import as_target, create_umi_agent
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.format.render import render_calls, render_plan
from alpha_umi.nodes.format.trajectory import Role, Step
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.training.evaluation.langsmith import EvalSuite, make_judging, make_trajectory_match
from alpha_umi.training.evaluation.langsmith.match import MatchMode
from tests.cli.conftest import Umi
from tests.langsmith_sink import KEY, Sink, run_sink
from tests.test_docs import list_blocks

PAGE = Path(__file__).resolve().parents[2] / "docs" / "langsmith.md"
N_TASKS = 8
GIVE_UP = Step("I would rather not.", "give up")


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    monkeypatch.setenv("LANGSMITH_DISABLE_RUN_COMPRESSION", "true")
    monkeypatch.setenv("LANGSMITH_API_KEY", KEY)
    with run_sink() as sink:
        monkeypatch.setenv("LANGSMITH_ENDPOINT", sink.url)
        yield sink


@pytest.fixture(scope="module")
def suite() -> EvalSuite:
    return EvalSuite("builtin", n_tasks=N_TASKS, seed=2)


def play(suite: EvalSuite, *, wrong: str) -> UmiAgent:
    """Make an agent that has the right way through each task by heart, and gives up the task `wrong`."""
    ways: Mapping[str, tuple[Step, ...]] = {
        turn.instruction: (GIVE_UP,) if task.key == wrong else turn.steps
        for task in suite.tasks.values()
        if task.right
        for turn in task.right.turns
    }

    def say(role: Role, messages: list[BaseMessage]) -> str:
        roles = [getattr(message, "role", message.type) for message in messages]
        asked = max(i for i, each in enumerate(roles) if each == "user")
        said = roles[asked:].count("planner")
        step = ways[messages[asked].text][said - (role != "planner")]
        if role == "planner":
            return render_plan(step.rationale, step.decision)
        return step.answer or "" if role == "summarizer" else render_calls(step.calls)

    return create_umi_agent(ScriptedChatModel(script=say), [])


def push(umi: Umi) -> str:
    done = umi("eval", "push", "--limit", str(N_TASKS), "--seed", "2")
    assert done.code == 0, done.err
    return done.out


def test_a_dataset_is_pushed_once(umi: Umi, sink: Sink) -> None:
    assert push(umi) == "Dataset alpha-umi-builtin-2: 8 examples created, 0 updated, 0 unchanged\n"
    assert push(umi) == "Dataset alpha-umi-builtin-2: 0 examples created, 0 updated, 8 unchanged\n"
    done = umi("eval", "push", "--dataset", "few", "--limit", "2")
    assert done.out == "Dataset few: 2 examples created, 0 updated, 0 unchanged\n"
    assert {each["name"] for each in sink.datasets.values()} == {"alpha-umi-builtin-2", "few"}


def test_without_a_key_it_says_what_to_set(umi: Umi, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANGSMITH_API_KEY")
    for command in (
        ("eval", "push", "--suite", "questions:missing.yaml"),
        ("traces", "export", "--project", "p", "--out", "o.jsonl", "--tools", "nothing:HERE"),
    ):
        done = umi(*command)
        assert (done.code, done.out) == (2, "")
        assert "LANGSMITH_API_KEY is not set" in done.err
    assert not sink.requests


def test_questions_of_ones_own_are_pushed(
    umi: Umi, sink: Sink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stock.yaml").write_text(
        "questions:\n- question: What is 2 + 3?\n  calls: {calculator: {expression: 2 + 3}}\n"
    )
    done = umi("eval", "push", "--suite", "questions:stock.yaml", "--tools", "builtin:calculator")
    assert done.out == "Dataset alpha-umi-stock: 1 examples created, 0 updated, 0 unchanged\n", done.err
    (example,) = sink.examples.values()
    assert [tool["function"]["name"] for tool in example["inputs"]["tools"]] == ["calculator"]
    done = umi("eval", "push", "--suite", "questions:stock.yaml", "--tools", "builtin:calendar")
    assert (done.code, done.out) == (2, "")
    assert "stock.yaml" in done.err


@pytest.fixture
def client(sink: Sink) -> Iterator[Client]:
    """LangSmith's client where a program names none."""
    client = sink.make_client()
    configure(client=client)
    yield client
    client.flush()
    configure(client=None)


def test_the_page_on_the_loop_runs(umi: Umi, client: Client) -> None:
    (block,) = list_blocks("python", PAGE.read_text(encoding="utf-8"))
    assert umi("eval", "push", "--limit", "4").code == 0
    code = block.replace('"hf:smollm2-135m-umi"', "model").replace("n_tasks=100", "n_tasks=4")
    namespace: dict[str, Any] = {"model": ScriptedChatModel(script=lambda role, messages: "I cannot.\nNext: give up.")}
    exec(compile(code, PAGE.name, "exec", dont_inherit=True), namespace)
    assert len(list(namespace["results"])) == 4


def test_unknown_suites_are_told(umi: Umi, sink: Sink) -> None:
    done = umi("eval", "push", "--suite", "nothing")
    assert (done.code, done.out) == (2, "")
    assert "give builtin, world" in done.err


@pytest.mark.parametrize("is_async", [False, True])
def test_evaluate_runs_to_its_end(umi: Umi, sink: Sink, suite: EvalSuite, is_async: bool) -> None:
    push(umi)
    client, wrong = sink.make_client(), next(key for key, task in suite.tasks.items() if task.group == "single")
    target = as_target(play(suite, wrong=wrong), suite.make_tools)
    judge = ScriptedChatModel(script=lambda role, messages: "VERDICT: solved", role="summarizer")
    modes = get_args(MatchMode)
    evaluators: list[Any] = [suite.check, make_judging(judge, 1)]
    evaluators += [make_trajectory_match(mode) for mode in modes]
    evaluators += [_rename(create_trajectory_match_evaluator(trajectory_match_mode=mode)) for mode in modes]
    given: dict[str, Any] = {"data": "alpha-umi-builtin-2", "evaluators": evaluators, "client": client}
    given |= {"experiment_prefix": "loop", "max_concurrency": 2}
    results = asyncio.run(_evaluate_async(target, given)) if is_async else list(evaluate(target, **given))
    client.flush()

    examples = {each["inputs"]["task"]: each for each in sink.examples.values()}
    feedback = sink.list_feedback("loop")
    assert len(results) == len(examples) == N_TASKS
    for key, example in examples.items():
        scores = {name: each["score"] for (id_, name), each in feedback.items() if id_ == example["id"]}
        is_right, gives_up = key != wrong, suite.tasks[key].expected is None
        assert scores["success"] == is_right
        assert scores["judge"] == (is_right and not gives_up)  # it is not asked about runs without an answer
        for mode in modes:
            assert scores[f"trajectory_{mode}_match"] == scores[f"openevals_{mode}"] == (is_right or mode == "subset")
    (cause,) = (each["comment"] for (id_, name), each in feedback.items() if name == "success" and each["comment"])
    assert cause == "gave up though it could be done"
    roots = [run for run in sink.runs.values() if run.get("reference_example_id")]
    assert {run["reference_example_id"] for run in roots} == {each["id"] for each in examples.values()}
    assert all(run["outputs"]["usage"]["total_tokens"] > 0 for run in roots)
    names = {run["name"] for run in sink.runs.values() if run.get("parent_run_id") in {run["id"] for run in roots}}
    assert names == {"alpha-umi"}


async def _evaluate_async(target: Any, given: dict[str, Any]) -> list[Any]:
    return [result async for result in await aevaluate(target, **given)]


def _rename(evaluator: Any) -> Any:
    """Tell what openevals says from what we say."""

    def openevals(outputs: dict[str, Any], reference_outputs: dict[str, Any]) -> dict[str, Any]:
        result = evaluator(outputs=outputs, reference_outputs=reference_outputs)
        return {**result, "key": result["key"].replace("trajectory_", "openevals_").removesuffix("_match")}

    return openevals


def test_a_run_that_fails_is_scored_too(umi: Umi, sink: Sink, suite: EvalSuite, tmp_path: Path) -> None:
    push(umi)

    def fail(role: Role, messages: list[BaseMessage]) -> str:
        raise ConnectionError("the model is away")

    agent, client = create_umi_agent(ScriptedChatModel(script=fail), []), sink.make_client()
    evaluators: list[Any] = [suite.check, make_trajectory_match(), make_judging(ScriptedChatModel(script=()))]
    results = evaluate(
        as_target(agent, suite.make_tools),
        data="alpha-umi-builtin-2",
        evaluators=evaluators,
        client=client,
        experiment_prefix="away",
    )
    assert len(list(results)) == N_TASKS
    client.flush()
    feedback = sink.list_feedback("away")
    for key in ("success", "trajectory_strict_match", "judge"):
        assert [each["score"] for (_, name), each in feedback.items() if name == key] == [0] * N_TASKS
