"""What is wrong with a call, in words that let the model fix it: an unknown tool, arguments that break the schema."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from jsonschema_rs import ValidationError

from alpha_umi.tools.observation import cut
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.spec.schema import ArgumentValidator, find_non_finite

_MAX_NAMES = 20
_MAX_VALUE_CHARS = 100
_MAX_MESSAGE_CHARS = 300
_MAX_PROBLEMS = 20
_MAX_VALUES = 50
_MAX_SIGNATURE_CHARS = 4000
_UNKNOWN, _WRONG = "There is no tool named", "The arguments of"
_KINDS = {str: "a string", bool: "a boolean", int: "an integer", float: "a number", list: "an array", dict: "an object"}


def render_unknown_tool(name: str, names: Sequence[str]) -> str:
    """Say that there is no such tool, and which there are, those with the most similar names first."""
    wanted = cut(name, _MAX_VALUE_CHARS)
    if not names:
        return f"{_UNKNOWN} {wanted!r}, and no tools are offered. Answer without a tool."
    ranked = sorted(names, key=lambda offered: -_similarity(wanted, offered))
    more = f" and {len(ranked) - _MAX_NAMES} more" if len(ranked) > _MAX_NAMES else ""
    return f"{_UNKNOWN} {wanted!r}. Use one of these names exactly: {', '.join(ranked[:_MAX_NAMES])}{more}."


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
    elif places := find_non_finite(arguments):
        problems = [
            f"{_render_path(path, arguments)}: {_render_value(value)} is not a JSON number" for path, value in places
        ]
    else:
        root = validator.schema if _has_plain_paths(validator.schema) else {}
        errors = sorted(validator.iter_errors(arguments), key=lambda error: _order(error, root, arguments))
        problems = [
            problem for error in errors[:_MAX_PROBLEMS] for problem in _describe_or_quote(error, root, arguments)
        ]
    if not problems:
        return ""
    # One mistake may give several errors: a value breaks `type` and `enum`, and none names what is missing.
    lines = [f"- {problem}" for problem in [*dict.fromkeys(problems)][:_MAX_PROBLEMS]]
    advice = f"Fix this and call {spec.name} again. {_render_signature(spec)}".rstrip()
    return "\n".join([f"{_WRONG} {spec.name} are wrong:", *lines, advice])


def tells_refusal(error: str) -> bool:
    """Tell whether the observation of a failed call says that the tool never ran, because of its name or arguments."""
    return error.startswith((_UNKNOWN, _WRONG))


def _similarity(wanted: str, offered: str) -> float:
    return difflib.SequenceMatcher(None, wanted.lower(), offered.lower()).ratio()


def _has_plain_paths(schema: Any, *, is_root: bool = True) -> bool:
    """Say whether the paths of errors lead from the root: not from an anchor or `$id`, nor past an empty name."""
    if isinstance(schema, list):
        return all(_has_plain_paths(part, is_root=False) for part in schema)
    if not isinstance(schema, Mapping):
        return True
    references = [schema.get(key) for key in ("$ref", "$dynamicRef", "$recursiveRef")]
    if any(isinstance(reference, str) and not re.match("#(/|$)", reference) for reference in references):
        return False
    if "" in schema or (not is_root and isinstance(schema.get("$id", schema.get("id")), str)):
        return False
    return all(_has_plain_paths(part, is_root=False) for part in schema.values())


def _order(error: ValidationError, schema: Any, arguments: Any) -> tuple[str, list[int]]:
    """Sort errors by their place in the arguments, and those of one place by the order of the schema's keywords."""
    positions = []
    for part in error.schema_path:
        try:
            key = _find_key(schema, part)
        except LookupError:
            break
        positions.append(list(schema).index(key) if isinstance(schema, Mapping) else int(key))
        schema = schema[key]
    return _join(error.instance_path, arguments), positions


def _describe_or_quote(error: ValidationError, root: Any, arguments: Any) -> list[str]:
    """Return one line per mistake; the library's own words for what cannot be described better."""
    try:
        return list(_describe(error, root, arguments))
    except RecursionError:
        raise
    except Exception:  # a schema may be stranger than this file knows, and a wrong call must never end a run
        return [f"{_render_path(error.instance_path, arguments)}: {_quote(error)}"]


def _describe(error: ValidationError, root: Any, arguments: Any) -> Iterator[str]:
    """Yield one line per mistake; the usual kinds get words that a small model can follow."""
    path, keyword, details = error.instance_path, error.kind.name, error.kind.as_dict()
    schema = _follow(error.schema_path[:-1], root, default={})
    if not isinstance(schema, Mapping) or keyword not in schema:
        schema = _read_details(details)
    value = _follow(path, arguments, default=error.instance)
    if value != error.instance:  # the path leaves out names that are empty
        value = error.instance
    place = _render_path(path, arguments)
    if keyword == "required":
        name, known = details["property"], schema.get("properties", {})
        yield f"{_render_path(path, arguments, name)}: missing; expected {_expected(known.get(name, {}))}"
    elif keyword == "additionalProperties":
        for name in [name for name in value if name in details["unexpected"]] or details["unexpected"]:
            yield f"{_render_path(path, arguments, name)}: there is no such argument; leave it out"
    elif keyword == "falseSchema":
        yield f"{place}: there is no such argument; leave it out"
    elif inner := [cause for causes in details.get("context", ()) for cause in causes if _tells_more(cause, error)]:
        for cause in inner:
            yield from _describe(cause, root, arguments)
    elif keyword in {"type", "enum", "const", "anyOf", "oneOf"} and schema:
        yield f"{place}: got {_render_value(value)} ({_kind(value)}); expected {_expected(schema)}"
    elif keyword == "pattern" and schema:  # as its author wrote it
        problem = f'{_render_value(value)} does not match "{schema[keyword]}"'
        yield f"{place}: {cut(problem, _MAX_MESSAGE_CHARS)}"
    else:
        yield f"{place}: {_quote(error)}"


def _read_details(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an error itself tells about the schema that was broken."""
    keys = {"types": "type", "options": "enum", "expected_value": "const"}
    return {keys[key]: value for key, value in details.items() if key in keys}


def _quote(error: ValidationError) -> str:
    return cut(error.message, _MAX_MESSAGE_CHARS)


def _follow(path: Iterable[str | int], value: Any, default: Any) -> Any:
    """Return the value at a path; `default` where the path does not lead to one."""
    try:
        for part in path:
            value = value[_find_key(value, part)]
    except LookupError:
        return default
    return value


def _find_key(value: Any, part: str | int) -> Any:
    """Return the key that a part of a path means; a name of digits comes as a number, and references are quoted.

    Raises:
        LookupError: If there is none.
    """
    if isinstance(value, Mapping):
        for key in (part, str(part), unquote(str(part))):
            if key in value:
                return key
    elif isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
        return part
    raise LookupError(part)


def _tells_more(cause: ValidationError, error: ValidationError) -> bool:
    return len(cause.instance_path) > len(error.instance_path) or cause.kind.name == "required"


def _expected(schema: Any) -> str:
    """Name what a schema wants, as far as a few words can."""
    if not isinstance(schema, Mapping):
        return "any value"
    if "enum" in schema:
        values = schema["enum"]
        more = f" and {len(values) - _MAX_VALUES:,} more" if len(values) > _MAX_VALUES else ""
        return f"one of {', '.join(map(_render_value, values[:_MAX_VALUES]))}{more}"
    if "const" in schema:
        return _render_value(schema["const"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for alternatives in (schema.get("anyOf"), schema.get("oneOf")):
        if alternatives:
            return _join_or(map(_expected, alternatives))
    kinds = schema.get("type", "any value")
    return kinds if isinstance(kinds, str) else _join_or(map(_expected_kind, kinds))


def _expected_kind(kind: Any) -> str:
    return kind if isinstance(kind, str) else _expected(kind)  # draft 3 lists schemas as well


def _render_signature(spec: ToolSpec) -> str:
    required = spec.parameters.get("required", ())
    required = required if isinstance(required, list | tuple) else ()  # draft 3 has a boolean here
    arguments = [
        f"{name} ({_expected(schema)}, {'required' if name in required else 'optional'})"
        for name, schema in spec.parameters.get("properties", {}).items()
    ]
    listed = cut(", ".join(arguments), _MAX_SIGNATURE_CHARS)
    return f"Its arguments: {listed}." if arguments else "It takes no arguments: {}."


def _render_path(path: Sequence[str | int], arguments: Any, *names: str) -> str:
    place = _join(path, arguments) + "".join(f".{name}" for name in names)
    return cut(place.removeprefix("."), _MAX_VALUE_CHARS) or "arguments"


def _join(path: Sequence[str | int], value: Any) -> str:
    """Write a path; whether a number is a name or an index is seen from the arguments."""
    parts = []
    for part in path:
        parts.append(f"[{part}]" if isinstance(part, int) and not isinstance(value, Mapping) else f".{part}")
        value = _follow([part], value, default=None)
    return "".join(parts)


def _render_value(value: Any) -> str:
    return cut(json.dumps(value, ensure_ascii=False, default=str), _MAX_VALUE_CHARS)


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "null")


def _join_or(parts: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(parts))
