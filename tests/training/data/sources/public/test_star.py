from __future__ import annotations

from typing import Any

import pytest

from alpha_umi.errors import TrajectoryError
from alpha_umi.training.data.clean import describe_calls
from tests.training.data.conftest import Read, WriteLines


def field(name: str, kind: str, categories: list[str] | None = None) -> dict[str, Any]:
    return {"Name": name, "Type": kind, "ReadableName": f"The {name}"} | (
        {"Categories": categories} if categories else {}
    )


HOURS = [f"{hour} o'clock" for hour in range(1, 25)]
BOAT = {
    "function": "boat_rent",
    "db": "boat",
    "required": ["Kind", "Hour", "Seats"],
    "input": [
        field("Kind", "Categorical", ["canoe", "raft"]),
        field("Hour", "Categorical", HOURS),
        field("Seats", "Integer"),
        field("Pin", "ShortString"),
        field("Sail", "Boolean"),
    ],
}
LAKE = {
    "function": "generic_sample",
    "db": "lake",
    "required": [],
    "input": [
        field("Depth", "Integer"),
        field("Fish", "CategoricalMultiple", ["carp", "pike"]),
        field("Shore", "Categorical", ["north", "south"]),
    ],
}
HEAD = {"apis": [BOAT, LAKE, {"function": "hotel_reserve", "db": "hotel", "required": [], "input": []}]}
KIND, HOUR, SEATS = {"Kind": '"canoe"'}, {"Hour": 'api.is_equal_to("3 o\'clock")'}, {"Seats": "2"}


def dialogue(*events: dict[str, Any], name: int = 1) -> dict[str, Any]:
    return {"id": name, "happy": True, "tasks": ["boat_rent"], "events": list(events)}


def look_up(*constraints: dict[str, str]) -> dict[str, Any]:
    event = {"query": "lake_search", "constraints": list(constraints)}
    return dialogue({"user": "Which lake?"}, event, {"item": {"APIName": "lake_search", "Name": "Lom"}, "n": 4})


def test_star_reads_questions_queries_and_answers(read: Read, write_lines: WriteLines) -> None:
    record = dialogue(
        {"user": "Hello. I want a canoe for two."},
        {"wizard": "At what time?", "label": "boat_ask_starting_time"},
        {"user": "Tell me a joke. Or no, 3 o'clock please."},
        {"query": "boat_rent", "constraints": [KIND, HOUR, SEATS, {"Pin": "0314"}, {"Sail": "False"}]},
        {"item": {"APIName": "boat_rent", "Number": "B-77"}, "n": -1},
        {"wizard": "It is boat B-77.", "label": "boat_inform"},
        {"user": "Does it sing?"},
        {"wizard": "I do not know.", "label": "out_of_scope"},
        {"user": "Thanks!"},
        {"wizard": "Goodbye.", "label": "goodbye_1"},
    )
    (example,), tally = read("star", write_lines([HEAD, record]))
    first, second, third, last = example.trajectory.turns
    assert [(step.rationale, step.answer) for step in first.steps] == [
        ("The request does not say the starting time.", "At what time?")
    ]
    step, end = second.steps
    arguments = {"Kind": "canoe", "Hour": "3 o'clock", "Seats": 2, "Pin": "0314", "Sail": False}
    assert step.calls[0].arguments == arguments
    assert step.rationale == f"Part 1 (Or no, 3 o'clock please): {describe_calls(step.calls)}"
    assert step.calls[0].observation is not None
    assert step.calls[0].observation.text == '{"Number": "B-77"}'
    assert (end.rationale, end.answer) == ("All parts are done.", "It is boat B-77.")
    assert third.steps[0].rationale == "Part 1 (Does it sing): no tool can do this."
    assert last.steps[0].rationale == "No tool is needed."
    assert (tally.repaired, tally.dropped) == ({}, {})


@pytest.mark.parametrize(
    ("constraints", "arguments"),
    [
        ([{"Depth": "api.is_at_least(3)"}, {"Depth": "api.is_less_than(9)"}], {"Depth": ">= 3 and < 9"}),
        ([{"Depth": "7"}, {"Depth": "api.is_equal_to(7)"}], {"Depth": 7}),
        ([{"Fish": 'api.contains("carp")'}, {"Fish": 'api.contains("pike")'}], {"Fish": ["carp", "pike"]}),
        ([{"Shore": 'api.is_one_of(["north","south"])'}, {"Depth": "null"}], {}),
        ([{"Shore": 'api.is_one_of(["north","west"])'}], {"Shore": "north or west"}),
    ],
)
def test_star_writes_constraints_as_arguments(
    read: Read, write_lines: WriteLines, constraints: list[dict[str, str]], arguments: dict[str, Any]
) -> None:
    (example,), _ = read("star", write_lines([HEAD, look_up(*constraints)]))
    (call,) = example.trajectory.turns[0].steps[0].calls
    assert call.arguments == arguments
    assert call.observation is not None
    assert call.observation.text == '{"count": 4, "Name": "Lom"}'
    (spec,) = (tool for tool in example.trajectory.tools if tool.name == "lake_search")
    assert spec.make_validator().is_valid(call.arguments)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"query": "boat_rent", "constraints": [KIND]}, "that its API does not allow"),
        ({"query": "boat_rent", "constraints": [{"Kind": '"ship"'}, HOUR, SEATS]}, "that its API does not allow"),
        ({"query": "boat_rent", "constraints": [KIND, HOUR, SEATS, {"Mast": "1"}]}, "that its API does not allow"),
        ({"query": "boat_rent", "constraints": [KIND, HOUR, SEATS, {"Seats": "3"}]}, "with two values for one slot"),
        ({"query": "lake_search", "constraints": [{"Fish": 'api.contains_not("carp")'}]}, "with contains_not"),
        ({"query": "fly", "constraints": []}, "of an unknown API"),
    ],
)
def test_star_ends_before_a_query_that_is_no_call(
    read: Read, write_lines: WriteLines, query: dict[str, Any], reason: str
) -> None:
    record = look_up()
    record["events"] += [{"wizard": "Lom."}, {"user": "A boat!"}, query, {"item": None, "n": 0}, {"wizard": "Sorry."}]
    (example,), tally = read("star", write_lines([HEAD, record]))
    assert [turn.instruction for turn in example.trajectory.turns] == ["Which lake?"]
    assert tally.repaired == {f"dialogue cut before a query {reason}": 1}


def test_star_drops_dialogues_without_a_query(read: Read, write_lines: WriteLines) -> None:
    examples, tally = read("star", write_lines([HEAD, dialogue({"user": "Hi"}, {"wizard": "Your boat is booked."})]))
    assert (examples, tally.dropped) == ([], {"nothing is looked up or done": 1})


def test_star_offers_other_apis_under_the_names_that_dialogues_use(read: Read, write_lines: WriteLines) -> None:
    (example,), _ = read("star", write_lines([HEAD, look_up()]))
    assert (
        {"lake_search"} < {tool.name for tool in example.trajectory.tools} <= {"lake_search", "boat_rent", "hotel_book"}
    )


def test_star_without_definitions_is_an_error(read: Read, write_lines: WriteLines) -> None:
    with pytest.raises(TrajectoryError, match=r"jsonl:1: the first line has no 'apis'"):
        read("star", write_lines([look_up()]))
