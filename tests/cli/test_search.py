"""`alpha-umi ask` with a search: the tree on the screen, and the answer file that ToolBench's reader takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alpha_umi.nodes.models.specs import SCHEMES, Scheme
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.sources.public import toolbench
from tests.cli.conftest import Umi
from tests.graph.maze import SUITE, make_player

ASK = ("ask", "Where is the key?", "--model", "maze:x", "--tools", "tests.graph.maze:look")


@pytest.fixture(autouse=True)
def _maze(monkeypatch: pytest.MonkeyPatch) -> None:
    player = make_player(SUITE["both below fail"])
    monkeypatch.setitem(SCHEMES, "maze", Scheme("", "", lambda path, role, options: player))


def test_ask_searches_and_draws_the_tree(umi: Umi) -> None:
    done = umi(*ASK, "--strategy", "dfsdt", "--tree")
    assert done.code == 0
    out = done.out
    assert "Dead end: Nothing here. Back to node 1." in out
    drawn = out[out.index("Where is the key?") :]
    order = ["1 I look into the hall.", "2 I look into the attic.", "gave up: Nothing here.", "dust of the roof"]
    places = [drawn.index(text) for text in [*order, "6 I look into the cellar.", "In the cellar."]]
    assert places == sorted(places)
    assert out.count("dust of the attic") == 2  # once as it happened, once in the tree


def test_ask_draws_a_chain_as_one_branch(umi: Umi) -> None:
    done = umi(*ASK, "--tree")
    assert done.code == 3
    out = done.out
    assert "2 I look into the attic." in out[out.index("Where is the key?") :]


def test_ask_approves_within_a_search(umi: Umi) -> None:
    done = umi(*ASK, "--strategy", "dfsdt", "--approve", "--json", stdin="y\n" * 9)
    assert done.code == 0
    assert json.loads(done.out)["answer"] == "In the cellar."


def test_ask_exports_what_the_toolbench_reader_takes(umi: Umi, tmp_path: Path) -> None:
    path = tmp_path / "G1_answer" / "7_DFS_woFilter_w2.json"
    path.parent.mkdir()
    assert umi(*ASK, "--strategy", "dfsdt", "--export", str(path)).code == 0
    answer: Any = json.loads(path.read_text())
    generation = answer["answer_generation"]
    assert (generation["finish_type"], generation["query_count"]) == ("give_answer", 12)
    assert json.loads(generation["final_answer"])["final_answer"] == "In the cellar."
    assert generation["total_tokens"] > 0
    assert [message["role"] for message in generation["train_messages"][-1]] == [
        *("system", "user", "assistant", "function", "assistant")
    ]
    first, second = answer["tree"]["tree"]["children"]
    assert (first["node_type"], first["children"][0]["description"]) == ("Thought", "look")
    assert len(first["children"][0]["children"][0]["children"]) == 2
    assert second["description"] == "I look into the cellar."
    (example,) = toolbench.read(str(tmp_path), Tally(), seed=0)
    (turn,) = example.trajectory.turns
    assert turn.instruction == "Where is the key?"
    assert [step.decision for step in turn.steps] == ["caller", "conclusion"]
    assert turn.steps[0].calls[0].observation is not None
    assert turn.steps[0].calls[0].observation.text == "the key"
    assert turn.steps[1].answer == "In the cellar."
    assert "look" in [tool.name for tool in example.trajectory.tools]


def test_ask_exports_a_chain_that_gave_up(umi: Umi, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    assert umi(*ASK, "--export", str(path)).code == 3
    generation = json.loads(path.read_text())["answer_generation"]
    assert generation["finish_type"] == "give_up"
    assert "give_up_and_restart" in generation["final_answer"]
    assert umi(*ASK, "--export", str(tmp_path / "none" / "out.json")).code == 2
