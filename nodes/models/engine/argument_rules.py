"""A tool's JSON Schema as rules of llguidance's grammar: the arguments that the caller may write for it.

llguidance compiles the schema itself, but for lists of listed values, each of which is written once at most. Its rules
can count what was written; so the objects around such a list are rules as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher

from alpha_umi.nodes.models.engine.tightening import ANNOTATIONS, DEFINITIONS, find_definition, list_choices, tighten

_ANY_TYPE = ["string", "number", "boolean", "null", "array", "object"]
_MAX_OWN_CHARS = 20_000  # of a schema that is written as rules here
_OBJECT_KEYS = ANNOTATIONS | {"type", "properties", "required", "additionalProperties", *DEFINITIONS}
_LIST_KEYS = ANNOTATIONS | {"type", "items", "minItems", "maxItems", "uniqueItems"}


@lru_cache(maxsize=1024)
def make_rules(name: str, schema_text: str, *, may_omit: bool) -> str:
    """Return the rule `name`, and those it needs, for compact JSON of the schema.

    Of a schema that cannot be enforced, at least the arguments' names are. Cached, because most runs offer the same
    tools.
    """
    schema = json.loads(schema_text)
    tight = tighten(schema, may_omit=may_omit) | {"type": "object"}
    whole = f"{name}: {_inline(tight)}"
    has_own = len(schema_text) <= _MAX_OWN_CHARS and _has_set(tight, tight)
    for rules in (_Rules(name, tight).text, whole) if has_own else (whole,):
        if not LLMatcher.validate_grammar_with_warnings(f"start: {name}\n{rules}")[0]:
            return rules
    names = {each: {"type": _ANY_TYPE} for each in schema.get("properties") or {}}
    needed = schema.get("required")
    required = [each for each in needed if each in names] if isinstance(needed, list) else []
    known = {"type": "object", "properties": names, "required": required}
    return f"{name}: {_inline(tighten(known, may_omit=may_omit) | {'additionalProperties': not names})}"


def _inline(schema: Mapping[str, Any]) -> str:
    options = {"whitespace_flexible": False, "lenient": True}
    return f"%json {json.dumps({**schema, 'x-guidance': options})}"


def _has_set(schema: Any, root: Mapping[str, Any], seen: set[str] | None = None) -> bool:
    """Tell whether there is a list of values that each occur once, at a place that rules can reach."""
    seen = set() if seen is None else seen
    if not isinstance(schema, dict) or str(schema.get("$ref")) in seen:
        return False
    target = _find_target(schema, root)
    if target is not None:
        seen.add(str(schema["$ref"]))
        return _has_set(target, root, seen)
    parts = [*_list_alternatives(schema), *([schema["items"]] if _is_list(schema) else [])]
    parts += schema["properties"].values() if _is_closed(schema) else []
    return bool(_list_set(schema, root)) or any(_has_set(part, root, seen) for part in parts)


def _find_target(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return what a schema stands for that is a reference to a definition, None for any other."""
    if schema.keys() - ANNOTATIONS != {"$ref"}:
        return None
    return find_definition(schema["$ref"], root)


def _list_set(schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[str]:
    """Return the values of a list that holds each of them once at most and is described by nothing else."""
    return list_choices(schema, root) if _is_list(schema) else []


def _is_list(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "array" and {"items", "maxItems"} <= schema.keys() <= _LIST_KEYS


def _is_closed(schema: Mapping[str, Any]) -> bool:
    properties, required = schema.get("properties"), schema.get("required", [])
    return (
        schema.get("type") == "object"
        and isinstance(properties, dict)
        and schema.get("additionalProperties") is False
        and not schema.keys() - _OBJECT_KEYS
        and all(isinstance(part, dict) for part in properties.values())
        and isinstance(required, list)
        and all(each in properties for each in required)
    )


def _list_alternatives(schema: Mapping[str, Any]) -> list[Any]:
    """Return the alternatives of a schema that says nothing else."""
    keys = schema.keys() - ANNOTATIONS
    parts = schema[next(iter(keys))] if keys == {"anyOf"} or keys == {"oneOf"} else []
    return parts if isinstance(parts, list) and all(isinstance(part, dict) for part in parts) else []


class _Rules:
    """The rules of one tool's arguments; `text` holds them all."""

    def __init__(self, name: str, root: Mapping[str, Any]) -> None:
        """Write the rules."""
        self._root = root
        self._definitions = {key: root[key] for key in DEFINITIONS if key in root}
        self._lines: list[str] = []
        self._names: dict[str, str] = {}  # of the rules of definitions
        self._add(name, root)
        self.text = "\n".join(self._lines)

    def _add(self, name: str, schema: Mapping[str, Any]) -> None:
        if not _has_set(schema, self._root):
            definitions = self._definitions if "$ref" in json.dumps(schema) else {}
            self._lines.append(f"{name}: {_inline({**definitions, **schema})}")
        elif (target := _find_target(schema, self._root)) is not None:
            self._add_reference(name, schema["$ref"], target)
        elif choices := _list_set(schema, self._root):
            self._add_set(name, schema, choices)
        elif _is_list(schema):
            self._add_list(name, schema)
        elif parts := _list_alternatives(schema):
            names = [f"{name}_{i}" for i in range(len(parts))]
            self._lines.append(f"{name}: {' | '.join(names)}")
            for each, part in zip(names, parts, strict=True):
                self._add(each, part)
        else:
            self._add_object(name, schema)

    def _add_reference(self, name: str, reference: str, target: Mapping[str, Any]) -> None:
        """Add what a reference stands for; a definition has one rule, since it may hold itself."""
        if reference in self._names:
            self._lines.append(f"{name}: {self._names[reference]}")
        else:
            self._names[reference] = name
            self._add(name, target)

    def _add_list(self, name: str, schema: Mapping[str, Any]) -> None:
        n_least, n_most = schema.get("minItems", 0), schema["maxItems"]
        self._add(f"{name}_item", schema["items"])
        more = f'("," {name}_item){{{max(n_least - 1, 0)},{n_most - 1}}}' if n_most > 1 else ""
        items = f"({name}_item {more}){'' if n_least else '?'}" if n_most else ""
        self._lines.append(f'{name}: "[" {items} "]"')

    def _add_set(self, name: str, schema: Mapping[str, Any], choices: list[str]) -> None:
        """Add a list that remembers in its rule's bits which values it holds; the first one has no comma before it."""
        n_least, n_most = schema.get("minItems", 0), schema["maxItems"]
        self._lines.append(f'{name}: "[" {name}_first::0x0 "]"')
        for rule, comma in ((f"{name}_first", ""), (f"{name}_more", '"," ')):
            allowed = [
                f"{comma}{_quote(value)} {name}_more::set_bit({i}) %if and(bit_clear({i}), bit_count_lt(_, {n_most}))"
                for i, value in enumerate(choices)
            ]
            end = f'"" %if bit_count_ge(_, {n_least})'
            self._lines.append(f"{rule}::_: {' | '.join([end, *allowed])}")

    def _add_object(self, name: str, schema: Mapping[str, Any]) -> None:
        """Add an object whose properties come in the schema's order; `more` rules follow one that was written."""
        properties, required = schema["properties"], schema.get("required", [])
        self._lines.append(f'{name}: "{{" {name}_first0 "}}"')
        for i, (key, part) in enumerate(properties.items()):
            self._add(f"{name}_value{i}", part)
            pair = f"{_quote(key, ':')} {name}_value{i} {name}_more{i + 1}"
            for rule, comma in (("first", ""), ("more", '"," ')):
                skip = "" if key in required else f" | {name}_{rule}{i + 1}"
                self._lines.append(f"{name}_{rule}{i}: {comma}{pair}{skip}")
        self._lines += [f'{name}_{rule}{len(properties)}: ""' for rule in ("first", "more")]


def _quote(value: str, end: str = "") -> str:
    """Return JSON text as a literal of a grammar."""
    return json.dumps(json.dumps(value, ensure_ascii=False) + end)
