"""Whether a tool can be called at all: a schema that contradicts itself is told when the tool is loaded, not per call.

The search is bounded and careful: what it does not know counts as satisfiable.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from alpha_umi.errors import ConfigError
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.spec.schema import make_lookup, make_validator

_KINDS = ("string", "number", "boolean", "array", "object", "null")
_MAX_CHARS = 200
_MAX_VISITS = 2000


def require_satisfiable(spec: ToolSpec) -> None:
    """Refuse a tool whose schema no arguments can satisfy.

    Raises:
        ConfigError: With the place and the contradiction.
    """
    try:
        fault = _Search(spec.parameters).find(spec.parameters, "object", "arguments")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):  # a schema that this file does not know
        return
    if fault:
        raise ConfigError(
            f"Tool {spec.name!r}: no arguments can satisfy its schema, {fault}. Correct it, or leave the tool out."
        )


class _Search:
    """Looks for a contradiction in one schema; every method returns it in words, or an empty text."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._lookup = make_lookup(dict(root))
        self._inside: list[str] = []  # references: what has to contain itself is endless
        self._n_left = _MAX_VISITS

    def find(self, schema: Any, kind: str, place: str) -> str:
        """Return why there is no value of this kind; ``any`` is one of any kind."""
        self._n_left -= 1
        if schema is False:
            return f"{place} takes nothing"
        if not isinstance(schema, Mapping) or self._n_left < 0:
            return ""
        if "enum" in schema or "const" in schema:
            return self._find_in_values(schema, place)
        if kind == "any":
            return _find_first_of_all(self.find(schema, each, place) for each in _list_kinds(schema))
        kinds = {*_list_kinds(schema)}
        if kind == "number" and kind not in kinds and "integer" in kinds:
            kind = "integer"
        elif kind not in kinds and not (kind == "integer" and "number" in kinds):
            return f"{place} is to be of different types at once"
        return self._find_in_parts(schema, kind, place) or self._find_in_kind(schema, kind, place)

    def _find_in_values(self, schema: Mapping[str, Any], place: str) -> str:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        definitions = {key: self._root[key] for key in ("$defs", "definitions", "$schema") if key in self._root}
        validator = make_validator({**definitions, "properties": {"value": schema}})
        if any(validator.is_valid({"value": value}) for value in values):
            return ""
        return f"{place} allows no value that it lists ({json.dumps(values, ensure_ascii=False)[:_MAX_CHARS]})"

    def _find_in_parts(self, schema: Mapping[str, Any], kind: str, place: str) -> str:
        """Look at what describes the same value."""
        if schema.get("not") in ({}, True):
            return f"{place} takes nothing"
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference in self._inside:
                return f"{place} has to contain itself"
            self._inside.append(reference)
            fault = self.find(self._lookup(reference), kind, place)
            self._inside.pop()
            if fault:
                return fault
        for part in schema.get("allOf", ()):
            if fault := self.find(part, kind, place):
                return fault
        for key in ("anyOf", "oneOf"):
            if key in schema and (fault := _find_first_of_all(self.find(part, kind, place) for part in schema[key])):
                return fault
        return ""

    def _find_in_kind(self, schema: Mapping[str, Any], kind: str, place: str) -> str:
        if kind in ("number", "integer"):
            return _find_in_number(schema, kind, place)
        for least, most in _COUNTS.get(kind, ()):
            if schema.get(least, 0) > schema.get(most, math.inf):
                return f"{place} has {least} {schema[least]} and {most} {schema[most]}"
        if kind == "array":
            parts = [*schema.get("prefixItems", ()), schema.get("items")][: schema.get("minItems", 0)]
            return next(filter(None, (self.find(part, "any", f"{place}[…]") for part in parts)), "")
        return self._find_in_object(schema, place) if kind == "object" else ""

    def _find_in_object(self, schema: Mapping[str, Any], place: str) -> str:
        properties = schema.get("properties", {})
        is_closed = schema.get("additionalProperties") is False and not schema.get("patternProperties")
        for name in schema.get("required", ()):
            if name not in properties and is_closed:
                return f"{place} requires {name!r} and does not allow it"
            if fault := self.find(properties.get(name), "any", name if place == "arguments" else f"{place}.{name}"):
                return fault
        if is_closed and schema.get("minProperties", 0) > len(properties):
            return f"{place} has minProperties {schema['minProperties']} and only {len(properties)} names"
        return ""


_COUNTS = {
    "string": [("minLength", "maxLength")],
    "array": [("minItems", "maxItems")],
    "object": [("minProperties", "maxProperties")],
}


def _list_kinds(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type", _KINDS)
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _find_first_of_all(faults: Iterator[str]) -> str:
    """Return the first fault if there are only faults."""
    first = ""
    for fault in faults:
        if not fault:
            return ""
        first = first or fault
    return first


def _find_in_number(schema: Mapping[str, Any], kind: str, place: str) -> str:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    step = schema.get("multipleOf", 1 if kind == "integer" else 0)
    is_empty = max(low, above) > min(high, below) or above >= min(high, below) or below <= max(low, above)
    if not is_empty and step and all(map(math.isfinite, (max(low, above), min(high, below)))):
        first = math.ceil(max(low, above) / step - 1e-9) * step
        first += step if first <= above else 0
        is_empty = first > high + step * 1e-9 or first >= below
    return f"{place} has bounds that no {kind} keeps" if is_empty else ""
