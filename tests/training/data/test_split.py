from __future__ import annotations

from collections import Counter

from alpha_umi.nodes.format.trajectory import Call, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.split import ToolUse, assign_split, choose_heldout_tools, hash_text


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
