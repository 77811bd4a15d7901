from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Call, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Example
from alpha_umi.training.data.split import ToolUse, assign_split, choose_heldout_tools, hash_text, load_exclusions


def calling(*called: str, offered: tuple[str, ...] = ()) -> Trajectory:
    steps = tuple(Step("…", "caller", (Call(f"c{i}", name, {}),)) for i, name in enumerate(called))
    return Trajectory(tuple(map(ToolSpec, (*called, *offered))), (Turn("?", steps),))


def test_heldout_tools_take_no_more_than_their_share_of_any_source() -> None:
    use = ToolUse()
    for i in range(200):
        use.add("many", calling(f"tool{i % 50}"), movable=True)
        use.add("one", calling("only"), movable=True)
    chosen = choose_heldout_tools(use, 0.1, seed=0)
    assert "only" not in chosen
    assert 3 <= len(chosen) <= 5
    assert choose_heldout_tools(use, 0.1, seed=0) == chosen
    assert choose_heldout_tools(use, 0.1, seed=1) != chosen
    assert not choose_heldout_tools(use, 0.0, seed=0)


def test_tools_of_a_source_that_splits_itself_are_never_held_out() -> None:
    use = ToolUse()
    for i in range(20):
        use.add("many", calling(f"tool{i}"), movable=True)
    use.add("own split", calling(*(f"tool{i}" for i in range(19))), movable=False)
    assert choose_heldout_tools(use, 0.5, seed=0) <= {"tool19"}


def test_trajectory_that_calls_a_heldout_tool_is_in_dev_tools_with_all_its_tools() -> None:
    trajectory = calling("secret", offered=("open",))
    split, kept = assign_split(trajectory, "g", heldout_tools={"secret"}, share=0.5, seed=0)
    assert (split, kept) == ("dev-tools", trajectory)


def test_other_splits_never_see_a_heldout_tool() -> None:
    split, kept = assign_split(calling("open", offered=("secret",)), "g", heldout_tools={"secret"}, share=0, seed=0)
    assert split == "train"
    assert [tool.name for tool in kept.tools] == ["open"]


def test_trajectory_with_nothing_but_heldout_tools_is_in_dev_tools() -> None:
    trajectory = Trajectory((ToolSpec("secret"),), (Turn("?", (Step("No.", "give up"),)),))
    assert assign_split(trajectory, "g", heldout_tools={"secret"}, share=0, seed=0)[0] == "dev-tools"


def test_groups_are_held_out_as_a_whole_and_by_share() -> None:
    def split_of(group: str) -> str:
        return assign_split(calling("open"), group, heldout_tools=frozenset(), share=0.3, seed=0)[0]

    assert all(split_of(f"g{i}") == split_of(f"g{i}") for i in range(50))
    counts = Counter(split_of(f"g{i}") for i in range(2000))
    assert 500 < counts["dev-instructions"] < 700


def test_hash_is_the_same_on_every_machine() -> None:
    assert hash_text("calculator", 0) == 14023088337305109605


EXAMPLE = Example("toolbench-82_x", "toolbench", Trajectory((), (Turn("Where is  Graz?"),)), "f:1", task_id="82")


@pytest.mark.parametrize(
    "text",
    [
        "82\n83\n",
        "toolbench-82_x",
        "where is graz?\n",
        json.dumps({"82": 0, "83": 1}),
        json.dumps(["1", "82"]),
        json.dumps([{"query_id": 82, "query": "other"}]),
        json.dumps({"instruction": "Where is Graz?", "conversations": []}) + "\n" + json.dumps({"id": "x"}) + "\n",
    ],
)
def test_exclusions_match_id_number_or_instruction_in_any_form(tmp_path: Path, text: str) -> None:
    path = tmp_path / "test.txt"
    path.write_text(text)
    assert EXAMPLE in load_exclusions(path)


@pytest.mark.parametrize("text", ["8\n820\n", "Where is Linz?", json.dumps(["gsm8k-82"])])
def test_exclusions_do_not_match_other_tasks(tmp_path: Path, text: str) -> None:
    path = tmp_path / "test.txt"
    path.write_text(text)
    assert EXAMPLE not in load_exclusions(path)


def test_exclusions_that_exclude_nothing_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    with pytest.raises(ConfigError, match="names no id"):
        load_exclusions(empty)
    with pytest.raises(ConfigError, match="no such file"):
        load_exclusions(tmp_path / "nowhere")
