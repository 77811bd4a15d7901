"""What is wrong with a call, in words that let the model fix it: an unknown tool, arguments that break the schema.

Judges parsed arguments only; knows nothing about how a tool is run.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jsonschema import ValidationError
from jsonschema.protocols import Validator

from alpha_umi.tools.observation import cut
from alpha_umi.tools.spec import ToolSpec

_MAX_NAMES = 20
_MAX_VALUE_CHARS = 100
_MAX_MESSAGE_CHARS = 300
_KINDS = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    list: "an array",
    dict: "an object",
}


def render_unknown_tool(name: str, names: Sequence[str]) -> str:
    """Say that there is no such tool, and which there are, those with the most similar names first."""
    wanted = cut(name, _MAX_VALUE_CHARS)
    if not names:
        return f"There is no tool named {wanted!r}, and no tools are offered. Answer without a tool."
    ranked = sorted(names, key=lambda offered: -_similarity(wanted, offered))
    more = f" and {len(ranked) - _MAX_NAMES} more" if len(ranked) > _MAX_NAMES else ""
    return f"There is no tool named {wanted!r}. Use one of these names exactly: {', '.join(ranked[:_MAX_NAMES])}{more}."


def render_violations(spec: ToolSpec, validator: Validator, arguments: Mapping[str, Any] | str) -> str:
    """Return every way in which the arguments break the tool's schema, or an empty text if they do not.

    Args:
        spec: The tool.
        validator: From `spec.make_validator()`.
        arguments: Parsed arguments, or the raw text where they did not parse.

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
        errors = sorted(validator.iter_errors(arguments), key=lambda error: error.json_path)
        problems = [problem for error in errors for problem in _describe(error)]
    if not problems:
        return ""
    # Several errors may stand for one mistake: a value breaks `type` and `enum`, and none names what is missing.
    lines = [f"- {problem}" for problem in dict.fromkeys(problems)]
    return "\n".join(
        [
            f"The arguments of {spec.name} are wrong:",
            *lines,
            f"Fix this and call {spec.name} again. {_render_signature(spec)}",
        ]
    )


def _similarity(wanted: str, offered: str) -> float:
    return difflib.SequenceMatcher(None, wanted.lower(), offered.lower()).ratio()


def _describe(error: ValidationError) -> Iterator[str]:
    """Yield one line per mistake; the usual kinds get words that a small model can follow."""
    path, schema = [*error.absolute_path], error.schema
    rule: Any = error.validator_value
    value: Any = error.instance
    known = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
    if error.validator == "required":
        for name in rule:
            if name not in value:
                yield f"{_render_path([*path, name])}: missing; expected {_expected(known.get(name, {}))}"
    elif error.validator == "additionalProperties" and rule is False:
        for name in value:
            if name not in known:
                yield f"{_render_path([*path, name])}: there is no such argument; leave it out"
    elif inner := [cause for cause in error.context or () if len(cause.path) or cause.validator == "required"]:
        for cause in inner:
            yield from _describe(cause)
    elif error.validator in {"type", "enum", "const", "anyOf", "oneOf"}:
        yield f"{_render_path(path)}: got {_render_value(value)} ({_kind(value)}); expected {_expected(schema)}"
    else:
        yield f"{_render_path(path)}: {cut(error.message, _MAX_MESSAGE_CHARS)}"


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
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return cut(text.removeprefix("."), _MAX_VALUE_CHARS) or "arguments"


def _render_value(value: Any) -> str:
    return cut(json.dumps(value, ensure_ascii=False, default=str), _MAX_VALUE_CHARS)


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "null")


def _join_or(parts: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(parts))
