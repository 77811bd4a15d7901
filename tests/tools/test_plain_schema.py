"""The quick check never says yes to what the full check refuses."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from alpha_umi.tools.plain_schema import is_plain_schema

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False) | st.sampled_from(["a", "string", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "$ref"]), inner, max_size=1),
    max_leaves=4,
)
TYPES = st.sampled_from(["string", "integer", "object", "array", "null", "text"])
SIZES = ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"]
PLAIN = ["title", "description", "format", "default", "const", "enum", "examples", "required", "minimum", "pattern"]


def grow(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return schemas, most of them valid, with what a careless author puts in."""
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, max_size=2),
            "properties": st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
            **dict.fromkeys(["items", "additionalProperties"], inner),
            **dict.fromkeys(["anyOf", "oneOf", "allOf"], st.lists(inner, max_size=2)),
            **dict.fromkeys(SIZES, st.integers(-1, 2) | VALUES),
            **dict.fromkeys(PLAIN, VALUES),
            "$ref": st.just("#"),
        },
    )


SCHEMAS = st.recursive(st.booleans() | VALUES, grow, max_leaves=6)


@given(SCHEMAS)
def test_plain_schema_is_valid_and_refers_to_nothing(schema: Any) -> None:
    if is_plain_schema(schema):
        Draft202012Validator.check_schema(schema)
        assert "$ref" not in str(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {}},
        {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Where.", "minLength": 1},
                "days": {"type": ["integer", "null"], "minimum": 1, "default": 3},
                "units": {"enum": ["metric", "imperial"]},
                "stops": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "number"}]}},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    ],
)
def test_plain_schema_knows_what_tools_usually_have(schema: dict[str, Any]) -> None:
    assert is_plain_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {"type": "text"},
        {"type": []},
        {"required": ["a", "a"]},
        {"minLength": True},
        {"anyOf": []},
        {"pattern": "("},
        {"properties": {1: {}}},
        {"default": object()},
        {1: 2},
    ],
)
def test_plain_schema_leaves_the_rest_to_the_full_check(schema: Any) -> None:
    assert not is_plain_schema(schema)
