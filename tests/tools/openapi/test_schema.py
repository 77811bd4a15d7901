"""What a schema of a document becomes: null, values of another type, alternatives, inheritance."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.tools.openapi.document import Document
from alpha_umi.tools.openapi.schema import read_schema
from alpha_umi.tools.spec.schema import make_validator

SCHEMAS = {
    "Owner": {"type": "object", "properties": {"name": {"type": "string"}}},
    "Kind": {"type": "string", "enum": ["a", "b"]},
    "Null": {"enum": [None]},
    "Maybe": {"type": "integer", "nullable": True},
}
DOCUMENT = Document({"components": {"schemas": SCHEMAS}}, "test")


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def takes(node: Any, value: Any) -> bool:
    schema, _ = read_schema(DOCUMENT, node)
    return make_validator({"properties": {"a": schema}}).is_valid({"a": value})


@pytest.mark.parametrize(
    ("node", "value"),
    [
        ({"type": "string"}, "x"),
        (ref("Kind"), "a"),
        ({"allOf": [ref("Owner")]}, {"name": "x"}),
        ({"allOf": [ref("Kind"), {"description": "Which."}]}, "b"),
        ({"oneOf": [ref("Kind"), ref("Null")]}, "a"),
        ({"anyOf": [ref("Owner"), ref("Kind")]}, {"name": "x"}),
        ({"allOf": [ref("Owner"), ref("Kind")]}, None),
        ({"type": "string", "enum": ["a"]}, "a"),
        ({"enum": [1, 2]}, 2),
        ({"const": "x"}, "x"),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        ({"type": "string", "not": {"const": "x"}}, "y"),
    ],
)
@pytest.mark.parametrize("mark", ["nullable", "x-nullable"])
def test_null_is_allowed_wherever_it_is_meant(node: dict[str, Any], value: Any, mark: str) -> None:
    assert takes({**node, mark: True}, None)
    assert takes({**node, mark: True}, value)
    assert not takes({**node, mark: True}, 3.5)
    assert not takes(node, None) or value is None or ref("Null") in node.get("oneOf", ())


def test_null_of_a_part_is_not_that_of_the_whole() -> None:
    assert takes(ref("Maybe"), None)
    assert not takes({"allOf": [ref("Maybe"), {"type": "integer"}]}, None)
    assert takes({"type": "string", "enum": ["a", None]}, None)
    assert takes({"type": "array", "items": ref("Maybe")}, [1, None])


@pytest.mark.parametrize(
    ("node", "right", "wrong"),
    [
        ({"type": "string", "enum": [5, 7]}, "5", 5),
        ({"type": "string", "enum": [True, 1.5, "x"]}, "true", True),
        ({"type": "integer", "enum": ["5", 7]}, 5, "5"),
        ({"type": "number", "enum": ["0.5", "x"]}, 0.5, "x"),
        ({"type": "boolean", "enum": ["true"]}, True, "true"),
        ({"type": "integer", "enum": ["low", "high"]}, "low", 1),
        ({"type": "string", "const": 5}, "5", 5),
        ({"type": "array", "items": {"type": "string"}, "enum": ["a", "b"]}, ["a"], ["c"]),
        ({"type": "array", "items": {"type": "string", "enum": [1, 2]}}, ["1", "2"], [1]),
        ({"allOf": [{"type": "string"}, {"enum": [5]}]}, "5", 5),
    ],
)
def test_listed_values_are_of_the_type(node: dict[str, Any], right: Any, wrong: Any) -> None:
    assert takes(node, right)
    assert not takes(node, wrong)


def test_default_is_of_the_type() -> None:
    assert read_schema(DOCUMENT, {"type": "string", "default": 5})[0]["default"] == "5"


def test_value_that_fits_several_alternatives_is_taken() -> None:
    either = {"oneOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"b": {"type": "string"}}}]}
    assert takes(either, {"a": "x"})
    assert not takes({**either, "anyOf": [ref("Kind")]}, {"a": "x"})
    assert takes({**either, "anyOf": [ref("Owner")]}, {"b": "x"})


def test_what_both_parents_describe_is_as_both_say() -> None:
    parts = [{"properties": {"k": {"type": "string"}}}, {"properties": {"k": {"enum": ["a"]}}, "required": ["k"]}]
    schema, _ = read_schema(DOCUMENT, {"allOf": parts})
    assert schema == {"type": "object", "properties": {"k": {"type": "string", "enum": ["a"]}}, "required": ["k"]}


@pytest.mark.parametrize(
    ("node", "right", "wrong"),
    [
        ({"type": "array", "prefixItems": [ref("Kind")], "items": False}, ["a"], ["a", "b"]),
        ({"patternProperties": {"^x": {"type": "string"}}, "additionalProperties": False}, {"xy": "z"}, {"y": "z"}),
        ({"type": "object", "propertyNames": ref("Kind")}, {"a": 1}, {"c": 1}),
        ({"type": "array", "contains": {"const": 1}}, [0, 1], [0]),
        ({"if": {"const": 1}, "then": False, "else": {"type": "integer"}}, 2, 1),
    ],
)
def test_keywords_of_openapi_3_1_are_read(node: dict[str, Any], right: Any, wrong: Any) -> None:
    assert takes(node, right)
    assert not takes(node, wrong)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
)
types = st.sampled_from(["string", "integer", "number", "boolean", "array", "object"])


@given(kind=types, values=st.lists(scalars, min_size=1, max_size=4), is_nullable=st.booleans())
def test_some_listed_value_is_always_taken(kind: str, values: list[Any], is_nullable: bool) -> None:
    schema, _ = read_schema(DOCUMENT, {"type": kind, "enum": values, "nullable": is_nullable})
    listed = schema.get("enum") or [[value] for value in schema["items"]["enum"]]
    validator = make_validator({"properties": {"a": schema}})
    assert all(validator.is_valid({"a": value}) for value in listed)
