"""What a schema comes to when its references are followed: ten lines can stand for a billion, or have no end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def count_expanded(schema: Any, lookup: Callable[[str], Any]) -> int:
    """Return the number of nodes of a schema with its references followed, without following them.

    Args:
        schema: JSON Schema.
        lookup: From a ``$ref`` to its target.

    Example:
        >>> parts = {"b": {"allOf": [{"$ref": "a"}, {"$ref": "a"}]}, "a": {"type": "string"}}
        >>> count_expanded({"$ref": "b"}, parts.__getitem__)
        12
    """
    sizes: dict[str, int] = {}

    def count(node: Any) -> int:
        if isinstance(node, list):
            return 1 + sum(map(count, node))
        if not isinstance(node, Mapping):
            return 1
        reference = node.get("$ref")
        n_behind = count_target(reference) if isinstance(reference, str) else 0
        return 1 + n_behind + sum(map(count, node.values()))

    def count_target(reference: str) -> int:
        if reference not in sizes:
            sizes[reference] = 1  # what it is while it is counted: a schema may contain itself
            sizes[reference] = count(lookup(reference))
        return sizes[reference]

    return count(schema)


def find_loop(references: Iterator[str], lookup: Callable[[str], Any]) -> str | None:
    """Return a reference that leads back to itself without going into the value, so that checking one never ends.

    Args:
        references: All of a schema.
        lookup: From a ``$ref`` to its target.

    Example:
        >>> parts = {"a": {"anyOf": [{"$ref": "b"}]}, "b": {"$ref": "a"}, "tree": {"items": {"$ref": "tree"}}}
        >>> find_loop(iter(["tree"]), parts.__getitem__), find_loop(iter(["a"]), parts.__getitem__)
        (None, 'a')
    """
    is_done: dict[str, bool] = {}

    def visit(reference: str) -> str | None:
        if reference in is_done:
            return None if is_done[reference] else reference
        is_done[reference] = False
        for following in _find_in_place(lookup(reference)):
            if (loop := visit(following)) is not None:
                return loop
        is_done[reference] = True
        return None

    return next((loop for reference in references if (loop := visit(reference)) is not None), None)


def _find_in_place(schema: Any) -> Iterator[str]:
    """Yield the references that apply to the same value as the schema."""
    if not isinstance(schema, Mapping):
        return
    if isinstance(reference := schema.get("$ref"), str):
        yield reference
    for key in ("allOf", "anyOf", "oneOf"):
        parts = schema.get(key)
        for part in parts if isinstance(parts, list) else ():
            yield from _find_in_place(part)
    for key in ("not", "if", "then", "else"):
        yield from _find_in_place(schema.get(key))
    dependent = schema.get("dependentSchemas")
    for part in dependent.values() if isinstance(dependent, Mapping) else ():
        yield from _find_in_place(part)
