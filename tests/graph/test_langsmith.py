"""The trace that LangSmith receives, read by a local sink."""

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tracers import LangChainTracer

from alpha_umi import Trajectory, create_umi_agent
from alpha_umi.nodes.models.scripted import Outputs, ScriptedChatModel, replay
from tests.langsmith_sink import run_sink

SCRIPT: Outputs = {
    "planner": ["I add.\nNext: caller.", "I know.\nNext: conclusion."],
    "caller": ['Action: add\nAction Input: {"a": 2, "b": 3}'],
    "summarizer": ["The sum is 5."],
}


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture(scope="module")
def runs() -> Iterator[list[dict[str, Any]]]:
    with pytest.MonkeyPatch.context() as patch, run_sink() as sink:
        patch.setenv("LANGSMITH_DISABLE_RUN_COMPRESSION", "true")
        client = sink.make_client()
        tracer = LangChainTracer(client=client, project_name="test")
        agent = create_umi_agent(ScriptedChatModel(script=replay(SCRIPT)), [add])
        agent.invoke(
            {"messages": [HumanMessage("What is 2 + 3?")]},
            {"callbacks": [tracer], "configurable": {"thread_id": "thread-7"}},
        )
        tracer.wait_for_futures()
        client.flush()
        yield sorted(sink.runs.values(), key=lambda run: run["dotted_order"])


def test_langsmith_tree_shows_the_agent_its_nodes_models_and_tools(runs: list[dict[str, Any]]) -> None:
    names = {run["id"]: run["name"] for run in runs}
    tree = [(run["name"], run["run_type"], names.get(run.get("parent_run_id") or "")) for run in runs]
    step = [
        ("planner", "chain", "alpha-umi"),
        ("planner_model", "llm", "planner"),
        ("route_planner", "chain", "planner"),
    ]
    expected = [
        ("alpha-umi", "chain", None),
        ("entry", "chain", "alpha-umi"),
        ("route_entry", "chain", "entry"),
        *step,
        ("caller", "chain", "alpha-umi"),
        ("caller_model", "llm", "caller"),
        ("route_caller", "chain", "caller"),
        ("approval", "chain", "alpha-umi"),
        ("route_approval", "chain", "approval"),
        ("tools", "chain", "alpha-umi"),
        ("add", "tool", "tools"),
        *step,
        ("summarizer", "chain", "alpha-umi"),
        ("summarizer_model", "llm", "summarizer"),
    ]
    assert tree == expected


def test_langsmith_model_runs_carry_names_and_token_usage(runs: list[dict[str, Any]]) -> None:
    models = [run for run in runs if run["run_type"] == "llm"]
    assert len(models) == 4
    for run in models:
        assert run["extra"]["metadata"]["ls_model_name"] == "scripted"
        assert run["extra"]["metadata"]["ls_provider"] == "alpha_umi"
        usage = run["outputs"]["generations"][0][0]["message"]["kwargs"]["usage_metadata"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


def test_langsmith_runs_belong_to_the_thread(runs: list[dict[str, Any]]) -> None:
    assert {run["extra"]["metadata"]["thread_id"] for run in runs} == {"thread-7"}


def test_langsmith_root_run_holds_a_readable_trajectory(runs: list[dict[str, Any]]) -> None:

    outputs = runs[0]["outputs"]
    assert (outputs["answer"], outputs["finish"]) == ("The sum is 5.", "answer")
    trajectory = Trajectory.from_messages(outputs["messages"])
    assert [step.decision for step in trajectory.turns[0].steps] == ["caller", "conclusion"]
