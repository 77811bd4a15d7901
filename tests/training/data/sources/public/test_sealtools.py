from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alpha_umi.errors import ConfigError, TrajectoryError
from tests.training.data.conftest import Read, WriteLines


def tool(name: str, field: str = "Farming") -> dict[str, Any]:
    return {
        "api_name": name,
        "api_description": f"Does {name}.",
        "field": field,
        "parameters": {
            "crop": {"type": "str", "description": "Which"},
            "n": {"type": "int", "description": "How many"},
        },
        "required": ["crop"],
        "responses": {"report": {"type": "str", "description": "…"}},
    }


TOOLS = [tool("plantCrop"), tool("request Crop"), *(tool(f"farm{i}") for i in range(9))]
TOOLS += [tool(f"bank{i}", "Banking") for i in range(9)]
QUERY = {
    "id": "dev-1",
    "query": "Plant 3 rows of rye and report.",
    "calling": [
        {"api": "plantCrop", "parameters": {"crop": "rye", "n": "3"}, "responses": ["API_call_0"]},
        {"api": "request Crop", "parameters": {"crop": "API_call_0 response"}, "responses": ["API_call_1"]},
    ],
}


@pytest.fixture
def location(write_lines: WriteLines) -> str:
    return f"{write_lines([QUERY], 'queries.jsonl')},{write_lines(TOOLS, 'tools.jsonl')}"


def test_sealtools_names_the_tool_and_chains_results(read: Read, location: str) -> None:
    (example,), tally = read("sealtools", location)
    first, second, last = example.trajectory.turns[0].steps
    assert first.rationale == "I call plantCrop."
    assert first.calls[0].arguments == {"crop": "rye", "n": 3}
    assert first.calls[0].observation is not None
    assert first.calls[0].observation.text == '{"report": "API_call_0"}'
    assert second.calls[0].name == "request_Crop"
    assert second.calls[0].arguments == {"crop": "API_call_0"}
    assert tally.repaired == {"words around a reference removed": 1}
    assert (last.decision, last.answer) == ("conclusion", None)


def test_sealtools_hides_the_right_tools_among_others(read: Read, location: str) -> None:
    (example,), _ = read("sealtools", location, seed=5)
    names = [spec.name for spec in example.trajectory.tools]
    assert {"plantCrop", "request_Crop"} < set(names)
    assert len(names) == len(set(names)) >= 4
    assert read("sealtools", location, seed=5)[0][0].trajectory == example.trajectory
    orders = [[spec.name for spec in read("sealtools", location, seed=s)[0][0].trajectory.tools] for s in range(9)]
    assert len(set(map(tuple, orders))) > 1


def test_sealtools_drops_a_query_for_an_unlisted_tool(read: Read, write_lines: WriteLines) -> None:
    unknown = {**QUERY, "calling": [{"api": "fly", "parameters": {}, "responses": []}]}
    location = f"{write_lines([unknown], 'q.jsonl')},{write_lines(TOOLS, 't.jsonl')}"
    examples, tally = read("sealtools", location)
    assert examples == []
    assert tally.dropped == {"calls a tool that is not in the list": 1}


def test_sealtools_says_how_to_give_both_files(read: Read, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs two files"):
        read("sealtools", str(tmp_path / "queries.jsonl"))


def test_sealtools_files_in_the_wrong_order_are_noticed(read: Read, location: str) -> None:
    queries, tools = location.split(",")
    with pytest.raises(TrajectoryError, match=r"queries\.jsonl:1: .*'api_name'"):
        read("sealtools", f"{tools},{queries}")
