"""From what sources write in their records to tool specifications and tool names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from alpha_umi.tools.spec import ToolSpec, clean_name

_JSON_TYPES = {
    **dict.fromkeys(("str", "string", "date"), "string"),
    **dict.fromkeys(("int", "integer"), "integer"),
    **dict.fromkeys(("float", "number", "double"), "number"),
    **dict.fromkeys(("bool", "boolean"), "boolean"),
    **dict.fromkeys(("list", "array", "tuple", "set"), "array"),
    **dict.fromkeys(("dict", "object"), "object"),
}
_ITEMS = re.compile(r"(?:list|array|set)\[(.+)\]", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?")


def parse_type(text: Any) -> dict[str, Any]:
    """Return the JSON Schema for a type as people and Python write it; a type that is not known allows anything.

    Example:
        >>> parse_type("List[int], optional")
        {'type': 'array', 'items': {'type': 'integer'}}
    """
    if not isinstance(text, str):
        return {}
    bare = text.replace(", optional", "").strip().lower()
    if match := _ITEMS.fullmatch(bare):
        return {"type": "array", "items": parse_type(match[1])}
    name = _JSON_TYPES.get(re.split(r"[\[(<]", bare)[0].strip())
    return {"type": name} if name else {}


def make_schema(properties: Mapping[str, dict[str, Any]], required: Iterable[str]) -> dict[str, Any]:
    """Return a JSON Schema of type ``object``; names in `required` that are no property are left out."""
    names = [name for name in properties if name in set(required)]
    return {"type": "object", "properties": dict(properties)} | ({"required": names} if names else {})


def make_spec(name: str, description: Any, parameters: Mapping[str, Any]) -> ToolSpec:
    """Return a tool specification with a name that is allowed and a description in one line.

    Raises:
        ConfigError: If nothing of the name is left, or the schema cannot be used.
    """
    return ToolSpec(clean_name(name), " ".join(str(description or "").split()), parameters)


def parse_openai_tool(tool: Mapping[str, Any]) -> ToolSpec:
    """Read one entry of ``tools``, or of the older ``functions``, of an OpenAI request.

    Raises:
        ConfigError: If it is neither.
    """
    return ToolSpec.from_openai(tool if "function" in tool else {"type": "function", "function": tool})


def fit_value(value: Any, schema: Any) -> Any:
    """Write a number as text, or a numeric text as number, where `schema` wants that; leave anything else as it is.

    Example:
        >>> fit_value("-73.78", {"type": "number"})
        -73.78
    """
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if kind in ("integer", "number") and isinstance(value, str) and _NUMBER.fullmatch(value):
        number = float(value)
        return int(number) if number.is_integer() and (kind == "integer" or "." not in value) else number
    return value


def fit_arguments(arguments: Mapping[str, Any], spec: ToolSpec | None) -> dict[str, Any]:
    """Return the arguments of a call with values as the tool's schema wants them."""
    schema = spec.parameters["properties"] if spec else {}
    return {name: fit_value(value, schema.get(name)) for name, value in arguments.items()}


def parse_arguments(raw: Any) -> dict[str, Any] | None:
    """Return the arguments of a call from JSON text, or as they are; None if they are malformed."""
    try:
        value = json.loads(raw, strict=False) if isinstance(raw, str) else raw
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
