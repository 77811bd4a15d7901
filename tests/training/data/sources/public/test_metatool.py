from __future__ import annotations

from typing import Any

import pytest

from alpha_umi.errors import TrajectoryError
from tests.training.data.conftest import Read, WriteLines

TOOLS = {
    "sunset": "Tells when evening begins at some place, with colours of clouds.",
    "sunset_twin": "Tells when evening begins at some place, with colours of seas.",
    "Tide&Tables": "Tells when water rises at some harbour, with heights of waves.",
    **{f"tool{i}": f"Counts {'abcdefghijklmnop'[i] * 5} machines." for i in range(15)},
}


def query(text: str, *names: str) -> dict[str, Any]:
    return {"query": text, "tools": list(names)}


def test_metatool_hides_the_tool_among_others(read: Read, write_lines: WriteLines) -> None:
    records = [query(f"How will the sea be on day {i}?", "Tide&Tables") for i in range(40)]
    examples, _ = read("metatool", write_lines([{"tools": TOOLS}, *records]))
    (step,) = examples[0].trajectory.turns[0].steps
    assert step.rationale == "Part 1 (How will the sea be on day 0): I call Tide_Tables."
    assert (step.calls[0].arguments, step.calls[0].observation) == ({}, None)
    offered = [[tool.name for tool in example.trajectory.tools] for example in examples]
    assert all("Tide_Tables" in names and 4 <= len(names) <= 12 for names in offered)
    assert len({names.index("Tide_Tables") for names in offered}) > 3
    assert examples == read("metatool", write_lines([{"tools": TOOLS}, *records]))[0]


def test_metatool_leaves_out_tools_that_cannot_be_told_apart(read: Read, write_lines: WriteLines) -> None:
    records = [query(f"Dusk on day {i}?", "sunset") for i in range(40)]
    examples, _ = read("metatool", write_lines([{"tools": TOOLS}, *records]))
    offered = {tool.name for example in examples for tool in example.trajectory.tools}
    assert "sunset" in offered
    assert "sunset_twin" not in offered


def test_metatool_calls_two_tools_in_one_step(read: Read, write_lines: WriteLines) -> None:
    (example,), _ = read("metatool", write_lines([{"tools": TOOLS}, query("Both?", "tool1", "tool2", "tool1")]))
    (step,) = example.trajectory.turns[0].steps
    assert [call.name for call in step.calls] == ["tool1", "tool2"]


def test_metatool_drops_what_it_cannot_use(read: Read, write_lines: WriteLines) -> None:
    records = [query("Fly?", "wings"), query("None?"), query("word " * 200, "tool1")]
    examples, tally = read("metatool", write_lines([{"tools": TOOLS}, *records]))
    assert examples == []
    assert tally.dropped == {"calls a tool that is not in the list": 2, "query of several paragraphs": 1}


def test_metatool_without_a_list_of_tools_is_an_error(read: Read, write_lines: WriteLines) -> None:
    with pytest.raises(TrajectoryError, match=r"jsonl:1: the first line has no 'tools'"):
        read("metatool", write_lines([query("Fly?", "tool1")]))
