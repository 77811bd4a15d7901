"""From what sources write in their records to tool specifications and tool names."""

from __future__ import annotations

import ast
import json
import random
import re
import warnings
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from alpha_umi.errors import ConfigError
from alpha_umi.tools.spec import ToolSpec, clean_name
from alpha_umi.tools.spec.schema import map_schema

_JSON_TYPES = {
    **dict.fromkeys(("str", "string", "date"), "string"),
    **dict.fromkeys(("int", "integer"), "integer"),
    **dict.fromkeys(("float", "number", "double"), "number"),
    **dict.fromkeys(("bool", "boolean"), "boolean"),
    **dict.fromkeys(("list", "array", "tuple", "set"), "array"),
    **dict.fromkeys(("dict", "object"), "object"),
}
_ITEMS = re.compile(r"(?:list|array|set)\[(.+)\]", re.IGNORECASE)
_PARAMETER_KEYS = ("parameters", "input_schema", "inputSchema", "arguments")
_SCHEMA_KEYS = frozenset({"properties", "$ref", "allOf", "anyOf", "oneOf", "additionalProperties", "$defs"})
_RESTRICTING = frozenset({"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "properties", "items"})
_PLAIN: Mapping[str, Any] = {
    "type": (str, list),
    "description": str,
    "properties": Mapping,
    "required": list,
    "items": Mapping,
    "enum": list,
}
_DATA_START = re.compile(r"""\s*[\[{"']""")
_MAX_ENCODINGS = 4
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


def draw_tools(
    specs: Mapping[str, ToolSpec], called: AbstractSet[str], n_others: tuple[int, int], rng: random.Random
) -> tuple[ToolSpec, ...]:
    """Return the tools that are called and some others, as many as `n_others` bounds, in any order."""
    others = [name for name in specs if name not in called]
    chosen = [*sorted(called), *rng.sample(others, min(rng.randint(*n_others), len(others)))]
    return tuple(specs[name] for name in rng.sample(chosen, len(chosen)))


def parse_tools(value: Any) -> tuple[ToolSpec, ...]:
    """Read the tools of a record: a list, one tool, or tools by name, also as text; those without a schema go.

    Raises:
        ConfigError: If one is no tool, or cannot be used.
    """
    value = decode(value)
    if isinstance(value, Mapping):
        is_one = isinstance(value.get("name"), str) or "function" in value
        value = [value] if is_one else [{"name": name, **decode(tool)} for name, tool in value.items()]
    return tuple(parse_openai_tool(tool) for tool in value or () if not _is_hosted(tool))


def _is_hosted(tool: Any) -> bool:
    """Say whether an entry is null, or a tool that a server runs by itself, such as a search of the web."""
    is_typed = isinstance(tool, Mapping) and not {"function", "name"} & tool.keys() and "type" in tool
    return is_typed or is_null(tool)


def is_null(value: Any) -> bool:
    """Say whether a value is null, or holds nothing but nulls, as tables have it where other rows have a structure."""
    return value is None or (isinstance(value, Mapping) and bool(value) and all(map(is_null, value.values())))


def parse_openai_tool(tool: Any) -> ToolSpec:
    """Read one entry of ``tools``, or of the older ``functions``, of an OpenAI request, with what others make of it.

    Raises:
        ConfigError: If it is neither, or cannot be used.
    """
    tool = decode(tool)
    function = decode(tool.get("function")) if isinstance(tool, Mapping) and tool.get("function") else tool
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ConfigError(f"Not a tool: {tool!r:.200}. Give {{'name', 'description', 'parameters'}}.")
    name = clean_name(function["name"])
    parameters = decode(next((function[key] for key in _PARAMETER_KEYS if function.get(key)), {}))
    parameters = _index(parameters)
    if not isinstance(parameters, Mapping):
        raise ConfigError(f"Tool {name!r}: 'parameters' must be a JSON Schema, not {type(parameters).__name__}.")
    description, repaired = str(function.get("description") or ""), repair_schema(parameters)
    try:
        return ToolSpec(name, description, repaired)
    except ConfigError:
        return ToolSpec(name, description, map_schema(repaired, _keep_plain))


def _index(value: Any) -> Any:
    """Return a list of arguments, each with its name, as a table of them."""
    if not isinstance(value, list) or not all(isinstance(each, Mapping) and "name" in each for each in value):
        return value
    return {str(each["name"]): {key: each[key] for key in each.keys() - {"name"}} for each in value}


def _keep_plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Keep of a schema that cannot be used what most of them are made of."""
    return {key: value for key, value in schema.items() if isinstance(value, _PLAIN.get(key, ()))}


def repair_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema that a tool's parameters were meant to be.

    Nulls go, which tables leave where other rows have a value. Types that have Python's names get those of JSON
    Schema. Arguments without a schema around them get one.

    Example:
        >>> repair_schema({"days": {"type": "int, optional", "description": None}})
        {'type': 'object', 'properties': {'days': {'type': 'integer'}}}
    """
    if not _SCHEMA_KEYS.intersection(parameters) and not isinstance(parameters.get("type"), str):
        return make_parameters(parameters)
    repaired: dict[str, Any] = map_schema(parameters, _repair)
    return {"type": "object", "properties": {}, **_keep_required_names(repaired)}


def make_parameters(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of arguments of which each says for itself whether it may be left out."""
    known = {name: decode(value) for name, value in properties.items() if value is not None}
    described = {name: value if isinstance(value, Mapping) else {"type": value} for name, value in known.items()}
    required = [name for name, value in described.items() if not _is_optional(value)]
    return make_schema({name: _make_property(value) for name, value in described.items()}, required)


def _make_property(value: Mapping[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = map_schema({key: value[key] for key in value.keys() - {"required"}}, _repair)
    default = schema.pop("default", None)
    if default not in (None, ""):
        schema["description"] = f"{schema.get('description', '')} (default: {default})"
    if not schema.get("description"):
        schema.pop("description", None)
    return schema


def _is_optional(value: Mapping[str, Any]) -> bool:
    return (
        value.get("required") is False or value.get("default") not in (None, "") or "optional" in str(value.get("type"))
    )


def _repair(schema: dict[str, Any]) -> dict[str, Any]:
    schema = {key: value for key, value in schema.items() if value is not None}
    kind = schema.pop("type", None)
    if isinstance(kind, list):
        names = [name for each in kind for name in ([each] if each == "null" else parse_type(each).values())]
        schema |= {"type": names} if names else {}
    elif kind is not None:
        schema = ({"type": "null"} if kind == "null" else parse_type(kind)) | schema
    if isinstance(properties := _index(schema.get("properties")), Mapping):
        kept = {name: value for name, value in properties.items() if value is not None}
        named = schema.pop("required", None)
        named = named if isinstance(named, list) else []
        flagged = [name for name, value in kept.items() if isinstance(value, Mapping) and value.get("required") is True]
        schema["properties"] = {name: _keep_required_names(value) for name, value in kept.items()}
        required = [name for name in kept if name in [*named, *flagged]]
        schema |= {"required": required} if required else {}
    return schema


def _keep_required_names(schema: Any) -> Any:
    """Remove what `required` says where it is no list of names."""
    if not isinstance(schema, Mapping):
        return parse_type(schema)
    return {key: value for key, value in schema.items() if key != "required" or isinstance(value, list)}


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
    schema = spec.parameters.get("properties", {}) if spec else {}
    return {name: fit_value(value, schema.get(name)) for name, value in arguments.items()}


def parse_arguments(raw: Any) -> dict[str, Any] | None:
    """Return the arguments of a call from text, or as they are; None if they are malformed."""
    value = {} if raw is None or (isinstance(raw, str) and not raw.strip()) else decode(raw)
    return value if isinstance(value, dict) else None


def drop_nulls(value: Any, schema: Any) -> Any:
    """Leave out the nulls that a table has put where an argument was not given.

    Example:
        >>> drop_nulls({"city": None, "days": 2}, {"properties": {"city": {"type": "string"}, "days": {}}})
        {'days': 2}
    """
    if isinstance(value, list) and isinstance(schema, Mapping):
        return [drop_nulls(item, schema.get("items")) for item in value]
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(value, dict) or not isinstance(properties, Mapping):
        return value
    kept = {name: item for name, item in value.items() if item is not None or _takes_null(properties.get(name))}
    return {name: drop_nulls(item, properties.get(name)) for name, item in kept.items()}


def _takes_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return schema is True
    choices = [*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())]
    is_open = _RESTRICTING.isdisjoint(schema)
    is_named = (
        "null" in (schema.get("type") or ()) or None in (schema.get("enum") or ()) or bool(schema.get("nullable"))
    )
    return is_open or is_named or any(map(_takes_null, choices))


def decode(value: Any) -> Any:
    """Return what a text holds, written as JSON or as Python, also more than once; any other value as it is.

    Example:
        >>> decode("{'a': true}"), decode("plain")
        ({'a': True}, 'plain')
    """
    for _ in range(_MAX_ENCODINGS):
        if not isinstance(value, str) or not _DATA_START.match(value):
            break
        try:
            value = json.loads(value, strict=False, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            try:
                value = evaluate(parse_python(value))
            except ValueError:
                break
    return value


def parse_python(text: str) -> ast.expr:
    """Return the syntax tree of one expression.

    Raises:
        ValueError: If it is none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in a text that is not our code
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"not a Python expression: {error}") from error


def evaluate(node: ast.expr) -> Any:
    """Return the value of a literal, in which JSON's names may stand as well.

    Raises:
        ValueError: If it is no literal.
    """
    try:
        return ast.literal_eval(_JsonNames().visit(node))
    except (KeyError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"not a literal: {error}") from error


class _JsonNames(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Put the value in the place of a name."""
        return ast.copy_location(ast.Constant({"true": True, "false": False, "null": None}[node.id]), node)
