"""An agent with a tool that counts, whose threads are kept in a SQLite file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver

from alpha_umi import UmiContext, create_umi_agent
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.durability.checkpointers import DurableSaver
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.sources import load_reader
from alpha_umi.training.traces import export_traces, read_threads
from alpha_umi.training.traces.filters import Filter, make_finish_filter

SCRIPT: Any = {  # by position in the turn
    "planner": ["I count.\nNext: caller.", "Counted.\nNext: conclusion."],
    "caller": ['Action: count_stock\nAction Input: {"item": "bolts"}'],
    "summarizer": ["1200 bolts."],
}


COUNTS = replay(SCRIPT)


def count_stock(item: str) -> str:
    """Count an item."""
    return f"1200 {item}"


def count_all(item: str) -> str:
    """Count an item everywhere."""
    return f"9000 {item}"


def make_agent(saver: BaseCheckpointSaver[Any], script: Any = COUNTS, **context: Any) -> UmiAgent:
    """Make an agent that asks nobody unless the context says so."""
    model = ScriptedChatModel(script=script)
    defaults = UmiContext(**context)
    return create_umi_agent(model, [count_stock, count_all], defaults=defaults, approvals=False, checkpointer=saver)


def ask(question: str) -> Any:
    return {"messages": [{"role": "user", "content": question}]}


def thread(name: str = "t") -> RunnableConfig:
    return {"configurable": {"thread_id": name}}


CATALOGUE = {
    spec.name: spec for spec in create_umi_agent(ScriptedChatModel(script=()), [count_stock, count_all]).toolbox.specs
}
Exports: TypeAlias = tuple[list[Trajectory], Tally]


def export(
    saver: DurableSaver,
    out: Path,
    *filters: Filter,
    names: tuple[str, ...] = (),
    catalogue: dict[str, ToolSpec] = CATALOGUE,
) -> Exports:
    """Export threads, and read the file as `data build` does."""
    tally = Tally()
    traces = read_threads(saver, names or saver.list_threads(100), catalogue, tally)
    export_traces(traces, out, filters or [make_finish_filter(["answer"])], tally)
    again = Tally()
    found = [example.trajectory for example in load_reader("own")(str(out), again, seed=0)]
    assert not again.dropped
    return found, tally


@pytest.fixture
def saver(tmp_path: Path) -> Iterator[DurableSaver]:
    with open_checkpointer(tmp_path / "threads.sqlite") as saver:
        yield saver
