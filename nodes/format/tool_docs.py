"""What the models read about the tools they may call: one JSON line per tool."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY

from alpha_umi.nodes.format.escaping import Style, escape_json
from alpha_umi.tools.spec import ToolSpec

_LIMITS = ("format", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "default")
_MAX_REFS = 8
_MAX_FOLLOWED = 500
"""References followed for one tool; schemas that refer to each other can be written out without end."""

FollowReference: TypeAlias = Callable[[str], Any]


def render_tool(tool: ToolSpec, *, style: Style = "umi", repeat_name: bool = False) -> str:
    """Return one line of JSON for a tool.

    With `repeat_name` a line in the umi style ends with the name once more. A causal model that looks for what fits a
    request then finds, behind all that describes a tool, what it has to write.

    Example:
        >>> schema = {"type": "object", "properties": {"days": {"type": "integer", "description": "How many."}}}
        >>> render_tool(ToolSpec("weather", "Forecast.", schema))
        '{"name":"weather","description":"Forecast.","arguments":{"days":"integer, optional. How many."}}'
    """
    if style == "umi":
        value: dict[str, Any] = {"name": tool.name, "description": tool.description}
        value |= {"arguments": describe_arguments(tool)}
        value |= {"call": tool.name} if repeat_name else {}
        return escape_json(json.dumps(value, ensure_ascii=False, separators=(",", ":")), style=style)
    follow = _make_follower(tool)
    inputs = {name: _describe_as_paper(follow, part) for name, part in _list_properties(tool).items()}
    return escape_json(json.dumps({"Name": tool.name, "function": tool.description, "input": inputs}), style=style)


def describe_arguments(tool: ToolSpec) -> dict[str, str]:
    """Return in short phrases what each argument of a tool is, by its name."""
    follow, required = _make_follower(tool), tool.parameters.get("required", ())
    return {name: _describe(follow, part, name in required) for name, part in _list_properties(tool).items()}


def _list_properties(tool: ToolSpec) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = tool.parameters.get("properties", {})
    return properties


def render_tools(tools: Sequence[ToolSpec], *, style: Style = "umi", repeat_names: bool = False) -> str:
    """Return the lines of all tools, without a newline at the end."""
    return "\n".join(render_tool(tool, style=style, repeat_name=repeat_names) for tool in tools)


def _make_follower(tool: ToolSpec) -> FollowReference:
    """Return a function from a ``$ref`` to its target; `ToolSpec` has seen to it that there is one."""
    resolver = EMPTY_REGISTRY.with_resource("", DRAFT202012.create_resource(dict(tool.parameters))).resolver()
    left = iter(range(_MAX_FOLLOWED))
    return lambda reference: {} if next(left, None) is None else resolver.lookup(reference).contents


def _describe_as_paper(follow: FollowReference, schema: Any) -> str:
    """Source: X-PLUG/Multi-LLM-Agent, GLPFT/process_data/toolbench/prepro_raw_stage_1.py."""
    resolved = _resolve(follow, schema)
    kind = resolved.get("type")
    name = kind if isinstance(kind, str) else _describe_type(follow, schema)
    return f"{name}, {resolved['description']}" if "description" in resolved else name


def _describe(follow: FollowReference, schema: Any, is_required: bool) -> str:
    resolved = _resolve(follow, schema)
    text = _describe_type(follow, schema) + ("" if is_required else ", optional")
    text += "".join(f", {key} {_dump(resolved[key])}" for key in _LIMITS if key in resolved)
    return f"{text}. {resolved['description']}" if resolved.get("description") else text


def _describe_type(follow: FollowReference, schema: Any, seen: frozenset[str] = frozenset()) -> str:
    """Return a JSON Schema as a short phrase, such as ``array of {lat: number; lon: number, optional}``."""
    ref = schema.get("$ref") if isinstance(schema, Mapping) else None
    if ref in seen:
        return "object"
    seen = seen | {ref} if ref else seen
    schema = _resolve(follow, schema)
    if "const" in schema or "enum" in schema:
        return " or ".join(map(_dump, schema.get("enum", [schema.get("const")])))
    if schema.get("properties"):
        required = schema.get("required", ())
        fields = [
            _describe_field(follow, name, part, name in required, seen) for name, part in schema["properties"].items()
        ]
        return "{" + "; ".join(fields) + "}"
    for key, conjunction in (("anyOf", " or "), ("oneOf", " or "), ("allOf", " and ")):
        if key in schema:
            return conjunction.join(dict.fromkeys(_describe_type(follow, part, seen) for part in schema[key]))
    kinds = schema.get("type", "any")
    names = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(_describe_kind(follow, schema, name, seen) for name in names)


def _describe_kind(follow: FollowReference, schema: Mapping[str, Any], kind: str, seen: frozenset[str]) -> str:
    key = {"array": "items", "object": "additionalProperties"}.get(kind)
    inner = schema.get(key) if key else None
    return f"{kind} of {_describe_type(follow, inner, seen)}" if isinstance(inner, Mapping) else kind


def _describe_field(follow: FollowReference, name: str, schema: Any, is_required: bool, seen: frozenset[str]) -> str:
    note = _resolve(follow, schema).get("description")
    text = f"{name}: {_describe_type(follow, schema, seen)}" + ("" if is_required else ", optional")
    return f"{text} ({note})" if note else text


def _resolve(follow: FollowReference, schema: Any) -> Mapping[str, Any]:
    """Follow references, keeping the keys next to them (pydantic writes the description there)."""
    siblings: dict[str, Any] = {}
    for _ in range(_MAX_REFS):
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            break
        siblings = {**schema, **siblings}
        schema = follow(siblings.pop("$ref"))
    return {**schema, **siblings} if isinstance(schema, Mapping) else siblings


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
