import doctest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import StructuredTool

from alpha_umi.errors import ConfigError
from alpha_umi.tools import Toolbox, ToolSpec
from alpha_umi.tools.spec import clean_name, schema

ADD: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def test_spec_survives_the_openai_form() -> None:
    spec = ToolSpec("add", "Add.", ADD)
    assert spec.to_openai() == {
        "type": "function",
        "function": {"name": "add", "description": "Add.", "parameters": ADD},
    }
    assert ToolSpec.from_openai(spec.to_openai()) == spec


def test_spec_in_openai_form_shares_nothing_with_the_spec() -> None:
    spec = ToolSpec("add", "Add.", ADD)
    spec.to_openai()["function"]["parameters"]["properties"].clear()
    assert "a" in spec.parameters["properties"]


def test_spec_from_openai_without_description_and_parameters_takes_no_arguments() -> None:
    spec = ToolSpec.from_openai({"type": "function", "function": {"name": "now"}})
    assert spec == ToolSpec("now", "", {"type": "object", "properties": {}})


@pytest.mark.parametrize(
    "tool", [{}, {"type": "web_search"}, {"type": "function", "function": "add"}, {"type": "function", "function": {}}]
)
def test_spec_from_openai_refuses_other_forms(tool: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Not a tool"):
        ToolSpec.from_openai(tool)


@pytest.mark.parametrize("name", ["", "two words", "a" * 129, "<lambda>", "naïve\n"])
def test_spec_refuses_names_no_model_can_write(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        ToolSpec(name)


@pytest.mark.parametrize("name", ["assistant:", "a/user:b", "ｓystem:x", "usér:", "-caller:-"])
def test_name_that_opens_a_role_s_turn_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="reads like a role"):
        ToolSpec(name)
    assert ToolSpec(clean_name(name))


@given(st.text(max_size=200).map(clean_name).filter(bool))
def test_clean_name_is_always_a_tool_name(name: str) -> None:
    assert ToolSpec(name).name == name


@pytest.mark.parametrize(
    "part",
    [
        None,
        {"type": "text"},
        {"type": []},
        {"required": ["a", "a"]},
        {"minLength": True},
        {"anyOf": []},
        {"pattern": "("},
        {"patternProperties": {"(": {}}},
        {"default": object()},
        {"$dynamicRef": "https://example.com/point.json"},
    ],
)
def test_spec_refuses_schemas_that_are_none(part: Any) -> None:
    with pytest.raises(ConfigError, match="'parameters'"):
        ToolSpec("add", "", {"type": "object", "properties": {"a": part}})
    with pytest.raises(ConfigError, match="'parameters'"):
        ToolSpec("add", "", {"type": "array"})


@pytest.mark.parametrize("reference", ["#/$defs/Point", "https://example.com/point.json"])
def test_spec_refuses_references_that_lead_nowhere(reference: str) -> None:
    with pytest.raises(ConfigError, match="leads nowhere"):
        ToolSpec("add", "", {"type": "object", "properties": {"a": {"$ref": reference}}})


def test_validator_follows_references_inside_the_schema() -> None:
    point = {"type": "object", "required": ["x"]}
    spec = ToolSpec("plot", "", {"properties": {"at": {"$ref": "#/$defs/Point"}}, "$defs": {"Point": point}})
    validator = spec.make_validator()
    assert validator.is_valid({"at": {"x": 1}})
    assert not validator.is_valid({"at": {}})


@pytest.mark.parametrize("name", ["Filter<User>", "Box[int]", "Größe", "a b", "50%"])
def test_references_to_names_that_addresses_quote_are_followed(name: str) -> None:
    """Servers of MCP in typed languages name the parts of their schemas so."""
    parameters = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"by": {"$ref": f"#/definitions/{name}"}},
        "definitions": {name: {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}},
    }

    def run(**arguments: Any) -> str:
        return f"ran with {arguments}"

    box = Toolbox([StructuredTool(name="find", description="Find.", func=run, args_schema=parameters)])
    assert box.specs[0].to_openai()["function"]["parameters"]["properties"] == parameters["properties"]
    assert box.find_fault("find", {"by": {"n": 1}}) == ""
    assert '- by.n: got "x" (a string); expected integer' in box.execute("find", {"by": {"n": "x"}}, "1").content


def test_validator_reads_the_draft_that_the_schema_declares() -> None:
    pair = {"type": "array", "items": [{"type": "integer"}, {"type": "string"}]}
    draft7 = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {"pair": pair}}
    validator = ToolSpec("tuple", "", draft7).make_validator()
    assert validator.is_valid({"pair": [1, "a"]})
    assert not validator.is_valid({"pair": ["a", 1]})


@pytest.mark.parametrize(
    "definitions",
    [
        {"a": {"$ref": "#/$defs/a"}},
        {"a": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}},
        {"a": {"if": {"$ref": "#/$defs/b"}}, "b": {"dependentSchemas": {"x": {"$ref": "#/$defs/a"}}}},
    ],
)
def test_references_that_go_round_in_circles_are_refused(definitions: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}}, "$defs": definitions}
    with pytest.raises(ConfigError, match="leads back to itself"):
        ToolSpec("tool", "", schema)


def test_schema_of_a_tree_is_accepted() -> None:
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}
    spec = ToolSpec(
        "tool", "", {"type": "object", "properties": {"x": {"$ref": "#/$defs/tree"}}, "$defs": {"tree": tree}}
    )
    assert spec.make_validator().is_valid({"x": {"children": [{"children": []}]}})


TWICE: list[dict[str, Any]] = [
    {"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}},
    {
        "properties": {"a": {"$ref": "#/$defs/T"}},
        "$defs": {"T": {"anyOf": [{"$ref": "#"}, {"$ref": "#", "title": "b"}]}},
    },
    {"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"additionalProperties": {"$ref": "#"}}]},
    {"properties": {"a": {"$ref": "#"}}, "patternProperties": {"^a": {"$ref": "#"}}},
    {"$dynamicAnchor": "n", "properties": {"a": {"allOf": [{"$dynamicRef": "#n"}, {"$dynamicRef": "#n"}]}}},
]


@pytest.mark.parametrize("part", TWICE)
@pytest.mark.parametrize("leaf", [{}, 1])
def test_a_schema_that_doubles_at_every_level_is_checked_only_as_far_as_that_is_soon(part: Any, leaf: Any) -> None:
    """The checks would be 2 ** 100, and nothing can interrupt them."""
    box = Toolbox([StructuredTool(name="t", description="T.", func=print, args_schema={"type": "object", **part})])
    shallow: Any = {"a": {"a": leaf}}
    assert ("a.a: got 1 (an integer); expected" in box.find_fault("t", shallow)) == (leaf == 1)
    deep: Any = leaf
    for _ in range(100):
        deep = {"a": deep}
    assert "nested too deeply" in box.find_fault("t", deep)


def test_ordinary_schemas_that_contain_themselves_are_checked_in_depth() -> None:
    tree = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#"}}},
        "additionalProperties": False,
    }
    kinds = ["and", "or", "not"]
    condition = {
        "type": "object",
        "properties": {"of": {"$ref": "#/$defs/Any"}},
        "$defs": {
            "Any": {"anyOf": [{"type": "string"}, *({"$ref": f"#/$defs/{kind}"} for kind in kinds)]},
            **{
                kind: {
                    "type": "object",
                    "properties": {"is": {"const": kind}, "of": {"items": {"$ref": "#/$defs/Any"}}},
                    "required": ["is"],
                }
                for kind in kinds
            },
        },
    }
    leaf: dict[str, Any] = {"n": 1}
    of: Any = "x"
    for _ in range(100):
        leaf = {"kids": [leaf, {"n": 2}]}
    for _ in range(6):
        of = {"is": "or", "of": [of, "y"]}
    assert ToolSpec("t", "", tree).make_validator().is_valid(leaf)
    assert not ToolSpec("t", "", tree).make_validator().is_valid({"kids": [{"kids": [{"n": "x"}]}]})
    assert ToolSpec("t", "", condition).make_validator().is_valid({"of": of})
    wrong = {"of": {"is": "or", "of": [{"is": "and", "of": [3]}]}}
    assert not ToolSpec("t", "", condition).make_validator().is_valid(wrong)


def test_examples_in_the_documentation_are_right() -> None:
    assert doctest.testmod(schema).failed == 0
