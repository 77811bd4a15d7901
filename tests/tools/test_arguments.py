from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from alpha_umi.tools import spec_from_tool
from alpha_umi.tools.arguments import render_unknown_tool, render_violations
from alpha_umi.tools.convert import to_base_tool
from alpha_umi.tools.spec import ToolSpec


class Point(BaseModel):
    x: int
    y: int = 0


def plot(city: str, at: Point | None = None, days: int | None = None, unit: Literal["C", "F"] = "C") -> None:
    """Plot."""


SPEC = spec_from_tool(to_base_tool(plot))
VALIDATOR = SPEC.make_validator()


def violations(arguments: dict[str, Any] | str) -> list[str]:
    return [line[2:] for line in render_violations(SPEC, VALIDATOR, arguments).splitlines() if line.startswith("- ")]


def test_arguments_that_fit_have_no_violations() -> None:
    assert render_violations(SPEC, VALIDATOR, {"city": "Köln", "at": {"x": 1}, "days": None}) == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ["city: missing; expected string"]),
        ({"city": 5}, ["city: got 5 (an integer); expected string"]),
        ({"city": None}, ["city: got null (null); expected string"]),
        ({"city": "K", "days": "2"}, ['days: got "2" (a string); expected integer or null']),
        ({"city": "K", "unit": "K"}, ['unit: got "K" (a string); expected one of "C", "F"']),
        ({"city": "K", "at": {"x": "a"}}, ['at.x: got "a" (a string); expected integer']),
        ({"city": "K", "at": {}}, ["at.x: missing; expected integer"]),
        ({"city": "K", "at": True}, ["at: got true (a boolean); expected Point or null"]),
        ({"city": "K", "ciy": "K"}, ["ciy: there is no such argument; leave it out"]),
        ("{city: K", ["'{city: K' is not a JSON object"]),
    ],
)
def test_violation_names_path_value_and_what_was_expected(arguments: Any, expected: list[str]) -> None:
    assert violations(arguments) == expected


def test_all_violations_are_listed_and_the_fix_is_told() -> None:
    text = render_violations(SPEC, VALIDATOR, {"days": [], "unit": 1, "when": "now"})
    assert text == (
        "The arguments of plot are wrong:\n"
        "- when: there is no such argument; leave it out\n"
        "- city: missing; expected string\n"
        "- days: got [] (an array); expected integer or null\n"
        '- unit: got 1 (an integer); expected one of "C", "F"\n'
        "Fix this and call plot again. Its arguments: city (string, required), at (Point or null, optional), "
        'days (integer or null, optional), unit (one of "C", "F", optional).'
    )


def test_an_argument_that_the_schema_forbids_is_to_be_left_out() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "old_city": False}}
    spec = ToolSpec("plot", "", schema)
    text = render_violations(spec, spec.make_validator(), {"old_city": "K"})
    assert "- old_city: there is no such argument; leave it out" in text


def test_huge_values_are_not_repeated() -> None:
    text = render_violations(SPEC, VALIDATOR, {"city": "K", "days": "9" * 1_000_000, "x" * 1_000_000: 1})
    assert len(text) < 1000


@given(
    st.dictionaries(
        st.sampled_from(["city", "at", "days", "unit", "other"]),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner))
        | st.dictionaries(st.sampled_from(["x", "y", "z"]), st.integers() | st.text()),
    )
)
def test_violations_are_told_exactly_when_the_schema_is_broken(arguments: dict[str, Any]) -> None:
    assert bool(violations(arguments)) != VALIDATOR.is_valid(arguments)


def test_unknown_tool_names_the_closest_first() -> None:
    text = render_unknown_tool("wether", ["calculator", "calendar", "weather"])
    assert text.startswith("There is no tool named 'wether'. Use one of these names exactly: weather, ")
    assert "calculator" in text


def test_unknown_tool_among_thousands_names_a_few() -> None:
    names = [f"tool_{i}" for i in range(3000)]
    text = render_unknown_tool("tool_1234x", names)
    assert "exactly: tool_1234, " in text
    assert "and 2980 more" in text


def test_unknown_tool_without_tools_says_so() -> None:
    assert "no tools are offered" in render_unknown_tool("a" * 10_000, [])
    assert len(render_unknown_tool("a" * 10_000, [])) < 300
