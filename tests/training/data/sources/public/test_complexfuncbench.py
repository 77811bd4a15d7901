from __future__ import annotations

from typing import Any

import pytest

from alpha_umi.errors import TrajectoryError
from tests.training.data.conftest import Read, WriteLines

SPECS = {
    "specs": [
        {
            "name": "Find_Town(Name)",
            "description": "Finds a town.",
            "parameters": {"query": {"type": "string", "description": "Name", "required": True}},
        },
        {
            "name": "Hotels",
            "description": "Lists hotels.",
            "parameters": {
                "town_id": {"type": "number", "required": True},
                "lat": {"type": "string", "required": False},
                "sort": {"type": "string", "required": False, "enum": ["price", "stars"]},
            },
        },
    ]
}


def find(label: str, query: str, response: Any) -> dict[str, Any]:
    return {"name": "Find_Town(Name)", "arguments": {"query": query}, "label": label, "response": response}


def hotels(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"name": "Hotels", "arguments": arguments, "label": "last", "response": {"hotels": []}}


def task(*calls: dict[str, Any], text: str = "Hotels in Graz and Linz?") -> dict[str, Any]:
    return {"id": 7, "input": text, "tools": ["Find_Town(Name)", "Hotels"], "calls": list(calls)}


GRAZ = find("var1", "Graz", [{"id": "12", "place": {"lat": 47.07}}])
LINZ = find("var2", "Linz", [{"id": "13", "place": {"lat": 48.3}}])


def test_complexfuncbench_resolves_references_and_fits_types(read: Read, write_lines: WriteLines) -> None:
    calls = task(GRAZ, hotels({"town_id": "$var1.id$", "lat": "$var1.place.lat$", "sort": "price"}))
    (example,), tally = read("complexfuncbench", write_lines([SPECS, calls]))
    first, second, last = example.trajectory.turns[0].steps
    assert first.calls[0].name == "Find_Town_Name"
    assert second.calls[0].arguments == {"town_id": 12, "lat": "47.07", "sort": "price"}
    assert second.rationale == "I call Hotels."
    assert (last.decision, last.answer) == ("conclusion", None)
    assert example.group == "Find_Town(Name)>Hotels"
    assert not tally.repaired


def test_complexfuncbench_calls_in_parallel_what_needs_no_earlier_result(read: Read, write_lines: WriteLines) -> None:
    calls = task(GRAZ, LINZ, hotels({"town_id": "$var2.id$"}))
    (example,), _ = read("complexfuncbench", write_lines([SPECS, calls]))
    assert [len(step.calls) for step in example.trajectory.turns[0].steps] == [2, 1, 0]


def test_complexfuncbench_sees_that_a_value_was_copied_from_a_result(read: Read, write_lines: WriteLines) -> None:
    named = find("var1", "Graz", [{"nearest": "Leibnitz"}])
    (example,), _ = read("complexfuncbench", write_lines([SPECS, task(named, find("var2", "Leibnitz", []))]))
    assert [len(step.calls) for step in example.trajectory.turns[0].steps] == [1, 1, 0]


def test_complexfuncbench_finds_values_in_responses_that_were_cut(read: Read, write_lines: WriteLines) -> None:
    cut = find("var1", "Graz", '{"data": [{"town": {"id": 12, "name": "Graz"}, "text": "A long, lo')
    (example,), _ = read("complexfuncbench", write_lines([SPECS, task(cut, hotels({"town_id": "$var1.town.id$"}))]))
    assert example.trajectory.turns[0].steps[1].calls[0].arguments == {"town_id": 12}


def test_complexfuncbench_ends_before_a_reference_that_was_cut_away(read: Read, write_lines: WriteLines) -> None:
    cut = find("var1", "Graz", '{"data": [{"town": {"na')
    (example,), tally = read("complexfuncbench", write_lines([SPECS, task(cut, hotels({"town_id": "$var1.id$"}))]))
    assert [step.decision for step in example.trajectory.turns[0].steps] == ["caller"]
    assert sum(tally.repaired.values()) == 1


def test_complexfuncbench_drops_a_task_of_which_nothing_is_left(read: Read, write_lines: WriteLines) -> None:
    examples, tally = read("complexfuncbench", write_lines([SPECS, task(hotels({"town_id": "$var1.id$"}))]))
    assert examples == []
    assert tally.dropped == {"no usable step": 1}


def test_complexfuncbench_without_tools_in_the_first_line_is_refused(read: Read, write_lines: WriteLines) -> None:
    with pytest.raises(TrajectoryError, match="first line must hold the tools"):
        read("complexfuncbench", write_lines([task(GRAZ)]))
