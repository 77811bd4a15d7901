"""A quick answer to "is this valid JSON Schema?" for the schemas that nearly all tools have.

The full check walks the metaschema and takes milliseconds, which thousands of tools make half a minute. What uses only
the keywords below in their usual form needs no such walk. Never says yes wrongly; says no to much that is valid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_SCALARS = (str, int, float, type(None))  # bool is an int


def is_plain_schema(schema: Any) -> bool:
    """Tell whether a schema is valid beyond doubt and refers to nothing, in plain JSON types.

    Example:
        >>> is_plain_schema({"type": "object", "properties": {"days": {"type": "integer"}}})
        True
        >>> is_plain_schema({"$ref": "#/$defs/Days"})
        False
    """
    if isinstance(schema, bool):
        return True
    if not isinstance(schema, dict):
        return False
    return all(keyword in _CHECKS and _CHECKS[keyword](value) for keyword, value in schema.items())


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_type(value: Any) -> bool:
    if isinstance(value, str):
        return value in _TYPES
    return _are_names(value) and bool(value) and _TYPES.issuperset(value)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _is_value(value: Any) -> bool:
    return isinstance(value, _SCALARS) or _are_values(value)


def _are_values(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, _SCALARS) for part in value)


def _are_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_plain_schema, value))


def _are_properties(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value)) and all(map(is_plain_schema, value.values()))


_CHECKS: Mapping[Any, Callable[[Any], bool]] = {
    "type": _is_type,
    "title": _is_text,
    "description": _is_text,
    "format": _is_text,
    "default": _is_value,
    "const": _is_value,
    "enum": _are_values,
    "examples": _are_values,
    "required": _are_names,
    "properties": _are_properties,
    "items": is_plain_schema,
    "additionalProperties": is_plain_schema,
    "anyOf": _are_schemas,
    "oneOf": _are_schemas,
    "allOf": _are_schemas,
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _is_number),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _is_size),
}
