"""A tool's JSON Schema as a rule of llguidance's grammar: the arguments that the caller may write for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

from llguidance import LLMatcher

from alpha_umi.tools.schema import map_schema

MAX_NUMBER = 10**15
"""Numbers stay below this, so that every JSON reader and a checkpoint can hold them."""

_ANY_TYPE = ["string", "number", "boolean", "null", "array", "object"]
_NEEDED = {"required", "minProperties", "dependentRequired"}
# What these name may hold further arguments, which a closed object would contradict.
_ELSEWHERE = {"additionalProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref"}


@lru_cache(maxsize=1024)
def make_rule(schema_text: str, *, may_omit: bool) -> str:
    """Return a rule for compact JSON of the schema; cached, because most runs offer the same tools.

    Of a schema that cannot be enforced, at least the arguments' names are.
    """
    adapt = partial(_adapt, may_omit=may_omit)
    schema = json.loads(schema_text)
    rule = _inline(_close(map_schema(schema, adapt)))
    if not LLMatcher.validate_grammar_with_warnings(f"start: {rule}")[0]:
        return rule
    names = {name: {"type": _ANY_TYPE} for name in schema.get("properties") or {}}
    required = [name for name in schema.get("required") or () if name in names]
    known = {"properties": names, "required": required, "additionalProperties": not names}
    return _inline(map_schema(known, adapt))


def _inline(schema: Mapping[str, Any]) -> str:
    options = {"whitespace_flexible": False, "lenient": True}
    return f"%json {json.dumps({**schema, 'type': 'object', 'x-guidance': options})}"


def _adapt(schema: dict[str, Any], *, may_omit: bool) -> dict[str, Any]:
    """Bound the numbers of one subschema, and let arguments be left out where that is allowed."""
    kept = {key: value for key, value in schema.items() if not (may_omit and key in _NEEDED)}
    kind = schema.get("type")
    if {"integer", "number"}.isdisjoint(kind if isinstance(kind, list) else [kind]):
        return kept
    return {"minimum": -MAX_NUMBER, "maximum": MAX_NUMBER} | kept


def _close(schema: dict[str, Any]) -> dict[str, Any]:
    """Forbid unknown arguments where the schema says nothing."""
    return schema if _ELSEWHERE & schema.keys() else {**schema, "additionalProperties": False}
