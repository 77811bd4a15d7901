"""OpenAPI's schemas → plain JSON Schema without references, as a tool's arguments need it.

OpenAPI 3.0 has its own dialect (``nullable``, a boolean ``exclusiveMinimum``), and real documents have mistakes. What
is malformed restricts nothing: the server decides what it accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from alpha_umi.tools.openapi.document import BadReference, Document
from alpha_umi.tools.schema import is_pattern

# References are inlined, because models read arguments in place; these bound what that makes of a large document.
_MAX_NODES = 250
_MAX_DEPTH = 30
_MAX_DESCRIPTION_CHARS = 300
_TYPES = {
    **{kind: kind for kind in ("string", "integer", "number", "boolean", "array", "object", "null")},
    **{"str": "string", "date": "string", "datetime": "string", "file": "string", "binary": "string"},
    **{"int": "integer", "long": "integer", "float": "number", "double": "number", "bool": "boolean"},
    **{"list": "array", "dict": "object", "map": "object"},
}
_BOUNDS = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}
_LISTS = ("anyOf", "oneOf", "allOf")


def read_schema(document: Document, node: Any) -> tuple[dict[str, Any], list[str]]:
    """Return a schema as JSON Schema, and what of it could not be read.

    Where it contains itself or is very large, the inner parts only name a type; a reference that leads nowhere allows
    anything.

    Example:
        >>> pet = {"type": "object", "properties": {"name": {"type": "string", "nullable": True}}}
        >>> document = Document({"components": {"schemas": {"Pet": pet}}}, "pets")
        >>> read_schema(document, {"$ref": "#/components/schemas/Pet"})
        ({'type': 'object', 'properties': {'name': {'type': ['string', 'null']}}}, [])
    """
    reader = _SchemaReader(document)
    return reader.read(node, (), 0), reader.problems


def tidy_text(text: Any, max_chars: int = _MAX_DESCRIPTION_CHARS) -> str:
    """Return a description as one line of bounded length; anything but text is left out."""
    line = " ".join(text.split()) if isinstance(text, str) else ""
    return line if len(line) <= max_chars else f"{line[: max_chars - 1]}…"


class _SchemaReader:
    """Reads one schema; counts what it has read."""

    def __init__(self, document: Document) -> None:
        self.problems: list[str] = []
        self._document = document
        self._n_nodes = 0

    def read(self, node: Any, inside: tuple[str, ...], depth: int) -> dict[str, Any]:
        """Return a node's schema; `inside` are the references that led here."""
        self._n_nodes += 1
        if node is False:
            return {"not": {}}
        if not isinstance(node, Mapping):
            return {}
        reference = node.get("$ref")
        if isinstance(reference, str):
            return self._read_reference(node, reference, inside, depth)
        if self._n_nodes > _MAX_NODES or depth > _MAX_DEPTH:
            return _read_type_alone(node)
        schema = _read_keywords(node)
        for key in ("items", "additionalProperties", "not"):
            if isinstance(node.get(key), Mapping | bool):
                schema[key] = node[key] if isinstance(node[key], bool) else self.read(node[key], inside, depth + 1)
        if isinstance(node.get("properties"), Mapping):
            self._read_properties(node, schema, inside, depth)
        for key in _LISTS:
            if isinstance(node.get(key), list) and node[key]:
                schema[key] = [self.read(part, inside, depth + 1) for part in node[key]]
        return _merge_all_of(schema)

    def _read_reference(
        self, node: Mapping[str, Any], reference: str, inside: tuple[str, ...], depth: int
    ) -> dict[str, Any]:
        try:
            target = self._document.lookup(reference)
        except BadReference as error:
            self.problems.append(f"a schema refers to {error}")
            return {}
        if not isinstance(target, Mapping):
            return {}
        if reference in inside:
            return _read_type_alone(target)
        siblings = {key: value for key, value in node.items() if key != "$ref"}
        return self.read({**target, **siblings}, (*inside, reference), depth + 1)

    def _read_properties(
        self, node: Mapping[str, Any], schema: dict[str, Any], inside: tuple[str, ...], depth: int
    ) -> None:
        """Add what a caller may write, and which of it is required."""
        listed = node.get("required")
        required = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
        schema.setdefault("type", "object")
        schema["properties"] = {}
        for name, part in node["properties"].items():
            if isinstance(part, Mapping):
                if part.get("readOnly") is True:
                    required = [other for other in required if other != name]
                    continue
                if part.get("required") is True and name not in required:
                    required.append(str(name))
            schema["properties"][str(name)] = self.read(part, inside, depth + 1)
        if required:
            schema["required"] = list(dict.fromkeys(required))


def _read_type_alone(node: Mapping[str, Any]) -> dict[str, Any]:
    return _read_keywords({key: node[key] for key in ("type", "description", "nullable") if key in node})


def _read_keywords(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a schema itself says, leaving out what is malformed."""
    schema: dict[str, Any] = {}
    if kinds := _read_types(node):
        schema["type"] = kinds[0] if len(kinds) == 1 else kinds
    if description := tidy_text(node.get("description")):
        schema["description"] = description
    if isinstance(node.get("enum"), list) and node["enum"]:
        may_add_null = node.get("nullable") is True and None not in node["enum"]
        schema["enum"] = [*node["enum"], None] if may_add_null else node["enum"]
    schema |= {key: node[key] for key, is_usable in _KEYWORDS.items() if key in node and is_usable(node[key])}
    return schema | _read_bounds(node)


def _read_types(node: Mapping[str, Any]) -> list[str]:
    wanted = node.get("type")
    names = wanted if isinstance(wanted, list) else [wanted]
    kinds = [_TYPES[name.lower()] for name in names if isinstance(name, str) and name.lower() in _TYPES]
    if kinds and node.get("nullable") is True:
        kinds.append("null")
    return list(dict.fromkeys(kinds))


def _read_bounds(node: Mapping[str, Any]) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    for key, exclusive in _BOUNDS.items():
        if _is_number(node.get(key)):
            bounds[exclusive if node.get(exclusive) is True else key] = node[key]
        if _is_number(node.get(exclusive)):
            bounds[exclusive] = node[exclusive]
    if _is_number(node.get("multipleOf")) and node["multipleOf"] > 0:
        bounds["multipleOf"] = node["multipleOf"]
    return bounds


def _merge_all_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Make one object of an ``allOf`` whose parts do not contradict each other, as inheritance is written."""
    parts = schema.get("allOf", [])
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for part in parts:
        for key, value in part.items():
            if key == "properties":
                merged["properties"] = value | merged.get("properties", {})
            elif key == "required":
                merged["required"] = list(dict.fromkeys([*merged.get("required", []), *value]))
            elif key == "description":
                merged.setdefault("description", value)
            elif merged.setdefault(key, value) != value:
                return schema
    return merged


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_KEYWORDS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("const", "default"), lambda value: True),
    "format": lambda value: isinstance(value, str),
    "pattern": lambda value: isinstance(value, str) and is_pattern(value),
    "uniqueItems": lambda value: isinstance(value, bool),
    **dict.fromkeys(_COUNTS, lambda value: _is_number(value) and value >= 0),
}
