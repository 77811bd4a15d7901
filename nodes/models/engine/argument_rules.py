"""A tool's JSON Schema as rules of llguidance's grammar: the arguments that the caller may write for it.

Objects, lists and scalars are rules of our own, so that whatever the renderer writes and the parser reads can be
written, and a list of listed values holds each of them once at most. The rest llguidance compiles from the schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher

from alpha_umi.nodes.models.engine.copying import RULE, Copying
from alpha_umi.nodes.models.engine.tightening import (
    ANNOTATIONS,
    DEFINITIONS,
    find_definition,
    list_choices,
    list_kinds,
    tighten,
)
from alpha_umi.nodes.models.engine.value_rules import TEXT, bound_integers, quote, write_scalar
from alpha_umi.tools.spec.schema import map_schema

_ANY_TYPE = ["string", "number", "boolean", "null", "array", "object"]
_MAX_OWN_CHARS = 50_000  # of a schema that is written as rules here
_OBJECT_KEYS = ANNOTATIONS | {"type", "properties", "required", "additionalProperties", *DEFINITIONS}
_MAP_KEYS = ANNOTATIONS | {"type", "properties", "additionalProperties"}
_OTHERS = frozenset({"enum", "const", "anyOf", "oneOf", "allOf", "$ref", "not", "if"})  # say something of every type
_LIST_KEYS = ANNOTATIONS | {"type", "items", "minItems", "maxItems", "uniqueItems"}


def make_rules(
    name: str, schema_text: str, *, may_omit: bool, copying: Copying | None = None, is_plain: bool = False
) -> str:
    """Return the rule `name`, and those it needs, for compact JSON of the schema.

    Of a schema that cannot be enforced, at least the arguments' names are. With `copying` values are copied where they
    can be, and the rules need its lines as well. Plain rules remember nothing: a list may hold a value twice.
    """
    rules, own = _make_rules(name, schema_text, may_omit=may_omit)
    if is_plain:
        return _PlainRules(name, own or _keep_names(json.loads(schema_text), may_omit=may_omit)).text
    return _Rules(name, copying.mark(own)).text if copying and own else rules


@lru_cache(maxsize=1024)
def _make_rules(name: str, schema_text: str, *, may_omit: bool) -> tuple[str, dict[str, Any]]:
    """Return the rules, and the schema if they are our own; cached, because most runs offer the same tools."""
    schema = json.loads(schema_text)
    tight = tighten(schema, may_omit=may_omit) | {"type": "object"}
    whole = f"{name}: {_inline(tight)}"
    is_short = len(schema_text) <= _MAX_OWN_CHARS
    for rules in (_Rules(name, tight).text, whole) if is_short else (whole,):
        if not LLMatcher.validate_grammar_with_warnings(f"start: {name}\n{rules}")[0]:
            return rules, {} if rules == whole else tight
    return f"{name}: {_inline(_keep_names(schema, may_omit=may_omit))}", {}


def _keep_names(schema: Mapping[str, Any], *, may_omit: bool) -> dict[str, Any]:
    """Return a schema of the same arguments, of any types."""
    names = {each: {"type": _ANY_TYPE} for each in schema.get("properties") or {}}
    needed = schema.get("required")
    required = [each for each in needed if each in names] if isinstance(needed, list) else []
    known = {"type": "object", "properties": names, "required": required}
    return tighten(known, may_omit=may_omit) | {"additionalProperties": not names}


def _inline(schema: Mapping[str, Any]) -> str:
    options = {"whitespace_flexible": False, "lenient": True}
    return f"%json {json.dumps({**map_schema(schema, bound_integers), 'x-guidance': options})}"


def _find_target(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return what a schema stands for that is a reference to a definition, None for any other."""
    if schema.keys() - ANNOTATIONS != {"$ref"}:
        return None
    return find_definition(schema["$ref"], root)


def _is_list(schema: Mapping[str, Any]) -> bool:
    is_bounded = schema.get("type") == "array" and "maxItems" in schema
    return is_bounded and schema.keys() <= _LIST_KEYS and schema.get("items") is not False


def _is_closed(schema: Mapping[str, Any]) -> bool:
    properties, required = schema.get("properties", {}), schema.get("required", [])
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
    kinds = list_kinds(schema)
    if len(kinds) > 1 and not keys & _OTHERS:
        return [{**schema, "type": kind} for kind in kinds]
    parts = schema[next(iter(keys))] if keys in ({"anyOf"}, {"oneOf"}, {"allOf"}) else []
    is_usable = isinstance(parts, list) and all(isinstance(part, dict) for part in parts)
    return parts if is_usable and (len(parts) == 1 or "allOf" not in keys) else []


class _Rules:
    """The rules of one tool's arguments; `text` holds them all."""

    def __init__(self, name: str, root: Mapping[str, Any]) -> None:
        """Write the rules."""
        self._root = root
        self._definitions = {key: root[key] for key in DEFINITIONS if key in root}
        self._lines: list[str] = []
        self._names: dict[str, str] = {}  # of the rules of definitions
        self._any = f"{name}_any"
        self._add(name, root)
        lines = [*self._lines, *(_write_any(self._any) if any(self._any in line for line in self._lines) else ())]
        self.text = "\n".join(lines)

    def _add(self, name: str, schema: Any) -> None:
        schema = {} if schema is True else schema
        if rule := schema.get(RULE) or write_scalar(schema):
            self._lines.append(f"{name}: {rule}")
        elif (target := _find_target(schema, self._root)) is not None:
            self._add_reference(name, schema["$ref"], target)
        elif choices := list_choices(schema, self._root) if _is_list(schema) else []:
            self._add_set(name, schema, choices)
        elif _is_list(schema) and schema.get("uniqueItems") is not True:
            self._add_list(name, schema)
        elif parts := _list_alternatives(schema):
            names = [f"{name}_{i}" for i in range(len(parts))]
            self._lines.append(f"{name}: {' | '.join(names)}")
            for each, part in zip(names, parts, strict=True):
                self._add(each, part)
        elif _is_closed(schema):
            self._add_object(name, schema)
        elif not schema.keys() - ANNOTATIONS:
            self._lines.append(f"{name}: {self._any}")
        elif schema.get("type") == "object" and not schema.get("properties") and not schema.keys() - _MAP_KEYS:
            self._add(f"{name}_value", schema.get("additionalProperties", {}))
            self._lines.append(f"{name}: {_write_map(f'{name}_value')}")
        else:
            definitions = self._definitions if "$ref" in json.dumps(schema) else {}
            self._lines.append(f"{name}: {_inline({**definitions, **schema})}")

    def _add_reference(self, name: str, reference: str, target: Mapping[str, Any]) -> None:
        """Add what a reference stands for; a definition has one rule, since it may hold itself."""
        if reference in self._names:
            self._lines.append(f"{name}: {self._names[reference]}")
        else:
            self._names[reference] = name
            self._add(name, target)

    def _add_list(self, name: str, schema: Mapping[str, Any]) -> None:
        n_least, n_most = schema.get("minItems", 0), schema["maxItems"]
        self._add(f"{name}_item", schema.get("items", {}))
        more = f'("," {name}_item){{{max(n_least - 1, 0)},{n_most - 1}}}' if n_most > 1 else ""
        items = f"({name}_item {more}){'' if n_least else '?'}" if n_most else ""
        self._lines.append(f'{name}: "[" {items} "]"')

    def _add_set(self, name: str, schema: Mapping[str, Any], choices: list[str]) -> None:
        """Add a list that remembers in its rule's bits which values it holds; the first one has no comma before it."""
        n_least, n_most = schema.get("minItems", 0), schema["maxItems"]
        self._lines.append(f'{name}: "[" {name}_first::0x0 "]"')
        for rule, comma in ((f"{name}_first", ""), (f"{name}_more", '"," ')):
            allowed = [
                f"{comma}{quote(value)} {name}_more::set_bit({i}) %if and(bit_clear({i}), bit_count_lt(_, {n_most}))"
                for i, value in enumerate(choices)
            ]
            end = f'"" %if bit_count_ge(_, {n_least})'
            self._lines.append(f"{rule}::_: {' | '.join([end, *allowed])}")

    def _add_object(self, name: str, schema: Mapping[str, Any]) -> None:
        """Add an object whose properties come in the schema's order; `more` rules follow one that was written."""
        properties, required = schema.get("properties", {}), schema.get("required", [])
        self._lines.append(f'{name}: "{{" {name}_first0 "}}"')
        for i, (key, part) in enumerate(properties.items()):
            self._add(f"{name}_value{i}", part)
            pair = f"{quote(key, ':')} {name}_value{i} {name}_more{i + 1}"
            for rule, comma in (("first", ""), ("more", '"," ')):
                skip = "" if key in required else f" | {name}_{rule}{i + 1}"
                self._lines.append(f"{name}_{rule}{i}: {comma}{pair}{skip}")
        self._lines += [f'{name}_{rule}{len(properties)}: ""' for rule in ("first", "more")]


class _PlainRules(_Rules):
    """The same without what only llguidance has."""

    def _add_set(self, name: str, schema: Mapping[str, Any], choices: list[str]) -> None:
        self._add_list(name, schema)


def _write_any(name: str) -> list[str]:
    """Return the rules of any value."""
    scalar = write_scalar({"type": ["string", "number", "boolean", "null"]})
    return [f'{name}: {scalar} | "[" ({name} ("," {name})*)? "]" | {_write_map(name)}']


def _write_map(value: str) -> str:
    """Return an object of any names."""
    return f'"{{" ({TEXT} ":" {value} ("," {TEXT} ":" {value})*)? "}}"'
