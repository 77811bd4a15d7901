from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.sheets.bystanders import Bystanders
from alpha_umi.training.data.sources.world import read
from tests.training.data.conftest import WriteLines

Make = Callable[..., Bystanders]
SEEDS = range(300)


def tool(name: str, description: str, server: str = "Whale") -> dict[str, Any]:
    return {"server": server, "name": name, "description": description, "parameters": {"type": "object"}}


def request(query: str, intent: str, split: str = "train") -> dict[str, str]:
    return {"query": query, "intent": intent, "split": split}


def conversation(instruction: str, name: str = "paint_fence", description: str = "Paints a fence.") -> Trajectory:
    call = Call("1", name, {}, Observation("ok"))
    steps = (Step("I call.", "caller", (call,)), Step("All parts are done.", "conclusion", answer="It is done."))
    return Trajectory((ToolSpec(name, description), ToolSpec("mow", "Mows.")), (Turn(instruction, steps),))


@pytest.fixture
def make(write_lines: WriteLines) -> Make:
    def build(tools: list[Any] | None = None, requests: list[Any] | None = None, held_out: bool = False) -> Bystanders:
        places = tools and write_lines(tools, "tools.jsonl"), requests and write_lines(requests, "requests.jsonl")
        return Bystanders(places[0] or "", places[1] or "", Tally(), held_out=held_out)

    return build


def join_often(bystanders: Bystanders, trajectory: Trajectory) -> list[Trajectory]:
    return [each for seed in SEEDS for each in bystanders.join([trajectory], random.Random(seed))]


def names_in(trajectories: list[Trajectory]) -> set[str]:
    return {tool.name for trajectory in trajectories for tool in trajectory.tools}


def test_tools_stand_by_in_some_conversations_and_change_nothing_else(make: Make) -> None:
    before = conversation("Paint it green.")
    after = join_often(make([tool("count_whales", "Counts whales in a bay.")]), before)
    assert all(trajectory.turns == before.turns for trajectory in after)
    places = {
        [tool.name for tool in trajectory.tools].index("count_whales")
        for trajectory in after
        if len(trajectory.tools) > 2
    }
    assert places == {0, 1, 2}
    assert 0.2 < sum(len(trajectory.tools) == 3 for trajectory in after) / len(after) < 0.6


@pytest.mark.parametrize(
    ("instruction", "name"),
    [
        ("How many whales are there?", "paint_fence"),
        ("Do it again.", "bayWatch"),
        ("What lives in the BAY?", "paint_fence"),
    ],
)
def test_tools_that_may_be_meant_do_not_stand_by(make: Make, instruction: str, name: str) -> None:
    bystanders = make([tool("count_whales", "Counts whales in a bay.")])
    assert "count_whales" not in names_in(join_often(bystanders, conversation(instruction, name)))


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("whale_web_search", "Finds whales on other pages."),
        ("count_whales_bay", "数鲸鱼 whales bay"),
        ("count_whales_bay", ""),
        ("go", "Does it."),
        ("count_whales_bay", "Counts whales in bays. " * 20),
    ],
)
def test_tools_of_which_it_is_not_known_what_they_do_are_left_out(make: Make, name: str, description: str) -> None:
    assert names_in(join_often(make([tool(name, description)]), conversation("Paint it."))) == {"paint_fence", "mow"}


def test_a_name_that_is_taken_is_not_used_twice(make: Make) -> None:
    bystanders = make([tool("mow", "Trims lawns near whales.")])
    assert all(len(trajectory.tools) == 2 for trajectory in join_often(bystanders, conversation("Paint it.")))


def test_requests_that_no_tool_can_do_come_first_or_last(make: Make) -> None:
    before = conversation("Paint it green.")
    after = join_often(make(requests=[request("is my tire flat", "tire_pressure")]), before)
    asked = [trajectory for trajectory in after if len(trajectory.turns) == 2]
    assert 0.05 < len(asked) / len(after) < 0.3
    turn = Turn("is my tire flat", (Step("Part 1 (is my tire flat): no tool can do this.", "give up"),))
    assert {trajectory.turns.index(turn) for trajectory in asked} == {0, 1}
    assert all(before.turns[0] in trajectory.turns for trajectory in asked)


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("findFlats", "Finds a flat."),
        ("car_check", "Looks after a car."),
        ("x", "Sells tyres."),
        ("x", "Repairs things."),
    ],
)
def test_requests_that_a_tool_may_do_are_not_used(make: Make, name: str, description: str) -> None:
    bystanders = make(requests=[request("is my tire flat", "tire_pressure")])
    after = join_often(bystanders, conversation("Paint it green.", name, description))
    assert {len(trajectory.turns) for trajectory in after} == {1}


def test_small_talk_is_no_request(make: Make) -> None:
    bystanders = make(requests=[request("who are you", "what_is_your_name"), request("hello", "greeting")])
    assert {len(trajectory.turns) for trajectory in join_often(bystanders, conversation("Paint it."))} == {1}


def test_training_and_held_out_share_nothing(make: Make) -> None:
    tools = [tool(f"count_whales_bay{i}", "Counts whales.", f"Server {i}") for i in range(100)]
    requests = [request(f"is tire {i} flat", "tire_pressure", "oos_test" if i % 2 else "train") for i in range(200)]
    seen = []
    for held_out in (False, True):
        after = join_often(make(tools, requests, held_out), conversation("Paint it."))
        seen.append(names_in(after) | {turn.instruction for trajectory in after for turn in trajectory.turns})
    assert seen[0] & seen[1] == {"paint_fence", "mow", "Paint it."}
    assert not any(f"is tire {i} flat" in seen[0] for i in range(1, 200, 2))
    assert len(seen[1]) > 10


def test_conversations_of_a_group_get_the_same_tools(make: Make) -> None:
    bystanders = make([tool(f"count_whales_{bay}", "Counts whales in a bay.") for bay in ("fjord", "firth", "lagoon")])
    group = [conversation("Paint it green."), conversation("Paint it blue."), conversation("Paint it twice.")]
    n_tools = set()
    for seed in SEEDS:
        after = bystanders.join(group, random.Random(seed))
        assert [trajectory.turns for trajectory in after] == [trajectory.turns for trajectory in group]
        assert all(trajectory.tools == after[0].tools for trajectory in after)
        n_tools.add(len(after[0].tools))
    assert n_tools == {2, 3, 4, 5}


def test_a_tool_that_one_of_a_group_may_mean_stands_by_in_none(make: Make) -> None:
    bystanders = make([tool("count_whales", "Counts whales in a bay.")])
    group = [conversation("Paint it green."), conversation("How many whales are there?")]
    after = [trajectory for seed in SEEDS for trajectory in bystanders.join(group, random.Random(seed))]
    assert names_in(after) == {"paint_fence", "mow"}


def test_each_conversation_of_a_group_may_get_a_request(make: Make) -> None:
    bystanders = make(requests=[request("is my tire flat", "tire_pressure")])
    group = [conversation("Paint it green."), conversation("Paint it blue.")]
    after = [bystanders.join(group, random.Random(seed)) for seed in SEEDS]
    assert {(len(one.turns), len(two.turns)) for one, two in after} == {(1, 1), (1, 2), (2, 1), (2, 2)}


def test_no_request_follows_a_call_without_an_observation(make: Make) -> None:
    whole = conversation("Paint it green.")
    call = replace(whole.turns[0].steps[0], calls=(Call("1", "paint_fence", {}),))
    before = replace(whole, turns=(Turn("Paint it green.", (call,)),))
    after = join_often(make(requests=[request("is my tire flat", "tire_pressure")]), before)
    asked = [trajectory for trajectory in after if len(trajectory.turns) == 2]
    assert len(asked) > 10
    assert all(trajectory.turns[1] == before.turns[0] for trajectory in asked)


def test_world_takes_the_files_from_its_location(write_lines: WriteLines) -> None:
    tools = write_lines([tool("see_narwhals", "Spots narwhals in a northern fjord.")], "tools.jsonl")
    requests = write_lines([request("is my tire flat", "tire_pressure")], "requests.jsonl")
    plain, joined = (list(read(place, Tally(), seed=0)) for place in ("600", f"600,mcp={tools},clinc={requests}"))
    assert [example.id for example in plain] == [example.id for example in joined]
    changed = [new for old, new in zip(plain, joined, strict=True) if old.trajectory != new.trajectory]
    assert any("see_narwhals" in {tool.name for tool in example.trajectory.tools} for example in changed)
    assert any("is my tire flat" in {turn.instruction for turn in example.trajectory.turns} for example in changed)


def test_files_that_are_wrong_are_told(write_lines: WriteLines) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        list(read("5,mcp=nowhere.jsonl", Tally(), seed=0))
    with pytest.raises(TrajectoryError, match=r"jsonl:1: 'query', 'intent' and 'split' must be text"):
        list(read(f"5,clinc={write_lines([{'query': 'x'}])}", Tally(), seed=0))
