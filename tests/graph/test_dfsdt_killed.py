"""A search that was killed goes on where it was."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from alpha_umi import create_umi_agent
from alpha_umi.graph.checkpointers import open_checkpointer
from tests.graph.killed_search import PLANS, THREAD
from tests.graph.maze import QUESTION, look, make_agent, make_player, strip

ROOT = Path(__file__).resolve().parents[2]
CONFIG: RunnableConfig = {"configurable": {"thread_id": THREAD}}


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """The state after a search that nobody disturbed."""
    agent = make_agent(PLANS, checkpointer=InMemorySaver())
    agent.invoke(QUESTION, CONFIG)
    return dict(agent.get_state(CONFIG).values)


@pytest.mark.parametrize(("where", "number"), [("model", 6), ("model", 9), ("tool", 3)])
def test_dfsdt_killed_search_resumes_to_the_same_tree(
    tmp_path: Path, whole: dict[str, Any], where: str, number: int
) -> None:
    database = tmp_path / "threads.sqlite"
    command = [sys.executable, "-m", "tests.graph.killed_search", str(database), where, str(number)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    look.effects = "idempotent"  # type: ignore[attr-defined]  # functions take any attribute
    model = make_player(PLANS)
    with open_checkpointer(database) as saver:
        agent = create_umi_agent(model, [look], strategy="dfsdt", approvals=False, checkpointer=saver)
        assert agent.get_state(CONFIG).next == ("dfsdt",)
        result = agent.invoke(None, CONFIG)
        state = agent.get_state(CONFIG).values
    assert result["answer"] == "In the cellar."
    assert strip(state["tree"]) == strip(whole["tree"])
    assert state["n_queries"] == whole["n_queries"]
    n_before = number - 1 if where == "model" else 2 * number  # each tool call follows a plan and a call, here
    assert len(model.requests) <= whole["n_queries"] - n_before + 1
