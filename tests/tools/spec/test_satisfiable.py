"""Tools that nothing can satisfy are refused when they are loaded, and no others."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import StructuredTool

from alpha_umi.errors import ConfigError
from alpha_umi.tools import Toolbox
from alpha_umi.tools.openapi import load_openapi
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.spec.satisfiable import require_satisfiable

DEFINITIONS = {
    "endless": {"type": "object", "properties": {"next": {"$ref": "#/$defs/endless"}}, "required": ["next"]},
    "list": {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#/$defs/list"}, {"type": "null"}]}},
        "required": ["next"],
    },
    "count": {"type": "integer"},
}


def make_spec(part: Any, **more: Any) -> ToolSpec:
    return ToolSpec("go", "", {"properties": {"a": part}, "required": ["a"], "$defs": DEFINITIONS, **more})


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "string", "enum": [5, 7]}, r"a allows no value that it lists \(\[5, 7\]\)"),
        ({"type": "string", "const": 5}, "a allows no value that it lists"),
        ({"enum": []}, "a allows no value that it lists"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "a has bounds that no integer keeps"),
        ({"type": "integer", "exclusiveMinimum": 2, "exclusiveMaximum": 3}, "a has bounds that no integer keeps"),
        ({"type": "number", "exclusiveMinimum": 2, "maximum": 2}, "a has bounds that no number keeps"),
        ({"type": "integer", "multipleOf": 10, "minimum": 1, "maximum": 9}, "a has bounds that no integer keeps"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "a has minLength 3 and maxLength 2"),
        ({"type": "array", "minItems": 1, "items": {"type": "string", "enum": [5]}}, r"a\[…\] allows no value"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, ""),
        ({"$ref": "#/$defs/count", "type": "string"}, "a is to be of different types at once"),
        ({"anyOf": [{"type": "string", "enum": [1]}, False]}, "a allows no value that it lists"),
        ({"not": {}}, "a takes nothing"),
        (False, "a takes nothing"),
        ({"$ref": "#/$defs/endless"}, ""),
        ({"type": "object", "required": ["x"], "additionalProperties": False}, "a requires 'x' and does not allow it"),
        ({"type": "object", "properties": {"b": False}, "required": ["b"]}, "a.b takes nothing"),
    ],
)
def test_contradiction_is_told_with_its_place(part: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=f"Tool 'go': no arguments can satisfy its schema, .*{words}.* Correct it"):
        require_satisfiable(make_spec(part))
    require_satisfiable(make_spec(part, required=[]))


@pytest.mark.parametrize(
    "part",
    [
        {"type": "string", "enum": [5, "a"]},
        {"type": ["string", "integer"], "enum": [5]},
        {"type": "integer", "minimum": 3, "maximum": 3},
        {"type": "integer", "exclusiveMinimum": 2, "maximum": 3},
        {"type": "number", "exclusiveMinimum": 2, "exclusiveMaximum": 3},
        {"type": "number", "multipleOf": 0.1, "minimum": 0.3, "maximum": 0.3},
        {"type": "number", "multipleOf": 0.01, "minimum": 0.07, "maximum": 0.07},
        {"minimum": 5, "maximum": 3},
        {"type": "array", "items": False},
        {"type": "array", "minItems": 1, "prefixItems": [{"type": "string"}], "items": False},
        {"allOf": [{"type": "integer"}, {"type": "number", "minimum": 3}]},
        {"$ref": "#/$defs/list"},
        {"$ref": "#/$defs/count"},
        {"type": "object", "properties": {"b": False}},
        {"type": "string", "pattern": "(?=x)y"},
    ],
)
def test_what_something_satisfies_is_taken(part: Any) -> None:
    require_satisfiable(make_spec(part))


numbers = st.integers(-4, 4) | st.sampled_from([0.1, 0.25, 0.3])
NODES = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["integer", "number", "string", "null"]),
            "enum": st.lists(st.sampled_from([1, 0.3, "a", None]), max_size=3),
            **dict.fromkeys(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"], numbers),
            "multipleOf": st.sampled_from([0.1, 0.25, 2]),
        },
    ),
    lambda inner: st.fixed_dictionaries({}, optional=dict.fromkeys(["anyOf", "allOf"], st.lists(inner, min_size=1))),
    max_leaves=4,
)
VALUES = [None, "a", True, [], {}, *range(-9, 10), *(n / 20 for n in range(-90, 91))]


@given(NODES)
def test_nothing_that_a_value_satisfies_is_refused(node: Any) -> None:
    spec = make_spec(node)
    validator = spec.make_validator()
    if any(validator.is_valid({"a": value}) for value in VALUES):
        require_satisfiable(spec)


def test_toolbox_refuses_such_a_tool_and_a_document_leaves_it_out(caplog: pytest.LogCaptureFixture) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "enum": [5]}}, "required": ["a"]}
    with pytest.raises(ConfigError, match="no arguments can satisfy its schema"):
        Toolbox([StructuredTool.from_function(print, name="go", description="Go.", args_schema=schema)])
    caplog.set_level(logging.WARNING)
    none = {"name": "a", "in": "query", "required": True, "schema": {"type": "integer", "minimum": 2, "maximum": 1}}
    paths = {"/a": {"get": {"parameters": [none]}}, "/b": {"get": {"operationId": "ok"}}}
    tools = load_openapi({"openapi": "3.1.0", "paths": paths}, base_url="https://api.example")
    assert [tool.name for tool in tools] == ["ok"]
    assert "GET /a is left out: Tool 'get_a': no arguments can satisfy its schema, a has bounds" in caplog.text
