from __future__ import annotations

import csv
from pathlib import Path

import pytest

from alpha_umi.errors import TrajectoryError
from tests.training.data.conftest import Read

TOOLS = "Ship Finder = Finds ships in a port.\nShip Finder by flag = Finds ships.\nTide = Tells the tide."


def write_table(path: Path, *texts: str, column: str = "text") -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([[column], *([text] for text in texts)])
    return str(path)


def write_text(thought: str, name: str = "Ship Finder", request: str = "Which ships are in Bergen?") -> str:
    return f'User: {request}\n###\nTool Choices: {TOOLS}\n###\nThought: {thought}\nAct: CALLTOOL["{name}"]'


def test_toolverifier_keeps_the_thought_about_the_chosen_tool(read: Read, tmp_path: Path) -> None:
    thought = "The Ship Finder knows ports.  It lists them. The Tide tool does not. So I take the Ship Finder."
    (example,), _ = read("toolverifier", write_table(tmp_path / "a.csv", write_text(thought)))
    (turn,) = example.trajectory.turns
    assert turn.instruction == "Which ships are in Bergen?"
    assert turn.steps[0].rationale == "The Ship_Finder knows ports. It lists them. I call Ship_Finder."
    assert (turn.steps[0].calls[0].arguments, turn.steps[0].calls[0].observation) == ({}, None)
    assert [tool.name for tool in example.trajectory.tools] == ["Ship_Finder", "Ship_Finder_by_flag", "Tide"]


@pytest.mark.parametrize("thought", ["The other tools are of no use.", "Tide is wrong.", ""])
def test_toolverifier_replaces_a_thought_about_other_tools(read: Read, tmp_path: Path, thought: str) -> None:
    (example,), tally = read("toolverifier", write_table(tmp_path / "a.csv", write_text(thought)))
    assert example.trajectory.turns[0].steps[0].rationale == "Part 1 (Which ships are in Bergen): I call Ship_Finder."
    assert tally.repaired == {"thought about other tools replaced": 1}


def test_toolverifier_drops_what_it_cannot_use(read: Read, tmp_path: Path) -> None:
    examples, tally = read("toolverifier", write_table(tmp_path / "a.csv", write_text("x", "Ship"), "User: Hello."))
    assert examples == []
    assert tally.dropped == {"calls a tool that is not in the list": 1, "text of another form": 1}


def test_toolverifier_without_its_column_is_an_error(read: Read, tmp_path: Path) -> None:
    with pytest.raises(TrajectoryError, match=r"a\.csv:2: .*'text'"):
        read("toolverifier", write_table(tmp_path / "a.csv", "x", column="other"))
