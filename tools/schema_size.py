"""How large a schema is when everything it refers to is written out: ten lines can stand for a billion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def count_expanded(schema: Any, lookup: Callable[[str], Any]) -> int:
    """Return the number of nodes of a schema with its references followed, without following them.

    Args:
        schema: JSON Schema.
        lookup: From a ``$ref`` to its target.

    Example:
        >>> parts = {"b": {"allOf": [{"$ref": "a"}, {"$ref": "a"}]}, "a": {"type": "string"}}
        >>> count_expanded({"$ref": "b"}, parts.__getitem__)
        13
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
