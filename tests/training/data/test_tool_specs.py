from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.errors import ConfigError
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.tool_specs import (
    decode,
    drop_nulls,
    fit_value,
    make_schema,
    make_spec,
    parse_openai_tool,
    parse_tools,
    parse_type,
    repair_schema,
)


@given(st.text(max_size=40))
def test_parse_type_always_gives_a_valid_schema(text: str) -> None:
    assert ToolSpec("tool", "", make_schema({"x": parse_type(text)}, ["x"])).parameters["required"] == ["x"]


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("str", {"type": "string"}),
        ("int, optional", {"type": "integer"}),
        ("List[List[float]]", {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}),
        ("Tuple[float, float]", {"type": "array"}),
        ("array (integer)", {"type": "array"}),
        ("dict", {"type": "object"}),
        ("Molecule", {}),
        (["string", "null"], {}),
    ],
)
def test_parse_type_reads_what_sources_write(text: object, schema: dict[str, object]) -> None:
    assert parse_type(text) == schema


@pytest.mark.parametrize(
    ("value", "kind", "fitted"),
    [
        ("12", "integer", 12),
        ("1.0", "integer", 1),
        ("-73.5", "number", -73.5),
        ("$var1$", "number", "$var1$"),
        (35.6, "string", "35.6"),
        (True, "string", True),
        ("nan", "number", "nan"),
    ],
)
def test_fit_value_changes_only_what_the_schema_wants(value: object, kind: str, fitted: object) -> None:
    result = fit_value(value, {"type": kind})
    assert result == fitted
    assert type(result) is type(fitted)


def test_make_schema_leaves_out_required_names_that_are_no_property() -> None:
    assert make_schema({"a": {}}, ["a", "b"]) == {"type": "object", "properties": {"a": {}}, "required": ["a"]}


def test_make_spec_cleans_name_and_description() -> None:
    spec = make_spec("Find Town(s)", "Finds\n a  town.", make_schema({}, ()))
    assert (spec.name, spec.description) == ("Find_Town_s", "Finds a town.")
    with pytest.raises(ConfigError, match="Tool name ''"):
        make_spec("()", "", make_schema({}, ()))


def test_openai_tool_is_read_in_both_forms() -> None:
    function = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}
    assert parse_openai_tool(function) == parse_openai_tool({"type": "function", "function": function})
    with pytest.raises(ConfigError, match="Not a tool"):
        parse_openai_tool({"description": "nameless"})


CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "dict", "properties": {"city": {"type": "str", "enum": None}, "days": None}, "required": ["city"]},
        {"type": "object", "properties": {"city": {"type": "string", "required": True}}, "required": None},
        {"properties": {"city": "str"}, "required": ["city", "town"]},
        {"city": {"type": "string", "description": None, "default": ""}, "days": None},
    ],
)
def test_schemas_of_other_forms_are_repaired(parameters: dict[str, object]) -> None:
    assert repair_schema(parameters) == CITY


def test_nested_schemas_are_repaired() -> None:
    nested = {"type": "list", "items": {"type": "dict", "properties": {"a": {"type": ["float", "null"], "x": None}}}}
    union = {"anyOf": [{"type": "int"}, {"type": "null"}], "default": None}
    repaired = repair_schema({"type": "object", "properties": {"list": nested, "union": union, "any": {"type": "any"}}})
    assert repaired["properties"] == {
        "list": {
            "type": "array",
            "items": {"type": "object", "properties": {"a": {"type": ["number", "null"]}}},
        },
        "union": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "any": {},
    }


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "function", "function": {"name": "find it", "parameters": CITY}, "strict": None}],
        [{"name": "find it", "description": None, "input_schema": CITY}, None],
        {"name": "find it", "parameters": str(CITY)},
        {"find it": {"parameters": CITY}},
    ],
)
def test_tools_of_other_forms_are_read(tools: object) -> None:
    (expected,) = parse_tools([{"name": "find_it", "parameters": CITY}])
    assert parse_tools(tools) == parse_tools(json.dumps(tools)) == (expected,)
    assert expected == ToolSpec("find_it", "", CITY)
    assert parse_tools(None) == parse_tools("") == ()


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "object", "properties": [{"name": "city", "type": "str"}]},
        [{"name": "city", "type": "string", "required": False}],
        {"type": "object", "properties": {"city": {"type": "string", "enum": "a, b", "minLength": "1"}}},
        {"type": "object", "properties": {"city": {"type": "string", "pattern": "(?<!x", "items": [{"type": "str"}]}}},
        {"type": "object", "properties": {"city": {"type": "string", "anyOf": [{"$ref": "#/$defs/City"}]}}},
    ],
)
def test_of_a_schema_that_cannot_be_used_the_plain_part_is_kept(odd: object) -> None:
    (tool,) = parse_tools([{"type": "web_search"}, {"name": "weather", "parameters": odd}])
    assert tool.parameters["properties"] == {"city": {"type": "string"}}


def test_nulls_are_dropped_unless_the_schema_takes_them() -> None:
    properties = {
        "a": {"type": "integer"},
        "b": {"type": ["string", "null"]},
        "c": {"items": {"properties": {"d": {"type": "string"}}}},
    }
    value = {"a": None, "b": None, "c": [{"d": None}], "other": None}
    assert drop_nulls(value, {"properties": properties}) == {"b": None, "c": [{}]}
    assert drop_nulls(value, None) == value


@given(st.text(max_size=60))
def test_decode_is_total_and_leaves_plain_text(text: str) -> None:
    decode(text)
    assert decode(f"A {text}") == f"A {text}"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda each: st.lists(each) | st.dictionaries(st.text(max_size=5), each),
        max_leaves=9,
    )
)
def test_decode_reads_json_python_and_text_of_text(value: object) -> None:
    for data in ([value], {"a": value}):
        assert decode(data) == data
        assert decode(json.dumps(data)) == decode(json.dumps(json.dumps(data))) == decode(repr(data)) == data
