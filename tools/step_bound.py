"""How many steps it takes to check arguments against a schema that contains itself, counted without doing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

_MAX_STEPS = 10_000_000  # about a second
_Counts: TypeAlias = list[tuple[Any, int]]  # schemas and how often each applies


class StepBound:
    """Bounds the work of checking arguments against a schema that contains itself, which may double at every level."""

    def __init__(self, schema: Any, lookup: Callable[[str], Any]) -> None:
        """Take the schema and what finds the targets of its references."""
        self._schema = schema
        self._lookup = lookup

    def count(self, arguments: Any) -> int:
        """Return how often a part of the schema is applied to a part of the arguments, at most.

        Raises:
            RecursionError: If that is too often.
        """
        n_steps, known = 0, dict[int, _Counts]()
        pending: list[tuple[Any, _Counts]] = [(arguments, [(self._schema, 1)])]
        while pending:
            value, schemas = pending.pop()
            applied = _merge((self._apply(schema, known), n_times) for schema, n_times in schemas)
            n_steps += sum(n_times for _, n_times in applied)
            if n_steps > _MAX_STEPS:
                raise RecursionError("checking them takes too long")
            parts: dict[Any, _Counts] = {}
            for node, n_times in applied:
                for name, part in list_children(node, value):
                    parts.setdefault(name, []).append((part, n_times))
            pending += [(value[name], schemas) for name, schemas in parts.items()]
        return n_steps

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

    def _find_parts(self, schema: Mapping[str, Any]) -> Iterator[Any]:
        for key in ("$ref", "$dynamicRef", "$recursiveRef"):
            if isinstance(reference := schema.get(key), str):
                with suppress(ValueError):  # of an anchor that only the validator knows
                    yield self._lookup(reference)
        yield from list_in_place(schema)
        dependencies = schema.get("dependencies")
        yield from dependencies.values() if isinstance(dependencies, Mapping) else ()


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
