from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from alpha_umi.tools import spec_from_tool
from alpha_umi.tools.convert import to_base_tool
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.spec.arguments import render_unknown_tool, render_violations, tells_refusal
from alpha_umi.tools.spec.schema import Undecided
from alpha_umi.tools.toolbox import Toolbox


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


def describe(schema: dict[str, Any], arguments: dict[str, Any]) -> list[str]:
    spec = ToolSpec("t", "", {"type": "object", **schema})
    text = render_violations(spec, spec.make_validator(), arguments)
    return [line[2:] for line in text.splitlines() if line.startswith("- ")]


WRONG = ["a: got 2 (an integer); expected string"]


@pytest.mark.parametrize("name", ["0", "2024", "a b", "a/b", "~0", "%41", "100%", "Box[int]", "Filter<User>", "Größe"])
def test_names_of_any_kind_are_told(name: str) -> None:
    text = {"type": "string"}
    assert describe({"properties": {name: text}}, {name: 2}) == [f"{name}: got 2 (an integer); expected string"]
    nested = {"properties": {"b": {"type": "object", "additionalProperties": text}}}
    assert describe(nested, {"b": {name: 2}}) == [f"b.{name}: got 2 (an integer); expected string"]
    for key in ("$defs", "definitions"):
        reference = f"#/{key}/" + name.replace("~", "~0").replace("/", "~1").replace("%41", "%2541")
        assert describe({"properties": {"a": {"$ref": reference}}, key: {name: text}}, {"a": 2}) == WRONG


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$ref": "#D"}}, "$defs": {"D": {"$anchor": "D", "type": "string"}}},
        {"properties": {"a": {"$ref": "#D"}}, "$defs": {"D": {"$dynamicAnchor": "D", "type": "string"}}},
        {
            "properties": {"a": {"$ref": "http://x.example/d"}},
            "$defs": {"D": {"$id": "http://x.example/d", "type": "string"}},
        },
        {"properties": {"a": {"$ref": "#/$defs/Box%5Bint%5D"}}, "$defs": {"Box[int]": {"type": "string"}}},
        {"patternProperties": {"^[a-z]$": {"type": "string"}}},
    ],
)
def test_schemas_that_errors_do_not_lead_into_are_described(schema: dict[str, Any]) -> None:
    assert describe(schema, {"a": 2}) == WRONG


def test_a_name_may_be_a_number_and_empty() -> None:
    assert describe({"patternProperties": {"5": {"type": "string"}}}, {"5": 2}) == [
        "5: got 2 (an integer); expected string"
    ]
    assert describe({"properties": {"": {"type": "string"}}}, {"": 2}) == [
        "arguments: got 2 (an integer); expected string"
    ]
    confusing = {"properties": {"": {"type": "string"}, "type": {"enum": [1]}}}
    assert describe(confusing, {"": 2}) == ["arguments: got 2 (an integer); expected string"]


@pytest.mark.parametrize(
    ("value", "word"), [(float("nan"), "NaN"), (float("inf"), "Infinity"), (-float("inf"), "-Infinity")]
)
@pytest.mark.parametrize("kind", ["null", "number", ["number", "null"]])
def test_what_is_no_json_number_is_told(value: float, word: str, kind: Any) -> None:
    schema = {"properties": {"a": {"type": kind}, "b": {"items": {"type": kind}}}}
    assert describe(schema, {"a": value}) == [f"a: {word} is not a JSON number"]
    assert describe(schema, {"b": [1, value]}) == [f"b[1]: {word} is not a JSON number"]
    validator = ToolSpec("t", "", {"type": "object", **schema}).make_validator()
    assert not validator.is_valid({"a": value})
    with pytest.raises(Undecided):
        ToolSpec("t", "", {"type": "object"}).make_validator(is_exact=True).is_valid({"a": [value]})


@pytest.mark.parametrize(
    ("pattern", "fits", "breaks"),
    [
        (r"^\d+$", "3٣", "x"),
        (r"^\w{1,255}$", "Größe_1", "a b"),
        (r"^[\w.-]+@\w+$", "é.x-y@ü", "é x@ü"),
        (r"^[^\W\d]+$", "é", "1"),
        (r"^\D\\d$", "x\\d", "x\\1"),
    ],
)
def test_classes_in_patterns_hold_all_languages(pattern: str, fits: str, breaks: str) -> None:
    assert describe({"properties": {"a": {"pattern": pattern}}}, {"a": fits}) == []
    assert describe({"properties": {"a": {"pattern": pattern}}}, {"a": breaks})
    names = {"patternProperties": {pattern: {"type": "null"}}, "additionalProperties": False}
    assert describe(names, {fits: None}) == []
    assert describe(names, {breaks: None})
    assert describe(names, {fits: 1})[0].endswith("got 1 (an integer); expected null")


def test_a_pattern_is_shown_as_its_author_wrote_it() -> None:
    schema = {"properties": {"a": {"pattern": r"^\d+$"}}}
    assert describe(schema, {"a": "x"}) == [r'a: "x" does not match "^\d+$"']


def test_bounds_that_everything_keeps_are_no_fault() -> None:
    schema = {"properties": {"a": {"type": "number", "maximum": float("inf"), "minimum": 1}}}
    assert describe(schema, {"a": 3}) == []
    assert describe(schema, {"a": 0})


def test_a_fault_in_describing_never_ends_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> str:
        raise KeyError("strange schema")

    box = Toolbox([to_base_tool(plot)])
    monkeypatch.setattr("alpha_umi.tools.spec.arguments._describe", fail)
    assert '- city: 2 is not of type "string"' in box.find_fault("plot", {"city": 2}).splitlines()
    monkeypatch.setattr("alpha_umi.tools.spec.arguments._render_signature", fail)
    assert box.find_fault("plot", {"city": 2}).startswith("The arguments of plot cannot be checked (KeyError")
    assert box.find_fault("plot", {"city": "K"}) == ""


NAMES = st.sampled_from(["", "0", "1", "07", "2024", "type", "%5B", "a b", "é", "properties"]) | st.text(max_size=3)
VALUES = st.none() | st.integers(-2, 2) | st.text(max_size=2)
SCHEMAS = st.recursive(
    st.sampled_from(
        [{}, {"type": "string"}, {"enum": [1]}, {"const": "x"}, {"$ref": "#/$defs/0"}, {"$ref": "#D"}, False]
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "additionalProperties": inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "required": st.lists(NAMES, max_size=2, unique=True),
        },
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(NAMES, SCHEMAS, max_size=3),
    st.dictionaries(
        NAMES,
        st.recursive(VALUES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2)),
        max_size=3,
    ),
)
def test_any_names_are_described_and_never_raise(properties: dict[str, Any], arguments: dict[str, Any]) -> None:
    definitions = {"0": {"type": "string"}, "d": {"$anchor": "D", "required": ["0"]}}
    schema = {"type": "object", "properties": properties, "additionalProperties": False, "$defs": definitions}
    spec = ToolSpec("t", "", schema)
    validator = spec.make_validator()
    text = render_violations(spec, validator, arguments)
    assert bool(text) != validator.is_valid(arguments)
    assert not text or text.startswith("The arguments of t are wrong:\n- ")


@pytest.mark.parametrize(
    ("name", "arguments", "is_refused"),
    [
        ("fails", {"text": "x"}, False),
        ("fails", {"text": 1}, True),
        ("fails", "{", True),
        ("no_tool", {}, True),
    ],
)
def test_a_refused_call_is_told_from_one_that_failed(
    name: str, arguments: dict[str, Any] | str, is_refused: bool
) -> None:
    def fails(text: str) -> str:
        """Fail."""
        raise ValueError(f"The arguments of {text} are wrong:")

    message = Toolbox([fails]).execute(name, arguments, "c")
    assert message.status == "error"
    assert tells_refusal(message.text) is is_refused
