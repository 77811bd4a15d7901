"""How many steps it takes to check arguments against a schema, counted without doing them.

A model writes the arguments and a stranger the schema: one that contains itself may double the work at every level,
a list of unique or listed objects squares it. The validator cannot be stopped, so what would take long is not begun.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeAlias

_MAX_STEPS = 1_000_000  # some tenths of a second
_MAX_VALUES = 100_000
_MAX_CHARS = 10_000_000
_REPEATS = re.compile(r"\{(\d{1,9}),?(\d{0,9})\}")
_Counts: TypeAlias = list[tuple[Any, int]]  # schemas and how often each applies


class StepBound:
    """Bounds the work of checking arguments against one schema."""

    def __init__(self, schema: Any, lookup: Callable[[str], Any]) -> None:
        """Take the schema and what finds the targets of its references."""
        self._schema = schema
        self._lookup = lookup
        self._right: dict[int, int] = {}

    def count(self, arguments: Any) -> int:
        """Return how many steps it takes, at most, to tell all that is wrong.

        One is to apply a part of the schema to a part of the arguments, or to tell a value that would be right.

        Raises:
            RecursionError: If these are too many, or the arguments too large.
        """
        sizes = _measure(arguments)
        n_steps = n_told = n_counted = 0
        known: dict[int, _Counts] = {}
        pending: list[tuple[Any, _Counts]] = [(arguments, [(self._schema, 1)])]
        while pending:
            value, schemas = pending.pop()
            applied = _merge((self._apply(schema, known), n_times) for schema, n_times in schemas)
            parts: dict[Any, _Counts] = {}
            for node, n_times in applied:
                n_steps += n_times * _count_own(node, value, sizes[id(value)])
                n_told += n_times * self._measure_right_values(node)
                for name, part in list_children(node, value):
                    n_counted += 1
                    if n_steps > _MAX_STEPS or n_counted > _MAX_STEPS:
                        break
                    parts.setdefault(name, []).append((part, n_times))
            if n_steps > _MAX_STEPS or n_counted > _MAX_STEPS:
                raise RecursionError("checking them takes too long")
            pending += [(value[name], schemas) for name, schemas in parts.items()]
        return n_steps + n_told

    def _apply(self, schema: Any, known: dict[int, _Counts]) -> _Counts:
        """Return the schemas that apply to the value to which a schema applies, and how often."""
        if not isinstance(schema, Mapping):
            return []
        if id(schema) not in known:
            known[id(schema)] = []  # while it is counted
            known[id(schema)] = [
                (schema, 1),
                *_merge((self._apply(part, known), 1) for part in self._find_parts(schema)),
            ]
        return known[id(schema)]

    def _measure_right_values(self, schema: Mapping[str, Any]) -> int:
        if id(schema) not in self._right:
            values = [schema.get("enum"), schema.get("const")]
            self._right[id(schema)] = max(_measure(values).values()) if any(values) else 0
        return self._right[id(schema)]

    def _find_parts(self, schema: Mapping[str, Any]) -> Iterator[Any]:
        for key in ("$ref", "$dynamicRef", "$recursiveRef"):
            if isinstance(reference := schema.get(key), str):
                with suppress(ValueError):  # of an anchor that only the validator knows
                    yield self._lookup(reference)
        yield from list_in_place(schema)
        dependencies = schema.get("dependencies")
        yield from dependencies.values() if isinstance(dependencies, Mapping) else ()


def _measure(arguments: Any) -> dict[int, int]:
    """Return how many values each value holds, itself included, by its id."""
    values, n_chars = [arguments], 0
    for value in values:  # grows
        n_chars += len(value) if isinstance(value, str) else 0
        values += _list_parts(value)
        if len(values) > _MAX_VALUES or n_chars > _MAX_CHARS:
            raise RecursionError("they are too large")
    sizes: dict[int, int] = {}
    for value in reversed(values):
        sizes[id(value)] = 1 + sum(sizes[id(part)] for part in _list_parts(value))
    return sizes


def _list_parts(value: Any) -> list[Any]:
    return [*value.values()] if isinstance(value, Mapping) else [*value] if isinstance(value, list | tuple) else []


def _count_own(schema: Mapping[str, Any], value: Any, size: int) -> int:
    """Return the steps of one part of a schema on one value, without what that holds."""
    if isinstance(value, str):
        return 1 + len(value) // 100 + _weigh(schema.get("pattern"))
    if size == 1:
        return 1
    n_options = len(schema["enum"]) if isinstance(schema.get("enum"), list) else "const" in schema
    n_pairs = len(value) ** 2 // 16 if schema.get("uniqueItems") is True else 0
    names = schema.get("propertyNames")
    patterns = [*(schema.get("patternProperties") or ()), names.get("pattern") if isinstance(names, Mapping) else ""]
    return 1 + n_pairs + n_options * size + len(value) * sum(map(_weigh, patterns))


@lru_cache(maxsize=4096)
def _weigh(pattern: Any) -> int:
    """Return about how many steps it takes to begin to match a pattern: counted repeats are written out."""
    if not isinstance(pattern, str):
        return 0
    return 1 + len(pattern) * math.prod(int(most or least) for least, most in _REPEATS.findall(pattern)) // 8


def _merge(groups: Iterable[tuple[_Counts, int]]) -> _Counts:
    """Add up how often each schema applies, in groups that apply several times."""
    counts, schemas = Counter[int](), dict[int, Any]()
    for group, n_times in groups:
        for schema, n_inside in group:
            counts[id(schema)] += n_times * n_inside
            schemas[id(schema)] = schema
    return [(schemas[key], n_times) for key, n_times in counts.items()]


def list_children(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each schema that may apply to a part of a value, after the part's key."""
    if isinstance(value, Mapping):
        properties, patterns = (schema.get(key) or {} for key in ("properties", "patternProperties"))
        others = [schema.get("additionalProperties"), schema.get("unevaluatedProperties")]
        for name in value:
            named = [properties[name]] if name in properties else others
            yield from ((name, part) for part in (*patterns.values(), *named))
    elif isinstance(value, list | tuple):
        keys = ("items", "additionalItems", "unevaluatedItems", "contains")
        every = [schema.get(key) for key in keys if isinstance(schema.get(key), Mapping)]
        first: list[Any] = next(
            (schema[key] for key in ("prefixItems", "items") if isinstance(schema.get(key), list)), []
        )
        for index in range(len(value)):
            yield from ((index, part) for part in (*first[index : index + 1], *every))


def list_in_place(schema: Mapping[str, Any]) -> list[Any]:
    """Return the parts of a schema that apply to the same value."""
    parts = [schema.get(key) for key in ("not", "if", "then", "else")]
    for key in ("allOf", "anyOf", "oneOf"):
        listed = schema.get(key)
        parts += listed if isinstance(listed, list) else ()
    dependent = schema.get("dependentSchemas")
    return [*parts, *(dependent.values() if isinstance(dependent, Mapping) else ())]
