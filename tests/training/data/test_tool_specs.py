from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.errors import ConfigError
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.tool_specs import fit_value, make_schema, make_spec, parse_openai_tool, parse_type


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
