"""Which of many runs are learnt from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.spec.arguments import render_unknown_tool
from alpha_umi.training.data.build import BuildSettings, build
from alpha_umi.training.further.improve import RIGHT, Choice, choose_right, is_right, write_choice

ADD = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}})


def make_run(task: str, *numbers: int, observation: Observation | None = None, rationale: str = "I add.") -> Trajectory:
    steps = [
        Step(rationale, "caller", (Call(f"c{i}", "add", {"a": n}, observation or Observation("4")),))
        for i, n in enumerate(numbers)
    ]
    return Trajectory((ADD,), (Turn(f"Question {task}", (*steps, Step("Done.", "conclusion", answer="4"))),))


def make_row(task: str, *numbers: int, success: bool = True, exact: float = 1.0, **run: Any) -> dict[str, Any]:
    trajectory = make_run(task, *(numbers or (1,)), **run).to_row()
    return {"key": task, "success": success, "error": None, "checks": {"calls_exact": exact}, "trajectory": trajectory}


def list_keys(choice: Choice) -> list[str]:
    return [example.id.removeprefix("improve-") for example in choice.examples]


def test_right_are_exact_calls_with_the_right_end() -> None:
    assert is_right(make_row("a"))
    assert not is_right(make_row("a", success=False))
    assert not is_right(make_row("a", exact=0.0))
    assert not is_right({**make_row("a"), "error": "too long"})
    refused = Observation(render_unknown_tool("ad", ["add"]), is_error=True)
    assert not is_right(make_row("a", observation=refused))
    assert is_right(make_row("a", observation=Observation("It is closed.", is_error=True)))


def test_one_run_for_each_way_is_kept() -> None:
    samples = [
        [make_row("a", 1, 2)],
        [make_row("a", 1, 2, rationale="In other words.")],
        [make_row("a", 2, 1)],
        [make_row("a", success=False)],
    ]
    choice = choose_right(samples, seed=1)
    assert list_keys(choice) == ["a#1", "a#3"]
    assert choice.to_json() == {"n_runs": 4, "n_right": 3, "n_tasks": 1, "n_solved": 1, "n_chosen": 2}


def test_easy_tasks_do_not_crowd_out_hard_ones() -> None:
    easy = [f"easy-{i}" for i in range(20)]
    samples = [[*map(make_row, easy), make_row("hard", success=first)] for first in (True, False)]
    keys = [key.partition("#")[0] for key in list_keys(choose_right(samples, seed=1))]
    assert keys.count("hard") == 1
    assert len(keys) == 6
    many = [
        [*map(make_row, easy), *(make_row(f"hard-{i}", success=first) for i in range(30))] for first in (True, False)
    ]
    assert len(choose_right(many, seed=1).examples) == 50
    assert choose_right(samples, seed=1) == choose_right(samples, seed=1)


def test_the_choice_is_read_with_all_its_ways(tmp_path: Path) -> None:
    choice = choose_right([[make_row("a", 1, 2)], [make_row("a", 2, 1)], [make_row("a", success=False)]], seed=1)
    write_choice(choice, tmp_path)
    for keep_ways, n_kept in ((True, 2), (False, 1)):
        report = build([f"own:{tmp_path / RIGHT}"], tmp_path / str(keep_ways), BuildSettings(keep_ways=keep_ways))
        assert report.splits["train"].sources == {"improve": n_kept}


def test_without_a_right_run_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="None of 1 runs was right"):
        write_choice(choose_right([[make_row("a", success=False)]], seed=1), tmp_path)
    assert not (tmp_path / RIGHT).exists()
