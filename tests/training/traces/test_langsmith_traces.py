"""Runs in LangSmith as training data, read from a local sink."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tracers import LangChainTracer
from langgraph.checkpoint.memory import InMemorySaver

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.sources import load_reader
from alpha_umi.training.traces import export_traces, make_feedback_filter, make_finish_filter, read_runs
from alpha_umi.training.traces.trace import OF_ANOTHER
from tests.langsmith_sink import TENANT, Sink, run_sink
from tests.training.traces.conftest import CATALOGUE, ask, make_agent, thread

PROJECT = {"tenant_id": TENANT, "start_time": "2026-01-01T00:00:00Z", "reference_dataset_id": None}


def fail(text: str) -> float:
    return len(text) / 0


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    """Holds a conversation of two turns, a run of another agent, and one that failed."""
    monkeypatch.setenv("LANGSMITH_DISABLE_RUN_COMPRESSION", "true")
    with run_sink() as sink:
        client = sink.make_client()
        tracer = LangChainTracer(client=client, project_name="shop")
        agent = make_agent(InMemorySaver())
        for question, tags in (("How many bolts?", ["live"]), ("And now?", ["live", "beta"])):
            agent.invoke(ask(question), {**thread(), "callbacks": [tracer], "tags": tags})
        config: RunnableConfig = {"callbacks": [tracer]}
        RunnableLambda(lambda text: text).invoke("Hi!", config)
        with pytest.raises(ZeroDivisionError):
            RunnableLambda(fail).invoke("Hi!", config)
        tracer.wait_for_futures()
        client.flush()
        sink.put(sink.sessions, {**PROJECT, "name": "shop"})
        yield sink


def export(sink: Sink, out: Path, *filters: Any, **query: Any) -> tuple[list[Trajectory], Tally]:
    tally = Tally()
    traces = read_runs(sink.make_client(), "shop", CATALOGUE, tally, **query)
    export_traces(traces, out, [make_finish_filter(["answer"]), *filters], tally)
    return [each.trajectory for each in load_reader("own")(str(out), Tally(), seed=0)], tally


def test_each_run_teaches_its_own_turn(sink: Sink, tmp_path: Path) -> None:
    found, tally = export(sink, tmp_path / "out.jsonl")
    weights = [[[step.weight for step in turn.steps] for turn in each.turns] for each in found]
    assert weights == [[[0, 0], [1, 1]], [[1, 1]]]
    assert [turn.instruction for turn in found[0].turns] == ["How many bolts?", "And now?"]
    assert found[1].turns[0].steps[0].calls[0].arguments == {"item": "bolts"}
    assert (tally.kept, tally.dropped) == (2, {OF_ANOTHER: 1, "run that failed": 1})
    assert sink.requests.count("POST /api/v2/runs/query") == 2


def test_runs_are_chosen_by_tag_and_feedback(sink: Sink, tmp_path: Path) -> None:
    found, _ = export(sink, tmp_path / "out.jsonl", tags=["live", "beta"])
    assert [each.turns[-1].instruction for each in found] == ["And now?"]
    asked = {id_: run["tags"] for id_, run in sink.runs.items() if run.get("tags") and not run.get("parent_run_id")}
    roots = {"beta" if "beta" in tags else "live": id_ for id_, tags in asked.items()}  # tags come in any order
    for tag, score in (("live", 0.0), ("beta", 1.0)):
        sink.put(sink.feedback, {"run_id": roots[tag], "key": "user", "score": score})
    found, tally = export(sink, tmp_path / "out.jsonl", make_feedback_filter("user", 0.5))
    assert [each.turns[-1].instruction for each in found] == ["And now?"]
    assert tally.dropped["run with less than 0.5 of feedback 'user'"] == 1
    found, tally = export(sink, tmp_path / "out.jsonl", make_feedback_filter("expert", 0.5))
    assert not found
    assert tally.dropped["run without feedback 'expert'"] == 2


def test_what_langsmith_refuses_is_said(sink: Sink, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none"):
        next(read_runs(sink.make_client(), "none", CATALOGUE, Tally()))
    with pytest.raises(ConfigError, match="set LANGSMITH_API_KEY"):
        next(read_runs(sink.make_client("wrong"), "shop", CATALOGUE, Tally()))
