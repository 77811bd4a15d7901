"""What is wrong with a call, in words that let the model fix it: an unknown tool, arguments that break the schema."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

from jsonschema_rs import ValidationError

from alpha_umi.tools.observation import cut
from alpha_umi.tools.schema import ArgumentValidator
from alpha_umi.tools.spec import ToolSpec

_MAX_NAMES = 20
_MAX_VALUE_CHARS = 100
_MAX_MESSAGE_CHARS = 300
_KINDS = {str: "a string", bool: "a boolean", int: "an integer", float: "a number", list: "an array", dict: "an object"}


def render_unknown_tool(name: str, names: Sequence[str]) -> str:
    """Say that there is no such tool, and which there are, those with the most similar names first."""
    wanted = cut(name, _MAX_VALUE_CHARS)
    if not names:
        return f"There is no tool named {wanted!r}, and no tools are offered. Answer without a tool."
    ranked = sorted(names, key=lambda offered: -_similarity(wanted, offered))
    more = f" and {len(ranked) - _MAX_NAMES} more" if len(ranked) > _MAX_NAMES else ""
    return f"There is no tool named {wanted!r}. Use one of these names exactly: {', '.join(ranked[:_MAX_NAMES])}{more}."


def render_violations(spec: ToolSpec, validator: ArgumentValidator, arguments: Mapping[str, Any] | str) -> str:
    """Return every way in which parsed arguments, or a raw text, break the tool's schema; an empty text if they do not.

    Example:
        >>> spec = ToolSpec("add", "", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
        >>> print(render_violations(spec, spec.make_validator(), {"a": "2"}))
        The arguments of add are wrong:
        - a: got "2" (a string); expected integer
        Fix this and call add again. Its arguments: a (integer, required).
    """
    if isinstance(arguments, str):
        problems = [f"{cut(arguments, _MAX_VALUE_CHARS)!r} is not a JSON object"]
    else:
        errors = sorted(validator.iter_errors(arguments), key=lambda error: _order(error, validator.schema))
        problems = [problem for error in errors for problem in _describe(error, validator.schema, arguments)]
    if not problems:
        return ""
    # One mistake may give several errors: a value breaks `type` and `enum`, and none names what is missing.
    lines = [f"- {problem}" for problem in dict.fromkeys(problems)]
    advice = f"Fix this and call {spec.name} again. {_render_signature(spec)}"
    return "\n".join([f"The arguments of {spec.name} are wrong:", *lines, advice])


def _similarity(wanted: str, offered: str) -> float:
    return difflib.SequenceMatcher(None, wanted.lower(), offered.lower()).ratio()


def _order(error: ValidationError, schema: Any) -> tuple[str, list[int]]:
    """Sort errors by their place in the arguments, and those of one place by the order of the schema's keywords."""
    positions = []
    for part in error.schema_path:
        positions.append(list(schema).index(part) if isinstance(schema, Mapping) else int(part))
        schema = schema[part]
    return _join(error.instance_path), positions


def _describe(error: ValidationError, root: Any, arguments: Any) -> Iterator[str]:
    """Yield one line per mistake; the usual kinds get words that a small model can follow."""
    path, keyword, details = error.instance_path, error.kind.name, error.kind.as_dict()
    schema = _follow(error.schema_path[:-1], root)
    value = _follow(path, arguments, default=error.instance)
    if keyword == "required":
        name, known = details["property"], schema.get("properties", {})
        yield f"{_render_path([*path, name])}: missing; expected {_expected(known.get(name, {}))}"
    elif keyword == "additionalProperties":
        for name in [name for name in value if name in details["unexpected"]] or details["unexpected"]:
            yield f"{_render_path([*path, name])}: there is no such argument; leave it out"
    elif keyword == "falseSchema":
        yield f"{_render_path(path)}: there is no such argument; leave it out"
    elif inner := [cause for causes in details.get("context", ()) for cause in causes if _tells_more(cause, error)]:
        for cause in inner:
            yield from _describe(cause, root, arguments)
    elif keyword in {"type", "enum", "const", "anyOf", "oneOf"}:
        yield f"{_render_path(path)}: got {_render_value(value)} ({_kind(value)}); expected {_expected(schema)}"
    else:
        yield f"{_render_path(path)}: {cut(error.message, _MAX_MESSAGE_CHARS)}"


def _follow(path: Iterable[str | int], value: Any, default: Any = None) -> Any:
    """Return the value at a path; `default` where a name there could not be written in UTF-8."""
    try:
        return reduce(getitem, path, value)
    except LookupError:
        return default


def _tells_more(cause: ValidationError, error: ValidationError) -> bool:
    return len(cause.instance_path) > len(error.instance_path) or cause.kind.name == "required"


def _expected(schema: Any) -> str:
    """Name what a schema wants, as far as a few words can."""
    if not isinstance(schema, Mapping):
        return "any value"
    if "enum" in schema:
        return f"one of {', '.join(map(_render_value, schema['enum']))}"
    if "const" in schema:
        return _render_value(schema["const"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for alternatives in (schema.get("anyOf"), schema.get("oneOf")):
        if alternatives:
            return _join_or(map(_expected, alternatives))
    kinds = schema.get("type", "any value")
    return kinds if isinstance(kinds, str) else _join_or(kinds)


def _render_signature(spec: ToolSpec) -> str:
    required = spec.parameters.get("required", ())
    arguments = [
        f"{name} ({_expected(schema)}, {'required' if name in required else 'optional'})"
        for name, schema in spec.parameters.get("properties", {}).items()
    ]
    return f"Its arguments: {', '.join(arguments)}." if arguments else "It takes no arguments: {}."


def _render_path(path: Sequence[str | int]) -> str:
    return cut(_join(path).removeprefix("."), _MAX_VALUE_CHARS) or "arguments"


def _join(path: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def _render_value(value: Any) -> str:
    return cut(json.dumps(value, ensure_ascii=False, default=str), _MAX_VALUE_CHARS)


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "null")


def _join_or(parts: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(parts))
